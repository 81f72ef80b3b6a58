"""Candidates that are looked at by a certain moment, whatever the others are worth."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

from vocalsep_async._scheduling.queue_entry import QueueEntry

C = TypeVar("C", bound=QueueEntry)

_SLACK = 64
"""Outdated entries that are kept in any case; beyond, at most one for each that counts."""


class DeadlineHeap(Generic[C]):
    """By the moment of each candidate's `QueueEntry.latest`, those that have one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, C]] = []
        self._count = 0

    def make(self, entry: C) -> None:
        """Promise *candidate* its latest moment, in the place of what it was promised before."""
        deadline_item = entry.deadline_item
        if deadline_item is not None and deadline_item[0] == entry.latest:
            return
        self.break_off(entry)
        if not math.isinf(entry.latest):
            heap_item = (entry.latest, entry.draw, entry)
            entry.deadline_item = heap_item
            self._count += 1
            heapq.heappush(self._heap, heap_item)
            self._compact()

    def break_off(self, entry: C) -> None:
        """Forget what *candidate* was promised, if it was."""
        if entry.deadline_item is not None:
            entry.deadline_item = None
            self._count -= 1

    def first(self) -> C | None:
        """Who is promised the earliest moment; None if nobody is promised any."""
        while self._heap and self._heap[0][2].deadline_item is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def _compact(self) -> None:
        if len(self._heap) > 2 * self._count + _SLACK:
            self._heap = [
                heap_item for heap_item in self._heap if heap_item[2].deadline_item is heap_item
            ]
            heapq.heapify(self._heap)
