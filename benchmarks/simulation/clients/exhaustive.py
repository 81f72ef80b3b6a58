"""The package's rule without its heap: all who wait are compared at every slot."""

from __future__ import annotations

import math

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.clients.ours import Ours, Tracked, Waiting

_LOWEST_WORTH = 0.1
"""Seconds; a look that is worth less waits for its task to be worth it."""
_SHORTEST_GAP = 1.0
_RESTLESS = 0.25
"""Seconds until all are compared again, when nobody was worth a look."""


class PollGroup:
    """Stands where the scheduler and its line stand, and takes whoever is worth most now."""

    def __init__(self, backlog: Waiting) -> None:
        self._backlog = backlog
        self._waiting: dict[Tracked, None] = {}

    def enter(self, tracked: Tracked) -> None:
        """Let it wait for its next look."""
        self._waiting[tracked] = None

    def leave(self, tracked: Tracked) -> None:
        """It is done."""
        self._waiting.pop(tracked, None)

    def done_polling(self) -> None:
        """A look is over; nothing is counted here."""

    def tidy(self, _now: float) -> bool:
        """Nothing is ever out of date."""
        return False

    def next_due(self, now: float) -> float:
        """Soon, while anybody waits."""
        return now + _RESTLESS if self._waiting or self._backlog else math.inf

    def take(self, now: float, _rate: float) -> Tracked | None:
        """Take out whoever is worth most; None if nobody is worth a look."""
        best = max(self._waiting, key=lambda each: _expected_delay(each, now), default=None)
        expected_delay = (
            _LOWEST_WORTH if best is None else max(_LOWEST_WORTH, _expected_delay(best, now))
        )
        if self._backlog and self._backlog.expected_delay(now) >= expected_delay:
            return self._backlog.admit(now)
        if best is None or _expected_delay(best, now) < _LOWEST_WORTH:
            return None
        self.leave(best)
        return best


class Exhaustive(Ours):
    """Without guard, price and policy: the rule itself, at a cost that grows with the tasks."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._scheduler = self._line = PollGroup(self._waiting)  # type: ignore[assignment]


def _expected_delay(tracked: Tracked, now: float) -> float:
    return tracked.expected_delay(now) if now - tracked.sent >= _SHORTEST_GAP else 0.0
