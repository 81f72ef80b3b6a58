"""The key shows in no output, whatever goes wrong; nor do proxy passwords and signed queries.

One key that exists nowhere else is looked for, as it is and encoded, in everything that a client,
its results and its errors can be made to say.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import os
import pickle
import secrets
import subprocess
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import anyio
import attrs
import cattrs
import pytest
from fault_server import SIGNATURE, FaultServer, envelope, record
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalsep_async import (
    ConfigurationError,
    DecodeError,
    Interval,
    RateLimit,
    RetryPolicy,
    SeparationTask,
    TaskRef,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async.emulator import Emulator
from vocalsep_async.providers import SUNOAPI
from vocalsep_async.providers._decoder import Decoder

pytestmark = pytest.mark.anyio

CANARY = f"sk-CANARY/{secrets.token_hex(8)}+"
PASSWORD = f"pass-{secrets.token_hex(8)}"
TESTS = str(Path(__file__).parent)

Call = Callable[[VocalSepClient], Awaitable[object]]


def forms(secret: str) -> list[str]:
    """The secret as it is, in a URL, and in base64 at any of the three offsets."""
    found = [secret, quote(secret, safe="")]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).decode()
        # What depends on the neighbours is left out.
        found.append(encoded[4 if offset else 0 : -4])
    return found


def shows(text: str | bytes, secret: str = CANARY) -> bool:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return any(form in text for form in forms(secret))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as other, FaultServer(elsewhere=other.url) as server:
        yield server
        assert other.seen == []


def client_at(url: str, **options: Any) -> VocalSepClient:
    defaults: dict[str, Any] = {
        "rate_limit": RateLimit(1000, 0.01),
        "retry": RetryPolicy(attempts=2, initial=0.001, maximum=0.001),
        "poll": Interval(0.001),
        "request_timeout": 0.3,
    }
    return VocalSepClient(CANARY, base_url=url, **(defaults | options))


# What an object says of itself


def said_by(value: object) -> Iterator[str]:
    """Everything that printing, dumping and looking inside gives out."""
    yield from (repr(value), str(value), f"{value}", f"{value!r:>5}", ascii(value))
    yield from said_inside(value, set())


def said_inside(value: object, met: set[int]) -> Iterator[str]:
    if id(value) in met or isinstance(value, (type, asyncio.AbstractEventLoop)):
        return
    met.add(id(value))
    if attrs.has(type(value)):
        yield repr(attrs.asdict(value, recurse=True))  # type: ignore[arg-type]
    for name, inner in getattr(value, "__dict__", {}).items():
        yield f"{name}={inner!r}"
        yield from said_inside(inner, met)


def said_by_error(error: BaseException) -> Iterator[str]:
    """The same, with notes, causes, groups and local variables; not those of a test's frames."""
    yield from (repr(error), str(error), repr(error.args), repr(error.__dict__))
    yield from getattr(error, "__notes__", ())
    yield "".join(traceback.format_exception(error))
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in report.stack:
        if not frame.filename.startswith(TESTS):
            yield repr(frame.locals)
    inner = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    for each in inner:
        if each is not None:
            yield from said_by_error(each)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that was logged, at any level by anybody, and every warning."""
    caplog.set_level(logging.DEBUG)
    for name in ("vocalsep_async", "aiohttp.client", "aiohttp.internal", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: "\n".join(
            [
                *(f"{each.getMessage()} {each.__dict__!r}" for each in caplog.records),
                caplog.text,
                *(str(each.message) for each in caught),
            ]
        )


async def get_task(client: VocalSepClient) -> object:
    return await client.get_task("task-1")


async def wait_for_task(client: VocalSepClient) -> object:
    return await client.wait_for_task("task-1", timeout=0.1)


async def wait_for_tasks(client: VocalSepClient) -> object:
    outcomes = await client.wait_for_tasks(["task-1", "task-2"], timeout=0.1)
    return outcomes["task-1"].result()


async def create_task(client: VocalSepClient) -> object:
    return await client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    )


async def get_credits(client: VocalSepClient) -> object:
    return await client.get_credits()


CALLS: list[Call] = [get_task, wait_for_task, wait_for_tasks, create_task, get_credits]
FAULTS = {
    "reset": "rst_before",
    "closed": "fin_before",
    "cut headers": "fin_mid_headers",
    "cut body": "half_body_fin",
    "silence": "black_hole",
    "no HTTP": "garbage",
    "too large": "huge_json",
    "a web page": "html200",
    "a web page for an error": "html502",
    "a redirect elsewhere": "redirect_302_elsewhere",
    "a redirect that keeps the method": "redirect_307_elsewhere",
    "throttled": "st430",
    "another shape": "json_array",
    "the key in the API's words and headers": "echo_key",
    "the key in a web page": "echo_key_as_html",
    "the key and nothing else": "echo_key_unreadable",
}


async def failure_of(call: Awaitable[object]) -> BaseException | None:
    try:
        await call
    except BaseException as error:  # noqa: BLE001 - looked at, whatever it is
        return error
    return None


# The key


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("fault", [pytest.param(f, id=name) for name, f in FAULTS.items()])
async def test_no_failure_shows_the_key(
    server: FaultServer, fault: str, call: Call, heard: Callable[[], str]
) -> None:
    async with client_at(f"{server.url}/{fault}") as client:
        error = await failure_of(call(client))
        assert isinstance(error, VocalSepError)
        assert not [text for text in said_by_error(error) if shows(text)]
        assert not [text for text in said_by(client) if shows(text)]
    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert not shows(pickle.dumps(each))
        assert not shows(repr(each) + str(each))
    assert not shows(heard())


async def test_the_key_reaches_the_server_in_one_header_and_nowhere_else(
    server: FaultServer,
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        for call in CALLS:
            await call(client)
    for seen in server.seen:
        assert seen.headers["authorization"] == f"Bearer {CANARY}"
        rest = {**seen.headers, "authorization": ""}
        assert not shows(repr(rest) + seen.target)
        assert not shows(seen.body)


async def test_the_key_of_the_environment_reaches_the_server(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", CANARY)
    monkeypatch.setenv("VOCALSEP_BASE_URL", f"{server.url}/healthy")
    async with VocalSepClient() as client:
        await client.get_task("task-1")
    assert [seen.headers["authorization"] for seen in server.seen] == [f"Bearer {CANARY}"]


async def test_a_result_that_repeats_the_key_is_masked(server: FaultServer) -> None:
    async with client_at(f"{server.url}/echo_key_in_record") as client:
        task = await client.get_task("task-1")
    assert task.error_message == "upstream refused <API key>"
    assert not shows(repr(task.raw))
    assert not shows(pickle.dumps(task))
    assert not [text for text in said_by(task) if shows(text)]
    with pytest.raises(VocalSepError) as caught:
        task.raise_for_failure()
    assert not [text for text in said_by_error(caught.value) if shows(text)]


DUMPS: list[Callable[[object], object]] = [
    pickle.dumps,
    copy.copy,
    copy.deepcopy,
    vars,
    cattrs.Converter().unstructure,
]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.__name__)
async def test_a_client_cannot_be_dumped_with_its_key(
    server: FaultServer, dump: Callable[[object], object]
) -> None:
    said: list[str] = []
    dumped: list[object] = []
    async with client_at(f"{server.url}/healthy") as client:
        await client.get_task("task-1")
        for value in (client, client._transport, client._sender, client._decoder, client._poller):
            try:
                dumped.append(dump(value))
            except Exception as error:  # noqa: BLE001 - refusing is fine, telling is not
                said += said_by_error(error)
    for each in dumped:
        said += said_by(each)
    assert said
    assert not [text for text in said if shows(text)]


@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_refuses_to_be_copied(dump: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="not pickled or copied"):
        dump(ApiKey(CANARY))


@pytest.mark.parametrize("ending", ["\n", "\r\nX-Injected: 1", " ", "é"])
def test_a_refused_key_is_in_no_frame_of_its_own_check(ending: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ApiKey(CANARY + ending)
    assert not [text for text in said_by_error(caught.value) if shows(text)]


MISTAKES: dict[str, Callable[[], object]] = {
    "a bad key": lambda: VocalSepClient(f"{CANARY}\n"),
    "a bad address": lambda: VocalSepClient(CANARY, base_url="nonsense"),
    "a bad option of from_env": lambda: VocalSepClient.from_env(
        {"VOCALSEP_API_KEY": CANARY}, request_timeout=-1
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_client_that_is_made_wrongly_does_not_show_the_key_in_its_frames(
    mistake: Callable[[], object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mistake()
    assert not [text for text in said_by_error(caught.value) if shows(text)]


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_client_that_is_made_wrongly_does_not_show_the_key_in_words(
    mistake: Callable[[], object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mistake()
    assert not shows(repr(caught.value) + str(caught.value))


RENDERED = [
    "VocalSepClient.__init__(self",
    "VocalSepClient.from_env(environ",
    "Emulator.add_task(self",
    "Library Documentation: package vocalsep_async\n",
    "Library Documentation: package vocalsep_async.emulator",
    "Library Documentation: module vocalsep_async.client",
    " |  from_env(environ",
    "<VocalSepClient of api.sunoapi.org",
    "request_timeout must be",
]
"""One text of each kind that a documentation tool, a repr or a traceback gives."""


def test_no_signature_help_page_repr_or_traceback_shows_the_environment() -> None:
    program = Path(__file__).with_name("rendering_program.py")
    secret = {"VOCALSEP_API_KEY": CANARY, "ANOTHER_PASSWORD": PASSWORD}
    run = subprocess.run(
        [sys.executable, "-X", "utf8", str(program)],
        env={**os.environ, **secret},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert not [part for part in RENDERED if part not in run.stdout]
    sought = [*forms(CANARY), *forms(PASSWORD)]
    queues = (run.stdout + run.stderr).splitlines()
    # Cut, because such a line would show the environment that the tests run in.
    assert not [queue[:80] for queue in queues if any(form in queue for form in sought)]


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no key": {},
    "a blank key": {"VOCALSEP_API_KEY": " "},
    "a bad key": {"VOCALSEP_API_KEY": f"{CANARY}\n"},
    "a blank address": {"VOCALSEP_API_KEY": CANARY, "VOCALSEP_BASE_URL": ""},
    "a bad address": {"VOCALSEP_API_KEY": CANARY, "VOCALSEP_BASE_URL": "nonsense"},
}


@pytest.mark.parametrize("environ", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
@pytest.mark.parametrize("make", [VocalSepClient, VocalSepClient.from_env])
def test_the_traceback_of_an_unusable_environment_shows_nothing_of_it(
    make: Callable[[], VocalSepClient], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environ, "ANOTHER_PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        make()
    said = list(said_by_error(caught.value))
    assert not any(shows(text, CANARY) or shows(text, PASSWORD) for text in said)


@pytest.mark.parametrize("environ", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_nor_does_that_of_an_unusable_mapping(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VocalSepClient.from_env({**environ, "ANOTHER_PASSWORD": PASSWORD})
    said = list(said_by_error(caught.value))
    assert not any(shows(text, CANARY) or shows(text, PASSWORD) for text in said)


async def cancelled_in(client: VocalSepClient, server: FaultServer, call: Call) -> BaseException:
    """The cancellation as it comes out of a request under way, with aiohttp's frames in it."""
    caught: list[BaseException] = []

    async def run() -> None:
        error = await failure_of(call(client))
        assert error is not None
        caught.append(error)

    hits = server.hits
    task = asyncio.ensure_future(run())
    await anyio.to_thread.run_sync(server.wait_for_hits, hits + 1)
    assert not shows(repr(asyncio.all_tasks()))
    task.cancel()
    await task
    return caught[0]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_the_frames_of_a_cancelled_request_do_not_show_the_key(
    server: FaultServer, call: Call
) -> None:
    async with client_at(f"{server.url}/black_hole", request_timeout=30.0) as client:
        error = await cancelled_in(client, server, call)
    assert isinstance(error, asyncio.CancelledError)
    assert not [text for text in said_by_error(error) if shows(text)]


async def test_an_error_of_a_users_hook_does_not_show_the_key(server: FaultServer) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("mine")

    traces = aiohttp.TraceConfig()
    traces.on_request_headers_sent.append(fail)
    async with client_at(f"{server.url}/healthy", trace_configs=[traces]) as client:
        error = await failure_of(client.get_task("task-1"))
    assert repr(error) == "RuntimeError('mine')"
    assert isinstance(error, RuntimeError)
    assert not [text for text in said_by_error(error) if shows(text)]


async def test_tracing_hooks_that_print_what_they_get_do_not_show_the_key(
    server: FaultServer,
) -> None:
    said: list[str] = []

    async def listen(session: object, context: object, params: Any) -> None:
        values = [params, *vars(params).values()] if hasattr(params, "__dict__") else [params]
        if attrs.has(type(params)):
            values += [getattr(params, each.name) for each in attrs.fields(type(params))]
        said.extend(map(repr, values))
        said.append(repr(getattr(params, "headers", None)))
        if (response := getattr(params, "response", None)) is not None:
            said.append(repr(response.request_info))
            said.append(repr(response.request_info.headers))

    traces = aiohttp.TraceConfig()
    for name in dir(traces):
        if name.startswith("on_"):
            getattr(traces, name).append(listen)
    async with client_at(f"{server.url}/once-fin_before", trace_configs=[traces]) as client:
        await client.get_task("task-1")
    assert any("Authorization" in text for text in said)
    assert not [text for text in said if shows(text)]


# Any key


class Listener(logging.Handler):
    """Hears everything that is logged while it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.getMessage()} {record.__dict__!r}")

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)


async def all_said(url: str, key: str) -> list[str]:
    """Everything that comes out of every public call of a client with that key."""
    said: list[str] = []
    try:
        client = VocalSepClient.from_env(
            {"VOCALSEP_API_KEY": key},
            base_url=url,
            rate_limit=RateLimit(1000, 0.01),
            retry=RetryPolicy(attempts=2, initial=0.001, maximum=0.001),
            poll=Interval(0.001),
        )
    except ConfigurationError as error:
        return [*said_by_error(error), pickle.dumps(error).decode("latin-1")]
    async with client:
        for call in CALLS:
            try:
                value = await call(client)
            except VocalSepError as error:
                said += [*said_by_error(error), pickle.dumps(error).decode("latin-1")]
            else:
                said += [*said_by(value), pickle.dumps(value).decode("latin-1")]
        said += [*said_by(client), *said_by(client.stats), *said_by(client.durations)]
    return [*said, *said_by_error(await met(get_task(client)))]


async def met(call: Awaitable[object]) -> BaseException:
    error = await failure_of(call)
    assert error is not None
    return error


@pytest.fixture(scope="module")
def lasting_server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


AROUND = st.text(st.characters(min_codepoint=33, max_codepoint=126)) | st.text()
SWIFT = ["healthy", "fin_before", "html502", "body430", "st401", "json_array"]


@settings(max_examples=settings().max_examples // 5)
@given(before=AROUND, after=AROUND, fault=st.sampled_from(SWIFT))
def test_no_call_shows_any_text_that_is_the_key(
    lasting_server: FaultServer, before: str, after: str, fault: str
) -> None:
    key = before + CANARY + after
    with Listener() as listener:
        said = asyncio.run(all_said(f"{lasting_server.url}/{fault}", key))
    assert not [text for text in said + listener.heard if shows(text)]


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126))
ECHOES = [fault for fault in FAULTS.values() if fault.startswith("echo_key")]


@settings(max_examples=settings().max_examples // 5)
@given(before=PRINTABLE, after=PRINTABLE, fault=st.sampled_from([*ECHOES, "echo_key_in_record"]))
def test_no_call_shows_any_key_that_the_server_repeats(
    lasting_server: FaultServer, before: str, after: str, fault: str
) -> None:
    key = before + CANARY + after
    with Listener() as listener:
        said = asyncio.run(all_said(f"{lasting_server.url}/{fault}", key))
    assert not [text for text in said + listener.heard if shows(text)]


@given(before=AROUND, after=AROUND, option=st.sampled_from(["api_key", "webhook_key"]))
def test_an_emulator_does_not_say_its_keys(before: str, after: str, option: str) -> None:
    try:
        emulator = Emulator(**{option: before + CANARY + after})  # type: ignore[arg-type]
    except ConfigurationError as error:
        said = list(said_by_error(error))
    else:
        said = [repr(emulator), str(emulator)]
    assert not [text for text in said if shows(text)]


# A proxy's login


@pytest.mark.parametrize("url", ["http://api.invalid/black_hole", "https://black_hole.invalid"])
async def test_the_frames_of_a_cancelled_request_do_not_show_the_proxys_password(
    server: FaultServer, url: str
) -> None:
    proxy = server.url.replace("//", f"//user:{PASSWORD}@")
    async with client_at(url, proxy=proxy, request_timeout=30.0) as client:
        error = await cancelled_in(client, server, get_task)
        assert not [text for text in said_by(client) if shows(text, PASSWORD)]
    assert not [text for text in said_by_error(error) if shows(text, PASSWORD)]
    assert shows(server.seen[0].head, f"user:{PASSWORD}")


@pytest.mark.parametrize("fault", ["proxy407", "fin_before", "black_hole", "html502"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_failure_shows_the_proxys_password(
    server: FaultServer, scheme: str, fault: str, heard: Callable[[], str]
) -> None:
    url = "http://api.invalid/" + fault if scheme == "http" else f"https://{fault}.invalid"
    proxy = server.url.replace("//", f"//user:{PASSWORD}@")
    async with client_at(url, proxy=proxy) as client:
        error = await failure_of(client.get_task("task-1"))
    assert isinstance(error, VocalSepError)
    assert not [text for text in said_by_error(error) if shows(text, PASSWORD)]
    assert not shows(pickle.dumps(error), PASSWORD)
    assert not shows(heard(), PASSWORD)


@pytest.mark.parametrize("option", ["base_url", "proxy"])
def test_an_unusable_address_with_a_password_is_refused_without_showing_it(option: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        VocalSepClient("sk-other-key", **{option: f"ftp://user:{PASSWORD}@host.example"})  # type: ignore[arg-type]
    assert not shows(repr(caught.value), PASSWORD)


# Signed links

LEAKY = ["half_body_fin", "truncated_json", "two_docs", "nan", "bad_utf8", "link_in_a_list"]


@pytest.mark.parametrize("fault", [*LEAKY, "redirect_302_elsewhere", "json_array"])
async def test_no_error_shows_the_signature_of_a_link(
    server: FaultServer, fault: str, heard: Callable[[], str]
) -> None:
    async with client_at(f"{server.url}/{fault}") as client:
        error = await failure_of(client.get_task("task-1"))
    assert isinstance(error, VocalSepError)
    assert SIGNATURE not in "".join(traceback.format_exception(error))
    assert SIGNATURE not in repr(error) + repr(error.args) + repr(error.__dict__)
    assert SIGNATURE not in heard()


async def test_a_result_shows_links_without_their_signatures(
    server: FaultServer, heard: Callable[[], str]
) -> None:
    async with client_at(f"{server.url}/pending_twice") as client:
        seen: list[SeparationTask] = []
        task = await client.wait_for_task("task-1", on_update=seen.append)
        outcomes = await client.wait_for_tasks(["task-1"])
    assert SIGNATURE in str(task.stems.vocal)
    for value in (task, task.stems, seen, outcomes, client):
        assert SIGNATURE not in f"{value} {value!r}"
    assert SIGNATURE not in heard()


# What the server wrote

LONG = "said by the server, " * 500
MISFITS: dict[str, object] = {
    "data that is text": LONG,
    "data that is a list": [LONG],
    "an id in a list": record(taskId=[LONG]),
    "another id": record(taskId=LONG),
    "a status in a list": record(successFlag=[LONG]),
    "a status in an object": record(successFlag={LONG: LONG}),
    "stems that are text": record(response=LONG),
    "a stem in an object": record(response={"vocalUrl": {LONG: LONG}}),
    "a track in a list": record(response={"originData": [{"audio_url": [LONG]}]}),
}


@pytest.mark.parametrize("data", MISFITS.values(), ids=MISFITS)
def test_the_traceback_of_a_record_that_does_not_fit_quotes_nothing_of_it(data: object) -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder(SUNOAPI).task(TaskRef("task-1"), 200, {}, envelope(data=data))
    assert "said by" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("read", [Decoder.created, Decoder.credits], ids=lambda read: read.__name__)
@pytest.mark.parametrize("data", [LONG, [LONG], {"taskId": [LONG]}, {"taskId": LONG}])
def test_nor_does_that_of_another_answer(data: object, read: Callable[..., object]) -> None:
    with pytest.raises(DecodeError) as caught:
        read(Decoder(SUNOAPI), 200, {}, envelope(data=data))
    assert "said by" not in "".join(traceback.format_exception(caught.value))


WORDY: dict[str, bytes] = {
    "a status nobody knows": envelope(data=record(successFlag=LONG)),
    "a message": envelope(data=record(status="GENERATE_AUDIO_FAILED", errorMessage=LONG)),
    "a code": envelope(data=record(status="GENERATE_AUDIO_FAILED", errorCode=LONG)),
    "a message of the envelope": envelope(400, LONG),
}


@pytest.mark.parametrize("body", WORDY.values(), ids=WORDY)
def test_a_traceback_cuts_what_the_server_wrote_at_length(body: bytes) -> None:
    with pytest.raises(VocalSepError) as caught:
        Decoder(SUNOAPI).task(TaskRef("task-1"), 200, {}, body).raise_for_failure()
    text = "".join(traceback.format_exception(caught.value))
    assert "said by the server" in text
    assert LONG[:400] not in text
