"""The ASGI receiver in applications: mounts, routes, middlewares, lifespans and test clients."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from batch.tracking import NEVER
from fakes import FakeProvider, make_client
from fastapi import APIRouter, FastAPI
from litestar import Litestar, asgi
from receivers.callbacks import BASE, KEY, callback, make_receiver, path_of, secret_address, signed
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount, Route
from starlette.websockets import WebSocketDisconnect
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval, VocalSepClient
from vocalsep_async.contrib.asgi import CallbackReceiver
from vocalsep_async.webhooks import CallbackUrl, ReceiverStats

with warnings.catch_warnings():
    # Newer versions prefer another package to httpx.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def lifespan_of(client: VocalSepClient) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """The lifespan of an application that opens and closes *client*."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        async with client:
            yield

    return lifespan


# Where a receiver is


def starlette_mount(receiver: CallbackReceiver) -> Any:
    return Starlette(routes=[Mount("/hooks", receiver)])


def starlette_route(receiver: CallbackReceiver) -> Any:
    return Starlette(routes=[Route("/hooks{below:path}", receiver)])


def fastapi_mount(receiver: CallbackReceiver) -> Any:
    app = FastAPI()
    app.mount("/hooks", receiver)
    return app


def fastapi_route(receiver: CallbackReceiver) -> Any:
    return FastAPI(routes=[Route("/hooks{below:path}", receiver)])


def fastapi_router_with_a_path(receiver: CallbackReceiver) -> Any:
    router, app = APIRouter(), FastAPI()
    router.routes.append(Route("/of-this-api{below:path}", receiver))
    app.include_router(router, prefix="/hooks")
    return app


def fastapi_router_with_a_mount(receiver: CallbackReceiver) -> Any:
    router, app = APIRouter(), FastAPI()
    router.mount("/of-this-api", receiver)
    app.include_router(router, prefix="/hooks")
    return app


def mount_in_a_mount(receiver: CallbackReceiver) -> Any:
    return Starlette(routes=[Mount("/hooks", routes=[Mount("/of-this-api", receiver)])])


def litestar_mount(receiver: CallbackReceiver) -> Any:
    handler = asgi("/hooks", is_mount=True, copy_scope=True)(receiver)
    # Its own logging would start threads.
    return Litestar(route_handlers=[handler], logging_config=None)


def no_framework(receiver: CallbackReceiver) -> Any:
    return receiver


APPS: dict[Callable[[CallbackReceiver], Any], str] = {
    starlette_mount: "",
    starlette_route: "",
    fastapi_mount: "",
    fastapi_route: "",
    fastapi_router_with_a_path: "/of-this-api",
    fastapi_router_with_a_mount: "/of-this-api",
    mount_in_a_mount: "/of-this-api",
    litestar_mount: "",
    no_framework: "",
}
"""Applications with a receiver, and where it is below the address."""
EXACT = [starlette_route, fastapi_route, fastapi_router_with_a_path, litestar_mount, no_framework]
"""Those that also serve the address of the receiver itself, with and without a slash."""


async def answers(app: Any, path: str, **sent: Any) -> list[tuple[int, str | None]]:
    """Status and ``Allow`` of the responses to POST, GET and HEAD."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://internal") as http:
        responses = [
            await http.post(path, **sent),
            *[await http.request(method, path) for method in ("GET", "HEAD")],
        ]
    return [(each.status_code, each.headers.get("allow")) for each in responses]


@pytest.mark.parametrize("app", APPS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("slash", ["", "/"], ids=["without", "with"])
async def test_a_secret_address_is_answered_directly_wherever_the_receiver_is(
    provider: FakeProvider, app: Callable[[CallbackReceiver], Any], slash: str
) -> None:
    async with make_client() as client:
        address = CallbackUrl(BASE + APPS[app], "a secret")
        receiver = make_receiver(client, address=address)
        found = await answers(app(receiver), path_of(receiver) + slash, content=callback())
    assert found == [(200, None), (405, "POST"), (405, "POST")]


@pytest.mark.parametrize("app", EXACT, ids=lambda each: each.__name__)
@pytest.mark.parametrize("slash", ["", "/"], ids=["without", "with"])
@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "secret field"])
async def test_the_address_of_a_route_is_answered_directly(
    provider: FakeProvider,
    app: Callable[[CallbackReceiver], Any],
    slash: str,
    *,
    is_signed: bool,
) -> None:
    base = BASE + APPS[app]
    async with make_client() as client:
        if is_signed:
            receiver = make_receiver(client, address=base, keys=KEY)
        else:
            receiver = make_receiver(client, address=CallbackUrl(base, "a secret", field="token"))
        path, mark, query = path_of(receiver).partition("?")
        target = path + slash + mark + query
        found = await answers(app(receiver), target, content=callback(), headers=signed())
    assert found == [(200, None), (405, "POST"), (405, "POST")]


@pytest.mark.parametrize("app", APPS, ids=lambda each: each.__name__)
async def test_an_address_without_a_token_is_refused_directly(
    provider: FakeProvider, app: Callable[[CallbackReceiver], Any]
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client)
        found = await answers(app(receiver), f"/hooks{APPS[app]}/", content=callback())
    assert found == [(401, None), (405, "POST"), (405, "POST")]


# Middlewares that read the body


class ReadingMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        self.body = await request.body()
        return await call_next(request)


class StreamingMiddleware(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        self.body = [chunk async for chunk in request.stream()]
        return await call_next(request)


async def whole(receive: Any) -> bytes:
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    return body


def passing_on(app: Any) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        body = await whole(receive)

        async def again() -> Any:
            return {"type": "http.request", "body": body}

        await app(scope, again, send)

    return middleware


def keeping(app: Any) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await whole(receive)
        await app(scope, receive, send)

    return middleware


@pytest.mark.parametrize("middleware", [ReadingMiddleware, passing_on])
@pytest.mark.parametrize("app", [starlette_mount, fastapi_route], ids=lambda each: each.__name__)
async def test_a_body_that_a_middleware_reads_and_passes_on_is_verified(
    provider: FakeProvider, middleware: Any, app: Callable[[CallbackReceiver], Any]
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(), keys=KEY)
        wrapped = app(receiver)
        wrapped.add_middleware(middleware)
        found = await answers(wrapped, path_of(receiver), content=callback(), headers=signed())
    assert found[0] == (200, None)


@pytest.mark.parametrize(
    "middleware, status",
    [(StreamingMiddleware, 400), (keeping, 408)],
    ids=["leaves an empty body", "leaves none"],
)
async def test_a_body_that_a_middleware_keeps_is_missed_in_words(
    provider: FakeProvider,
    middleware: Any,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client)
        app = Starlette(routes=[Mount("/hooks", receiver)], middleware=[Middleware(middleware)])
        found = await answers(app, path_of(receiver), content=callback())
    assert found[0][0] == status
    (said,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "middleware" in said


# Lifespans and test clients, in real event loops


def make_app(**options: Any) -> tuple[Starlette, CallbackReceiver, VocalSepClient]:
    client = make_client(**options)
    receiver = make_receiver(client)
    routes = [Mount("/hooks", receiver)]
    return Starlette(routes=routes, lifespan=lifespan_of(client)), receiver, client


def test_a_test_client_without_a_block_is_told_about_the_lifespan(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    app, receiver, _ = make_app()
    response = TestClient(app).post(path_of(receiver), content=callback())
    assert response.status_code == 503
    assert "lifespan" in response.text
    assert "with" in response.text
    (said,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "lifespan" in said


def test_a_test_client_in_a_block_wakes_waits(provider: FakeProvider) -> None:
    provider.round_trip = 0.0
    app, receiver, client = make_app(poll=Interval(1000))

    async def add() -> None:
        provider.add("a", NEVER)

    with TestClient(app) as http:
        assert http.portal is not None
        http.portal.call(add)
        polled = http.portal.call(_event)
        wait = http.portal.start_task_soon(_waiting, client, polled)
        http.portal.call(polled.wait)
        provider.ends_all()
        assert http.post(path_of(receiver), content=callback()).status_code == 200
        assert wait.result(60).succeeded
    assert receiver.stats == ReceiverStats(received=1, woke=1)
    assert TestClient(app).post(path_of(receiver), content=callback()).status_code == 503


def test_a_test_client_in_the_event_loop_of_the_client_does_not_hang(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 0.0
    app, receiver, client = make_app(poll=Interval(1000))

    async def run() -> None:
        provider.add("a", NEVER)
        polled = anyio.Event()
        async with client:
            wait = asyncio.ensure_future(_waiting(client, polled))
            await polled.wait()
            provider.ends_all()
            # It blocks this loop, and handles the request in another one.
            assert TestClient(app).post(path_of(receiver), content=callback()).status_code == 200
            assert (await wait).succeeded

    asyncio.run(run())
    assert receiver.stats == ReceiverStats(received=1, woke=1)


async def _event() -> Any:
    return anyio.Event()


async def _waiting(client: VocalSepClient, polled: Any) -> Any:
    return await client.wait_for_task("a", on_update=lambda _: polled.set())


def test_a_web_socket_to_the_receiver_is_refused(provider: FakeProvider) -> None:
    app, receiver, _ = make_app()
    with (
        TestClient(app) as http,
        pytest.raises(WebSocketDisconnect),
        http.websocket_connect(path_of(receiver)),
    ):
        raise AssertionError("it was accepted")


def test_a_receiver_may_be_the_whole_application(provider: FakeProvider) -> None:
    _, receiver, client = make_app()
    with TestClient(receiver) as http:
        assert http.portal is not None
        http.portal.call(client.__aenter__)
        assert http.post(path_of(receiver), content=callback()).status_code == 200
        http.portal.call(client.aclose)
