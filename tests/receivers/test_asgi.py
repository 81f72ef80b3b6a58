"""The ASGI receiver and its protocol: messages, scopes, and senders that leave."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client
from receivers.callbacks import (
    Request,
    callback,
    make_receiver,
    path_of,
    scope_of,
    secret_address,
)
from virtual_time import VIRTUAL_TIME

from vocalsep_async import ConfigurationError
from vocalsep_async.webhooks import ReceiverStats

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_body_may_come_in_any_number_of_messages(provider: FakeProvider) -> None:
    request = Request(*(bytes([each]) for each in callback()), b"")
    async with make_client() as client:
        receiver = make_receiver(client)
        await receiver(scope_of(path_of(receiver)), request.receive, request.send)
    response = request.response
    assert (response.status, response.text) == (200, "ok")
    assert response.headers == {"content-type": "text/plain; charset=utf-8", "content-length": "2"}


@pytest.mark.parametrize("chunks", [[], [b'{"code"']], ids=["before the body", "in the body"])
async def test_a_sender_that_leaves_is_counted_and_gets_no_wait(
    provider: FakeProvider, chunks: list[bytes]
) -> None:
    request = Request(*chunks, leaves=True)
    async with make_client() as client:
        receiver = make_receiver(client)
        await receiver(scope_of(path_of(receiver)), request.receive, request.send)
    assert receiver.stats == ReceiverStats(received=1, interrupted=1)


async def test_a_callback_counts_although_its_sender_left_before_the_answer(
    provider: FakeProvider,
) -> None:
    async def send(_: Any) -> None:
        raise OSError("the sender has left")

    request = Request(callback())
    async with make_client() as client:
        receiver = make_receiver(client)
        await receiver(scope_of(path_of(receiver)), request.receive, send)
    assert receiver.stats == ReceiverStats(received=1, unawaited=1)


async def test_an_error_of_the_server_reaches_the_server(provider: FakeProvider) -> None:
    # As of a middleware that limits bodies.
    async def receive() -> Any:
        raise LookupError("of the server")

    async with make_client() as client:
        receiver = make_receiver(client)
        with pytest.raises(LookupError):
            await receiver(scope_of(path_of(receiver)), receive, Request().send)
    assert receiver.stats == ReceiverStats(received=1, interrupted=1)


async def test_a_request_that_the_server_cancels_is_counted(provider: FakeProvider) -> None:
    request = Request(b"{", ends=False)
    async with make_client() as client:
        receiver = make_receiver(client)
        with anyio.move_on_after(1) as scope:
            await receiver(scope_of(path_of(receiver)), request.receive, request.send)
    assert scope.cancelled_caught
    assert request.sent == []
    assert receiver.stats == ReceiverStats(received=1, interrupted=1)


@pytest.mark.parametrize("field", [None, "token"])
@pytest.mark.parametrize("raw", [{}, {"raw_path": None}], ids=["with", "without"])
async def test_the_raw_path_is_optional(
    provider: FakeProvider, field: str | None, raw: dict[str, Any]
) -> None:
    request = Request(callback())
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(field=field))
        scope = scope_of(path_of(receiver, "é/?#")) | raw
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 200


async def test_the_query_string_is_optional(provider: FakeProvider) -> None:
    request = Request(callback())
    async with make_client() as client:
        receiver = make_receiver(client)
        scope = scope_of(path_of(receiver))
        del scope["query_string"]
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 200


@pytest.mark.parametrize("version, closes", [("1.0", True), ("1.1", True), ("2", False)])
async def test_only_http_1_is_told_to_close_the_connection(
    provider: FakeProvider, version: str, *, closes: bool
) -> None:
    request = Request(ends=False)
    async with make_client() as client:
        receiver = make_receiver(client)
        scope = scope_of(path_of(receiver), http_version=version)
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 408
    assert ("connection" in request.response.headers) == closes


async def test_a_lifespan_is_served_without_opening_the_client() -> None:
    events = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": next(events)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await make_receiver(make_client())({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_web_socket_is_refused() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await make_receiver(make_client())({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


async def test_an_unknown_scope_is_an_error_as_the_protocol_demands() -> None:
    request = Request()
    with pytest.raises(ConfigurationError, match="'smtp'"):
        await make_receiver(make_client())({"type": "smtp"}, request.receive, request.send)
    assert request.sent == []
