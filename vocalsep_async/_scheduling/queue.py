"""The queue of the tasks of one batch, or of all single waits: which of them is polled next.

While the rate limit has room for every poll that a policy wants, each entry is polled when its
policy wants it. When it has not, a poll costs the other entries something: the *price* of the
queue, an expected delay in seconds (see `hazards`). An entry is due once its own expected delay has
reached the price. The price follows the polls: each one pulls it towards the expected delay of the
entry polled, and it falls while no entry wants a free slot. So the entry taken is nearly always the
one with the largest expected delay, without a comparison of all entries.

No entry starves, whatever the models predict: an entry that wants a poll and was last polled more
than ``max(60, 3 N / rate)`` seconds ago takes precedence, longest wait first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from vocalsep_async._scheduling.callbacks import CallbackLosses
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.heaps import DeadlineHeap, PriceHeap, WaitingOrder
from vocalsep_async._scheduling.load import Load
from vocalsep_async._scheduling.queue_entry import QueueEntry

E = TypeVar("E", bound=QueueEntry)
E_co = TypeVar("E_co", bound=QueueEntry, covariant=True)

_LOWEST_PRICE = 0.1
"""Seconds; an expected delay below this is no reason to hold other polls back."""
_PULL = 0.1
"""Share of its distance to the expected delay of a polled entry by which the price moves."""
_FALL = 0.7
"""Factor by which the price falls when no entry wants a free slot."""
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
_MAX_ASKED = 10
"""Entries that have waited longest and are asked in one call whether they want a poll."""
_SAMPLED = 20
"""Entries that are learned from at each end of a task, where they await their callbacks."""
_MAX_ADMITTED = 40
"""Backlog tasks that are admitted in one call, as long as none of them needs a poll."""


class Backlog(Protocol[E_co]):
    """Tasks of unknown age that were never polled, first come, first served."""

    # They stay outside the heaps: their expected delays differ little, so a key for each would
    # cost memory and order nothing; and they do not move the price.

    def __len__(self) -> int:
        """Number of tasks."""

    def expected_delay(self, now: float) -> float:
        """Expected seconds for which the first task has been finished, unnoticed, by *now*."""

    def delay_growth(self, now: float) -> float:
        """Seconds by which its expected delay grows each second; see `QueueEntry.delay_growth`."""

    def admit(self, now: float) -> E_co | None:
        """Remove the first task and return its entry; None if it needs no poll of its own."""


class Choice(NamedTuple, Generic[E]):
    """What gets a slot.

    Attributes:
        candidate: an entry, or the backlog, whose first task it is then.
        must: whether it gets the slot at any price: a deadline has come, or an entry starves.
    """

    candidate: E | Backlog[E]
    must: bool


class Yielding(NamedTuple):
    """When a queue passes its turn, because a poll of another queue is much more urgent.

    Attributes:
        share: of the expected delay of the most urgent poll, which a poll has to reach.
        limit: expected delay in seconds that is enough in any case.
    """

    share: float
    limit: float = math.inf

    def bar(self, best: float) -> float:
        """The expected delay with which a queue takes its turn, if *best* is the highest one."""
        return min(self.share * best, self.limit)


class PollQueue(Generic[E]):
    """Entries that compete for polls by expected delay.

    Args:
        draw: returns random numbers, uniform in [0, 1).
        limit: maximum number of polls in flight.
        backlog: tasks that were never polled, which compete too; None for none.
        yields: when it passes its turn; by default never.
        load: of the queues that share the rate limit; None for this one alone.
        losses: of the callbacks of its entries; None if they expect none.

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
        yields: Yielding = Yielding(0.0),  # noqa: B008 - a frozen value
        load: Load | None = None,
        losses: CallbackLosses | None = None,
    ) -> None:
        self.yields = yields
        self._losses = losses or CallbackLosses()
        self._share: float | None = None
        """The share of lost callbacks in the keys; None while none of them depends on it."""
        self._load = load or Load()
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
        self.update(entry)
        self._order.append(entry)

    def update(self, entry: E) -> None:
        """Move *entry*, which waits here, after a change to what decides about its next poll."""
        # Models stay listed after their last entry has left: a table has only four.
        self._model_versions.setdefault(entry.model, entry.model.version)
        if entry.awaits_callback and self._share is None:
            self._share = self.loss_share
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

    @property
    def loss_share(self) -> float:
        """The probability that a callback gets lost."""
        return self._losses.share

    @property
    def callback_cost(self) -> float:
        """Expected delay in seconds that a poll must be worth beside a callback; 0 for any."""
        return self._losses.cost

    def has_spare(self, now: float) -> bool:
        """Whether slots are left unused, so that more polls take none from other tasks."""
        return self._heap.price == 0 and self._load.is_low(now)

    def end_poll(self) -> bool:
        """Count one poll less in flight; return whether the limit held other polls back.

        The entry taken does not return by itself.
        """
        was_full = self.in_flight >= self._limit
        self.in_flight -= 1
        return was_full

    def observe_uncalled(self, now: float) -> None:
        """Learn from some entries whose callbacks have not come."""
        if self._share is None or not self._heap:
            return
        # A sample, because all of a big batch would take milliseconds at each end of a task.
        for entry in self._heap.sample(_SAMPLED, self._draw):
            if entry.awaits_callback:
                entry.observe_uncalled(now)

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

    def choose(self, now: float, rate: float) -> Choice[E] | None:
        """What `take` would take at *now*; None if it would take nothing. Nothing changes.

        Only a backlog task that proves to need no poll makes `take` go on to the next choice.

        Args:
            now: the present moment.
            rate: polls per second that this queue may expect.
        """
        if self.in_flight >= self._limit:
            return None
        return self._choose(now, self._overlong(now, rate))[0]

    def worth(self, now: float, rate: float) -> float:
        """Expected delay in seconds of what `choose` returns.

        0 if it returns nothing, infinity for what gets the slot at any price.
        """
        choice = self.choose(now, rate)
        if choice is None:
            return 0.0
        return math.inf if choice.must else choice.candidate.expected_delay(now)

    def take(self, now: float, rate: float) -> E | None:
        """Remove and return the entry to poll at *now*; None if no entry is due.

        Args:
            now: the present moment.
            rate: polls per second that this queue may expect.
        """
        if self.in_flight >= self._limit:
            return None
        for _ in range(_MAX_ADMITTED):
            overlong = self._overlong(now, rate)
            choice, unwilling = self._choose(now, overlong)
            self._pass_over(overlong[:unwilling])
            if choice is None:
                self._lower_price(now)
                return None
            entry = self._entry_of(choice, now)
            if entry is not None:
                entry.queue = self
                self.in_flight += 1
                self._polls_since_pricing += 1
                return entry
        return None

    def _choose(self, now: float, overlong: list[E]) -> tuple[Choice[E] | None, int]:
        """What gets the slot, and how many of the first of *overlong* want no poll yet."""
        # A deadline has no second chance; an entry that starves gets the poll after it.
        overdue = self._overdue(now)
        if overdue is not None:
            return Choice(overdue, must=True), 0
        for unwilling, entry in enumerate(overlong):
            if entry.wants(0.0) <= now:
                return Choice(entry, must=True), unwilling
        candidate = self._most_delayed(now)
        choice = None if candidate is None else Choice(candidate, must=False)
        return choice, len(overlong)

    def _overdue(self, now: float) -> E | None:
        """The entry with the earliest deadline, if that has come."""
        first = self._deadlines.first()
        return first if first is not None and first.latest <= now else None

    def _overlong(self, now: float, rate: float) -> list[E]:
        """The entries whose waits are so long that they starve, if they want a poll; a few."""
        patience = max(_PATIENCE, _ROUNDS * len(self) / rate)
        overlong: list[E] = []
        entry = self._order.first
        while entry is not None and now - entry.waiting_since > patience:
            overlong.append(entry)
            entry = entry.after if len(overlong) < _MAX_ASKED else None
        return overlong

    def _most_delayed(self, now: float) -> E | Backlog[E] | None:
        """The backlog, or the entry to poll next; None if no poll is wanted."""
        first = self._heap.first()
        if self._backlog and _precedes(self._backlog, first, now):
            return self._backlog
        if first is None or first.key <= now:
            return first
        if self._heap.price == 0:
            return None
        # No entry is due at this price, but better one of them than an unused slot: the first one
        # has nearly reached the price, and behind it a long wait decides.
        if first.wants(0.0) <= now:
            return first
        return _first_wanting(islice(self._order, _MAX_ASKED), now)

    def _pass_over(self, unwilling: list[E]) -> None:
        """Move the entries that want no poll yet to the end of the order of waiting."""
        # Their policies want long gaps: at the end they do not hide the entries behind them.
        for entry in unwilling:
            self._order.remove(entry)
            self._order.append(entry)

    def _entry_of(self, choice: Choice[E], now: float) -> E | None:
        """Remove the chosen entry; None for a backlog task that needs no poll."""
        if not isinstance(choice.candidate, QueueEntry):
            self._follow_first(now)
            return choice.candidate.admit(now)
        self.remove(choice.candidate)
        # A deadline and a long wait say nothing about the other entries.
        if not choice.must:
            self._move_price(choice.candidate.expected_delay(now), now)
        return choice.candidate

    # Price

    def _move_price(self, expected_delay: float, now: float) -> None:
        """Move the price towards the *expected_delay* of the entry taken."""
        # The entry has been removed, so that `_is_short` compares with the other ones only.
        if self._price > 0:
            self._price += _PULL * (expected_delay - self._price)
        elif expected_delay > _LOWEST_PRICE and self._is_short(now):
            self._price = expected_delay
        if self._price < _LOWEST_PRICE:
            self._price = 0.0

    def _follow_first(self, now: float) -> None:
        """Move the price towards the expected delay of a due entry whose slot the backlog gets."""
        # Without a price the heap is ordered by what policies want. Then the backlog would be
        # compared with an entry polled just now, and never with one that is much more urgent.
        first = self._heap.first()
        if first is None or first.key > now:
            return
        expected_delay = first.expected_delay(now)
        if self._price > 0:
            self._price += _PULL * (expected_delay - self._price)
        elif expected_delay > _LOWEST_PRICE:
            self._price = expected_delay

    def _is_short(self, now: float) -> bool:
        """Whether another entry is due for the same slot."""
        first = self._heap.first()
        return first is not None and first.key <= now

    def _lower_price(self, now: float) -> None:
        """Lower the price, because no entry that was asked wants a free slot."""
        if self._heap.price == 0 or self._heap.is_repricing:
            return
        lower = _FALL * self._price
        were_all_asked = len(self._heap) <= _MAX_ASKED
        self._price = 0.0 if were_all_asked or lower < _LOWEST_PRICE else lower
        self._reprice(now)

    def refresh(self, now: float) -> bool:
        """Compute one slice of the outdated keys; whether more are left to compute now."""
        if self._heap.is_repricing:
            self._heap.reprice_slice()
        elif self._is_outdated() and self._may_reprice(now):
            self._reprice(now)
        else:
            return False
        return self._heap.is_repricing

    def _is_outdated(self) -> bool:
        if not _is_near(self._price, self._heap.price):
            return True
        if self._share is not None and not _is_near(self.loss_share, self._share):
            return True
        return any(model.version != version for model, version in self._model_versions.items())

    def _may_reprice(self, now: float) -> bool:
        # The processor time of computing all keys has to be earned, by polls or by time.
        enough = self._polls_since_pricing * _KEYS_PER_POLL >= len(self._heap)
        return enough or now >= self._may_reprice_at()

    def _may_reprice_at(self) -> float:
        return self._priced_at + len(self._heap) / _KEYS_PER_SECOND

    def _reprice(self, now: float) -> None:
        self._model_versions = {model: model.version for model in self._model_versions}
        self._priced_at, self._polls_since_pricing = now, 0
        if self._share is not None:
            self._share = self.loss_share
        self._heap.reprice(self._price)


def _is_near(price: float, in_keys: float) -> bool:
    """Whether keys that were computed with one price are good enough for another one."""
    low, high = _PRICE_RANGE
    return low * in_keys <= price <= high * in_keys


def _first_wanting(entries: Iterable[E], now: float) -> E | None:
    """The first of *entries* whose policy wants a poll by *now*, whatever the price is."""
    for entry in entries:
        if entry.wants(0.0) <= now:
            return entry
    return None


def _precedes(backlog: Backlog[E], first: E | None, now: float) -> bool:
    """Whether the backlog comes before *first*, the first of the entries polled before."""
    if first is None or first.wants(0.0) > now:
        return True
    return first.expected_delay(now) < backlog.expected_delay(now)
