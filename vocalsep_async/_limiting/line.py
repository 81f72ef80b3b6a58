"""The line of those that wait for the next slot of one budget, and whose turn it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import takewhile

_YIELD = 0.6
"""A place passes its turn while it is worth less than this share of the best one: as the queues of
one client do."""
_MOST_PASSES = 8
"""Slots that later places may get before a place; then it passes no more."""


class Place:
    """One that waits for a slot.

    Attributes:
        is_absent: whether it did not come when it was its turn; it is passed over until it comes.
        called_at: when it was told that it is its turn; None if it was not, or has come since.
        passes: slots that later places got while it waited.
    """

    __slots__ = ("_bid_at", "_growth", "_must", "_worth", "called_at", "is_absent", "passes")

    def __init__(self) -> None:
        # Without a bid it comes in the order of arrival.
        self.bid(0.0, 0.0, must=True, now=0.0)
        self.called_at: float | None = None
        self.is_absent = False
        self.passes = 0

    def bid(self, worth: float, growth: float, *, must: bool, now: float) -> None:
        """Say what the slot is worth; see `vocalsep_async.Bid`."""
        self._worth, self._growth, self._must, self._bid_at = worth, growth, must, now

    def worth(self, now: float) -> float:
        """What the slot is worth; infinity where it must have it."""
        if self._must or self.passes >= _MOST_PASSES:
            return math.inf
        return self._worth + self._growth * (now - self._bid_at)


class Line:
    """Places in the order of arrival.

    The first place gets the slot, unless a later one is worth much more. So clients take turns, and
    one with nothing urgent gives way to one with tasks that have probably ended.
    """

    def __init__(self) -> None:
        self._places: dict[Place, None] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, place: Place) -> bool:
        return place in self._places

    def append(self, place: Place) -> None:
        """Let *place* wait behind all others."""
        self._places[place] = None

    def remove(self, place: Place) -> None:
        """Let *place* wait no longer; it may have left before."""
        self._places.pop(place, None)

    def take_turn(self, place: Place) -> None:
        """Let *place* leave with a slot."""
        for passed in takewhile(lambda each: each is not place, self._present()):
            passed.passes += 1
        self.remove(place)

    @property
    def leader(self) -> Place | None:
        """The first place that is not absent: it watches the time for all; None without one."""
        return next(self._present(), None)

    def ahead(self, place: Place) -> int:
        """Number of places before *place* that are not absent."""
        return next(number for number, each in enumerate(self._present()) if each is place)

    def next(self, now: float) -> Place | None:
        """Whose turn it is; None if all are absent."""
        worths = {place: place.worth(now) for place in self._present()}
        best = max(worths.values(), default=0.0)
        bar = best if math.isinf(best) else _YIELD * best
        return next((place for place, worth in worths.items() if worth >= bar), None)

    def _present(self) -> Iterator[Place]:
        # A copy: what the garbage collector ends may leave the line at any moment.
        return (place for place in tuple(self._places) if not place.is_absent)
