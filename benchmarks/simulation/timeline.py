"""Virtual time: events happen in order, and the clock jumps from one to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """A clock and what is going to happen.

    Attributes:
        now: seconds since the simulation began.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._count = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Do *action* at *moment*; after what else was planned for that moment before."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._count), action))

    def run(self, goes_on: Callable[[], bool], until: float) -> None:
        """Let things happen while *goes_on* says so, up to the moment *until*."""
        events = self._events
        while events and goes_on() and events[0][0] <= until:
            self.now, _, action = heapq.heappop(events)
            action()


class Alarm:
    """Wakes somebody once, at the earliest moment that was asked for."""

    def __init__(self, timeline: Timeline, wake: Callable[[], None]) -> None:
        self._timeline = timeline
        self._wake = wake
        self._set_for = float("inf")

    def set(self, moment: float) -> None:
        """Wake at *moment*, unless that happens earlier anyway."""
        if moment < self._set_for:
            self._set_for = moment
            self._timeline.at(moment, lambda: self._ring(moment))

    def _ring(self, moment: float) -> None:
        if moment == self._set_for:
            self._set_for = float("inf")
            self._wake()
