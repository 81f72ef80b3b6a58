"""Whom to look at next, of those who share one price.

While the budget has room for every look that is wanted, looks come when they are wanted. Where it
has not, a look costs the others something: the line's *price*, in expected undetected seconds. A
candidate is looked at once it is worth the price, and the price follows what looks turn out to be
worth: it is pulled towards the worth of each candidate that is taken, and falls while a slot finds
nobody who is worth it. So the candidate taken is nearly always the one that is worth most,
without comparing all of them at every slot.

Nobody is forgotten, whatever the model believes: of those who want a look, who was last looked at
more than ``max(60, 3 N / rate)`` seconds ago comes first, in order of waiting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vocalsep_async._scheduling.deadline_heap import DeadlineHeap
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.price_heap import PriceHeap
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._scheduling.ring import Ring

C = TypeVar("C", bound=QueueEntry)
C_co = TypeVar("C_co", bound=QueueEntry, covariant=True)

GUESSED_AGE = 120.0
"""Seconds; the age of a task while nobody says when it was created."""
_LOWEST_PRICE = 0.1
"""Seconds; looks that are worth less than this are no reason to hold others back."""
_PULL = 0.1
_FALL = 0.7
_PRICE_RANGE = (0.7, 1.4)
"""How far the price may move, as a factor, before keys are computed again."""
_KEYS_PER_LOOK = 10
"""Keys that one look may cost on average."""
_KEYS_PER_SECOND = 50
_PATIENCE = 60.0
_ROUNDS = 3
_MOST_PASSED_OVER = 10
"""Candidates that want nothing yet and are passed over in one go."""
_MOST_STEPS, _MOST_KEYS = 40, 1000
"""Steps to whom to take, and keys that they cost, before others may run."""


class Backlog(Protocol[C_co]):
    """Tasks that nobody looked at yet and whose age nobody knows, first come, first served.

    They stay outside the heap: all are worth about the same, and none of them moves the price.
    """

    def __len__(self) -> int:
        """How many there are."""

    def expected_delay(self, now: float) -> float:
        """Seconds for which the first of them may have been finished, unnoticed, by *now*."""

    def admit(self, now: float) -> C_co | None:
        """Take the first one out; None if it needs no look of its own."""


class PollQueue(Generic[C]):
    """Candidates that compete by what a look at them is worth.

    Args:
        draw: gives numbers uniform in [0, 1).
        limit: how many may be looked at, at once.
        newcomers: who else is to be looked at; None for nobody.

    Attributes:
        looking: how many are looked at now.
        is_open: whether it is still served.
    """

    def __init__(
        self,
        draw: Callable[[], float],
        *,
        limit: float = math.inf,
        backlog: Backlog[C] | None = None,
    ) -> None:
        self._draw = draw
        self._limit = limit
        self._backlog = backlog
        self._heap: PriceHeap[C] = PriceHeap()
        self._promises: DeadlineHeap[C] = DeadlineHeap()
        self._order: Ring[C] = Ring()
        self._price = 0.0
        self._priced_at = -math.inf
        self._models: dict[HazardModel, int] = {}
        """Models of those who wait, and the version that their keys are computed from."""
        self._polls = 0
        self.polling = 0
        self.is_open = True

    def __len__(self) -> int:
        """How many wait or are looked at, newcomers included."""
        fresh = 0 if self._backlog is None else len(self._backlog)
        return len(self._heap) + self.polling + fresh

    # Who waits

    def enter(self, entry: C) -> None:
        """Let *candidate* wait for its next look."""
        entry.draw = self._draw()
        entry.queue = self
        self._order.append(entry)
        self.move(entry)

    def move(self, entry: C) -> None:
        """What decides about *candidate*, who waits here, has changed."""
        self._models.setdefault(entry.model, entry.model.version)
        self._promises.make(entry)
        self._heap.push(entry)

    def leave(self, entry: C) -> None:
        """Take *candidate* out, if it waits here."""
        if entry.queue is self and entry.waits:
            self._heap.discard(entry)
            self._promises.break_off(entry)
            self._order.remove(entry)

    @property
    def price(self) -> float:
        """Seconds that a look must be worth, as keys are computed; 0 where looks cost nothing."""
        return self._heap.charged

    def done_polling(self) -> None:
        """A look at one who was taken is over."""
        self.polling -= 1

    # Whom to take

    def next_due(self, now: float) -> float:
        """When `take` may return somebody; infinity for not before something changes."""
        if self.polling >= self._limit:
            return math.inf
        if self._backlog or (self._heap.charged > 0 and self._heap):
            return now
        first, promised = self._heap.first(), self._promises.first()
        return min(
            math.inf if first is None else first.key,
            math.inf if promised is None else promised.latest,
            self._may_reprice_at() if self._is_outdated() else math.inf,
        )

    def take(self, now: float, rate: float) -> C | None:
        """Take out whom to look at now; None if nobody is worth it.

        Args:
            now: the clock.
            rate: looks per second that this line may expect.
        """
        if self.polling >= self._limit:
            return None
        chosen = self._promised(now) or self._starving(now, rate) or self._worthiest(now)
        if chosen is not None:
            self.leave(chosen)
            chosen.queue = self
            self.polling += 1
            self._polls += 1
        return chosen

    def _promised(self, now: float) -> C | None:
        """Whose latest moment has come."""
        first = self._promises.first()
        return first if first is not None and first.latest <= now else None

    def _starving(self, now: float, rate: float) -> C | None:
        """Who has waited too long, if anybody has."""
        patience = max(_PATIENCE, _ROUNDS * len(self) / rate)
        for _ in range(_MOST_PASSED_OVER):
            oldest = self._order.first()
            if oldest is None or now - oldest.waiting_since <= patience:
                return None
            if oldest.wants(0.0) <= now:
                return oldest
            self._order.append(oldest)
        return None

    def _worthiest(self, now: float) -> C | None:
        for _ in range(max(1, min(_MOST_STEPS, _MOST_KEYS // (1 + len(self._heap))))):
            first = self._heap.first()
            if self._backlog and _comes_before(self._backlog, first, now):
                newcomer = self._backlog.admit(now)
                if newcomer is not None:
                    return newcomer
            elif first is None:
                return None
            elif first.key <= now or (self._heap.charged > 0 and first.wants(0.0) <= now):
                return self._taken(first, now)
            elif self._heap.charged == 0 or not self._lower_price(now):
                return None
        return None

    # The price

    def _taken(self, entry: C, now: float) -> C:
        """Let the price follow what *candidate* is worth."""
        expected_delay = entry.expected_delay(now)
        self.leave(entry)
        if self._price > 0:
            self._price += _PULL * (expected_delay - self._price)
        elif expected_delay > _LOWEST_PRICE and self._is_short(now):
            self._price = expected_delay
        if self._price < _LOWEST_PRICE:
            self._price = 0.0
        return entry

    def _is_short(self, now: float) -> bool:
        """Whether somebody else wants a look at this moment, too."""
        first = self._heap.first()
        return first is not None and first.key <= now

    def _lower_price(self, now: float) -> bool:
        """Make looks cheaper, where nobody is worth one; whether that is done at once."""
        if self._heap.is_repricing:
            return False
        lower = _FALL * self._price
        self._price = lower if lower >= _LOWEST_PRICE else 0.0
        self._reprice(now)
        return not self._heap.is_repricing

    def tidy(self, now: float) -> bool:
        """Bring keys up to date, as far as one slice reaches; whether more is left."""
        if self._heap.is_repricing:
            self._heap.reprice_slice()
        elif self._is_outdated() and self._may_reprice(now):
            self._reprice(now)
        return self._heap.is_repricing

    def _is_outdated(self) -> bool:
        low, high = (factor * self._heap.charged for factor in _PRICE_RANGE)
        return not low <= self._price <= high or any(
            model.version != version for model, version in self._models.items()
        )

    def _may_reprice(self, now: float) -> bool:
        enough = self._polls * _KEYS_PER_LOOK >= len(self._heap)
        return enough or now >= self._may_reprice_at()

    def _may_reprice_at(self) -> float:
        return self._priced_at + len(self._heap) / _KEYS_PER_SECOND

    def _reprice(self, now: float) -> None:
        self._models = {model: model.version for model in self._models}
        self._priced_at, self._polls = now, 0
        self._heap.reprice(self._price)


def _comes_before(backlog: Backlog[C], first: C | None, now: float) -> bool:
    """Whether a newcomer is looked at before *first*, of those who were looked at before."""
    if first is None or first.wants(0.0) > now:
        return True
    return first.expected_delay(now) < backlog.expected_delay(now)
