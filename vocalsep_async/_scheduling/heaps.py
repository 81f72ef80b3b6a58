"""The three orders of a poll queue.

There are two heaps, by the moment an entry reaches the price and by deadline, and a list by wait.
The heaps delete lazily. An entry points at its one valid heap item; an item to which its entry no
longer points is outdated, and is dropped when it comes to the top or when outdated items
outnumber the valid ones.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from vocalsep_async._scheduling.queue_entry import QueueEntry

E = TypeVar("E", bound=QueueEntry)

_SLICE = 400
"""Keys that are computed in one call: a few milliseconds."""
_SLACK = 64
"""Outdated items of a `DeadlineHeap` that are kept in any case: compacting costs more."""


class PriceHeap(Generic[E]):
    """Entries by key: the moment at which an entry is wanted and has reached the price.

    A change of the price, or of a duration model, makes every key outdated.

    Attributes:
        price: expected delay in seconds that an entry must reach, as the keys are computed; 0
            while every poll that is wanted can be sent.
    """

    # Computing 100,000 keys takes most of a second, too long for one turn of the event loop. So
    # there are two heaps. Repricing makes the current heap the stale one and empties it slice by
    # slice into a new current heap. It takes items from the end of the list, because a heap
    # without its last item is still a heap. The first entry is always the smaller top of the two.

    def __init__(self) -> None:
        self.price = 0.0
        self._current: list[tuple[float, float, E]] = []
        self._stale: list[tuple[float, float, E]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, entry: E) -> None:
        """Insert *entry*, or move it to the place of its present key."""
        if not entry.waits:
            self._count += 1
        self._place(entry)
        # Repricing drops outdated items; while it is under way it does so already.
        if len(self._current) > 2 * self._count + _SLICE and not self._stale:
            self.reprice(self.price)

    def discard(self, entry: E) -> None:
        """Remove *entry* if it is present."""
        if entry.waits:
            self._count -= 1
            entry.heap_item = None

    def first(self) -> E | None:
        """The entry with the smallest key; None if the heap is empty."""
        heaps = [heap for heap in (self._current, self._stale) if _has_valid_top(heap)]
        return min(heap[0] for heap in heaps)[2] if heaps else None

    def sample(self, count: int, draw: Callable[[], float]) -> Iterator[E]:
        """Yield about *count* entries at random, with repetitions."""
        # While keys are computed again, the entries are in two heaps. Most items may be outdated.
        heap = self._stale or self._current
        for _ in range(round(count * len(heap) / max(1, self._count))):
            heap_item = heap[int(draw() * len(heap))]
            if heap_item[2].heap_item is heap_item:
                yield heap_item[2]

    @property
    def is_repricing(self) -> bool:
        """Whether keys from before the last `reprice` are left."""
        return bool(self._stale)

    def reprice(self, price: float) -> None:
        """Begin to compute all keys at *price*, with a first slice.

        Must not be called while `is_repricing`.
        """
        self.price = price
        self._stale, self._current = self._current, []
        self.reprice_slice()

    def reprice_slice(self) -> None:
        """Compute the next slice of the keys from before the last `reprice`."""
        stale = self._stale
        for _ in range(min(_SLICE, len(stale))):
            heap_item = stale.pop()
            if heap_item[2].heap_item is heap_item:
                self._place(heap_item[2])

    def _place(self, entry: E) -> None:
        heap_item = (entry.key_at(self.price), entry.draw, entry)
        entry.heap_item = heap_item
        heapq.heappush(self._current, heap_item)


class DeadlineHeap(Generic[E]):
    """Entries with a `QueueEntry.latest`, earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, E]] = []
        self._count = 0

    def push(self, entry: E) -> None:
        """Insert *entry*, or move it to its present deadline; without one, remove it."""
        deadline_item = entry.deadline_item
        if deadline_item is not None and deadline_item[0] == entry.latest:
            return
        self.discard(entry)
        if not math.isinf(entry.latest):
            deadline_item = (entry.latest, entry.draw, entry)
            entry.deadline_item = deadline_item
            self._count += 1
            heapq.heappush(self._heap, deadline_item)
            self._compact()

    def discard(self, entry: E) -> None:
        """Remove *entry* if it is present."""
        if entry.deadline_item is not None:
            entry.deadline_item = None
            self._count -= 1

    def first(self) -> E | None:
        """The entry with the earliest deadline; None if no entry has one."""
        while self._heap and self._heap[0][2].deadline_item is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def _compact(self) -> None:
        if len(self._heap) > 2 * self._count + _SLACK:
            self._heap = [item for item in self._heap if item[2].deadline_item is item]
            heapq.heapify(self._heap)


class WaitingOrder(Generic[E]):
    """Entries, the one with the longest wait first.

    An entry may be in one order at a time.

    Attributes:
        first: the entry with the longest wait; None if there is none.
    """

    # A linked list whose links are slots of the entries: 16 bytes for each. An ordered dict takes
    # seven times as much, and a plain one finds its first key slowly after many were removed.

    def __init__(self) -> None:
        self.first: E | None = None
        self._last: E | None = None

    def __iter__(self) -> Iterator[E]:
        """Yield the entries; the order must not change meanwhile."""
        entry = self.first
        while entry is not None:
            yield entry
            entry = entry.after

    def append(self, entry: E) -> None:
        """Put *entry*, which is in no order, behind all others."""
        entry.before = self._last
        if self._last is None:
            self.first = entry
        else:
            self._last.after = entry
        self._last = entry

    def remove(self, entry: E) -> None:
        """Take out *entry*, which must be in this order."""
        before, after = entry.before, entry.after
        if before is None:
            self.first = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before
        # An entry that left must not keep its neighbours alive.
        entry.before = entry.after = None


def _has_valid_top(heap: list[tuple[float, float, E]]) -> bool:
    """Drop outdated items from the top of *heap*; whether a valid one is left."""
    while heap and heap[0][2].heap_item is not heap[0]:
        heapq.heappop(heap)
    return bool(heap)
