"""Callbacks as the providers post them, and requests to an ASGI application without a server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, NamedTuple

import attrs

from vocalsep_async import VocalSepClient
from vocalsep_async.contrib.asgi import CallbackReceiver
from vocalsep_async.webhooks import CallbackUrl

KEY = "the key of the account"
SECRET = "a secret of the service"
BASE = "https://example.com/hooks"
LINK = "https://cdn.example/from-the-callback.mp3"


def callback(task_id: str = "a", code: int = 200, **links: str | None) -> bytes:
    """A callback of sunoapi.org; without links for a code other than 200."""
    info = links or ({"vocal_url": LINK} if code == 200 else None)
    data = {"task_id": task_id, "vocal_removal_info": info}
    return json.dumps({"code": code, "msg": "said", "data": data}).encode()


def signed(task_id: str = "a", *, age: float = 0, key: str = KEY) -> dict[str, str]:
    """The headers of a callback of kie.ai that was signed *age* seconds ago."""
    timestamp = str(int(time.time() - age))
    digest = hmac.digest(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256)
    return {
        "X-Webhook-Timestamp": timestamp,
        "X-Webhook-Signature": base64.b64encode(digest).decode(),
    }


def secret_address(**options: Any) -> CallbackUrl:
    return CallbackUrl(BASE, SECRET, **options)


def make_receiver(client: VocalSepClient, **options: Any) -> CallbackReceiver:
    """A receiver with a secret address, unless the options say otherwise."""
    if not options.keys() & {"address", "keys", "unverified"}:
        options["address"] = secret_address()
    return CallbackReceiver(client, **options)


def path_of(receiver: CallbackReceiver, name: str = "") -> str:
    """The path of the receiver's address."""
    return receiver.url(name).removeprefix("https://example.com")


def waiting(call: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


def counts(receiver: CallbackReceiver) -> dict[str, int]:
    """The counters that are not 0, without the sum."""
    found = {name: number for name, number in attrs.asdict(receiver.stats).items() if number}
    assert found.pop("received", 0) == sum(found.values())
    return found


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Request:
    """One request to an ASGI application, in messages.

    After its body it waits for the end of the response, as a server does.
    """

    def __init__(self, *chunks: bytes, ends: bool = True, leaves: bool = False) -> None:
        self.taken = 0
        self.sent: list[Any] = []
        self._messages = self._bodies(chunks, ends=ends, leaves=leaves)

    def _bodies(
        self, chunks: Iterable[bytes], *, ends: bool, leaves: bool
    ) -> Iterator[dict[str, Any]]:
        for chunk in chunks:
            self.taken += 1
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if leaves:
            yield {"type": "http.disconnect"}
        if ends:
            yield {"type": "http.request"}

    async def receive(self) -> dict[str, Any]:
        for message in self._messages:
            return message
        await asyncio.sleep(1_000_000)
        raise AssertionError("the application waits for more than there is")

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def response(self) -> Response:
        start, body = self.sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Response(start["status"], headers, body["body"].decode())


def scope_of(
    path: str, method: str = "POST", headers: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """The scope of a request, as uvicorn makes it."""
    path, _, query = path.partition("?")
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": pairs,
    } | more


async def post(
    receiver: CallbackReceiver,
    body: bytes,
    path: str | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> Response:
    """Post a callback to the receiver's address, or to *path*."""
    if path is None:
        path = "/" if receiver._address is None else path_of(receiver)
    request = Request(body)
    announced = {"Content-Length": str(len(body))} | (headers or {})
    scope = scope_of(path, headers=announced)
    await receiver(scope, request.receive, request.send)
    return request.response
