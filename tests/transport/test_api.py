"""The client with broken connections and strange answers, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import anyio
import anyio.lowlevel
import pytest
import trustme
from fault_server import HTML, TASK_ID, FaultServer, Seen, bomb
from limiters import WrappedLimiter
from yarl import URL

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    ErrorAction,
    InsufficientCreditsError,
    InvalidArgumentError,
    InvalidParametersError,
    MaintenanceError,
    NotFoundError,
    RateLimit,
    RateLimitedError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    SlotResult,
    TaskRef,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport.api import LARGEST_ANSWER, Transport, _OneSend
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async.instrumentation import Event, RequestRetried
from vocalsep_async.providers import Request

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789"
CALLBACK = "https://callback.example/"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def tries(attempts: int) -> RetryPolicy:
    return RetryPolicy(attempts=attempts, initial=0.001, maximum=0.001)


def client_at(url: str, *, attempts: int = 2, **options: Any) -> VocalSepClient:
    """A client without a rate limit."""
    options = {"rate_limit": None, "retry": tries(attempts), "request_timeout": 60.0} | options
    return VocalSepClient(KEY, base_url=url, **options)


class Tries:
    """Counts the tries of one call, also those that were not sent."""

    def __init__(self) -> None:
        self.number = 1

    def __call__(self, event: Event) -> None:
        self.number += isinstance(event, RequestRetried)


def acquired(client: VocalSepClient) -> int:
    """Connections that requests still hold."""
    session = client._engine.transport._session
    assert session is not None
    connector = session.connector
    assert connector is not None
    return len(connector._acquired)


async def failure_of(call: Awaitable[object]) -> VocalSepError:
    with pytest.raises(VocalSepError) as caught:
        await call
    return caught.value


# Unusable answers: retried, then one error

Rows = Mapping[str, tuple[str, type[VocalSepError]]]
CUT = TransportError
LATE = RequestTimeoutError
UNREADABLE = DecodeError

BROKEN: Rows = {
    "reset before the answer": ("rst_before", CUT),
    "closed before the answer": ("fin_before", CUT),
    "reset inside the headers": ("rst_mid_headers", CUT),
    "closed inside the headers": ("fin_mid_headers", CUT),
    "closed in the middle of the body": ("half_body_fin", CUT),
    "reset in the middle of the body": ("half_body_rst", CUT),
    "chunks without an end": ("chunked_cut", CUT),
    "cut, without a length": ("no_length_cut", UNREADABLE),
    "longer than it said": ("length_too_short", CUT),
    "a chunk of no size": ("chunked_bad_size", CUT),
    "two lengths": ("two_lengths", CUT),
    "chunks and a length": ("chunked_and_length", CUT),
    "a negative length": ("neg_length", CUT),
    "an enormous header": ("big_header", CUT),
    "thousands of headers": ("many_headers", CUT),
    "HTTP of 1991": ("http09", CUT),
    "a status that is no number": ("bad_status_line", CUT),
    "no HTTP at all": ("garbage", CUT),
    "a web page for 200": ("html200", UNREADABLE),
    "a web page for 502": ("html502", ServerError),
    "a web page for 503": ("html503", ServerError),
    "a web page for 504": ("html504", ServerError),
    "an error of the server's": ("st500", ServerError),
    "nothing in the body": ("empty200", UNREADABLE),
    "204": ("s204", UNREADABLE),
    "UTF-16": ("json_utf16", UNREADABLE),
    "not UTF-8": ("bad_utf8", UNREADABLE),
    "NaN": ("nan", UNREADABLE),
    "an infinite code": ("infinity", UNREADABLE),
    "a code beyond floats": ("float_overflow", UNREADABLE),
    "a code of 5000 digits": ("huge_int", UNREADABLE),
    "200,000 brackets": ("deep_json", UNREADABLE),
    "64 MiB": ("huge_json", CUT),
    "half a document": ("truncated_json", UNREADABLE),
    "two documents": ("two_docs", UNREADABLE),
    "an array": ("json_array", UNREADABLE),
    "a string": ("json_string", UNREADABLE),
    "null": ("json_null", UNREADABLE),
    "a number": ("json_number", UNREADABLE),
    "half a gzip": ("gzip_cut", UNREADABLE),
    "plain text said to be gzip": ("gzip_lie", CUT),
    "gzip in gzip": ("gzip_twice", UNREADABLE),
    "gzip with a wrong checksum": ("gzip_bad_crc", CUT),
    "brotli that was not requested": ("br_unasked", CUT),
    "an unknown encoding": ("unknown_encoding", UNREADABLE),
}
SLOW: Rows = {
    "silence": ("black_hole", LATE),
    "headers in drops": ("slow_headers", LATE),
    "a body in drops": ("slow_body", LATE),
    "100 Continue without an end": ("endless_100", LATE),
}


def table(*rows: Rows) -> pytest.MarkDecorator:
    named = [(name, *values) for each in rows for name, values in each.items()]
    return pytest.mark.parametrize(
        "fault, kind", [pytest.param(*values, id=name) for name, *values in named]
    )


def options_for(kind: type[VocalSepError]) -> dict[str, Any]:
    return {"request_timeout": 1.0} if kind is LATE else {}


@table(BROKEN, SLOW)
async def test_an_unusable_answer_is_retried_and_then_raises_one_error(
    server: FaultServer, fault: str, kind: type[VocalSepError]
) -> None:
    async with client_at(f"{server.url}/{fault}", **options_for(kind)) as client:
        error = await failure_of(client.get_task(TASK_ID))
        assert type(error) is kind
        assert error.action is ErrorAction.RETRY
        assert error.__cause__ is None
        assert error.__context__ is None
        assert len(str(error)) < 300
        assert "leaked-header-text" not in str(error)
        assert "hotel" not in str(error)
        # A busy machine may hand a request over after the client gave it up.
        await anyio.to_thread.run_sync(server.wait_for_hits, client.stats.requests)
        assert server.hits == client.stats.requests == 2
        assert client.stats.in_flight == 0
        assert acquired(client) == 0


@table(BROKEN, SLOW)
async def test_a_good_answer_after_an_unusable_one_is_returned(
    server: FaultServer, fault: str, kind: type[VocalSepError]
) -> None:
    async with client_at(f"{server.url}/once-{fault}", **options_for(kind)) as client:
        task = await client.get_task("task-7")
        assert (task.task_id, task.succeeded) == ("task-7", True)
        assert server.hits == client.stats.requests == 2
        assert client.stats.in_flight == 0


FOREIGN: Rows = {
    "a redirect to another host": ("redirect_302_elsewhere", TransportError),
    "a redirect that keeps the method": ("redirect_307_elsewhere", TransportError),
    "a redirect for ever": ("redirect_308_elsewhere", TransportError),
    "a redirect to itself": ("redirect_loop", TransportError),
    "a redirect to nowhere": ("redirect_nowhere", TransportError),
    "a redirect to no URL": ("redirect_bad_url", TransportError),
    "a redirect to a file": ("redirect_file", TransportError),
    "304 although nothing was cached": ("not_modified", TransportError),
    "a web page for 404": ("html404", NotFoundError),
    "a login that nothing asked for": ("proxy407", TransportError),
}


@table(FOREIGN)
async def test_an_answer_of_another_server_is_raised_after_the_attempts(
    server: FaultServer, fault: str, kind: type[VocalSepError]
) -> None:
    with FaultServer() as other:
        server.elsewhere = other.url
        async with client_at(f"{server.url}/{fault}", attempts=3) as client:
            error = await failure_of(client.get_task(TASK_ID))
            assert type(error) is kind
            assert server.hits == client.stats.requests == 3
            assert acquired(client) == 0
        assert other.hits == 0


FINAL: Rows = {
    "a status for wrong parameters": ("st400", InvalidParametersError),
    "a status for a wrong key": ("st401", AuthenticationError),
    "a code for a wrong key": ("body401", AuthenticationError),
    "a status for no credits": ("st429", InsufficientCreditsError),
    "a code for no credits": ("body429", InsufficientCreditsError),
    "a status for maintenance": ("st455", MaintenanceError),
    "a code for maintenance": ("body455", MaintenanceError),
    "maintenance as a web page": ("maintenance_page", MaintenanceError),
}


@table(FINAL)
async def test_a_permanent_error_is_raised_without_a_retry(
    server: FaultServer, fault: str, kind: type[VocalSepError]
) -> None:
    async with client_at(f"{server.url}/{fault}", attempts=5) as client:
        error = await failure_of(client.get_task(TASK_ID))
        assert type(error) is kind
        assert server.hits == 1
        assert client.stats.requests == 1
        assert acquired(client) == 0


THROTTLED = ["st405", "body405", "st430", "body430", "html429", "real405", "empty405", "dup_keys"]


@pytest.mark.parametrize("fault", THROTTLED)
async def test_throttling_is_counted_and_raised_after_the_last_attempt(
    server: FaultServer, fault: str
) -> None:
    limit = RateLimit(1000, 0.1)
    async with client_at(f"{server.url}/{fault}", attempts=2, rate_limit=limit) as client:
        error = await failure_of(client.get_task(TASK_ID))
        assert type(error) is RateLimitedError
        assert server.hits == client.stats.requests == client.stats.throttled == 2


@pytest.mark.parametrize("fault", ["redirect_loop", "real405", "html404"])
async def test_an_error_of_a_wrong_address_names_base_url(server: FaultServer, fault: str) -> None:
    async with client_at(f"{server.url}/{fault}", rate_limit=RateLimit(1000, 0.1)) as client:
        assert "base_url" in str(await failure_of(client.get_task(TASK_ID)))


READABLE = {
    "JSON as text": "json_as_text",
    "JSON of no type": "json_no_type",
    "an unknown charset": "json_odd_charset",
    "a charset that is a compression": "json_zlib_charset",
    "a byte order mark": "json_bom",
    "gzip": "gzip",
    "a hint before the answer": "early_hints",
    "2000 times 100 Continue": "many_100",
    "no length, closed at the end": "no_length",
    "header bytes that are no text": "bad_header_bytes",
}


@pytest.mark.parametrize("fault", [pytest.param(f, id=name) for name, f in READABLE.items()])
async def test_an_odd_but_readable_answer_is_decoded(server: FaultServer, fault: str) -> None:
    async with client_at(f"{server.url}/{fault}", attempts=1) as client:
        assert (await client.get_task(TASK_ID)).succeeded
        assert server.hits == client.stats.requests == 1


async def test_messages_of_the_api_are_escaped_and_truncated(server: FaultServer) -> None:
    async with client_at(f"{server.url}/ansi") as client:
        text = str(await failure_of(client.get_task(TASK_ID)))
    assert text.isprintable()
    assert "FAKE LOG LINE" in text
    assert len(text) < 600


async def test_a_lone_surrogate_in_a_message_of_the_api_can_be_printed(server: FaultServer) -> None:
    async with client_at(f"{server.url}/surrogate") as client:
        error = await failure_of(client.get_task(TASK_ID))
    assert str(error).encode("utf-8")
    assert repr(error).encode("utf-8")


# Size

MIB = 1 << 20


@pytest.mark.parametrize("fault", ["gzip_bomb", "huge_json"])
async def test_an_enormous_answer_costs_little_memory(server: FaultServer, fault: str) -> None:
    bomb()  # made before anything is measured
    async with client_at(f"{server.url}/{fault}", attempts=1) as client:
        await failure_of(client.get_task(TASK_ID))  # what is made once is made here
        tracemalloc.start()
        try:
            error = await failure_of(client.get_task(TASK_ID))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert type(error) is TransportError
    assert f"larger than {LARGEST_ANSWER:,} bytes" in str(error)
    assert peak < 8 * MIB


# Connections


@pytest.mark.parametrize(
    "fault, hits",
    [
        pytest.param("close_when_idle", 2, id="closed while idle"),
        pytest.param("second_dies", 3, id="dies under the second request"),
        pytest.param("extra_bytes_after", 2, id="holds an unrequested answer"),
        pytest.param("extra_bytes_late", 3, id="sends an unrequested answer later"),
    ],
)
async def test_a_broken_idle_connection_disturbs_no_later_request(
    server: FaultServer, fault: str, hits: int
) -> None:
    async with client_at(f"{server.url}/{fault}", attempts=3) as client:
        first = await client.get_task("first")
        if fault == "close_when_idle":
            await connections_dropped(client)
        second = await client.get_task("second")
        assert (first.task_id, second.task_id) == ("first", "second")
        assert server.hits == client.stats.requests == hits


async def connections_dropped(client: VocalSepClient) -> None:
    """Wait until the client has noticed that the server hung up."""
    session = client._engine.transport._session
    assert session is not None
    assert session.connector is not None
    pool = session.connector._conns
    with anyio.fail_after(60):
        while any(kept[0].is_connected() for conns in pool.values() for kept in conns):
            await anyio.lowlevel.checkpoint()


async def test_a_connection_is_kept_for_the_next_request(server: FaultServer) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        for n in range(3):
            await client.get_task(f"task-{n}")
    assert (server.hits, server.connections) == (3, 1)


async def test_a_cookie_is_not_sent_back(server: FaultServer) -> None:
    """Requested by name, because aiohttp drops cookies of IP addresses anyway."""
    async with client_at(f"{server.url_of('localhost')}/set_cookie") as client:
        await client.get_task("first")
        await client.get_task("second")
    assert [seen.headers.get("cookie") for seen in server.seen] == [None, None]


async def test_each_request_has_the_headers_of_the_api(server: FaultServer) -> None:
    async with client_at(f"{server.url}/healthy/", user_agent="tester/1") as client:
        await client.get_task(TASK_ID)
        assert await client.get_credits() == 12.5
        ref = await client.create_task(callback_url=CALLBACK, audio_url="https://a.example/a.mp3")
    assert ref.task_id == "new-task"
    poll, credit, create = server.seen
    assert poll.target == "/healthy/api/v1/vocal-removal/record-info?taskId=task-1"
    assert credit.target == "/healthy/api/v1/generate/credit"
    assert (create.method, create.target) == ("POST", "/healthy/api/v1/vocal-removal/generate")
    assert b'"callBackUrl": "https://callback.example/"' in create.body
    for seen in server.seen:
        assert seen.headers["authorization"] == f"Bearer {KEY}"
        assert seen.headers["user-agent"] == "tester/1"
        assert seen.headers["content-type"] == "application/json"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "url, message",
    [
        pytest.param("http://no-such-host.invalid", "does not resolve", id="no such name"),
        pytest.param(f"http://127.0.0.1:{closed_port()}", "no connection", id="throttled"),
    ],
)
async def test_an_unreachable_host_is_retried(url: str, message: str) -> None:
    tried = Tries()
    async with client_at(url, attempts=3, on_event=tried) as client:
        error = await failure_of(client.get_task(TASK_ID))
        assert client.stats.requests == 0
    assert tried.number == 3
    assert isinstance(error, TransportError)
    assert message in str(error)
    assert not error.may_have_arrived


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue of half-open connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass by the clock of the running loop, however fast the machine is."""

    def let_pass(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + seconds)

    return let_pass


@pytest.fixture
async def never_accepting(
    full_backlog: int, let_pass: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of a host that never accepts; 300 s pass while a client connects to it."""
    loop = asyncio.get_running_loop()
    sock_connect = loop.sock_connect

    async def connecting_takes_long(sock: socket.socket, address: Any) -> None:
        let_pass(300)
        await sock_connect(sock, address)

    monkeypatch.setattr(loop, "sock_connect", connecting_takes_long)
    return f"http://127.0.0.1:{full_backlog}"


async def test_a_host_that_never_accepts_is_known_not_to_have_received_the_request(
    never_accepting: str,
) -> None:
    async with client_at(never_accepting, attempts=1, request_timeout=600) as client:
        error = await failure_of(client.get_task(TASK_ID))
    assert isinstance(error, RequestTimeoutError)
    assert isinstance(error, TimeoutError)
    assert "no connection in time" in str(error)
    assert not error.may_have_arrived


async def test_a_request_that_gets_no_free_connection_is_known_not_to_have_arrived(
    server: FaultServer, let_pass: Callable[[float], None]
) -> None:
    url = f"{server.url}/black_hole"
    connector = aiohttp.TCPConnector(limit=1)

    async def let_connecting_time_out() -> None:
        with anyio.fail_after(60):
            while not connector._waiters:
                await anyio.lowlevel.checkpoint()
        let_pass(570)

    no_timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=no_timeout) as session:
        held = session.get(url)
        async with anyio.create_task_group() as group:
            group.start_soon(expect_cancellation, held)
            await anyio.to_thread.run_sync(server.wait_for_hits, 1)
            group.start_soon(let_connecting_time_out)
            async with client_at(url, attempts=1, request_timeout=600, session=session) as client:
                error = await failure_of(client.get_task(TASK_ID))
            group.cancel_scope.cancel()
    assert isinstance(error, RequestTimeoutError)
    assert not error.may_have_arrived
    assert server.hits == 1


async def expect_cancellation(call: Awaitable[object]) -> None:
    await call


# Billed calls


async def create(client: VocalSepClient) -> TaskRef:
    return await client.create_task(callback_url=CALLBACK, audio_url="https://a.example/a.mp3")


MAYBE_CREATED: Rows = {
    "closed before the answer": ("fin_before", TransportError),
    "reset before the answer": ("rst_before", TransportError),
    "half an answer": ("half_body_fin", TransportError),
    "silence": ("black_hole", RequestTimeoutError),
    "an error of the server's": ("st500", ServerError),
    "a web page for 502": ("html502", ServerError),
    "a web page for 200": ("html200", DecodeError),
    "no HTTP at all": ("garbage", TransportError),
    "64 MiB": ("huge_json", TransportError),
    "an answer without an id": ("no_such_task", DecodeError),
    "a redirect": ("redirect_307_elsewhere", TransportError),
    "a login that nothing asked for": ("proxy407", TransportError),
    "throttling by a gateway": ("html429", RateLimitedError),
    "405 of a web server, with Allow": ("real405", RateLimitedError),
    "405 of a web server, empty": ("empty405", RateLimitedError),
}


@table(MAYBE_CREATED)
async def test_a_billed_request_that_may_have_arrived_is_never_sent_twice(
    server: FaultServer, fault: str, kind: type[VocalSepError]
) -> None:
    async with client_at(f"{server.url}/{fault}", attempts=5, **options_for(kind)) as client:
        error = await failure_of(create(client))
        assert type(error) is kind
        assert server.hits == client.stats.requests == 1
    assert any("may have been created" in note for note in error.__notes__)


@pytest.mark.parametrize("fault", ["st405", "body405", "st430", "body430"])
async def test_a_throttled_billed_request_is_retried(server: FaultServer, fault: str) -> None:
    limit = RateLimit(1000, 0.1)
    async with client_at(f"{server.url}/once-{fault}", rate_limit=limit) as client:
        await create(client)
        assert server.hits == client.stats.requests == 2


@pytest.mark.parametrize("fault", ["st400", "st401", "st429", "st455"])
async def test_a_rejected_billed_request_created_nothing(server: FaultServer, fault: str) -> None:
    async with client_at(f"{server.url}/{fault}", attempts=5) as client:
        error = await failure_of(create(client))
    assert server.hits == 1
    assert not hasattr(error, "__notes__")


async def test_a_billed_request_that_the_proxy_refused_created_nothing(
    server: FaultServer,
) -> None:
    url = "http://api.invalid/proxy407"
    async with client_at(url, attempts=5, proxy=server.url) as client:
        error = await failure_of(create(client))
        # What a proxy rejected did not reach the API.
        assert client.stats.requests == 0
    assert server.hits == 1
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("fault", ["redirect_with_id", "proxy407_with_id"])
async def test_an_answer_of_something_in_between_may_hold_the_id_of_a_billed_task(
    server: FaultServer, fault: str
) -> None:
    async with client_at(f"{server.url}/{fault}", attempts=5) as client:
        assert (await create(client)).task_id == "task-1"
        error = await failure_of(client.get_task(TASK_ID))
    assert type(error) is TransportError
    assert server.hits == 1 + 5


async def test_a_billed_request_to_a_closed_port_is_retried() -> None:
    tried = Tries()
    async with client_at(f"http://127.0.0.1:{closed_port()}", attempts=3, on_event=tried) as client:
        error = await failure_of(create(client))
        assert client.stats.requests == 0
    assert tried.number == 3
    assert not hasattr(error, "__notes__")


async def test_a_billed_request_that_was_never_accepted_is_retried(never_accepting: str) -> None:
    tried = Tries()
    async with client_at(
        never_accepting, attempts=2, request_timeout=600, on_event=tried
    ) as client:
        error = await failure_of(create(client))
        assert client.stats.requests == 0
    assert tried.number == 2
    assert not hasattr(error, "__notes__")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(authority: trustme.CA, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_after=not_after).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> aiohttp.ClientSession:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    tried = Tries()
    with FaultServer(tls=tls_of(authority, "127.0.0.1")) as server:
        async with client_at(f"{server.url}/healthy", attempts=5, on_event=tried) as client:
            error = await failure_of(client.get_task(TASK_ID))
            assert client.stats.requests == 0
        assert server.hits == 0
    assert tried.number == 1
    assert isinstance(error, TransportError)
    assert error.action is ErrorAction.RAISE
    assert not error.may_have_arrived
    assert "certificate" in str(error)


@pytest.mark.parametrize(
    "name, not_after",
    [
        pytest.param("elsewhere.example", None, id="for another name"),
        pytest.param("127.0.0.1", datetime(2020, 1, 1, tzinfo=UTC), id="that has expired"),
    ],
)
async def test_an_invalid_certificate_is_refused(
    authority: trustme.CA, name: str, not_after: datetime | None
) -> None:
    tried = Tries()
    with FaultServer(tls=tls_of(authority, name, not_after=not_after)) as server:
        async with (
            trusting(authority) as session,
            client_at(
                f"{server.url}/healthy", attempts=5, session=session, on_event=tried
            ) as client,
        ):
            error = await failure_of(client.get_task(TASK_ID))
            assert client.stats.requests == 0
        assert server.hits == 0
    assert tried.number == 1
    assert isinstance(error, TransportError)
    assert error.action is ErrorAction.RAISE
    assert not error.may_have_arrived
    assert "certificate" in str(error)


@pytest.mark.parametrize(
    "fault, kind",
    [
        pytest.param("half_body_fin", TransportError, id="length known"),
        pytest.param("no_length_cut", DecodeError, id="length not known"),
    ],
)
async def test_an_answer_truncated_under_tls_is_detected(
    authority: trustme.CA, fault: str, kind: type[VocalSepError]
) -> None:
    with FaultServer(tls=tls_of(authority, "127.0.0.1")) as server:
        async with (
            trusting(authority) as session,
            client_at(f"{server.url}/{fault}", session=session) as client,
        ):
            assert type(await failure_of(client.get_task(TASK_ID))) is kind
        assert server.hits == 2


async def test_plain_http_at_a_tls_port_is_one_error(authority: trustme.CA) -> None:
    with FaultServer(tls=tls_of(authority, "127.0.0.1")) as server:
        async with client_at(server.url.replace("https", "http") + "/healthy") as client:
            assert isinstance(await failure_of(client.get_task(TASK_ID)), TransportError)
        assert server.hits == 0


async def test_tls_at_a_plain_port_ends_by_its_own_timeout(server: FaultServer) -> None:
    url = server.url.replace("http", "https") + "/healthy"
    async with client_at(url, attempts=1, request_timeout=3.0) as client:
        error = await failure_of(client.get_task(TASK_ID))
    assert isinstance(error, TransportError)
    assert not error.may_have_arrived
    assert server.hits == 0


# Proxies


def with_login(url: str) -> str:
    return url.replace("http://", "http://user:pass%20word@")


LOGIN = "Basic dXNlcjpwYXNzIHdvcmQ="


async def test_a_proxy_gets_the_request_with_its_login(server: FaultServer) -> None:
    async with client_at("http://api.invalid/healthy", proxy=with_login(server.url)) as client:
        assert (await client.get_task(TASK_ID)).succeeded
        assert (await client.get_task(TASK_ID)).succeeded
    assert server.connections == 1
    for seen in server.seen:
        assert seen.target.startswith("http://api.invalid/healthy/api/")
        assert seen.headers["proxy-authorization"] == LOGIN


async def test_a_proxy_without_a_login_gets_none(server: FaultServer) -> None:
    async with client_at("http://api.invalid/healthy", proxy=server.url) as client:
        assert (await client.get_task(TASK_ID)).succeeded
    assert "proxy-authorization" not in server.seen[0].headers


async def test_a_tunnel_is_requested_with_the_login_and_without_the_key(
    server: FaultServer,
) -> None:
    url = "https://proxy407.invalid"
    async with client_at(url, attempts=5, proxy=with_login(server.url)) as client:
        error = await failure_of(client.get_task(TASK_ID))
    assert isinstance(error, TransportError)
    assert error.action is ErrorAction.RAISE
    assert "the proxy answered 407" in str(error)
    (seen,) = server.seen
    assert seen.method == "CONNECT"
    assert seen.headers["proxy-authorization"] == LOGIN
    assert KEY.encode() not in seen.head


@pytest.mark.parametrize("scheme, sent", [("http", LOGIN), ("https", None)])
async def test_the_proxys_login_does_not_travel_through_a_tunnel(
    scheme: str, sent: str | None
) -> None:
    seen: list[str | None] = []

    async def poll(request: aiohttp.ClientRequest) -> Any:
        seen.append(request.headers.get("Proxy-Authorization"))

    request = aiohttp.ClientRequest(
        "GET", URL(f"{scheme}://api.example"), loop=asyncio.get_running_loop()
    )
    await _OneSend(ApiKey(KEY), {"Proxy-Authorization": LOGIN})(request, poll)
    assert seen == [sent]


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(f"http://user:password@127.0.0.1:{closed_port()}", id="throttled"),
        pytest.param("http://user:password@no-such-proxy.invalid", id="no such name"),
    ],
)
async def test_an_unreachable_proxy_is_retried_without_showing_its_login(
    proxy: str,
) -> None:
    tried = Tries()
    async with client_at("http://api.invalid", attempts=2, proxy=proxy, on_event=tried) as client:
        error = await failure_of(client.get_task(TASK_ID))
        assert client.stats.requests == 0
    assert tried.number == 2
    assert isinstance(error, TransportError)
    assert not error.may_have_arrived
    assert "password" not in str(error)


# The environment


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")


@pytest.mark.usefixtures("hostile_environment")
async def test_the_environment_changes_nothing(server: FaultServer) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        assert (await client.get_task(TASK_ID)).succeeded
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.usefixtures("hostile_environment")
async def test_the_key_precedes_a_netrc_file_that_a_borrowed_session_trusts(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name)
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        client_at(f"{server.url}/healthy", session=session) as client,
    ):
        assert (await client.get_task(TASK_ID)).succeeded
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


# Borrowed sessions


async def test_a_borrowed_session_is_used_as_it_is_and_never_closed(server: FaultServer) -> None:
    """Its own settings would break us: errors for statuses, packed bodies, cookies."""

    async def meddle(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["X-Middleware"] = "ran"
        return await handler(request)

    async with aiohttp.ClientSession(
        raise_for_status=True,
        auto_decompress=False,
        cookies={"own": "cookie"},
        headers={"X-Own": "header"},
        middlewares=(meddle,),
        timeout=aiohttp.ClientTimeout(total=0.000_001),
    ) as session:
        async with client_at(f"{server.url}/gzip", session=session) as client:
            assert (await client.get_task(TASK_ID)).succeeded
        async with client_at(f"{server.url}/st400", session=session) as client:
            assert type(await failure_of(client.get_task(TASK_ID))) is InvalidParametersError
        assert not session.closed
    for seen in server.seen:
        assert seen.headers["x-middleware"] == "ran"
        assert seen.headers["x-own"] == "header"
        assert seen.headers["authorization"] == f"Bearer {KEY}"


async def test_a_middleware_that_retries_sends_no_uncounted_request(
    server: FaultServer,
) -> None:
    async def again(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except aiohttp.ClientError:
            return await handler(request)

    async with (
        aiohttp.ClientSession(middlewares=(again,)) as session,
        client_at(f"{server.url}/fin_before", session=session) as client,
    ):
        assert type(await failure_of(client.get_task(TASK_ID))) is TransportError
        assert server.hits == client.stats.requests == 2


async def test_a_closed_borrowed_session_is_reported(server: FaultServer) -> None:
    session = aiohttp.ClientSession()
    await session.close()
    client = client_at(f"{server.url}/healthy", session=session)
    with pytest.raises(ClientClosedError, match="borrowed session"):
        await client.get_task(TASK_ID)
    assert server.hits == 0


async def test_a_borrowed_session_closed_during_a_request_is_reported(
    server: FaultServer,
) -> None:
    session = aiohttp.ClientSession()
    client = client_at(f"{server.url}/black_hole", session=session)

    async def close_it() -> None:
        await anyio.to_thread.run_sync(server.wait_for_hits, 1)
        await session.close()

    async with anyio.create_task_group() as group:
        group.start_soon(close_it)
        assert type(await failure_of(client.get_task(TASK_ID))) is ClientClosedError
    assert server.hits == 1


async def test_a_client_closes_its_limiter_after_the_requests_of_a_borrowed_session(
    server: FaultServer,
) -> None:
    limiter = WrappedLimiter()
    async with aiohttp.ClientSession() as session:
        client = VocalSepClient(
            KEY, base_url=f"{server.url}/black_hole", session=session, limiter=limiter
        )
        call = asyncio.ensure_future(client.get_task(TASK_ID))
        await anyio.to_thread.run_sync(server.wait_for_hits, 1)
        await client.aclose()
        assert limiter.results == [SlotResult.LOST]
        assert type(await failure_of(call)) is ClientClosedError


async def test_a_tracing_hook_may_close_the_client_within_its_request(server: FaultServer) -> None:
    async def close(*_: Any) -> None:
        await client.aclose()

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(close)
    client = client_at(f"{server.url}/healthy", trace_configs=[trace])
    with anyio.fail_after(60):
        assert type(await failure_of(client.get_task(TASK_ID))) is ClientClosedError
    assert server.hits == 0


def test_a_value_that_is_no_session_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"aiohttp\.ClientSession, not dict"):
        Transport(
            URL("http://api.example"),
            ApiKey(KEY),
            request_timeout=1.0,
            user_agent="x",
            session={},  # type: ignore[arg-type]
        )


async def test_an_error_of_a_tracing_hook_is_raised_unchanged(server: FaultServer) -> None:
    class MineError(Exception):
        pass

    async def fail(*_: object) -> None:
        raise MineError

    traces = aiohttp.TraceConfig()
    traces.on_request_start.append(fail)
    async with client_at(f"{server.url}/healthy", trace_configs=[traces]) as client:
        with pytest.raises(MineError):
            await client.get_task(TASK_ID)
        assert client.stats.in_flight == 0


# Keys, addresses and ids


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("   ", id="blank"),
        pytest.param("sk-secret-value\n", id="line break at the end"),
        pytest.param("sk-secret-value\r\nX-Injected: 1", id="a header in it"),
        pytest.param("sk-secret value", id="a space in it"),
        pytest.param("sk-secret-välue", id="not ASCII"),
        pytest.param("sk-secret\x00value", id="NUL in it"),
        pytest.param(None, id="none"),
        pytest.param(b"sk-secret-value", id="bytes"),
    ],
)
def test_an_unusable_key_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VocalSepClient(key)
    assert "api_key" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@api.example",
        "http://api.example/?secret=1",
        "http://api.example/#secret",
        "file:///secret",
        "secret.example",
        "http://",
        "http://[::secret",
        "",
    ],
)
def test_an_unusable_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VocalSepClient(KEY, base_url=url)
    assert "base_url" in str(caught.value)
    assert "secret" not in str(caught.value)


ODD_IDS = [
    "with space",
    "a/b/../c",
    "100%",
    "%41",
    "a+b",
    "a&taskId=b",
    "a#b",
    "a?b=c",
    "a=b",
    "naïve-🎤",
    "'\"<>\\",
    "..",
    "x" * 512,
]


@pytest.mark.parametrize("task_id", [pytest.param(i, id=quote(i)[:30]) for i in ODD_IDS])
async def test_every_id_arrives_unchanged(server: FaultServer, task_id: str) -> None:
    async with client_at(f"{server.url}/healthy", attempts=1) as client:
        assert (await client.get_task(task_id)).task_id == task_id
    (seen,) = server.seen
    assert seen.task_id == task_id
    assert seen.target.count("taskId=") == 1


@pytest.mark.parametrize(
    "task_id",
    [
        pytest.param("", id="empty"),
        pytest.param(" \t", id="blank"),
        pytest.param("lone \ud800 surrogate", id="lone surrogate"),
        pytest.param("line\r\nX-Injected: 1", id="line end inside"),
        pytest.param("tab\tand\x00nul", id="tab and NUL"),
        pytest.param("task-1\n", id="line end"),
        pytest.param(" task-1", id="blank around it"),
        pytest.param("x" * 9000, id="9000 characters"),
        pytest.param(7, id="int"),
        pytest.param(b"task-1", id="bytes"),
        pytest.param(None, id="none"),
    ],
)
@pytest.mark.parametrize("method", ["get_task", "wait_for_task"])
async def test_an_unusable_id_is_refused_before_anything_is_sent(
    server: FaultServer, method: str, task_id: Any
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        call: Callable[[Any], Awaitable[object]] = getattr(client, method)
        with pytest.raises(InvalidArgumentError):
            await call(task_id)
        assert client.stats.requests == 0
    assert server.hits == 0


# The transport by itself


@pytest.fixture
async def transport(server: FaultServer) -> Transport:
    return Transport(
        URL(f"{server.url}/healthy/"), ApiKey(KEY), request_timeout=60.0, user_agent="x"
    )


async def test_a_transport_needs_closing_while_its_own_session_is_open(
    transport: Transport,
) -> None:
    states = [transport.needs_closing]
    await transport.exchange(Request("GET", "/credit"))
    assert not transport._under_way
    states.append(transport.needs_closing)
    await transport.aclose()
    states.append(transport.needs_closing)
    await transport.aclose()
    assert states == [False, True, False]


async def test_a_transport_may_be_closed_before_it_was_used(transport: Transport) -> None:
    await transport.aclose()
    with pytest.raises(ClientClosedError):
        await transport.exchange(Request("GET", "/credit"))


async def test_a_reply_has_status_and_body(transport: Transport) -> None:
    reply = await transport.exchange(Request("GET", "/credit"))
    await transport.aclose()
    assert reply.status == 200
    assert reply.body.startswith(b"{")


@pytest.mark.parametrize(
    "key, masked", [(KEY, True), ("code", False)], ids=["a secret", "a word of four letters"]
)
async def test_the_key_is_masked_in_a_reply_unless_it_is_an_ordinary_word(
    server: FaultServer, key: str, *, masked: bool
) -> None:
    transport = Transport(
        URL(f"{server.url}/echo_key"), ApiKey(key), request_timeout=60.0, user_agent="x"
    )
    reply = await transport.exchange(Request("GET", "/credit"))
    await transport.aclose()
    shown = "<API key>" if masked else key
    assert f"the key {shown} is not known" in reply.body.decode()
    assert set(reply.headers) <= {"Date", "Retry-After"}
    assert b'"code": 401' in reply.body


async def test_query_names_and_values_arrive_in_order(
    transport: Transport, server: FaultServer
) -> None:
    await transport.exchange(Request("GET", "/x", query={"a": "1 2", "b": "&?"}))
    await transport.aclose()
    assert server.seen == [Seen("healthy", server.seen[0].head, b"")]
    assert server.seen[0].target == "/healthy/x?a=1%202&b=%26%3F"


@pytest.mark.parametrize("is_borrowed", [False, True])
async def test_the_headers_of_a_request_are_sent_beside_the_usual_ones(
    server: FaultServer, *, is_borrowed: bool
) -> None:
    async with aiohttp.ClientSession() as session:
        transport = Transport(
            URL(f"{server.url}/healthy"),
            ApiKey(KEY),
            request_timeout=60.0,
            user_agent="x",
            session=session if is_borrowed else None,
        )
        await transport.exchange(Request("GET", "/x", headers={"X-Version": "2"}))
        await transport.aclose()
    (seen,) = server.seen
    lines = seen.head.decode().splitlines()
    usual = {"Accept: application/json", "Content-Type: application/json", "User-Agent: x"}
    assert {"X-Version: 2", f"Authorization: Bearer {KEY}"} | usual <= set(lines)


def test_the_html_of_the_fault_server_is_long_enough_to_be_noticed() -> None:
    assert len(HTML) > 1000
