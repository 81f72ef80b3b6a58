"""Calls with a timeout of their own: when each ends, and the error that says what kept it."""

from __future__ import annotations

import asyncio
import math
from typing import Literal

from vocalsep_async._request_queue import RequestQueue, RequestSlot
from vocalsep_async._text import counted
from vocalsep_async.errors import RequestTimeoutError, VocalSepError

_NEWEST = 0.125
"""Weight of the newest answer in the moving average of the seconds that answers take."""


class TimedCall:
    """One call that has *timeout* seconds for all that it does: queueing, pauses, tries, delays.

    Send its requests within ``async with call.timer``, each in a slot that `acquire` returns.

    Args:
        name: the request, as messages show it.
        timeout: seconds.
        queue: where its requests get their slots.

    Attributes:
        timer: cancels the call when it ends: at its deadline while a request is under way, else at
            the last moment at which sending one is of use.
    """

    def __init__(self, name: str, timeout: float, queue: RequestQueue) -> None:
        self._name = name
        self._timeout = timeout
        self._queue = queue
        self._began = _now()
        self._deadline = self._began + timeout
        # Not more than half of the time: where answers are too slow for all calls, they still get
        # slots, because only an answer can show that they have become faster.
        self._last_start = self._deadline - min(queue.answer_time, timeout / 2)
        self._waits_for: Literal["slot", "answer", "next try"] = "slot"
        self._sent_at = self._began
        self._failures = 0
        self._last_error: VocalSepError | None = None
        self._may_have_arrived = False
        self.timer = asyncio.timeout_at(self._last_start)

    async def acquire(self) -> RequestSlot:
        """Wait for a slot in which a request can still be answered, and take it.

        Raises:
            RequestTimeoutError: it came too late.
            VocalSepError: as for `RequestQueue.acquire`.
        """
        self._waits_for = "slot"
        slot = await self._queue.acquire(self._last_start)
        if self._is_too_late():
            slot.release()
            raise self.timeout_error()
        self.timer.reschedule(self._deadline)
        self._waits_for, self._sent_at = "answer", _now()
        return slot

    def on_answer(self) -> None:
        """The answer came."""
        seconds = _now() - self._sent_at
        known = self._queue.answer_time or seconds
        self._queue.answer_time = known + _NEWEST * (seconds - known)

    def on_failure(self, error: VocalSepError) -> None:
        """A request failed with *error*, after which another one is allowed.

        Raises:
            RequestTimeoutError: there is no time for another one.
        """
        self._waits_for = "next try"
        self._failures += 1
        # Without its traceback, which would keep the frames of the request alive.
        self._last_error = error.with_traceback(None)
        self._may_have_arrived |= getattr(error, "may_have_arrived", True)
        if self._is_too_late():
            raise self.timeout_error() from error
        self.timer.reschedule(self._last_start)

    def _is_too_late(self) -> bool:
        # The timer ends only what waits, so not a call with a timeout of 0. Once it has expired, it
        # cannot be set again: a limiter may have granted a slot although it was cancelled.
        return self.timer.expired() or _now() >= self._last_start

    def timeout_error(self) -> RequestTimeoutError:
        """The error of this call if it runs out of time now."""
        is_sent = self._waits_for == "answer"
        what, advice = self._obstacle()
        return RequestTimeoutError(
            f"{self._name}: no answer within the {self._timeout:g} s of the call. "
            f"{what}.{self._failed()} {advice}.",
            may_have_arrived=is_sent or self._may_have_arrived,
            last_error=(None if is_sent else self._queue.pause_cause()) or self._last_error,
        )

    def _obstacle(self) -> tuple[str, str]:
        """What the call waits for, and what the caller can do about it."""
        now = _now()
        if self._waits_for == "answer":
            sent = f"after {self._sent_at - self._began:.1f} s, {now - self._sent_at:.1f} s ago"
            return f"The request was sent {sent}", "Allow more time"
        if (paused_for := self._queue.paused_until() - now) > 0:
            cause = self._queue.pause_cause() or "another client of the account began it"
            return f"The client is paused for another {paused_for:.1f} s: {cause}", "Try again then"
        if self._waits_for == "next try":
            return "It was too late for another request", "Allow more time"
        others = counted(self._queue.waiting, "other request")
        waited = f"{now - self._began:.1f} s, while {others} waited"
        return (
            f"No slot came within {waited}, at {_shown(self._queue.limiter.rate)}",
            "Send fewer requests, or allow more time",
        )

    def _failed(self) -> str:
        if self._last_error is None:
            return ""
        requests = counted(self._failures, "request")
        return f" {requests} of the call failed, the last one with: {self._last_error}"


def _shown(rate: float) -> str:
    return "an unknown rate" if math.isinf(rate) else f"{rate:.3g} requests/s"


def _now() -> float:
    return asyncio.get_running_loop().time()
