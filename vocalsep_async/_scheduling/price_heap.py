"""Candidates in the order in which they come to be worth a price.

Each candidate's key is the moment from which it is wanted and its expected undetected seconds
reach the price. When the price moves, or what is known about durations, every key is outdated.
Computing them all at once would hold up the event loop: 100,000 take most of a second. So there
are two heaps: the one of yesterday is emptied slice by slice from its end, where taking an
element away leaves a heap a heap, and all it held goes to the one of today with a new key. At any
moment the first candidate is the first of the two.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from vocalsep_async._scheduling.queue_entry import QueueEntry

C = TypeVar("C", bound=QueueEntry)

_SLICE = 400
"""Keys that are computed in one go: some milliseconds."""


class PriceHeap(Generic[C]):
    """Candidates by key.

    Attributes:
        charged: the price, in seconds, at which keys are computed; 0 where looks cost nothing.
    """

    def __init__(self) -> None:
        self.charged = 0.0
        self._current: list[tuple[float, float, C]] = []
        self._stale: list[tuple[float, float, C]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, entry: C) -> None:
        """Enter *candidate*, or move it to where it belongs now."""
        if not entry.waits:
            self._count += 1
        self._place(entry)
        if len(self._current) > 2 * self._count + _SLICE and not self._stale:
            self.reprice(self.charged)

    def discard(self, entry: C) -> None:
        """Take *candidate* out, if it is in."""
        if entry.waits:
            self._count -= 1
            entry.heap_item = None

    def first(self) -> C | None:
        """The candidate whose moment comes first."""
        heaps = [heap for heap in (self._current, self._stale) if _has_first(heap)]
        return min(heap[0] for heap in heaps)[2] if heaps else None

    @property
    def is_repricing(self) -> bool:
        """Whether keys of before the last `reprice` are left."""
        return bool(self._stale)

    def reprice(self, price: float) -> None:
        """Compute all keys again at *price*, as far as one slice reaches; not while repricing."""
        self.charged = price
        self._stale, self._current = self._current, []
        self.reprice_slice()

    def reprice_slice(self) -> None:
        """Compute the next keys that are left from before the last `reprice`."""
        old = self._stale
        for _ in range(min(_SLICE, len(old))):
            heap_item = old.pop()
            if heap_item[2].heap_item is heap_item:
                self._place(heap_item[2])

    def _place(self, entry: C) -> None:
        heap_item = (entry.key_at(self.charged), entry.draw, entry)
        entry.heap_item = heap_item
        heapq.heappush(self._current, heap_item)


def _has_first(heap: list[tuple[float, float, C]]) -> bool:
    """Drop outdated entries; whether any is left."""
    while heap and heap[0][2].heap_item is not heap[0]:
        heapq.heappop(heap)
    return bool(heap)
