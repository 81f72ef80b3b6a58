"""The entries of a poll queue in the order in which they began to wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from vocalsep_async._scheduling.queue_entry import QueueEntry

E = TypeVar("E", bound=QueueEntry)


class WaitingOrder(Generic[E]):
    """Entries, the one with the longest wait first.

    An entry may be in one order at a time.
    """

    # A linked list whose links are slots of the entries: 16 bytes for each. An ordered dict takes
    # seven times as much, and a plain one finds its first key slowly after many were removed.

    def __init__(self) -> None:
        self._first: E | None = None
        self._last: E | None = None

    def __iter__(self) -> Iterator[E]:
        """Yield the entries; the order must not change meanwhile."""
        entry = self._first
        while entry is not None:
            yield entry
            entry = entry.after

    def append(self, entry: E) -> None:
        """Put *entry*, which is in no order, behind all others."""
        entry.before = self._last
        if self._last is None:
            self._first = entry
        else:
            self._last.after = entry
        self._last = entry

    def remove(self, entry: E) -> None:
        """Take out *entry*, which must be in this order."""
        before, after = entry.before, entry.after
        if before is None:
            self._first = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before
        # An entry that left must not keep its neighbours alive.
        entry.before = entry.after = None
