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


class Crowd:
    """Stands where the scheduler and its line stand, and takes whoever is worth most now."""

    def __init__(self, newcomers: Waiting) -> None:
        self._newcomers = newcomers
        self._waiting: dict[Tracked, None] = {}

    def enter(self, tracked: Tracked) -> None:
        """Let it wait for its next look."""
        self._waiting[tracked] = None

    def leave(self, tracked: Tracked) -> None:
        """It is done."""
        self._waiting.pop(tracked, None)

    def done_looking(self) -> None:
        """A look is over; nothing is counted here."""

    def tidy(self, _now: float) -> bool:
        """Nothing is ever out of date."""
        return False

    def next_due(self, now: float) -> float:
        """Soon, while anybody waits."""
        return now + _RESTLESS if self._waiting or self._newcomers else math.inf

    def take(self, now: float, _rate: float) -> Tracked | None:
        """Take out whoever is worth most; None if nobody is worth a look."""
        best = max(self._waiting, key=lambda each: _worth(each, now), default=None)
        worth = _LOWEST_WORTH if best is None else max(_LOWEST_WORTH, _worth(best, now))
        if self._newcomers and self._newcomers.worth(now) >= worth:
            return self._newcomers.admit(now)
        if best is None or _worth(best, now) < _LOWEST_WORTH:
            return None
        self.leave(best)
        return best


class Exhaustive(Ours):
    """Without guard, price and policy: the rule itself, at a cost that grows with the tasks."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._scheduler = self._line = Crowd(self._waiting)  # type: ignore[assignment]


def _worth(tracked: Tracked, now: float) -> float:
    return tracked.worth(now) if now - tracked.sent >= _SHORTEST_GAP else 0.0
