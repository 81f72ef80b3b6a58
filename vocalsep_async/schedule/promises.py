"""Candidates that are looked at by a certain moment, whatever the others are worth."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

from vocalsep_async.schedule.candidate import Candidate

C = TypeVar("C", bound=Candidate)

_SLACK = 64
"""Outdated entries that are kept in any case; beyond, at most one for each that counts."""


class Promises(Generic[C]):
    """By the moment of each candidate's `Candidate.latest`, those that have one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, C]] = []
        self._count = 0

    def make(self, candidate: C) -> None:
        """Promise *candidate* its latest moment, in the place of what it was promised before."""
        promise = candidate.promise
        if promise is not None and promise[0] == candidate.latest:
            return
        self.break_off(candidate)
        if not math.isinf(candidate.latest):
            entry = (candidate.latest, candidate.draw, candidate)
            candidate.promise = entry
            self._count += 1
            heapq.heappush(self._heap, entry)
            self._compact()

    def break_off(self, candidate: C) -> None:
        """Forget what *candidate* was promised, if it was."""
        if candidate.promise is not None:
            candidate.promise = None
            self._count -= 1

    def first(self) -> C | None:
        """Who is promised the earliest moment; None if nobody is promised any."""
        while self._heap and self._heap[0][2].promise is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def _compact(self) -> None:
        if len(self._heap) > 2 * self._count + _SLACK:
            self._heap = [entry for entry in self._heap if entry[2].promise is entry]
            heapq.heapify(self._heap)
