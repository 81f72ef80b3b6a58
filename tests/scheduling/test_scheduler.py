"""The scheduler serves its queues in turn."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling.entries import (
    FAST,
    MODELS,
    SLOW,
    FakeBacklog,
    IntervalEntry,
    constant_draw,
    slot_times,
)

from vocalsep_async._scheduling.queue import PollQueue, Yielding
from vocalsep_async._scheduling.scheduler import BATCH_YIELDS, WAITS_YIELD, Scheduler
from vocalsep_async._scheduling.sibling_ages import GUESSED_AGE

NEVER = Yielding(share=0.0)


def scheduler_of(
    *groups: list[IntervalEntry], limit: float = math.inf, yields: Yielding = NEVER
) -> tuple[Scheduler[IntervalEntry], list[PollQueue[IntervalEntry]]]:
    """A scheduler with one queue for each group."""
    scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
    queues = [scheduler.queue(limit=limit, yields=yields) for _ in groups]
    for queue, entries in zip(queues, groups, strict=True):
        for entry in entries:
            queue.push(entry)
    return scheduler, queues


def poll(
    scheduler: Scheduler[IntervalEntry], now: float, rate: float = 2.0
) -> PollQueue[IntervalEntry] | None:
    """Use one slot, with an immediate answer (the task still runs); the queue that was served."""
    while scheduler.refresh(now):
        pass
    entry = scheduler.take(now, rate)
    if entry is None:
        return None
    assert isinstance(entry.queue, PollQueue)
    queue: PollQueue[IntervalEntry] = entry.queue
    entry.on_pending(now)
    queue.end_poll()
    queue.push(entry)
    return queue


def wanting_entries(size: int, seed: int = 1) -> list[IntervalEntry]:
    """Entries that always want a poll."""
    random_ = random.Random(seed)
    return [
        IntervalEntry(random_.choice(MODELS), created=-random_.uniform(0, 120), gap=0.0)
        for _ in range(size)
    ]


@settings(max_examples=settings().max_examples // 5)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.sampled_from([0.5, 2.0]))
def test_queues_that_do_not_yield_get_equal_shares(sizes: list[int], rate: float) -> None:
    scheduler, queues = scheduler_of(
        *(wanting_entries(size, seed) for seed, size in enumerate(sizes))
    )
    counts = Counter(dict.fromkeys(queues, 0))
    for now in itertools.islice(slot_times(rate), 200):
        queue = poll(scheduler, now, rate)
        assert queue is not None
        counts[queue] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


@settings(max_examples=settings().max_examples // 5)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=4),
    st.builds(Yielding, st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([5.0, math.inf])),
    st.sampled_from([0.5, 2.0]),
)
def test_a_queue_passes_its_turn_only_to_a_much_more_urgent_poll(
    sizes: list[int], yields: Yielding, rate: float
) -> None:
    scheduler, queues = scheduler_of(
        *(wanting_entries(size, seed) for seed, size in enumerate(sizes)), yields=yields
    )
    for now in itertools.islice(slot_times(rate), 100):
        while scheduler.refresh(now):
            pass
        worths = {queue: queue.worth(now, rate / len(queues)) for queue in queues}
        best = max((worth for worth in worths.values() if worth < math.inf), default=0.0)
        served = poll(scheduler, now, rate)
        assert served is not None
        assert worths[served] >= yields.bar(best)


def test_a_queue_that_yields_is_served_before_its_entries_starve() -> None:
    urgent = [IntervalEntry(SLOW, created=-3000.0, gap=0.0) for _ in range(3)]
    patient = [IntervalEntry(SLOW, created=0.0, gap=0.0) for _ in range(3)]
    scheduler, (_urgent, patient_queue) = scheduler_of(urgent, patient, yields=Yielding(1e6))
    served = [
        now
        for now in itertools.islice(slot_times(2.0), 200)
        if poll(scheduler, now) is patient_queue
    ]
    assert served[0] <= 61.0
    assert len(served) >= len(patient)


def test_a_queue_of_ten_thousand_hardly_delays_a_single_wait() -> None:
    scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
    crowd = scheduler.queue(yields=BATCH_YIELDS)
    waits = scheduler.queue(yields=WAITS_YIELD)
    for entry in wanting_entries(10_000):
        crowd.push(entry)
    single = IntervalEntry(SLOW, began=7.25)
    waits.push(single)
    polls = [(now, poll(scheduler, now)) for now in itertools.islice(slot_times(2.0), 400)]
    first = next(now for now, queue in polls if queue is waits)
    assert single.model.expected_delay(0.0, first - single.created) <= WAITS_YIELD.limit + 1.0


def test_a_single_wait_of_unknown_age_is_polled_beside_a_queue_of_ten_thousand() -> None:
    scheduler: Scheduler[IntervalEntry] = Scheduler(random.Random(1).random)
    crowd, waits = scheduler.queue(yields=BATCH_YIELDS), scheduler.queue(yields=WAITS_YIELD)
    for entry in wanting_entries(10_000):
        crowd.push(entry)
    waits.push(IntervalEntry(FAST, created=7.25 - GUESSED_AGE, began=7.25))
    polls = [(now, poll(scheduler, now)) for now in itertools.islice(slot_times(2.0), 40)]
    assert next(now for now, queue in polls if queue is waits) <= 8.0


def test_shares_do_not_depend_on_expected_delays_where_queues_do_not_yield() -> None:
    scheduler, queues = scheduler_of(
        [IntervalEntry(FAST, created=-99.0) for _ in range(50)],
        [IntervalEntry(SLOW, gap=0.0) for _ in range(3)],
    )
    taken = [poll(scheduler, now) for now in itertools.islice(slot_times(2.0), 20)]
    assert taken == queues * 10


def test_a_queue_without_due_entries_is_skipped() -> None:
    scheduler, (_empty, _late, busy) = scheduler_of(
        [], [IntervalEntry(began=1e6)], wanting_entries(9)
    )
    for now in itertools.islice(slot_times(2.0), 20):
        assert poll(scheduler, now) is busy


def test_a_queue_at_its_limit_is_skipped() -> None:
    scheduler, (_one, _two) = scheduler_of(wanting_entries(9), wanting_entries(9), limit=2)
    entries = [scheduler.take(0.0, 2.0) for _ in range(5)]
    assert entries[-1] is None
    assert None not in entries[:-1]
    assert scheduler.next_due(0.0) == math.inf


def test_a_closed_queue_is_not_served() -> None:
    scheduler, (closed, other) = scheduler_of(wanting_entries(9), wanting_entries(9))
    scheduler.close(closed)
    assert [queue.is_open for queue in (closed, other)] == [False, True]
    for now in itertools.islice(slot_times(2.0), 20):
        assert poll(scheduler, now) is other
    scheduler.close(other)
    assert scheduler.take(0.0, 2.0) is None
    assert scheduler.next_due(0.0) == math.inf
    assert not scheduler.refresh(0.0)


def test_a_new_queue_gets_its_share_immediately() -> None:
    scheduler, _ = scheduler_of(wanting_entries(50), wanting_entries(50))
    for now in itertools.islice(slot_times(2.0), 20):
        poll(scheduler, now)
    backlog = FakeBacklog(*wanting_entries(5))
    queue = scheduler.queue(backlog=backlog)
    taken = [scheduler.take(10.0, 2.0) for _ in range(3)]
    assert [entry.queue for entry in taken if entry is not None].count(queue) == 1


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4), st.sampled_from([0.1, 2.0]))
def test_a_scheduler_gives_entries_as_long_as_one_is_due(
    moments: list[list[int]], rate: float
) -> None:
    groups = [[IntervalEntry(began=float(moment)) for moment in each] for each in moments]
    scheduler, _ = scheduler_of(*groups)
    entries = set(itertools.chain(*groups))
    for now in range(10):
        while (entry := scheduler.take(float(now), rate)) is not None:
            assert entry.began <= now
            entries.remove(entry)
        assert all(entry.began > now for entry in entries)
        assert scheduler.next_due(float(now)) > now
    assert not entries
    assert scheduler.next_due(10.0) == math.inf


def test_a_scheduler_is_due_when_the_first_of_its_queues_is() -> None:
    scheduler, _ = scheduler_of(
        [IntervalEntry(began=9.0)], [], [IntervalEntry(began=4.0), IntervalEntry(began=6.0)]
    )
    assert scheduler.next_due(0.0) == 4.0


def test_outdated_keys_of_every_queue_are_refreshed() -> None:
    scheduler, queues = scheduler_of(wanting_entries(900), wanting_entries(500), wanting_entries(1))
    for queue in queues:
        queue._price = 5.0
    slices = 1
    while scheduler.refresh(0.0):
        slices += 1
    assert [queue.price for queue in queues] == [5.0] * 3
    assert slices <= 6


@pytest.mark.parametrize("others", [0, 1, 3])
def test_starvation_is_judged_by_the_share_of_the_queue(others: int) -> None:
    """Among other queues a queue is served less often, so waits may be longer."""
    groups = [wanting_entries(100, seed) for seed in range(1 + others)]
    scheduler, _ = scheduler_of(*groups)
    longest = 0.0
    for now in itertools.islice(slot_times(4.0), 3000):
        poll(scheduler, now, 4.0)
        longest = max(longest, now - min(entry.waiting_since for entry in groups[0]))
    patience = max(60.0, 300 * (1 + others) / 4)
    assert patience < longest <= patience + 100 * (1 + others) / 4 + 1


def test_a_scheduler_without_queues_is_never_due() -> None:
    scheduler: Scheduler[IntervalEntry] = Scheduler(constant_draw)
    assert scheduler.take(0.0, 2.0) is None
    assert scheduler.next_due(0.0) == math.inf
    assert not scheduler.refresh(0.0)
