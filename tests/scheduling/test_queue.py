"""Which entry of one queue is polled next."""

import gc
import heapq
import itertools
import math
import random
import weakref
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scheduling.entries import (
    FAST,
    MODELS,
    SLOW,
    UNTRAINED,
    FakeBacklog,
    IntervalEntry,
    answer_poll,
    poll,
    queue_of,
    random_entries,
    refresh_keys,
    slot_times,
    trained_model,
)

from vocalsep_async._scheduling import queue as queue_module
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue import PollQueue

PATIENCE = 60.0


def wanted(entries: list[IntervalEntry], now: float) -> list[IntervalEntry]:
    return [
        entry for entry in entries if entry.waits and min(entry.wants(0.0), entry.latest) <= now
    ]


def is_starving(
    entry: IntervalEntry, queue: PollQueue[IntervalEntry], now: float, rate: float
) -> bool:
    return now - entry.waiting_since > max(PATIENCE, 3 * len(queue) / rate)


# Without a price.


@given(st.lists(st.integers(0, 1000), unique=True, max_size=30))
def test_without_a_price_each_entry_is_polled_when_its_policy_wants_it(moments: list[int]) -> None:
    queue = queue_of(*(IntervalEntry(created=-500.0, began=moment) for moment in moments))
    for moment in sorted(moments):
        assert queue.next_due(0.0) == moment
        assert queue.take(moment - 0.5, 2.0) is None
        entry = queue.take(moment, 2.0)
        assert entry is not None
        assert entry.began == moment
        assert queue.price == 0.0
    assert queue.next_due(0.0) == math.inf
    assert queue.take(1e9, 2.0) is None


def test_tiny_expected_delays_raise_no_price() -> None:
    entries = [IntervalEntry(SLOW, began=-float(n)) for n in range(9)]
    queue = queue_of(*entries)
    assert [poll(queue, 0.0) for _ in entries] == entries[::-1]
    assert queue.price == 0.0


def test_a_removed_entry_is_not_polled() -> None:
    one, two = IntervalEntry(began=1.0), IntervalEntry(began=2.0)
    queue = queue_of(one, two)
    queue.remove(one)
    assert len(queue) == 1
    assert queue.next_due(0.0) == 2.0
    assert queue.take(5.0, 2.0) is two
    queue.remove(two)
    assert len(queue) == 1  # its poll is in flight


def test_an_updated_entry_is_polled_at_its_new_moment() -> None:
    entry = IntervalEntry(began=50.0)
    queue = queue_of(entry)
    entry.latest = 10.0
    queue.update(entry)
    assert queue.next_due(0.0) == 10.0
    assert queue.take(10.0, 2.0) is entry


def test_a_queue_has_no_more_polls_in_flight_than_its_limit() -> None:
    queue = queue_of(*random_entries(9), limit=3)
    for _ in range(3):
        assert queue.next_due(0.0) <= 0.0
        assert queue.take(0.0, 2.0) is not None
    assert queue.take(0.0, 2.0) is None
    assert queue.next_due(0.0) == math.inf
    queue.end_poll()
    assert queue.next_due(0.0) <= 0.0
    assert queue.take(0.0, 2.0) is not None
    assert queue.in_flight == 3
    assert len(queue) == 8


# The price.


def test_the_price_rises_while_more_polls_are_wanted_than_sent() -> None:
    queue = queue_of(*random_entries(100))
    for now in itertools.islice(slot_times(2.0), 200):
        assert poll(queue, now) is not None
    assert queue.price > 1.0


def test_the_price_falls_to_zero_when_the_rate_limit_has_room_again() -> None:
    entries = random_entries(100)
    queue = queue_of(*entries)
    for now in itertools.islice(slot_times(2.0), 200):
        poll(queue, now)
    for entry in entries[5:]:
        queue.remove(entry)
    for now in itertools.islice(slot_times(50.0, 100.0), 500):
        poll(queue, now, 50.0)
    assert queue.price == 0.0


def test_a_single_entry_after_a_rush_is_polled_when_its_policy_wants_it() -> None:
    entries = random_entries(100)
    queue = queue_of(*entries)
    for now in itertools.islice(slot_times(2.0), 200):
        poll(queue, now)
    for entry in entries:
        queue.remove(entry)
    late = IntervalEntry(UNTRAINED, created=100.0, began=100.0, gap=7.0)
    queue.push(late)
    assert queue.next_due(100.0) <= 100.0
    assert poll(queue, 100.0) is late
    assert poll(queue, 106.9) is None
    assert queue.next_due(106.9) == 107.0
    assert poll(queue, 107.0) is late


@settings(max_examples=settings().max_examples // 20)
@given(
    st.integers(0, 99),
    st.sampled_from([(50, 2.0), (100, 2.0), (100, 10.0)]),
    st.lists(st.sampled_from(MODELS), min_size=1, max_size=3),
)
@example(0, (100, 10.0), [FAST, SLOW])
def test_the_entry_taken_has_nearly_the_largest_expected_delay(
    seed: int, load: tuple[int, float], models: list[HazardModel]
) -> None:
    """Compared with all entries; starving entries are left out, because they take precedence."""
    (size, rate), random_ = load, random.Random(seed)
    entries = random_entries(size, seed)
    for entry in entries:
        entry.model = random_.choice(models)
    queue = queue_of(*entries, draw=random_.random)
    delays: list[tuple[float, float]] = []
    for number, now in enumerate(itertools.islice(slot_times(rate), 7 * size)):
        refresh_keys(queue, now)
        most = max(each.expected_delay(now) for each in wanted(entries, now))
        # One call takes a bounded number of steps; the poll loop calls again immediately.
        entry = next(filter(None, (queue.take(now, rate) for _ in range(10))))
        if number > 4 * size and queue.price > 0 and not is_starving(entry, queue, now, rate):
            delays.append((entry.expected_delay(now), most))
        answer_poll(queue, entry, now)
    assert all(expected_delay >= 0.25 * most for expected_delay, most in delays)
    assert sum(expected_delay for expected_delay, _ in delays) >= 0.85 * sum(
        most for _, most in delays
    )


# Any sequence of events.


class QueueMachine(RuleBasedStateMachine):
    """Few entries, any events in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.rate, self.limit = 1000.0, 2.0, 5
        self.queue = queue_of(draw=random.Random(1).random, limit=self.limit)
        self.models = [HazardModel(5), HazardModel(7200)]
        self.waiting: list[IntervalEntry] = []
        self.in_flight: list[IntervalEntry] = []

    @rule(which=st.integers(0, 1), age=st.sampled_from([0, 5, 60, 900]), gap=st.integers(0, 90))
    def push(self, which: int, age: int, gap: int) -> None:
        entry = IntervalEntry(self.models[which], created=self.now - age, began=self.now, gap=gap)
        self.queue.push(entry)
        self.waiting.append(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), soon=st.integers(0, 30))
    def poll_soon(self, data: st.DataObject, soon: int) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        entry.latest = min(entry.latest, self.now + soon)
        self.queue.update(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), is_pushed_again=st.booleans())
    def remove(self, data: st.DataObject, *, is_pushed_again: bool) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.queue.remove(entry)
        if is_pushed_again:
            self.queue.push(entry)
        else:
            self.waiting.remove(entry)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), still_runs=st.booleans())
    def answer(self, data: st.DataObject, *, still_runs: bool) -> None:
        entry = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(entry)
        self.queue.end_poll()
        if still_runs:
            entry.running_at = max(entry.sent - entry.created, 0.0)
            entry.latest = math.inf
            self.queue.push(entry)
            self.waiting.append(entry)

    @rule(which=st.integers(0, 1), duration=st.integers(1, 7000))
    def learn(self, which: int, duration: int) -> None:
        self.models[which].observe_completion(0.0, duration)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 10.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(rate=st.sampled_from([0.1, 2.0, 100.0, math.inf]))
    def change_rate(self, rate: float) -> None:
        self.rate = rate

    @rule()
    def take(self) -> None:
        refresh_keys(self.queue, self.now)
        entries = wanted(self.waiting, self.now)
        due = self.queue.next_due(self.now)
        entry = self.queue.take(self.now, self.rate)
        if len(self.in_flight) == self.limit:
            assert entry is None
            assert due == math.inf
        elif entry is None:
            assert not entries
            # The poll loop would call again immediately, for ever.
            assert self.queue.next_due(self.now) > self.now
        else:
            assert entry in entries
            assert due <= self.now
            self.waiting.remove(entry)
            self.in_flight.append(entry)
            entry.sent = self.now

    @invariant()
    def lengths_are_right(self) -> None:
        assert self.queue.in_flight == len(self.in_flight)
        assert len(self.queue) == len(self.waiting) + len(self.in_flight)


TestQueueMachine = QueueMachine.TestCase


def test_a_deadline_takes_precedence_over_the_price() -> None:
    entries = [IntervalEntry(created=-float(n)) for n in range(100)]
    queue = queue_of(*entries)
    for now in itertools.islice(slot_times(2.0), 300):
        poll(queue, now)
    urgent = min(entries, key=lambda entry: entry.expected_delay(150.0))
    urgent.latest = 150.0
    queue.update(urgent)
    price = queue._price
    assert queue.take(150.0, 2.0) is urgent
    assert queue._price == price  # a deadline says nothing about the other entries


# Starvation.


def longest_wait(
    size: int,
    rate: float,
    models: list[HazardModel],
    *,
    seed: int = 1,
    latency: float = 5.0,
    ending: float = 0.0,
) -> float:
    """The longest wait for a poll where every entry always wants one."""
    random_ = random.Random(seed)

    def new_entry(now: float) -> IntervalEntry:
        return IntervalEntry(
            random_.choice(models), created=now - random_.uniform(0, 120), began=now
        )

    entries = {new_entry(0.0) for _ in range(size)}
    queue = queue_of(*entries, draw=random_.random)
    answers: list[tuple[float, int, IntervalEntry]] = []
    longest = 0.0
    for number in range(int(5 * rate * bound(size, rate, latency))):
        now = number / rate
        while answers and answers[0][0] <= now:
            entry = heapq.heappop(answers)[2]
            queue.end_poll()
            if random_.random() < ending:
                entries.discard(entry)
                entry = new_entry(now)
                entries.add(entry)
            queue.push(entry)
        refresh_keys(queue, now)
        taken = queue.take(now, rate)
        if taken is not None:
            longest = max(longest, now - taken.waiting_since)
            taken.on_pending(now)
            heapq.heappush(answers, (now + random_.uniform(0, latency), number, taken))
    return max(longest, *(now - entry.waiting_since for entry in entries))


def bound(size: int, rate: float, latency: float) -> float:
    return max(PATIENCE, 3 * size / rate) + size / rate + latency + 1 / rate


@settings(max_examples=settings().max_examples // 5)
@given(
    st.sampled_from([(3, 0.05), (20, 0.5), (30, 2.0), (60, 1.0), (100, 10.0)]),
    st.lists(st.sampled_from(MODELS), min_size=1, max_size=3),
    st.integers(0, 99),
    st.sampled_from([0.0, 1.0, 10.0]),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_no_entry_starves_whatever_the_models_predict(
    load: tuple[int, float],
    models: list[HazardModel],
    seed: int,
    latency: float,
    ending: float,
) -> None:
    size, rate = load
    longest = longest_wait(size, rate, models, seed=seed, latency=latency, ending=ending)
    assert longest <= bound(size, rate, latency)


def test_no_entry_starves_behind_an_entry_with_a_long_gap() -> None:
    sleeping, starving = IntervalEntry(SLOW, gap=1e6), IntervalEntry(SLOW)
    sleeping.on_pending(0.0)
    queue = queue_of(sleeping, starving, *(IntervalEntry(FAST, began=990.0) for _ in range(9)))
    queue._price = 1.0
    refresh_keys(queue, 1000.0)
    assert queue.take(1000.0, 2.0) is starving


def test_no_entry_starves_while_the_backlog_keeps_growing() -> None:
    backlog = FakeBacklog()
    entries = {IntervalEntry(SLOW) for _ in range(10)}
    queue = queue_of(*entries, backlog=backlog)
    for now in itertools.islice(slot_times(2.0), int(2 * bound(20, 2.0, 0.0))):
        backlog.entries.append(IntervalEntry(SLOW))
        refresh_keys(queue, now)
        entry = queue.take(now, 2.0)
        assert entry is not None
        queue.end_poll()
        entries.discard(entry)
    assert not entries


def test_no_backlog_task_starves() -> None:
    fresh = IntervalEntry(SLOW)
    backlog = FakeBacklog(fresh, expected_delay=0.01)
    queue = queue_of(*(IntervalEntry(FAST) for _ in range(100)), backlog=backlog)
    polls = [
        poll(queue, now) for now in itertools.islice(slot_times(2.0), 2 * int(bound(101, 2.0, 0.0)))
    ]
    assert fresh in polls


def test_starving_entries_are_polled_longest_wait_first() -> None:
    entries = [IntervalEntry(SLOW, began=float(n)) for n in range(9)]
    queue = queue_of(*entries, *(IntervalEntry(FAST, created=990.0, began=999.0) for _ in range(9)))
    queue._price = 1.0
    assert [queue.take(1000.0, 2.0) for _ in entries] == entries


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_removed_entries_leave_the_order_of_waiting_to_the_others(
    steps: list[tuple[int, bool]],
) -> None:
    entries, order = [IntervalEntry(SLOW) for _ in range(6)], list[IntervalEntry]()
    queue = queue_of()
    for which, is_push in steps:
        entry = entries[which]
        queue.remove(entry)
        if entry in order:
            order.remove(entry)
        if is_push:
            queue.push(entry)
            order.append(entry)
    assert [queue.take(1000.0, 2.0) for _ in order] == order
    assert queue.take(1000.0, 2.0) is None


def test_a_queue_keeps_no_reference_to_removed_entries() -> None:
    queue = queue_of()
    removed = []
    for now in itertools.islice(slot_times(1.0), 3000):
        entry = IntervalEntry(began=now)
        removed.append(weakref.ref(entry))
        queue.push(entry)
        assert queue.take(now, 2.0) is entry
        queue.end_poll()
        refresh_keys(queue, now)
    gc.collect()
    assert sum(entry() is not None for entry in removed) < 1000


def test_an_entry_moved_to_another_queue_is_polled_there_only() -> None:
    """It keeps no place among the waiting entries of the first queue."""
    entry = IntervalEntry(SLOW)
    first, second = (queue_of(*random_entries(20, now=100.0)) for _ in range(2))
    first._price = second._price = 10.0
    first.push(entry)
    first.remove(entry)
    second.push(entry)
    first.remove(entry)  # it is not there
    taken = [first.take(100.0, 2.0) for _ in range(20)]
    assert entry not in taken
    assert first.take(100.0, 2.0) is None
    assert second.take(100.0, 2.0) is entry
    assert (len(first), len(second)) == (20, 21)


# Deadlines.


@pytest.mark.parametrize("price", [0.0, 1.0])
def test_an_entry_with_a_deadline_precedes_a_thousand_due_entries(price: float) -> None:
    queue = queue_of(*(IntervalEntry(FAST, created=-9.0 - n) for n in range(1000)))
    queue._price = price
    urgent = IntervalEntry(SLOW, began=30.0)
    urgent.latest = 30.0
    queue.push(urgent)
    refresh_keys(queue, 30.0)
    assert queue.take(30.0, 2.0) is urgent


# The backlog.


def test_the_backlog_is_first_come_first_served_and_moves_no_price() -> None:
    entries = [IntervalEntry(created=-120.0) for _ in range(9)]
    queue = queue_of(backlog=FakeBacklog(*entries))
    assert len(queue) == 9
    assert queue.next_due(0.0) == 0.0
    assert [queue.take(0.0, 2.0) for _ in entries] == entries
    assert queue._price == queue.price == 0.0
    assert queue.take(0.0, 2.0) is None
    assert queue.next_due(0.0) == math.inf
    assert len(queue) == queue.in_flight == 9


def test_a_backlog_task_that_needs_no_poll_is_passed_over() -> None:
    entry = IntervalEntry()
    queue = queue_of(backlog=FakeBacklog(None, None, entry, None))
    assert queue.take(0.0, 2.0) is entry
    assert queue.take(0.0, 2.0) is None
    assert len(queue) == queue.in_flight == 1


@pytest.mark.parametrize("expected_delay, is_first", [(1.0, False), (1000.0, True)])
def test_of_entry_and_backlog_the_larger_expected_delay_comes_first(
    expected_delay: float, *, is_first: bool
) -> None:
    known, fresh = IntervalEntry(created=-60.0), IntervalEntry()
    queue = queue_of(known, backlog=FakeBacklog(fresh, expected_delay=expected_delay))
    expected = [fresh, known] if is_first else [known, fresh]
    assert [queue.take(0.0, 2.0), queue.take(0.0, 2.0)] == expected


def test_the_backlog_fills_a_slot_that_no_entry_wants() -> None:
    known, fresh = IntervalEntry(created=-1e4, began=5.0), IntervalEntry()
    queue = queue_of(known, backlog=FakeBacklog(fresh, expected_delay=0.0))
    assert queue.take(0.0, 2.0) is fresh
    assert queue.take(0.0, 2.0) is None


def test_a_deadline_takes_precedence_over_the_backlog() -> None:
    urgent, fresh = IntervalEntry(), IntervalEntry()
    urgent.latest = 0.0
    queue = queue_of(urgent, backlog=FakeBacklog(fresh, expected_delay=1e9))
    assert queue.take(0.0, 2.0) is urgent


def test_the_limit_applies_to_the_backlog_too() -> None:
    queue = queue_of(backlog=FakeBacklog(*random_entries(9)), limit=2)
    assert [queue.take(0.0, 2.0) is None for _ in range(3)] == [False, False, True]
    assert queue.next_due(0.0) == math.inf


def test_a_price_above_its_expected_delay_does_not_put_an_entry_behind_the_backlog() -> None:
    known = IntervalEntry(created=-50.0)
    queue = queue_of(known, backlog=FakeBacklog(IntervalEntry(), expected_delay=1.0))
    queue._price = 1000.0
    refresh_keys(queue, 0.0)
    assert known.expected_delay(0.0) > 5.0
    assert queue.take(0.0, 2.0) is known


def test_an_urgent_entry_behind_calm_ones_gets_the_slot_before_the_backlog() -> None:
    # The policies of the calm entries want polls earlier.
    calm = [IntervalEntry(created=-35.0, began=-30.0) for _ in range(5)]
    urgent = IntervalEntry(created=-120.0, began=-1.0)
    backlog = FakeBacklog(*random_entries(9), expected_delay=5.0)
    queue = queue_of(*calm, urgent, backlog=backlog)
    assert 0.1 < calm[0].expected_delay(0.0) < 5.0 < urgent.expected_delay(0.0)
    taken = []
    for _ in range(3):
        taken.append(queue.take(0.0, 2.0))
        refresh_keys(queue, 0.0)
    assert urgent in taken


def test_the_price_follows_the_entries_whose_slots_the_backlog_gets() -> None:
    known = IntervalEntry(created=-60.0)
    queue = queue_of(known, backlog=FakeBacklog(*random_entries(9), expected_delay=1e3))
    queue._price = 2.0
    assert known.expected_delay(0.0) > 3.0
    prices = [queue._price for _ in range(9) if queue.take(0.0, 2.0)]
    assert prices == sorted(prices)
    assert 3.0 < prices[-1] < known.expected_delay(0.0)


def test_a_hardly_delayed_entry_whose_slot_the_backlog_gets_makes_no_price() -> None:
    queue = queue_of(IntervalEntry(), backlog=FakeBacklog(*random_entries(9)))
    queue.take(0.0, 2.0)
    assert queue.price == queue._price == 0.0


# Outdated keys.


class DelayEntry(IntervalEntry):
    """Wants a poll when its expected delay reaches a tenth of a second."""

    def wants(self, price: float) -> float:
        return self.created + self.model.due(self.running_at, 0.1)


def test_entries_become_due_earlier_when_the_model_learns_shorter_durations() -> None:
    model = HazardModel(3600)
    entries = [DelayEntry(model, created=-5.0) for _ in range(50)]
    for entry in entries:
        entry.on_pending(0.0)
    queue = queue_of(*entries)
    refresh_keys(queue, 0.0)
    before = queue.next_due(0.0)
    for _ in range(4):
        model.observe_completion(0.0, 6.0)
    refresh_keys(queue, 2.0)
    assert queue.next_due(2.0) == entries[0].wants(0.0) < before


def test_no_keys_are_computed_while_no_model_changes() -> None:
    entries = random_entries(50)
    queue = queue_of(*entries)
    refresh_keys(queue, 0.0)
    keys = sum(entry.keys_computed for entry in entries)
    for now in range(1000):
        assert not queue.refresh(float(now))
    assert sum(entry.keys_computed for entry in entries) == keys


@pytest.mark.parametrize("rate", [2.0, 100.0])
def test_the_keys_per_poll_are_bounded_however_many_entries_wait(rate: float) -> None:
    model, seconds = trained_model(20, 90, 65), 2000 / rate
    entries = [IntervalEntry(model, created=-float(n % 99)) for n in range(2000)]
    queue = queue_of(*entries)
    for now in itertools.islice(slot_times(rate), 2000):
        model.observe_completion(0.0, 50.0)
        assert poll(queue, now, rate) is not None
    keys = sum(entry.keys_computed for entry in entries)
    # Each entry is pushed twice at most, and computing all keys once is free.
    assert keys <= 2000 + 2000 + 2000 + queue_module._KEYS_PER_POLL * 2000 + 50 * seconds


def test_refresh_computes_one_slice_and_says_whether_more_are_left() -> None:
    entries = random_entries(1000)
    queue = queue_of(*entries)
    queue._price = 5.0
    for expected in (1400, 1800, 2000):
        assert queue.refresh(0.0) is (expected < 2000)
        assert sum(entry.keys_computed for entry in entries) == expected
    assert queue.price == 5.0
    assert not queue.refresh(0.0)


def test_the_price_falls_no_further_while_keys_are_outdated() -> None:
    entries = [IntervalEntry(began=100.0) for _ in range(1000)]
    queue = queue_of(*entries)
    queue._price = 5.0
    assert queue.refresh(0.0)
    assert queue.take(0.0, 2.0) is None
    assert queue._price == 5.0
    refresh_keys(queue, 0.0)
    assert queue.take(0.0, 2.0) is None
    assert queue._price < 5.0
    assert Counter(entry.waits for entry in entries) == {True: 1000}


def test_a_high_rate_leaves_no_slot_unused() -> None:
    entries = random_entries(100)
    for entry in entries:
        entry.gap = 0.0
    queue = queue_of(*entries, draw=random.Random(1).random)
    polls = [poll(queue, now, 100.0) for now in itertools.islice(slot_times(100.0), 2000)]
    assert None not in polls


def test_no_slot_is_left_unused_while_keys_hold_an_outdated_price() -> None:
    entries = [IntervalEntry(began=-1.0) for _ in range(1000)]
    queue = queue_of(*entries)
    queue._price = 50.0
    refresh_keys(queue, 0.0)
    queue._price = 0.0  # as after polls with tiny expected delays
    refresh_keys(queue, 1.0)
    assert queue.next_due(1.0) <= 1.0
    assert queue.take(1.0, 2.0) is not None


def test_one_wanting_entry_among_a_thousand_is_found_in_a_few_calls() -> None:
    """The first entries want no poll yet: the price has to fall before the others are due."""
    sleeping = [IntervalEntry(FAST, created=-90.0, gap=50.0) for _ in range(1000)]
    for entry in sleeping:
        entry.on_pending(0.0)
    awake = IntervalEntry(SLOW, began=1.0)
    queue = queue_of(*sleeping, awake)
    queue._price = 20.0
    tries = 0
    while (taken := queue.take(1.0, 2.0)) is None and tries < 40:
        refresh_keys(queue, 1.0)
        assert queue.next_due(1.0) <= 1.0
        tries += 1
    assert taken is awake


def test_one_call_passes_over_a_bounded_number_of_backlog_tasks() -> None:
    backlog = FakeBacklog(*[None] * 1000)
    queue = queue_of(backlog=backlog)
    assert queue.take(0.0, 2.0) is None
    assert 900 < len(backlog) < 1000
    assert queue.next_due(0.0) == 0.0


def test_one_call_passes_over_a_bounded_number_of_starving_entries() -> None:
    entries = [IntervalEntry(gap=1e6) for _ in range(30)]
    for entry in entries:
        entry.on_pending(0.0)
    queue = queue_of(*entries)
    assert queue.take(1000.0, 2.0) is None
    assert next(iter(queue._order)) is entries[10]
