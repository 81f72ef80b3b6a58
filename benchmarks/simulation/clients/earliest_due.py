"""Each task every five seconds, the longest overdue first: a good scheduler without a model."""

from __future__ import annotations

import heapq
import math
from itertools import count

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.clients.paced import Paced
from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Answer

_GAP = 5.0


class EarliestDue(Paced[Job]):
    """A heap of due times in front of the package's pacer."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._count = count()
        self._heap: list[tuple[float, int, Job]] = []

    def track(self, job: Job) -> None:
        """Begin with *job*."""
        self._enter(job, self.world.timeline.now)
        self.wake()

    def _enter(self, job: Job, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._count), job))

    def next_due(self, _now: float) -> float:
        """When the first of them is due."""
        return self._heap[0][0] if self._heap else math.inf

    def choose(self, now: float) -> Job | None:
        """Take out the longest overdue."""
        return heapq.heappop(self._heap)[2] if self.next_due(now) <= now else None

    def job_of(self, chosen: Job) -> Job:
        """The job itself."""
        return chosen

    def on_record(self, chosen: Job, answer: Answer) -> None:
        """Come back in five seconds; after a refusal, when there is room."""
        if answer.throttled:
            self._enter(chosen, answer.sent)
        elif not answer.done:
            self._enter(chosen, answer.sent + _GAP)
