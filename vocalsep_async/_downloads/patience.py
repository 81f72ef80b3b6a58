"""How long a download goes on without progress, and what it does meanwhile."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio
from attrs import frozen

from vocalsep_async._failures import FailureStreak
from vocalsep_async.errors import ClientClosedError, ErrorAction, TransportError
from vocalsep_async.policies import (
    FILE_BYTES_PER_MINUTE,
    FILE_HOST_GAP,
    FILE_HOST_PATIENCE,
    RetryPolicy,
)

# Less than this is left only by rounding.
_NOTHING = 0.001
_PERIOD = 60.0
Rest = Callable[[float], Awaitable[None]]
"""Waits for so many seconds between two tries."""


class NoFileYetError(TransportError):
    """The file host answered, and will have the file later.

    Attributes:
        retry_after: seconds that it asks to wait; None if it does not.
    """

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


@frozen
class Patience:
    """How long one file goes on without progress.

    Attributes:
        seconds: from the first failure since the last progress; None for the default.
        until: moment of the event loop's clock up to which the default is extended.
        min_bytes_per_minute: bytes that must arrive in a minute of waiting; None for any number.
    """

    seconds: float | None = None
    until: float = -math.inf
    min_bytes_per_minute: int | None = FILE_BYTES_PER_MINUTE

    def end(self, began: float) -> float:
        """When it ends, if the file failed first at *began*."""
        if self.seconds is not None:
            return began + self.seconds
        return max(began + FILE_HOST_PATIENCE, self.until)


class Absence:
    """The tries to fetch a file that failed since it last made progress.

    Args:
        retry: delays, and the least number of tries.
        patience: how long it may last.

    Attributes:
        failure: why the last try failed; None before the first failure.
    """

    def __init__(self, retry: RetryPolicy, patience: Patience) -> None:
        self._retry = retry
        self._patience = patience
        self._streak = FailureStreak()
        self._began: float | None = None
        self.failure: str | None = None

    def delay(self, error: TransportError, now: float, draw: Callable[[], float]) -> float:
        """Seconds until the next try after *error*.

        The last try is made when the patience ends.

        Raises:
            TransportError: *error* is permanent, or the patience has ended.
        """
        self._streak = self._streak.record(error)
        # The text alone: the traceback of the error refers to the frame that holds this object.
        self.failure = str(error)
        self._began = now if self._began is None else self._began
        left = self._patience.end(self._began) - now
        is_used_up = self._streak.failures >= self._retry.attempts
        if error.action is ErrorAction.RAISE or (is_used_up and left <= _NOTHING):
            raise error
        delay = self._streak.delay(error, self._retry, draw)
        if left <= _NOTHING:
            return delay
        wanted = (error.retry_after if isinstance(error, NoFileYetError) else None) or 0.0
        return min(max(delay, wanted, FILE_HOST_GAP if is_used_up else 0.0), left)


class StallDetector:
    """Detects a transfer that is too slow to wait for.

    Args:
        least: bytes that must arrive in a minute; None for any number.
    """

    def __init__(self, least: int | None = FILE_BYTES_PER_MINUTE) -> None:
        self._least = least
        self._seconds = 0.0
        self._bytes = 0

    def on_received(self, count: int, seconds: float) -> None:
        """Count *count* bytes that arrived after *seconds* of waiting.

        Only waiting counts: a reader that pauses does not make its host slow.

        Raises:
            TransportError: too little has arrived in a whole period.
        """
        self._bytes += count
        self._seconds += seconds
        if self._least is None or self._bytes >= self._least:
            self._bytes, self._seconds = 0, 0.0
        elif self._seconds >= _PERIOD:
            raise TransportError(f"fewer than {self._least:,} bytes arrived in {_PERIOD:g} s")


class Rests:
    """The files of a client that wait for their hosts.

    Args:
        what: what is going on, for the error of a client that was closed.
    """

    def __init__(self, what: str = "a file was fetched") -> None:
        self._what = what
        self._is_closed = False
        self._resting: set[anyio.Event] = set()

    async def rest(self, seconds: float) -> None:
        """Wait for so many seconds.

        Raises:
            ClientClosedError: the client was closed.
        """
        ended = anyio.Event()
        self._resting.add(ended)
        try:
            with anyio.move_on_after(0.0 if self._is_closed else seconds):
                await ended.wait()
        finally:
            self._resting.discard(ended)
        if self._is_closed:
            raise ClientClosedError(f"the client was closed while {self._what}")

    def close(self) -> None:
        """End all of them, now and from now on; may be called again."""
        self._is_closed = True
        for ended in self._resting:
            ended.set()


class TransferSlot:
    """The place of one file among those that are transferred; given back while the file rests.

    Args:
        limiter: limits how many files are transferred.
        rest: how the file waits for its host.
    """

    def __init__(self, limiter: anyio.CapacityLimiter, rest: Rest) -> None:
        self._limiter = limiter
        self._rest = rest
        self._is_held = False

    async def __aenter__(self) -> Self:
        await self._acquire()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # An error in `rest` leaves a slot that is not held.
        if self._is_held:
            self._release()

    async def rest(self, seconds: float) -> None:
        """Wait for so many seconds, while another file may be transferred.

        Raises:
            ClientClosedError: the client was closed.
        """
        self._release()
        await self._rest(seconds)
        await self._acquire()

    async def _acquire(self) -> None:
        # On behalf of the slot: the task may change, and a task can borrow only once.
        await self._limiter.acquire_on_behalf_of(self)
        self._is_held = True

    def _release(self) -> None:
        self._is_held = False
        self._limiter.release_on_behalf_of(self)
