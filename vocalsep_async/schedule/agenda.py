"""Who is due when: a priority queue whose entries can move and leave."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_SLACK = 64
"""Outdated entries that are kept in any case; beyond, at most one for each that counts."""


class Agenda(Generic[T]):
    """Items and the moments at which they are due, earliest first.

    Of items due at the same moment the one that was put in first comes first.
    """

    def __init__(self) -> None:
        self._due: dict[T, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due)

    def __repr__(self) -> str:
        return f"<Agenda: {len(self)} entries, next at {self.next_due():.3f}>"

    def put(self, item: T, due: float) -> None:
        """Enter *item* for *due*, or move it there."""
        self._count += 1
        self._due[item] = (due, self._count)
        heapq.heappush(self._heap, (due, self._count, item))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [(due, count, each) for each, (due, count) in self._due.items()]
            heapq.heapify(self._heap)

    def discard(self, item: T) -> None:
        """Take *item* out, if it is in."""
        self._due.pop(item, None)

    def due(self, item: T) -> float:
        """When *item* is due; infinity if it is not entered."""
        return self._due[item][0] if item in self._due else math.inf

    def next_due(self) -> float:
        """The earliest moment anything is due; infinity if nothing is entered."""
        self._drop_outdated()
        return self._heap[0][0] if self._heap else math.inf

    def pop(self, now: float) -> T | None:
        """Take out the item that is due longest; None if nothing is due by *now*."""
        if self.next_due() > now or not self._due:
            return None
        item = heapq.heappop(self._heap)[2]
        del self._due[item]
        return item

    def _drop_outdated(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
