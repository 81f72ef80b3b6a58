"""The hard rule: how many requests may be in flight, or have ended a short time ago."""

from __future__ import annotations

import math
from collections import deque


class Window:
    """Slots in use: requests in flight, and those that ended less than *hold* seconds ago.

    Args:
        size: number of slots.
        hold: seconds for which a slot stays in use after its request has ended.
    """

    # A slot is taken at the start of a request and becomes free one period after its answer. The
    # server counts the request at some moment between the two, so it never counts too many,
    # however long requests and answers are on their way.

    def __init__(self, size: int, hold: float) -> None:
        self.size = size
        self._hold = hold
        self._free_at: deque[float] = deque()
        self.in_flight = 0

    def wait(self, now: float) -> float:
        """Seconds until a slot is free; infinity for not before a request has ended."""
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        # Several slots may be missing: within the resolution of timers, a request may start just
        # before a slot is free, and the next one needs another slot.
        missing = self.in_flight + len(self._free_at) - self.size
        if missing < 0:
            return 0.0
        return self._free_at[missing] - now if missing < len(self._free_at) else math.inf

    def is_empty(self, now: float) -> bool:
        """Whether all slots are free."""
        return not self.in_flight and (not self._free_at or self._free_at[-1] <= now)

    def start(self) -> None:
        """Take a slot for a request."""
        self.in_flight += 1

    def cancel(self) -> None:
        """Give back the slot of a request that was not sent."""
        self.in_flight -= 1

    def end(self, now: float) -> None:
        """The request of a slot has ended."""
        self.in_flight -= 1
        # The deque stays in order, because all slots are held equally long.
        self._free_at.append(now + self._hold)

    def move(self, shift: float, now: float) -> None:
        """Go on with a clock that is *shift* seconds ahead; requests in flight have ended *now*."""
        self._free_at = deque(moment + shift for moment in self._free_at)
        for _ in range(self.in_flight):
            self.end(now)
