"""Requests that are given up, as the other end of their connection sees it."""

from __future__ import annotations

import asyncio
import math
import select
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import aiohttp
import anyio
import pytest
import trustme
from fault_server import RECORD, TASK_ID, answer
from yarl import URL

from vocalsep_async import (
    ClientClosedError,
    RequestTimeoutError,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport.api import _OneSend
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async._transport.sockets import SentOn
from vocalsep_async.limiter import Bid, Limiter, LimiterSnapshot, Slot, SlotResult

pytestmark = pytest.mark.anyio

PATIENCE = 60
RESET, ENDED = "reset", "ended"


class Peer:
    """The other end of one connection: it reads a request, answers or not, and reads on.

    Args:
        reply: the answer; empty for none.
        tls: the context of a server that speaks TLS.
    """

    def __init__(self, reply: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._reply, self._tls = reply, tls
        self.received = threading.Event()
        self.end: str | None = None
        self.left_over = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1 << 16)
        if self._reply:
            connection.sendall(self._reply)
        self.received.set()
        if self._tls is not None:
            # Below TLS, whose own end says nothing about the connection.
            connection = socket.socket(fileno=connection.detach())
            connection.settimeout(PATIENCE)
        with connection:
            try:
                while chunk := connection.recv(1 << 16):
                    self.left_over += chunk
            except ConnectionResetError:
                self.end = RESET
            else:
                self.end = ENDED

    async def has_received(self) -> None:
        assert await asyncio.to_thread(self.received.wait, PATIENCE)

    async def how_it_ended(self) -> str | None:
        await asyncio.to_thread(self._thread.join, PATIENCE)
        return self.end

    def close(self) -> None:
        self._listener.close()
        self._thread.join(PATIENCE)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_peer(authority: trustme.CA) -> Iterator[Peer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    peer = Peer(tls=context)
    yield peer
    peer.close()


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass by the clock of the running loop, however fast the machine is."""

    def let_pass(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + seconds)

    return let_pass


def client_at(url: str, **options: Any) -> VocalSepClient:
    return VocalSepClient(
        "a-key", base_url=url, rate_limit=None, **{"request_timeout": 600.0} | options
    )


async def create(client: VocalSepClient) -> object:
    return await client.create_task(
        callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
    )


async def failure_of(call: Awaitable[object]) -> VocalSepError:
    with pytest.raises(VocalSepError) as caught:
        await call
    return caught.value


def notes_of(error: VocalSepError) -> str:
    return " ".join(getattr(error, "__notes__", ()))


async def cut_by_its_caller(client: VocalSepClient, peer: Peer) -> None:
    call = asyncio.ensure_future(create(client))
    await peer.has_received()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


async def test_a_request_that_its_caller_gives_up_is_aborted(peer: Peer) -> None:
    async with client_at(peer.url) as client:
        await cut_by_its_caller(client, peer)
        assert await peer.how_it_ended() == RESET


async def test_a_request_of_a_borrowed_session_is_aborted(peer: Peer) -> None:
    async with aiohttp.ClientSession() as session, client_at(peer.url, session=session) as client:
        await cut_by_its_caller(client, peer)
        assert await peer.how_it_ended() == RESET
        assert not session.closed


async def test_a_request_under_tls_is_aborted(tls_peer: Peer, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        client_at(tls_peer.url, session=session) as client,
    ):
        await cut_by_its_caller(client, tls_peer)
        assert await tls_peer.how_it_ended() == RESET


async def test_a_request_that_times_out_is_aborted_and_will_not_arrive_late(
    peer: Peer, let_pass: Callable[[float], None]
) -> None:
    async def time_out() -> None:
        await peer.has_received()
        let_pass(600)

    async with client_at(peer.url) as client, anyio.create_task_group() as group:
        group.start_soon(time_out)
        error = await failure_of(create(client))
        assert await peer.how_it_ended() == RESET
    assert type(error) is RequestTimeoutError
    assert "may still arrive" not in notes_of(error)
    assert "may have been created" in notes_of(error)


class ObservedSlot:
    """A slot that looks at the server's end of the connection when it is released."""

    def __init__(self, server: ObservedServer) -> None:
        self._server = server

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        self._server.on_release()


class ObservedServer(Limiter):
    """Takes one request, sends *reply*, and notes whether the client is gone when its slot ends."""

    def __init__(self, reply: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._reply = reply
        self._connection: socket.socket | None = None
        self.client_was_gone: bool | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(PATIENCE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._connection.recv(1 << 16)
        self._connection.sendall(self._reply)

    def on_release(self) -> None:
        # On loopback the other end knows as soon as the socket is closed.
        assert self._connection is not None
        self.client_was_gone = bool(select.select([self._connection], [], [], 0)[0])

    def close(self) -> None:
        self._listener.close()
        if self._connection is not None:
            self._connection.close()

    async def acquire(self, bid: Callable[[], Bid]) -> Slot:
        return ObservedSlot(self)

    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:
        return ObservedSlot(self)

    def snapshot(self) -> LimiterSnapshot:
        return LimiterSnapshot(rate=math.inf, ceiling=math.inf, in_flight=0, sent=0, throttled=0)


@pytest.mark.parametrize(
    "reply",
    [pytest.param(b"", id="without an answer"), pytest.param(answer(RECORD)[:-1], id="half of it")],
)
async def test_a_slot_is_released_when_the_server_knows_that_its_request_was_given_up(
    reply: bytes,
) -> None:
    server = ObservedServer(reply)
    has_begun = asyncio.Event()

    async def begin(*_: object) -> None:
        has_begun.set()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(begin)
    async with VocalSepClient(
        "a-key", base_url=server.url, limiter=server, trace_configs=[trace]
    ) as client:
        call = asyncio.ensure_future(client.get_task(TASK_ID))
        await asyncio.to_thread(server.serve)
        if reply:
            await has_begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert server.client_was_gone is True
    server.close()


async def test_closing_the_client_aborts_its_requests(peer: Peer) -> None:
    client = client_at(peer.url)
    call = asyncio.ensure_future(create(client))
    await peer.has_received()
    await client.aclose()
    error = await failure_of(call)
    assert type(error) is ClientClosedError
    assert "may still arrive" not in notes_of(error)
    assert await peer.how_it_ended() == RESET


async def test_a_connection_without_a_request_ends_in_an_orderly_way() -> None:
    peer = Peer(answer(RECORD))
    async with client_at(peer.url) as client:
        assert (await client.get_task(TASK_ID)).succeeded
    assert await peer.how_it_ended() == ENDED
    assert peer.left_over == b""
    peer.close()


async def test_what_a_closed_session_leaves_behind_may_still_arrive(peer: Peer) -> None:
    session = aiohttp.ClientSession()
    client = client_at(peer.url, session=session)
    call = asyncio.ensure_future(create(client))
    await peer.has_received()
    await session.close()
    error = await failure_of(call)
    assert type(error) is ClientClosedError
    assert "may still arrive within the next 120 s" in notes_of(error)


async def test_what_a_proxy_has_may_still_arrive(
    peer: Peer, let_pass: Callable[[float], None]
) -> None:
    async def time_out() -> None:
        await peer.has_received()
        let_pass(600)

    client = client_at("http://api.invalid", proxy=peer.url)
    async with client, anyio.create_task_group() as group:
        group.start_soon(time_out)
        error = await failure_of(create(client))
    assert "may still arrive" in notes_of(error)
    assert await peer.how_it_ended() == RESET


async def test_a_request_whose_answer_had_begun_will_not_arrive_late(
    let_pass: Callable[[float], None],
) -> None:
    peer = Peer(answer(RECORD)[:-1])
    has_begun = anyio.Event()

    async def begin(*_: object) -> None:
        has_begun.set()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(begin)

    async def time_out() -> None:
        await has_begun.wait()
        let_pass(600)

    client = client_at(peer.url, trace_configs=[trace])
    async with client, anyio.create_task_group() as group:
        group.start_soon(time_out)
        error = await failure_of(create(client))
    assert type(error) is RequestTimeoutError
    assert "may still arrive" not in notes_of(error)
    peer.close()


async def test_a_request_on_a_connection_that_is_gone_is_not_sent() -> None:
    class Gone:
        transport = None

    async def send(_: object) -> Any:
        raise aiohttp.ClientConnectionResetError

    async def through(request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        return await request.send(cast("Any", Gone()))

    request: Any = aiohttp.ClientRequest(
        "GET", URL("http://api.example"), loop=asyncio.get_running_loop()
    )
    sending = _OneSend(ApiKey("a-key"), None)
    request.send = send
    with pytest.raises(aiohttp.ClientConnectionResetError):
        await sending(request, through)
    assert notes_of(sending.noted(TransportError("x"))) == ""


class Transport:
    """A transport whose socket is *socket*."""

    def __init__(self, socket: socket.socket | None) -> None:
        self._socket = socket
        self.was_aborted = False

    def get_extra_info(self, _: str) -> socket.socket | None:
        return self._socket

    def abort(self) -> None:
        self.was_aborted = True


@pytest.mark.parametrize(
    "has_socket, is_open, is_discarded",
    [
        pytest.param(True, True, True, id="it can be reached"),
        pytest.param(True, False, False, id="it was closed before"),
        pytest.param(False, True, False, id="the transport has none to give"),
    ],
)
def test_what_is_left_is_discarded_if_the_socket_can_be_reached(
    *, has_socket: bool, is_open: bool, is_discarded: bool
) -> None:
    with socket.socket() as made:
        if not is_open:
            made.close()
        transport = Transport(made if has_socket else None)
        assert SentOn(cast("Any", transport)).abort() is is_discarded
    assert transport.was_aborted
