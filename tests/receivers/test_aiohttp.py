"""The aiohttp receiver in applications: routes, parts of applications and middlewares."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fakes import FakeProvider, make_client
from receivers.callbacks import BASE, KEY, callback, signed

from vocalsep_async.contrib.aiohttp import CallbackReceiver
from vocalsep_async.webhooks import CallbackUrl, ReceiverStats

pytestmark = pytest.mark.anyio

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def receiver(provider: FakeProvider) -> AsyncIterator[CallbackReceiver]:
    """A receiver of signed callbacks at a secret address, whose client is open."""
    async with make_client() as client:
        yield CallbackReceiver(client, CallbackUrl(BASE, "a secret"), keys=KEY)


@pytest.fixture
async def plain(provider: FakeProvider) -> AsyncIterator[CallbackReceiver]:
    """A receiver of signed callbacks at any address."""
    async with make_client() as client:
        yield CallbackReceiver(client, keys=KEY)


async def answers(app: web.Application, path: str) -> list[tuple[int, str | None]]:
    """Status and ``Allow`` of the responses to POST, GET and HEAD."""
    async with TestClient(TestServer(app)) as http:
        found = []
        for method in ("POST", "GET", "HEAD"):
            sent: Any = {"data": callback(), "headers": signed()} if method == "POST" else {}
            response = await http.request(method, path, allow_redirects=False, **sent)
            found.append((response.status, response.headers.get("Allow")))
    return found


SERVED: list[tuple[int, str | None]] = [(200, None), (405, "POST"), (405, "POST")]


def top(receiver: CallbackReceiver) -> web.Application:
    app = web.Application()
    app.add_routes(receiver.routes("/hooks"))
    return app


def top_with_a_slash(receiver: CallbackReceiver) -> web.Application:
    app = web.Application()
    app.add_routes(receiver.routes("/hooks/"))
    return app


def part(receiver: CallbackReceiver) -> web.Application:
    app, inner = web.Application(), web.Application()
    inner.add_routes(receiver.routes())
    app.add_subapp("/hooks", inner)
    return app


def part_with_a_path(receiver: CallbackReceiver) -> web.Application:
    app, inner = web.Application(), web.Application()
    inner.add_routes(receiver.routes("/hooks"))
    app.add_subapp("/api", inner)
    return app


def own_route(receiver: CallbackReceiver) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/hooks{below:.*}", receiver.handle)
    return app


APPS: dict[Callable[[CallbackReceiver], web.Application], str] = {
    top: "/hooks",
    top_with_a_slash: "/hooks",
    part: "/hooks",
    own_route: "/hooks",
    part_with_a_path: "/api/hooks",
}
"""Applications with a receiver, and where it is."""


@pytest.mark.parametrize("app", APPS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("slash", ["", "/"], ids=["without", "with"])
async def test_a_secret_address_is_answered_directly_wherever_the_receiver_is(
    receiver: CallbackReceiver, app: Callable[[CallbackReceiver], web.Application], slash: str
) -> None:
    token = receiver.url().rpartition("/")[2]
    assert await answers(app(receiver), f"{APPS[app]}/{token}{slash}") == SERVED


@pytest.mark.parametrize("app", APPS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("slash", ["", "/"], ids=["without", "with"])
async def test_a_plain_address_is_answered_directly_wherever_the_receiver_is(
    plain: CallbackReceiver, app: Callable[[CallbackReceiver], web.Application], slash: str
) -> None:
    assert await answers(app(plain), APPS[app] + slash) == SERVED


async def test_the_root_may_be_the_address(plain: CallbackReceiver) -> None:
    app = web.Application()
    app.add_routes(plain.routes())
    assert await answers(app, "/") == SERVED
    assert await answers(app, "/anything/below") == SERVED


async def test_routes_leave_other_paths_alone(plain: CallbackReceiver) -> None:
    assert await answers(top(plain), "/hooks-of-another") == [(404, None)] * 3


@web.middleware
async def reads_bytes(request: web.Request, handler: Handler) -> web.StreamResponse:
    assert await request.read()
    return await handler(request)


@web.middleware
async def reads_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    assert await request.json()
    return await handler(request)


@web.middleware
async def keeps_the_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    assert await request.content.read()
    return await handler(request)


@web.middleware
async def keeps_a_part(request: web.Request, handler: Handler) -> web.StreamResponse:
    assert await request.content.read(10)
    return await handler(request)


async def posted(app: web.Application, receiver: CallbackReceiver, **sent: Any) -> tuple[int, str]:
    """Status and text of the response to a callback at the receiver's address."""
    sent = {"data": callback(), "headers": signed()} | sent
    async with TestClient(TestServer(app)) as http:
        response = await http.post(f"/hooks/{receiver.url().rpartition('/')[2]}", **sent)
        return response.status, await response.text()


@web.middleware
async def finds_a_broken_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    # As the parser does that is written in Python.
    request.content.set_exception(web.RequestPayloadError("no chunk"))
    return await handler(request)


async def test_a_body_that_the_parser_finds_broken_is_refused(receiver: CallbackReceiver) -> None:
    app = top(receiver)
    app.middlewares.append(finds_a_broken_body)
    status, _ = await posted(app, receiver)
    assert status == 400
    assert receiver.stats == ReceiverStats(received=1, interrupted=1)


@pytest.mark.parametrize("middleware", [reads_bytes, reads_json])
async def test_a_body_that_a_middleware_reads_is_verified(
    receiver: CallbackReceiver, middleware: Any
) -> None:
    app = top(receiver)
    app.middlewares.append(middleware)
    assert await posted(app, receiver) == (200, "ok")


@pytest.mark.parametrize("middleware", [keeps_the_body, keeps_a_part])
async def test_a_body_that_a_middleware_keeps_is_missed_in_words(
    receiver: CallbackReceiver, middleware: Any
) -> None:
    app = top(receiver)
    app.middlewares.append(middleware)
    status, text = await posted(app, receiver)
    assert status == 400
    assert "middleware" in text


async def test_a_body_that_a_middleware_reads_has_the_same_size_limit(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        receiver = CallbackReceiver(client, CallbackUrl(BASE, "a secret"), max_bytes=100)
        app = top(receiver)
        app.middlewares.append(reads_bytes)
        status, _ = await posted(app, receiver, data=_in_chunks(b" " * 101))
    assert status == 413


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def test_a_compressed_body_is_refused(receiver: CallbackReceiver) -> None:
    status, text = await posted(top(receiver), receiver, compress="gzip")
    assert status == 400
    assert "encoding" in text


async def test_an_empty_body_is_refused(receiver: CallbackReceiver) -> None:
    assert (await posted(top(receiver), receiver, data=b""))[0] == 400
    assert receiver.stats == ReceiverStats(received=1, malformed=1)


async def test_the_limit_of_the_application_is_not_that_of_callbacks(
    receiver: CallbackReceiver,
) -> None:
    app = web.Application(client_max_size=10)
    app.add_routes(receiver.routes("/hooks"))
    assert (await posted(app, receiver))[0] == 200
