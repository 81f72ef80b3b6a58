"""Polls each task every five seconds, longest overdue first: a good scheduler without a model."""

from __future__ import annotations

import heapq
import math
from itertools import count

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.clients.paced import Paced
from benchmarks.simulation.server import Answer
from benchmarks.simulation.tasks import SimulatedTask

_GAP = 5.0


class EarliestDue(Paced[SimulatedTask]):
    """Earliest due first (EDF), behind the rate limiter of the package."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._count = count()
        self._heap: list[tuple[float, int, SimulatedTask]] = []

    def track(self, task: SimulatedTask) -> None:
        """Begin to track *task*."""
        self._push(task, self.world.timeline.now)
        self.wake()

    def _push(self, task: SimulatedTask, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._count), task))

    def next_due(self, _now: float) -> float:
        """When the first task is due."""
        return self._heap[0][0] if self._heap else math.inf

    def choose(self, now: float) -> SimulatedTask | None:
        """Remove and return the task that is overdue longest; None if no task is due."""
        return heapq.heappop(self._heap)[2] if self.next_due(now) <= now else None

    def task_of(self, chosen: SimulatedTask) -> SimulatedTask:
        """Return *chosen*, which is the task itself."""
        return chosen

    def on_record(self, chosen: SimulatedTask, answer: Answer) -> None:
        """Poll again in five seconds; after throttling, as soon as the rate limit has room."""
        if answer.throttled:
            self._push(chosen, answer.sent)
        elif not answer.done:
            self._push(chosen, answer.sent + _GAP)
