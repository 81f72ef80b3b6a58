"""Receivers behind real sockets: requests in a row, bodies that are large or do not come."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from aiohttp import web
from fakes import FakeProvider, make_client
from receivers.callbacks import BASE, callback

from vocalsep_async._receiving import Receiver, Tally
from vocalsep_async.contrib import aiohttp, asgi
from vocalsep_async.webhooks import CallbackUrl, ReceiverStats

ADDRESS = CallbackUrl(BASE, "a secret")
PATH = ADDRESS.url().removeprefix("https://example.com")
LARGE = 10 << 20


class WatchedTally(Tally):
    """Lets a thread wait until something was counted."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def add(self, counter: str) -> None:
        super().add(counter)
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, counter: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.counts().get(counter), 60)


def watched(receiver: Receiver) -> WatchedTally:
    tally = receiver._tally = WatchedTally()
    return tally


@contextmanager
def served_by_uvicorn(listener: socket.socket, **options: Any) -> Iterator[Receiver]:
    client = make_client()
    receiver = asgi.CallbackReceiver(client, ADDRESS, **options)
    config = uvicorn.Config(receiver, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    async def run() -> None:
        async with client:
            await server.serve([listener])

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, run())
        yield receiver
        server.should_exit = True
        running.result(60)


@contextmanager
def served_by_aiohttp(listener: socket.socket, **options: Any) -> Iterator[Receiver]:
    client = make_client()
    receiver = aiohttp.CallbackReceiver(client, ADDRESS, **options)
    loops: list[asyncio.AbstractEventLoop] = []
    stopping = asyncio.Event()

    async def run() -> None:
        app = web.Application()
        app.add_routes(receiver.routes("/hooks"))
        runner = web.AppRunner(app, shutdown_timeout=1, lingering_time=1)
        async with client:
            await runner.setup()
            await web.SockSite(runner, listener).start()
            loops.append(asyncio.get_running_loop())
            await stopping.wait()
            await runner.cleanup()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, run())
        yield receiver
        loops[0].call_soon_threadsafe(stopping.set)
        running.result(60)


Serve = Callable[..., AbstractContextManager[tuple[Receiver, socket.socket]]]


@pytest.fixture(params=[served_by_uvicorn, served_by_aiohttp], ids=["uvicorn", "aiohttp"])
def serve(request: pytest.FixtureRequest, provider: FakeProvider) -> Serve:
    """Serves a receiver, as a block that has a connection to it."""

    @contextmanager
    def serve(**options: Any) -> Iterator[tuple[Receiver, socket.socket]]:
        listener = socket.create_server(("127.0.0.1", 0))
        with (
            listener,
            request.param(listener, **options) as receiver,
            socket.create_connection(listener.getsockname(), 60) as connection,
        ):
            yield receiver, connection

    return serve


def request(body: bytes = b"", path: str = PATH, method: str = "POST", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: internal", *headers]
    if not any("Transfer-Encoding" in each or "Length" in each for each in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def responses(connection: socket.socket, number: int) -> list[int]:
    """The statuses of the next responses; 0 for the end of the connection."""
    with connection.makefile("rb") as file:
        return [_status(file) for _ in range(number)]


def _status(file: Any) -> int:
    line = file.readline()
    if not line:
        return 0
    length = 0
    while (header := file.readline().strip().lower()) != b"":
        if header.startswith(b"content-length:"):
            length = int(header.split(b":")[1])
    file.read(length)
    return int(line.split()[1])


def test_requests_may_come_before_the_responses_to_earlier_ones(serve: Serve) -> None:
    with serve() as (receiver, connection):
        connection.sendall(
            request(callback("a"))
            + request(callback("b"), PATH[:-1])
            + request(b"{")
            + request(callback("b"))
            + request(callback("a"))
            + request(method="GET")
        )
        assert responses(connection, 6) == [200, 401, 400, 200, 200, 405]
        assert receiver.stats == ReceiverStats(
            received=5, unawaited=2, repeated=1, forged=1, malformed=1
        )


def test_a_sender_that_leaves_in_the_middle_of_a_body_is_counted(serve: Serve) -> None:
    with serve() as (receiver, connection):
        tally = watched(receiver)
        connection.sendall(request(callback())[:-10])
        tally.wait_for("received")
        connection.close()
        tally.wait_for("interrupted")
        assert receiver.stats == ReceiverStats(received=1, interrupted=1)


def test_a_body_that_does_not_come_is_answered_with_408_and_the_end(serve: Serve) -> None:
    with serve(body_timeout=0.1) as (receiver, connection):
        connection.sendall(request(callback())[:-10])
        with connection.makefile("rb") as file:
            answer = file.read().lower()
    assert answer.startswith(b"http/1.1 408")
    assert answer.count(b"connection: close") == 1
    assert answer.count(b"http/1.1") == 1
    assert receiver.stats == ReceiverStats(received=1, timed_out=1)


def test_a_large_body_is_answered_with_413_without_being_read(serve: Serve) -> None:
    with serve() as (receiver, connection):
        with suppress(OSError):  # the server may hang up as soon as it has answered
            connection.sendall(request(b" " * LARGE))
        assert responses(connection, 1) == [413]
        assert receiver.stats == ReceiverStats(received=1, too_large=1)


def test_a_large_body_without_a_length_is_answered_with_413(serve: Serve) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with serve() as (receiver, connection):
        connection.sendall(request(b"", PATH, "POST", "Transfer-Encoding: chunked"))
        with suppress(OSError):
            connection.sendall(chunk * (LARGE >> 16))
        assert responses(connection, 1) == [413]
        assert receiver.stats == ReceiverStats(received=1, too_large=1)


def test_a_body_that_breaks_the_rules_of_http_is_counted_once(serve: Serve) -> None:
    # Some servers end the request, others leave it without the rest of its body.
    with serve(body_timeout=0.1) as (receiver, connection):
        tally = watched(receiver)
        connection.sendall(request(b"", PATH, "POST", "Transfer-Encoding: chunked"))
        tally.wait_for("received")
        connection.sendall(b"5\r\n{}{}{no chunk\r\n")
        assert responses(connection, 1)[0] in (400, 408, 0)
    counted = receiver.stats
    assert counted.interrupted + counted.timed_out + counted.malformed == counted.received == 1


def test_a_callback_of_the_jobs_api_is_received(serve: Serve) -> None:
    data = {"taskId": "a", "state": "fail", "resultJson": None, "failCode": "500"}
    with serve() as (receiver, connection):
        body = json.dumps({"code": 501, "msg": "failed", "data": data}).encode()
        connection.sendall(request(body))
        assert responses(connection, 1) == [200]
        assert receiver.stats == ReceiverStats(received=1, unawaited=1)
