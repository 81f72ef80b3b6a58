"""Queue in front of the rate limiter: requests start in the order in which they came."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from vocalsep_async._limiting import Grant, RateLimiter
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    RateLimitedError,
)

_MAX_DOUBTS = 12
"""Answers that raise doubts about the address; after so many nothing is sent there."""

_logger = logging.getLogger("vocalsep_async.limits")


def _now() -> float:
    # Cheaper than `anyio.current_time`, which detects the backend at every request.
    return asyncio.get_running_loop().time()


class Limiter:
    """Grants slots, one for each request, as the rate limiter allows.

    Only the request at the head of the queue waits for the rate limiter; the others wait for
    their turn. A cancelled request therefore leaves neither a hole nor a used slot.
    """

    def __init__(self, rate_limiter: RateLimiter) -> None:
        self.rate_limiter = rate_limiter
        self.on_pause: Callable[[float], None] = lambda _until: None
        """Called when a pause begins or gets longer, with the moment of its end."""
        self.turn = anyio.Lock()
        """Held by the head of the queue, which may take several slots in a row."""
        self.is_understood = False
        """Whether any answer came from this API; set it where that is known from elsewhere."""
        self._doubts = 0
        self._announced_until = -math.inf
        self._changed: anyio.Event | None = None
        self._closing = anyio.Event()

    async def acquire(self) -> Slot:
        """Queue for a slot and take it.

        Raises:
            ClientClosedError: the limiter was closed, before or meanwhile.
            RateLimitedError: too many answers raised doubts about the address.
        """
        # The fast path below does not wait, so a cancelled caller would get a slot.
        await checkpoint_if_cancelled()
        if (slot := self.try_acquire()) is not None:
            return slot
        async with self.turn:
            return await self.next_slot()

    def try_acquire(self) -> Slot | None:
        """Take a slot; None if there is none now, or a request queues for it.

        Raises:
            ClientClosedError: the limiter was closed.
            RateLimitedError: too many answers raised doubts about the address.
        """
        # The lock is handed over, so it is never free while a request queues.
        return None if self.turn.locked() else self._try_acquire()

    async def next_slot(self) -> Slot:
        """Wait for a slot and take it; the caller must hold the turn.

        Raises:
            ClientClosedError: the limiter was closed, before or meanwhile.
            RateLimitedError: too many answers raised doubts about the address.
        """
        while (slot := self._try_acquire()) is None:
            await self._until_changed()
        return slot

    def _try_acquire(self) -> Slot | None:
        if self._closing.is_set():
            raise ClientClosedError("the client is closed")
        if self._doubts >= _MAX_DOUBTS and not self.is_understood:
            raise _wrong_address()
        now = _now()
        return None if self.rate_limiter.wait(now) > 0 else Slot(self, self.rate_limiter.start(now))

    async def _until_changed(self) -> None:
        # One event is enough, because only the head of the queue waits here.
        self._changed = anyio.Event()
        with anyio.move_on_after(self.rate_limiter.wait(_now())):
            await self._changed.wait()
        self._changed = None

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*, or until the limiter is closed."""
        with anyio.move_on_after(seconds):
            await self._closing.wait()

    def paused_until(self) -> float:
        """The end of the pause, on the event loop's clock; now if there is none."""
        return self.rate_limiter.paused_until(_now())

    def close(self) -> None:
        """Fail every request that queues now or comes later."""
        self._closing.set()
        # The head of the queue waits for this event only. It passes its turn on when it fails, so
        # that the others fail one after the other.
        self.changed()

    def report(self, grant: Grant, error: BaseException | None) -> None:
        """Report how a request ended: with *error*, or None for an answer."""
        now = _now()
        self._update_doubts(error)
        match error:
            case None:
                self.rate_limiter.on_answer(grant, now)
            case APIError(action=ErrorAction.THROTTLE):
                self.rate_limiter.on_throttled(grant, now, error.retry_after)
                self._announce_pause(error, now)
            case APIError(action=ErrorAction.MAINTENANCE):
                self.rate_limiter.on_maintenance(grant, now, error.retry_after)
                self._announce_pause(error, now)
            # An answer that cannot be read is still an answer: the request was not lost.
            case APIError() | DecodeError():
                self.rate_limiter.on_answer(grant, now)
            # A cancelled request counts as well: the server may have received it.
            case _:
                self.rate_limiter.on_lost(grant, now)
        self.changed()

    def doubts_address(self, error: BaseException | None) -> bool:
        """Whether *error* may mean that the API is not at this address.

        Only a 405 without an envelope may, and only until an answer came from this API; any other
        405 is throttling.
        """
        if self.is_understood or not isinstance(error, APIError):
            return False
        return error.code == 405 and not error.in_envelope

    def _update_doubts(self, error: BaseException | None) -> None:
        # Only an envelope proves that the API is at this address: a status may come from anything.
        if error is None or (isinstance(error, (APIError, DecodeError)) and error.in_envelope):
            self.is_understood = True
        self._doubts += self.doubts_address(error)

    def _announce_pause(self, error: APIError, now: float) -> None:
        until = self.rate_limiter.paused_until(now)
        # Requests that were under way when the pause began are throttled too, and change nothing.
        if until > self._announced_until:
            self._announced_until = until
            _logger.info("code %d: all requests pause for %.1f s", error.code, until - now)
            self.on_pause(until)

    def changed(self) -> None:
        """Have the head of the queue try again: the rate limiter may allow more than before."""
        if self._changed is not None:
            self._changed.set()


def _wrong_address() -> RateLimitedError:
    return RateLimitedError(
        "no answer was one of this API",
        code=405,
        http_status=405,
        hint="Nothing more is sent; check base_url: the address does not take this method.",
        in_envelope=False,
    )


class Slot:
    """The right to send one request.

    Send it within the slot's ``with`` block, which reports how it ended; or `release` the slot.
    """

    def __init__(self, limiter: Limiter, grant: Grant) -> None:
        self._limiter = limiter
        self._grant = grant
        self._used = False

    def __enter__(self) -> Self:
        self._used = True
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._limiter.report(self._grant, error)

    def release(self, _task: object = None) -> None:
        """Give the slot back, unless it was used or released before.

        Fits as the done callback of an asyncio task.
        """
        # A done callback calls this for every poll, also for one that has used its slot.
        if not self._used:
            self._used = True
            self._limiter.rate_limiter.cancel(self._grant)
            self._limiter.changed()
