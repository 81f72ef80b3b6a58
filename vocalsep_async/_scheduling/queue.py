"""The queue of the tasks of one batch, or of all single waits: which of them is polled next.

While the rate limit has room for every poll that a policy wants, each entry is polled when its
policy wants it. When it has not, a poll costs the other entries something: the *price* of the
queue, an expected delay in seconds (see `hazards`). An entry is due once its own expected delay has
reached the price. The price follows the polls: each one pulls it towards the expected delay of the
entry polled, and it falls while no entry is due for a free slot. So the entry taken is nearly
always the one with the largest expected delay, without a comparison of all entries.

No entry starves, whatever the models predict: an entry that wants a poll and was last polled more
than ``max(60, 3 N / rate)`` seconds ago takes precedence, longest wait first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.heaps import DeadlineHeap, PriceHeap
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._scheduling.waiting_order import WaitingOrder

E = TypeVar("E", bound=QueueEntry)
E_co = TypeVar("E_co", bound=QueueEntry, covariant=True)

GUESSED_AGE = 120.0
"""Seconds; the assumed age of a task whose time of creation is not known."""
_LOWEST_PRICE = 0.1
"""Seconds; an expected delay below this is no reason to hold other polls back."""
_PULL = 0.1
"""Share of its distance to the expected delay of a polled entry by which the price moves."""
_FALL = 0.7
"""Factor by which the price falls when no entry is due."""
_PRICE_RANGE = (0.7, 1.4)
"""Bounds of the price, as factors of the one in the keys, beyond which keys are computed again."""
_KEYS_PER_POLL = 10
"""Keys that may be computed for each poll, on average."""
_KEYS_PER_SECOND = 50
"""Keys that may be computed each second, however few polls are sent."""
_PATIENCE = 60.0
"""Seconds after which a wait may count as starvation."""
_ROUNDS = 3
"""Times that every entry could have been polled during a wait that counts as starvation."""
_MAX_PASSED_OVER = 10
"""Starving entries that want no poll yet and are passed over in one call."""
_MAX_STEPS, _MAX_KEYS = 40, 1000
"""Steps of one search for an entry, and keys computed in it, before the event loop must run."""


class Backlog(Protocol[E_co]):
    """Tasks of unknown age that were never polled, first come, first served."""

    # They stay outside the heaps: their expected delays differ little, so a key for each would
    # cost memory and order nothing; and they do not move the price.

    def __len__(self) -> int:
        """Number of tasks."""

    def expected_delay(self, now: float) -> float:
        """Expected seconds for which the first task has been finished, unnoticed, by *now*."""

    def admit(self, now: float) -> E_co | None:
        """Remove the first task and return its entry; None if it needs no poll of its own."""


class PollQueue(Generic[E]):
    """Entries that compete for polls by expected delay.

    Args:
        draw: returns random numbers, uniform in [0, 1).
        limit: maximum number of polls in flight.
        backlog: tasks that were never polled, which compete too; None for none.

    Attributes:
        in_flight: number of polls in flight.
        is_open: whether the scheduler still serves the queue.
    """

    def __init__(
        self,
        draw: Callable[[], float],
        *,
        limit: float = math.inf,
        backlog: Backlog[E] | None = None,
    ) -> None:
        self._draw = draw
        self._limit = limit
        self._backlog = backlog
        self._heap: PriceHeap[E] = PriceHeap()
        self._deadlines: DeadlineHeap[E] = DeadlineHeap()
        self._order: WaitingOrder[E] = WaitingOrder()
        self._price = 0.0
        self._priced_at = -math.inf
        self._model_versions: dict[HazardModel, int] = {}
        """Models of the entries, with the version from which the keys are computed."""
        self._polls_since_pricing = 0
        self.in_flight = 0
        self.is_open = True

    def __len__(self) -> int:
        """Number of entries that wait or are being polled, backlog included."""
        fresh = 0 if self._backlog is None else len(self._backlog)
        return len(self._heap) + self.in_flight + fresh

    # Entries

    def push(self, entry: E) -> None:
        """Let *entry*, which waits in no queue, wait for its next poll."""
        entry.draw = self._draw()
        entry.queue = self
        self._order.append(entry)
        self.update(entry)

    def update(self, entry: E) -> None:
        """Move *entry*, which waits here, after a change to what decides about its next poll."""
        # Models stay listed after their last entry has left: a table has only four.
        self._model_versions.setdefault(entry.model, entry.model.version)
        self._deadlines.push(entry)
        self._heap.push(entry)

    def remove(self, entry: E) -> None:
        """Remove *entry* if it waits here."""
        # An entry that was taken, or has moved to another queue, may be removed once more.
        if entry.queue is self and entry.waits:
            self._heap.discard(entry)
            self._deadlines.discard(entry)
            self._order.remove(entry)

    @property
    def price(self) -> float:
        """Price in the keys, in seconds of expected delay; 0 while every wanted poll has a slot."""
        return self._heap.price

    def end_poll(self) -> None:
        """Count one poll less in flight; the entry taken does not return by itself."""
        self.in_flight -= 1

    # Next poll

    def next_due(self, now: float) -> float:
        """Earliest moment at which `take` may return an entry; infinity for not before a change."""
        if self.in_flight >= self._limit:
            return math.inf
        # At a price, a free slot lowers it: `take` has to be called even if no entry is due.
        if self._backlog or (self._heap.price > 0 and self._heap):
            return now
        first, urgent = self._heap.first(), self._deadlines.first()
        return min(
            math.inf if first is None else first.key,
            math.inf if urgent is None else urgent.latest,
            self._may_reprice_at() if self._is_outdated() else math.inf,
        )

    def take(self, now: float, rate: float) -> E | None:
        """Remove and return the entry to poll at *now*; None if no entry is due.

        Args:
            now: the present moment.
            rate: polls per second that this queue may expect.
        """
        if self.in_flight >= self._limit:
            return None
        # A deadline has no second chance; an entry that starves gets the poll after it.
        chosen = self._overdue(now) or self._starving(now, rate) or self._most_delayed(now)
        if chosen is not None:
            self.remove(chosen)
            chosen.queue = self
            self.in_flight += 1
            self._polls_since_pricing += 1
        return chosen

    def _overdue(self, now: float) -> E | None:
        """The entry with the earliest deadline, if that has come."""
        first = self._deadlines.first()
        return first if first is not None and first.latest <= now else None

    def _starving(self, now: float, rate: float) -> E | None:
        """The entry with the longest wait, if it is too long and the entry wants a poll."""
        patience = max(_PATIENCE, _ROUNDS * len(self) / rate)
        for _ in range(_MAX_PASSED_OVER):
            oldest = next(iter(self._order), None)
            if oldest is None or now - oldest.waiting_since <= patience:
                return None
            if oldest.wants(0.0) <= now:
                return oldest
            # Its policy wants a long gap: at the end it does not hide the entries behind it.
            self._order.remove(oldest)
            self._order.append(oldest)
        return None

    def _most_delayed(self, now: float) -> E | None:
        """The first entry or backlog task that is due, at a lower price if need be."""
        # Each step may compute a slice of keys, so the steps are bounded by the number of keys.
        for _ in range(max(1, min(_MAX_STEPS, _MAX_KEYS // (1 + len(self._heap))))):
            first = self._heap.first()
            if self._backlog and _precedes(self._backlog, first, now):
                admitted = self._backlog.admit(now)
                if admitted is not None:
                    return admitted
            elif first is None:
                return None
            elif first.key <= now or (self._heap.price > 0 and first.wants(0.0) <= now):
                return self._taken(first, now)
            elif self._heap.price == 0 or not self._lower_price(now):
                return None
        return None

    # Price

    def _taken(self, entry: E, now: float) -> E:
        """Move the price towards the expected delay of *entry*, which gets the slot."""
        expected_delay = entry.expected_delay(now)
        # Removed first, so that `_is_short` compares with the other entries only.
        self.remove(entry)
        if self._price > 0:
            self._price += _PULL * (expected_delay - self._price)
        elif expected_delay > _LOWEST_PRICE and self._is_short(now):
            self._price = expected_delay
        if self._price < _LOWEST_PRICE:
            self._price = 0.0
        return entry

    def _is_short(self, now: float) -> bool:
        """Whether another entry is due for the same slot."""
        first = self._heap.first()
        return first is not None and first.key <= now

    def _lower_price(self, now: float) -> bool:
        """Lower the price; whether all keys hold the lower price already."""
        if self._heap.is_repricing:
            return False
        lower = _FALL * self._price
        self._price = lower if lower >= _LOWEST_PRICE else 0.0
        self._reprice(now)
        return not self._heap.is_repricing

    def refresh(self, now: float) -> bool:
        """Compute one slice of the outdated keys; whether more are left to compute now."""
        if self._heap.is_repricing:
            self._heap.reprice_slice()
        elif self._is_outdated() and self._may_reprice(now):
            self._reprice(now)
        return self._heap.is_repricing

    def _is_outdated(self) -> bool:
        low, high = (factor * self._heap.price for factor in _PRICE_RANGE)
        return not low <= self._price <= high or any(
            model.version != version for model, version in self._model_versions.items()
        )

    def _may_reprice(self, now: float) -> bool:
        # The processor time of computing all keys has to be earned, by polls or by time.
        enough = self._polls_since_pricing * _KEYS_PER_POLL >= len(self._heap)
        return enough or now >= self._may_reprice_at()

    def _may_reprice_at(self) -> float:
        return self._priced_at + len(self._heap) / _KEYS_PER_SECOND

    def _reprice(self, now: float) -> None:
        self._model_versions = {model: model.version for model in self._model_versions}
        self._priced_at, self._polls_since_pricing = now, 0
        self._heap.reprice(self._price)


def _precedes(backlog: Backlog[E], first: E | None, now: float) -> bool:
    """Whether the backlog comes before *first*, the first of the entries polled before."""
    if first is None or first.wants(0.0) > now:
        return True
    return first.expected_delay(now) < backlog.expected_delay(now)
