"""`CallbackReceiver`, a plain ASGI application: for FastAPI, Starlette, Litestar and others.

receiver = CallbackReceiver(client, CallbackUrl("https://example.com/callbacks", secret))
app.mount("/callbacks", receiver)
ref = await client.create_task(callback_url=receiver.url(), audio_url=song)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import quote

from vocalsep_async._receiving import Answer, InterruptedBodyError, Receiver
from vocalsep_async.errors import ConfigurationError

__all__ = ["CallbackReceiver"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class CallbackReceiver(Receiver):
    """An ASGI application that receives the callbacks of one client, and wakes its waits.

    It can be mounted anywhere, and answers every path below.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what *scope* is about, as the ASGI specification says.

        Raises:
            ConfigurationError: it is neither HTTP, nor a lifespan, nor a web socket.
        """
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1000})
            case unknown:
                raise ConfigurationError(f"a callback receiver serves HTTP, not {unknown!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, headers = scope["method"], scope["headers"]
        answer = await self._respond(method, _target(scope), headers, _chunks(receive))
        # Servers may raise it where the sender has left. What was sent was taken all the same.
        with suppress(OSError):
            await _send(answer, scope, send)


async def _live(receive: Receive, send: Send) -> None:
    """Serve a lifespan. The client is opened and closed by the application that has it."""
    event = ""
    while event != "lifespan.shutdown":
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})


async def _chunks(receive: Receive) -> AsyncGenerator[bytes]:
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InterruptedBodyError
        yield message.get("body", b"")
        has_more = message.get("more_body", False)


def _target(scope: Scope) -> str:
    # The raw path is optional, and never has the query.
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    return f"{path}?{scope.get('query_string', b'').decode('latin-1')}"


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    body = answer.text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    if answer.allow is not None:
        headers.append((b"allow", answer.allow.encode()))
    # HTTP/2 has no such header, and needs none.
    if answer.closes and scope.get("http_version", "1.1").startswith("1"):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
