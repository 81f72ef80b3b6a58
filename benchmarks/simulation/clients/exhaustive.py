"""The rule of the package without its heap: all waiting tasks are compared at every slot."""

from __future__ import annotations

import math

from benchmarks.simulation.clients.ours import Ours, Tracked, TypedBacklog
from vocalsep_async._scheduling.queue import PollQueue

_LOWEST_DELAY = 0.1
"""Seconds; a task with a smaller expected delay is not polled."""
_SHORTEST_GAP = 1.0
_RETRY_AFTER = 0.25
"""Seconds until the next comparison when no task was due."""


class LinearScan:
    """Takes the place of the scheduler and its queue; takes the task with the largest delay."""

    def __init__(self, backlog: TypedBacklog) -> None:
        self._backlog = backlog
        self._waiting: dict[Tracked, None] = {}

    def push(self, tracked: Tracked) -> None:
        """Let *tracked* wait for its next poll."""
        self._waiting[tracked] = None

    def remove(self, tracked: Tracked) -> None:
        """Remove *tracked* if it waits."""
        self._waiting.pop(tracked, None)

    def end_poll(self) -> None:
        """Do nothing: polls in flight are not counted."""

    def refresh(self, _now: float) -> bool:
        """Do nothing: there are no keys."""
        return False

    def next_due(self, now: float) -> float:
        """Soon, while a task waits."""
        return now + _RETRY_AFTER if self._waiting or self._backlog else math.inf

    def take(self, now: float, _rate: float) -> Tracked | None:
        """Remove and return the task with the largest delay; None if all delays are too small."""
        best = max(self._waiting, key=lambda each: _expected_delay(each, now), default=None)
        expected_delay = (
            _LOWEST_DELAY if best is None else max(_LOWEST_DELAY, _expected_delay(best, now))
        )
        if self._backlog and self._backlog.expected_delay(now) >= expected_delay:
            return self._backlog.admit(now)
        if best is None or _expected_delay(best, now) < _LOWEST_DELAY:
            return None
        self.remove(best)
        return best


class Exhaustive(Ours):
    """The rule itself, without starvation guard, price and policy; each poll costs O(tasks)."""

    def open_queue(self, _batch: str | None, backlog: TypedBacklog) -> PollQueue[Tracked]:
        """The queue of all tasks, which is the scheduler, too: several batches are one to it."""
        if not isinstance(self._scheduler, LinearScan):
            self._scheduler = LinearScan(backlog)  # type: ignore[assignment]
        return self._scheduler  # type: ignore[return-value]


def _expected_delay(tracked: Tracked, now: float) -> float:
    return tracked.expected_delay(now) if now - tracked.sent >= _SHORTEST_GAP else 0.0
