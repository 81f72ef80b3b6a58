"""A peek returns what the next slot would be used for, and changes nothing."""

import itertools
import math
import random
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scheduling.entries import (
    FAST,
    SLOW,
    TYPICAL,
    FakeBacklog,
    IntervalEntry,
    random_entries,
    slot_times,
)

from vocalsep_async._scheduling import heaps
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.scheduler import NextPoll, Scheduler

T = TypeVar("T")
LIMITS = st.sampled_from([1, 3, math.inf])


class TrueBacklog(FakeBacklog):
    """A backlog that has the expected delay of its first task."""

    def expected_delay(self, now: float) -> float:
        first = self.entries[0]
        return 0.0 if first is None else first.expected_delay(now)

    def delay_growth(self, now: float) -> float:
        first = self.entries[0]
        return 1.0 if first is None else first.delay_growth(now)


class Schedule:
    """A scheduler with all that belongs to it; two with the same events are in the same state."""

    def __init__(self, limits: list[float], prices: list[float]) -> None:
        self.models = [HazardModel(5), HazardModel(65), HazardModel(7200)]
        self.scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
        self.backlogs = [TrueBacklog() for _ in limits]
        self.queues = [
            self.scheduler.queue(limit=limit, backlog=backlog)
            for limit, backlog in zip(limits, self.backlogs, strict=True)
        ]
        for queue, price in zip(self.queues, prices, strict=True):
            queue._price = price
        self.entries: list[IntervalEntry] = []

    def entry(self, which: int, age: float, gap: float, now: float) -> IntervalEntry:
        entry = IntervalEntry(self.models[which], created=now - age, began=now, gap=gap)
        self.entries.append(entry)
        return entry

    def push(self, where: int, which: int, age: float, gap: float, now: float) -> None:
        self.queues[where].push(self.entry(which, age, gap, now))

    def add(self, where: int, which: int, now: float, *, is_wanted: bool) -> None:
        entry = self.entry(which, 120.0, 1.0, now)
        self.backlogs[where].entries.append(entry if is_wanted else None)

    def poll_by(self, number: int, moment: float) -> None:
        entry = self.entries[number]
        entry.latest = min(entry.latest, moment)
        queue_of(entry).update(entry)

    def remove(self, number: int) -> None:
        queue_of(self.entries[number]).remove(self.entries[number])

    def take(self, now: float, rate: float) -> int | None:
        entry = self.scheduler.take(now, rate)
        return None if entry is None else self.entries.index(entry)

    def answer(self, number: int, sent: float, *, still_runs: bool) -> None:
        entry = self.entries[number]
        queue_of(entry).end_poll()
        if still_runs:
            entry.on_pending(sent)
            entry.latest = math.inf
            queue_of(entry).push(entry)


def queue_of(entry: IntervalEntry) -> PollQueue[IntervalEntry]:
    assert isinstance(entry.queue, PollQueue)
    return entry.queue


class PeekMachine(RuleBasedStateMachine):
    """One of two schedules with the same events is peeked at; both take the same entries."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(heaps, "_SLICE", 3)
        self.now, self.rate = 1000.0, 2.0
        self.in_flight: dict[int, float] = {}

    def teardown(self) -> None:
        self.patch.undo()

    @initialize(
        limits=st.lists(LIMITS, min_size=1, max_size=3),
        prices=st.lists(st.sampled_from([0.0, 0.5, 20.0]), min_size=3, max_size=3),
    )
    def open(self, limits: list[float], prices: list[float]) -> None:
        self.peeked, self.other = (
            Schedule(limits, prices[: len(limits)]) for _ in ("peeked", "other")
        )

    def both(self, change: Callable[[Schedule], T]) -> T:
        """Make the same change to both schedules, with the same result."""
        result = change(self.peeked)
        assert change(self.other) == result
        return result

    def waiting(self) -> list[int]:
        return [number for number, entry in enumerate(self.peeked.entries) if entry.waits]

    @rule(
        where=st.integers(0, 2),
        which=st.integers(0, 2),
        age=st.sampled_from([0, 5, 60, 900]),
        gap=st.integers(0, 90),
        times=st.sampled_from([1, 12]),
    )
    def push(self, where: int, which: int, age: float, gap: float, times: int) -> None:
        where %= len(self.peeked.queues)
        for number in range(times):
            self.both(lambda each: each.push(where, which, age + number, gap, self.now))  # noqa: B023

    @rule(where=st.integers(0, 2), which=st.integers(0, 2), is_wanted=st.booleans())
    def add(self, where: int, which: int, *, is_wanted: bool) -> None:
        where %= len(self.peeked.queues)
        self.both(lambda each: each.add(where, which, self.now, is_wanted=is_wanted))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), soon=st.integers(0, 30))
    def poll_soon(self, data: st.DataObject, soon: int) -> None:
        number = data.draw(st.sampled_from(self.waiting()))
        self.both(lambda each: each.poll_by(number, self.now + soon))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.waiting()))
        self.both(lambda each: each.remove(number))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), still_runs=st.booleans())
    def answer(self, data: st.DataObject, *, still_runs: bool) -> None:
        number = data.draw(st.sampled_from(list(self.in_flight)))
        sent = self.in_flight.pop(number)
        self.both(lambda each: each.answer(number, sent, still_runs=still_runs))

    @rule(which=st.integers(0, 2), duration=st.integers(1, 7000))
    def learn(self, which: int, duration: int) -> None:
        self.both(lambda each: each.models[which].observe_completion(0.0, duration))

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 10.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(rate=st.sampled_from([0.1, 2.0, 100.0, math.inf]))
    def change_rate(self, rate: float) -> None:
        self.rate = rate

    @rule()
    def refresh(self) -> None:
        self.both(lambda each: each.scheduler.refresh(self.now))

    @rule(peeks=st.integers(1, 3))
    def take(self, peeks: int) -> None:
        schedule = self.peeked
        heads = [next(iter(each.entries), 0) for each in schedule.backlogs]
        promises = {schedule.scheduler.peek(self.now, self.rate) for _ in range(peeks)}
        number = self.both(lambda each: each.take(self.now, self.rate))
        (promise,) = promises
        if promise is None:
            assert number is None
        elif number is not None and None not in heads:
            self.check(promise, schedule.entries[number])
        else:
            # A task of a backlog needed no poll: what comes after it was not promised.
            assert None in heads
        if number is not None:
            self.in_flight[number] = self.now

    def check(self, promise: NextPoll, entry: IntervalEntry) -> None:
        queues = self.peeked.queues
        assert promise.worth == entry.expected_delay(self.now)
        assert promise.growth == entry.delay_growth(self.now)
        assert promise.queued == sum(map(len, queues))
        share = self.rate / sum(1 for queue in queues if queue)
        patience = max(60.0, 3 * len(queue_of(entry)) / share)
        if promise.must:
            assert entry.latest <= self.now or self.now - entry.waiting_since > patience
        else:
            assert entry.latest > self.now

    @invariant()
    def both_are_due_at_the_same_moment(self) -> None:
        if hasattr(self, "peeked"):
            self.both(lambda each: each.scheduler.next_due(self.now))
            self.both(lambda each: [queue._price for queue in each.queues])


TestPeekMachine = PeekMachine.TestCase


def scheduler_of(*entries: IntervalEntry) -> Scheduler[IntervalEntry]:
    scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
    queue = scheduler.queue()
    for entry in entries:
        queue.push(entry)
    return scheduler


def test_a_peek_at_nothing_due_is_none() -> None:
    scheduler = scheduler_of(IntervalEntry(began=10.0))
    assert scheduler.peek(9.0, 2.0) is None
    assert scheduler.peek(10.0, 2.0) is not None
    assert scheduler_of().peek(0.0, 2.0) is None


def test_a_peek_returns_the_expected_delay_and_its_growth() -> None:
    entry = IntervalEntry(TYPICAL, created=-60.0)
    other = IntervalEntry(SLOW, began=1e6)
    promise = scheduler_of(entry, other).peek(0.0, 2.0)
    assert promise == NextPoll(
        worth=TYPICAL.expected_delay(0.0, 60.0),
        growth=TYPICAL.ended(0.0, 60.0),
        must=False,
        queued=2,
    )


@pytest.mark.parametrize("now, must", [(29.0, False), (30.0, True), (60.0, True)])
def test_a_poll_must_be_sent_once_its_deadline_has_come(now: float, *, must: bool) -> None:
    entry = IntervalEntry(SLOW)
    entry.latest = 30.0
    promise = scheduler_of(entry).peek(now, 2.0)
    assert promise is not None
    assert promise.must is must


@pytest.mark.parametrize("now, must", [(60.0, False), (60.1, True)])
def test_a_starving_task_must_be_polled(now: float, *, must: bool) -> None:
    promise = scheduler_of(IntervalEntry(SLOW)).peek(now, 2.0)
    assert promise is not None
    assert promise.must is must


@pytest.mark.parametrize("now, must", [(150.0, False), (150.1, True)])
def test_a_peek_judges_starvation_by_the_share_of_the_queue(now: float, *, must: bool) -> None:
    """Two queues of 100 at 4 polls a second: a third round would end after 150 s."""
    scheduler = scheduler_of(*(IntervalEntry(SLOW) for _ in range(100)))
    other = scheduler.queue()
    for _ in range(100):
        other.push(IntervalEntry(SLOW))
    promise = scheduler.peek(now, 4.0)
    assert promise is not None
    assert promise.must is must


class AskedEntry(IntervalEntry):
    """Counts how often it is asked whether it wants a poll."""

    asked = 0

    def wants(self, price: float) -> float:
        AskedEntry.asked += 1
        return super().wants(price)


def test_a_peek_asks_few_entries_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first by key nor those with long waits want a poll yet."""
    entries = [AskedEntry(FAST, created=-90.0, gap=1e6) for _ in range(5000)]
    for entry in entries:
        entry.on_pending(0.0)
    scheduler = scheduler_of(*entries)
    scheduler._queues[0]._price = 20.0
    while scheduler.refresh(0.0):
        pass
    keys = sum(entry.keys_computed for entry in entries)
    monkeypatch.setattr(AskedEntry, "asked", 0)
    assert scheduler.peek(1000.0, 100.0) is None
    assert AskedEntry.asked < 30
    assert sum(entry.keys_computed for entry in entries) == keys
    assert next(iter(scheduler._queues[0]._order)) is entries[0]


def test_an_entry_that_wants_a_poll_is_taken_before_the_price_falls() -> None:
    """The first entry by key wants no poll yet."""
    sleeping = IntervalEntry(FAST, created=-90.0, gap=50.0)
    sleeping.on_pending(0.0)
    awake = IntervalEntry(SLOW, began=1.0)
    scheduler = scheduler_of(sleeping, awake)
    queue = scheduler._queues[0]
    queue._price = 20.0
    while scheduler.refresh(0.0):
        pass
    promise = scheduler.peek(1.0, 2.0)
    assert promise is not None
    assert promise.worth == awake.expected_delay(1.0)
    assert queue.price == 20.0
    assert scheduler.take(1.0, 2.0) is awake


def test_a_price_falls_to_zero_immediately_when_none_of_a_few_entries_wants_a_poll() -> None:
    scheduler = scheduler_of(*(IntervalEntry(began=100.0) for _ in range(10)))
    queue = scheduler._queues[0]
    queue._price = 20.0
    while scheduler.refresh(0.0):
        pass
    assert scheduler.next_due(0.0) == 0.0
    assert scheduler.peek(0.0, 2.0) is None
    assert scheduler.take(0.0, 2.0) is None
    assert queue.price == 0.0
    assert scheduler.next_due(0.0) == 100.0


def test_peeks_follow_the_turns_of_the_queues() -> None:
    scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
    for model in (FAST, TYPICAL, SLOW):
        queue = scheduler.queue()
        for entry in random_entries(9):
            entry.model, entry.gap = model, 0.0
            queue.push(entry)
    for now in itertools.islice(slot_times(2.0), 20):
        promise = scheduler.peek(now, 2.0)
        taken = scheduler.take(now, 2.0)
        assert promise is not None
        assert taken is not None
        assert promise.worth == taken.expected_delay(now)


def test_a_peek_skips_a_queue_at_its_limit() -> None:
    scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
    queue = scheduler.queue(limit=1)
    for entry in random_entries(3):
        queue.push(entry)
    assert scheduler.take(0.0, 2.0) is not None
    assert scheduler.peek(0.0, 2.0) is None
    scheduler.queue().push(IntervalEntry(SLOW))
    promise = scheduler.peek(0.0, 2.0)
    assert promise is not None
    assert promise.worth == SLOW.expected_delay(0.0, 0.0)
    assert promise.queued == 4
