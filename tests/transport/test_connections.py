"""The connections that a client keeps, and those that it opens."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import anyio
import pytest
from anyio.lowlevel import checkpoint
from fault_server import TASK_ID, FaultServer
from yarl import URL

from vocalsep_async import ClientClosedError, RetryPolicy, VocalSepClient
from vocalsep_async._transport import connections
from vocalsep_async._transport.connections import ApiConnector
from vocalsep_async._transport.sockets import path_options

pytestmark = pytest.mark.anyio

PATIENCE = 60


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass by the clock of the running loop, however fast the machine is."""

    def let_pass(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + seconds)

    return let_pass


class Gate:
    """Where attempts to connect wait, until it opens."""

    def __init__(self, connect: Callable[..., Awaitable[None]]) -> None:
        self._connect = connect
        self.reached = anyio.Event()
        self.opened = anyio.Event()
        self.error: OSError | None = None

    async def connect(self, sock: socket.socket, address: Any) -> None:
        self.reached.set()
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        await self._connect(sock, address)


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    loop = asyncio.get_running_loop()
    gate = Gate(loop.sock_connect)
    monkeypatch.setattr(loop, "sock_connect", gate.connect)
    return gate


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the event loop reports, such as errors that concern nothing any more."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    return complaints


def client_at(url: str, **options: Any) -> VocalSepClient:
    retry = RetryPolicy(initial=0.001, maximum=0.001)
    return VocalSepClient(
        "a-key", base_url=url, rate_limit=None, request_timeout=600, retry=retry, **options
    )


def connector_of(client: VocalSepClient) -> ApiConnector:
    connector = client._engine.transport.bind().connector
    assert isinstance(connector, ApiConnector)
    return connector


async def cut_while_connecting(client: VocalSepClient, gate: Gate) -> None:
    call = asyncio.ensure_future(client.get_task(TASK_ID))
    await gate.reached.wait()
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        while not done():
            await checkpoint()


async def fill_pool(client: VocalSepClient, number: int) -> None:
    """Have the pool of *client* keep so many idle connections."""
    connector = connector_of(client)
    url = URL(client.base_url)
    request = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop())
    timeout = aiohttp.ClientTimeout()
    taken = [await connector.connect(request, [], timeout) for _ in range(number)]
    for connection in taken:
        connection.release()


async def test_a_connection_notices_a_dead_path(server: FaultServer) -> None:
    found: list[int] = []

    async def look(*_: object) -> None:
        (protocol,) = connector_of(client)._acquired
        made = protocol.transport.get_extra_info("socket")  # type: ignore[union-attr]
        found.extend(made.getsockopt(level, option) for level, option, _ in path_options())

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(look)
    async with client_at(f"{server.url}/healthy", trace_configs=[trace]) as client:
        await client.get_task(TASK_ID)
    assert len(found) == len(path_options())
    assert [bool(each) for each in found] == [True] * len(found)
    assert found[1:] == [value for *_, value in path_options()[1:]]


async def test_a_connection_is_kept_for_no_longer_than_a_nat_remembers_it(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = 0.0
    monkeypatch.setattr("aiohttp.connector.monotonic", lambda: time.monotonic() + shift)
    async with client_at(f"{server.url}/healthy") as client:
        await client.get_task(TASK_ID)
        shift = 15.5
        await client.get_task(TASK_ID)
    assert server.connections == 2


# After a silence


async def test_after_a_request_without_an_answer_no_idle_connection_is_used(
    server: FaultServer,
) -> None:
    async with client_at(f"{server.url}/once-fin_before") as client:
        await fill_pool(client, 3)
        assert (await client.get_task(TASK_ID)).succeeded
    assert server.hits == 2
    assert server.connections == 4


async def test_a_new_connection_is_used_again_after_a_silence(server: FaultServer) -> None:
    async with client_at(f"{server.url}/once-fin_before") as client:
        await fill_pool(client, 2)
        for _ in range(3):
            await client.get_task(TASK_ID)
    assert server.connections == 3


async def test_an_answer_of_any_kind_leaves_the_idle_connections_in_use(
    server: FaultServer,
) -> None:
    async with client_at(f"{server.url}/once-html502") as client:
        await fill_pool(client, 2)
        assert (await client.get_task(TASK_ID)).succeeded
    assert server.connections == 2


# Attempts to connect


async def test_an_attempt_to_connect_outlives_the_request_that_began_it(
    server: FaultServer, gate: Gate
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        await cut_while_connecting(client, gate)
        gate.opened.set()
        await until(lambda: bool(connector_of(client)._conns))
        assert (await client.get_task(TASK_ID)).succeeded
    assert server.hits == server.connections == 1


async def test_an_attempt_that_fails_after_its_request_is_not_reported(
    server: FaultServer, gate: Gate, complaints: list[dict[str, Any]]
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        await cut_while_connecting(client, gate)
        gate.error = OSError(113, "No route to host")
        gate.opened.set()
        await until(lambda: not connector_of(client)._attempts)
    assert not complaints


async def test_an_attempt_without_a_request_ends_after_the_time_for_connecting(
    server: FaultServer, gate: Gate, let_pass: Callable[[float], None]
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        await cut_while_connecting(client, gate)
        assert connector_of(client)._attempts
        let_pass(10.5)
        await until(lambda: not connector_of(client)._attempts)
    assert not gate.opened.is_set()


async def test_only_some_attempts_outlive_their_requests(
    server: FaultServer, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_ATTEMPTS", 0)
    async with client_at(f"{server.url}/healthy") as client:
        await cut_while_connecting(client, gate)
        await until(lambda: not connector_of(client)._attempts)
    assert not gate.opened.is_set()


async def test_closing_the_client_ends_the_attempts_to_connect(
    server: FaultServer, gate: Gate
) -> None:
    before = asyncio.all_tasks()
    client = client_at(f"{server.url}/healthy")
    await cut_while_connecting(client, gate)
    connector = connector_of(client)
    assert connector._attempts
    await client.aclose()
    assert not connector._attempts
    assert asyncio.all_tasks() == before


async def test_a_request_that_connects_while_its_session_is_closed_is_reported(
    server: FaultServer, gate: Gate
) -> None:
    async with client_at(f"{server.url}/healthy") as client:
        call = asyncio.ensure_future(client.get_task(TASK_ID))
        await gate.reached.wait()
        await client._engine.transport.bind().close()
        with pytest.raises(ClientClosedError):
            await call


async def test_a_connection_that_comes_after_the_end_of_its_client_is_closed(
    server: FaultServer, complaints: list[dict[str, Any]]
) -> None:
    async def close(*_: object) -> None:
        await client.aclose()

    before = asyncio.all_tasks()
    trace = aiohttp.TraceConfig()
    # Called within the attempt, which cannot be ended by what it runs itself.
    trace.on_dns_cache_hit.append(close)
    url = server.url_of("localhost")
    client = client_at(f"{url}/once-fin_before", trace_configs=[trace])
    with anyio.fail_after(PATIENCE), pytest.raises(ClientClosedError):
        await client.get_task(TASK_ID)
    await until(lambda: asyncio.all_tasks() == before)
    assert server.hits == 1
    assert not complaints


@pytest.mark.filterwarnings("error")
async def test_closing_the_client_closes_the_tunnel_that_was_being_opened(
    server: FaultServer,
) -> None:
    client = client_at("https://black_hole.invalid", proxy=server.url)
    call = asyncio.ensure_future(client.get_task(TASK_ID))
    await asyncio.to_thread(server.wait_for_hits, 1)
    call.cancel()
    await asyncio.wait({call})
    (connection,) = server.transports
    await client.aclose()
    del call
    await until(connection.is_closing)
