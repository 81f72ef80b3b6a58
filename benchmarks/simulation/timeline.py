"""Virtual time: the clock jumps from one event to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """A clock with scheduled events.

    Attributes:
        now: seconds since the beginning of the simulation.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._count = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Schedule *action* for *moment*, after the actions scheduled for that moment before."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._count), action))

    def run(self, goes_on: Callable[[], bool], until: float) -> None:
        """Run the events up to the moment *until*, as long as *goes_on* returns True."""
        events = self._events
        while events and goes_on() and events[0][0] <= until:
            self.now, _, action = heapq.heappop(events)
            action()


class Timer:
    """Calls *wake* once, at the earliest of the moments it was set for."""

    def __init__(self, timeline: Timeline, wake: Callable[[], None]) -> None:
        self._timeline = timeline
        self._wake = wake
        self._set_for = float("inf")

    def set(self, moment: float) -> None:
        """Call *wake* at *moment*, unless it is set for an earlier one."""
        if moment < self._set_for:
            self._set_for = moment
            self._timeline.at(moment, lambda: self._fire(moment))

    def _fire(self, moment: float) -> None:
        if moment == self._set_for:
            self._set_for = float("inf")
            self._wake()
