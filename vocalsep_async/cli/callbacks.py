"""What the command `callbacks` does: it prints what arrives, and asks the API nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import anyio
from aiohttp import web
from attrs import frozen

from vocalsep_async import CallbackTooLargeError, MalformedCallbackError, WebhookError
from vocalsep_async._text import printable
from vocalsep_async.cli.listening import Verification, announce, listening
from vocalsep_async.cli.output import Output
from vocalsep_async.policies import CALLBACK_BODY_PATIENCE
from vocalsep_async.webhooks import (
    MAX_CALLBACK_BYTES,
    CallbackEvent,
    parse_callback,
    verify_signature,
)

_LONGEST_REASON = 1000
"""Characters."""
_INTERRUPTIONS = (OSError, aiohttp.ClientError, web.RequestPayloadError)
"""What reading a body raises whose sender left, or did not keep to HTTP."""
_STATUSES: dict[type[WebhookError], int] = {
    MalformedCallbackError: 400,
    CallbackTooLargeError: 413,
}
"""HTTP statuses; all other errors are 401."""


@frozen(kw_only=True)
class Arrival:
    """A callback that arrived.

    Attributes:
        at: when.
        event: what it says; None if it cannot be read.
        verified: whether it proved itself; None if nothing was checked.
        problem: why it was refused; None if it was accepted.
    """

    at: datetime
    event: CallbackEvent | None = None
    verified: bool | None = None
    problem: str | None = None

    @property
    def delay(self) -> float | None:
        """Seconds since the end of the task by its record; None if that does not say."""
        ended = None if self.event is None else self.event.task.completed_at
        return None if ended is None else (self.at - ended).total_seconds()

    def line(self) -> str:
        """It on one line."""
        parts = [self.at.astimezone().strftime("%H:%M:%S")]
        if self.event is not None:
            status = self.event.task.status or "no status"
            parts += [printable(self.event.task_id), f"{self.event.code}", printable(status)]
        parts.append(self._judgement())
        if self.delay is not None:
            when = "after" if self.delay >= 0 else "before"
            parts.append(f"{abs(self.delay):,.1f} s {when} its end")
        return "  ".join(parts)

    def _judgement(self) -> str:
        if self.problem is not None:
            refusal = "not usable" if self.event is None else "not verified"
            return f"{refusal}: {printable(self.problem, _LONGEST_REASON)}"
        return "unverified" if self.verified is None else "verified"

    def to_dict(self) -> dict[str, Any]:
        """It as plain JSON values."""
        event = self.event
        return {
            "at": self.at.isoformat(),
            "task_id": None if event is None else event.task_id,
            "code": None if event is None else event.code,
            "status": None if event is None else event.task.status,
            "message": None if event is None else event.message,
            "verified": self.verified,
            "problem": self.problem,
            "delay": self.delay,
        }


class Inspector:
    """Reads and verifies callbacks, and answers them as a receiver does.

    Args:
        verification: how callbacks are verified.
        on_arrival: called with each.
    """

    def __init__(self, verification: Verification, on_arrival: Callable[[Arrival], None]) -> None:
        self._verification = verification
        self._on_arrival = on_arrival

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        arrival, status = await self._inspected(request, datetime.now(UTC))
        self._on_arrival(arrival)
        response = web.Response(status=status)
        if status in (408, 413):
            # The rest of the body is missing, or not wanted.
            response.force_close()
        return response

    async def _inspected(self, request: web.BaseRequest, at: datetime) -> tuple[Arrival, int]:
        event = None
        try:
            body = await _body(request)
            event = parse_callback(body)
            verified = self._verified(request, body)
        except TimeoutError:
            return Arrival(at=at, problem="its body did not arrive in time"), 408
        except _INTERRUPTIONS:
            return Arrival(at=at, problem="its body broke off"), 400
        except WebhookError as error:
            verified = None if event is None else False
            arrival = Arrival(at=at, event=event, verified=verified, problem=str(error))
            return arrival, _STATUSES.get(type(error), 401)
        return Arrival(at=at, event=event, verified=verified), 200

    def _verified(self, request: web.BaseRequest, body: bytes) -> bool | None:
        """True if a callback has proved itself by all that is known; None if that is nothing.

        Raises:
            WebhookError: it has not.
        """
        verification = self._verification
        if verification.is_none:
            return None
        if verification.address is not None:
            verification.address.check(request.raw_path)
        if verification.key is not None:
            verify_signature(request.headers, body, verification.key)
        return True


async def _body(request: web.BaseRequest) -> bytes:
    """The body of a request.

    Raises:
        CallbackTooLargeError: it is too large.
        TimeoutError: it did not arrive in time.
    """
    body = bytearray()
    async with asyncio.timeout(CALLBACK_BODY_PATIENCE):
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_CALLBACK_BYTES:
                raise CallbackTooLargeError(f"it has more than {MAX_CALLBACK_BYTES:,} bytes")
    return bytes(body)


async def show_callbacks(port: int, output: Output, *, as_json: bool) -> None:
    """Print each callback that arrives at *port*, until cancelled.

    Raises:
        ConfigurationError: the port is in use, or a variable of the environment is unusable.
        OSError: standard output is closed or full.
    """
    verification = Verification.from_environment()
    # Printed outside the handler, whose errors the server would keep.
    send, receive = anyio.create_memory_object_stream[Arrival](math.inf)
    inspector = Inspector(verification, send.send_nowait)
    with send, receive:
        async with listening(port, inspector.handle) as url:
            announce(url, port, verification, output, "press Ctrl-C to stop")
            async for arrival in receive:
                output.result(arrival.to_dict() if as_json else arrival.line())
