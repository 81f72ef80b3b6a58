"""Where everybody queues who wants to send a request: first come, first served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from vocalsep_async._limiting import Budget, Grant
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    RateLimitedError,
)

_MOST_DOUBTS = 12
"""Answers that raise doubts about the address; after so many nothing is sent there."""

_logger = logging.getLogger("vocalsep_async")


def _now() -> float:
    """`anyio.current_time`, without looking for the backend at every request."""
    return asyncio.get_running_loop().time()


class Limiter:
    """Lets requests start when the budget has room.

    Only the first in line watches the budget; the others wait for their turn behind it, so a
    cancelled waiter leaves neither a hole nor a used slot.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.on_pause: Callable[[float], None] = lambda _until: None
        """Called with the moment up to which nobody asks, when that becomes known."""
        self.turn = anyio.Lock()
        """Held by the first in line; whoever holds it may take several permits in a row."""
        self.is_understood = False
        """Whether any answer was one of this API; set it where that is known from elsewhere."""
        self._doubts = 0
        self._changed: anyio.Event | None = None
        self._closing = anyio.Event()

    async def acquire(self) -> Slot:
        """Wait for room and take it.

        Raises:
            ClientClosedError: the gate was closed, before or meanwhile.
            RateLimitedError: too many answers raised doubts about the address.
        """
        await checkpoint_if_cancelled()
        if (slot := self.try_acquire()) is not None:
            return slot
        async with self.turn:
            return await self.next_slot()

    def try_acquire(self) -> Slot | None:
        """Take room that there is and nobody waits for; None if there is none.

        Raises:
            ClientClosedError: the gate was closed.
            RateLimitedError: too many answers raised doubts about the address.
        """
        # While anybody is in line, the lock is held: it is handed on, never free in between.
        return None if self.turn.locked() else self._try_acquire()

    async def next_slot(self) -> Slot:
        """Wait for room and take it, for whoever holds the turn.

        Raises:
            ClientClosedError: the gate was closed, before or meanwhile.
            RateLimitedError: too many answers raised doubts about the address.
        """
        while (slot := self._try_acquire()) is None:
            await self._until_changed()
        return slot

    def _try_acquire(self) -> Slot | None:
        if self._closing.is_set():
            raise ClientClosedError("the client is closed")
        if self._doubts >= _MOST_DOUBTS and not self.is_understood:
            raise _wrong_address()
        now = _now()
        return None if self.budget.wait(now) > 0 else Slot(self, self.budget.start(now))

    async def _until_changed(self) -> None:
        """Wait until the budget may say something new."""
        self._changed = anyio.Event()
        with anyio.move_on_after(self.budget.wait(_now())):
            await self._changed.wait()
        self._changed = None

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the closing of the gate."""
        with anyio.move_on_after(seconds):
            await self._closing.wait()

    def paused_until(self) -> float:
        """The moment (of the event loop's clock) up to which nobody asks."""
        return self.budget.paused_until(_now())

    def close(self) -> None:
        """Turn away everybody who waits or comes later."""
        self._closing.set()
        self.changed()

    def report(self, grant: Grant, error: BaseException | None) -> None:
        """Tell the budget how a request ended; *error* is what it met, None for an answer."""
        now = _now()
        self._judge_address(error)
        match error:
            case None:
                self.budget.answered(grant, now)
            case APIError(action=ErrorAction.THROTTLE):
                self.budget.on_throttled(grant, now, error.retry_after)
                self._paused(error, now)
            case APIError(action=ErrorAction.MAINTENANCE):
                self.budget.on_maintenance(grant, now, error.retry_after)
                self._paused(error, now)
            case APIError() | DecodeError():
                self.budget.answered(grant, now)
            case _:
                self.budget.lost(grant, now)
        self.changed()

    def doubts(self, error: BaseException | None) -> bool:
        """Whether *error* may mean that the API is not at this address.

        Any other 405 is throttling: in an envelope, or from where an answer was once understood.
        """
        if self.is_understood or not isinstance(error, APIError):
            return False
        return error.code == 405 and not error.in_envelope

    def _judge_address(self, error: BaseException | None) -> None:
        if error is None or (isinstance(error, (APIError, DecodeError)) and error.in_envelope):
            self.is_understood = True
        self._doubts += self.doubts(error)

    def _paused(self, error: APIError, now: float) -> None:
        until = self.budget.paused_until(now)
        _logger.info("code %d: everybody pauses for %.1f s", error.code, until - now)
        self.on_pause(until)

    def changed(self) -> None:
        """The budget knows something new: let the first in line look again."""
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

    Send it within the permit's ``with`` block, which reports how it went; or give it back.
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

    def give_back(self, _poll: object = None) -> None:
        """Return it, unless it was used or given back before; fits as a task's done callback."""
        if not self._used:
            self._used = True
            self._limiter.budget.give_back(self._grant)
            self._limiter.changed()
