"""Lines take turns."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling.entries import MODELS, SLOW, SWIFT, FakeBacklog, Song, half, slots

from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.scheduler import Scheduler


def scheduler_of(
    *groups: list[Song], limit: float = math.inf
) -> tuple[Scheduler[Song], list[PollQueue[Song]]]:
    """A scheduler with one line for each group."""
    scheduler: Scheduler[Song] = Scheduler(random.Random(1).random)
    queues = [scheduler.queue(limit=limit) for _ in groups]
    for queue, group in zip(queues, groups, strict=True):
        for song in group:
            queue.enter(song)
    return scheduler, queues


def poll(scheduler: Scheduler[Song], now: float, rate: float = 2.0) -> PollQueue[Song] | None:
    """One slot of the budget, answered at once: it still runs; whose line it was."""
    while scheduler.tidy(now):
        pass
    song = scheduler.take(now, rate)
    if song is None:
        return None
    assert isinstance(song.queue, PollQueue)
    queue: PollQueue[Song] = song.queue
    song.looked_at(now)
    queue.done_polling()
    queue.enter(song)
    return queue


def group(size: int, seed: int = 1) -> list[Song]:
    """Songs that always want a look."""
    random_ = random.Random(seed)
    return [
        Song(random_.choice(MODELS), created=-random_.uniform(0, 120), gap=0.0) for _ in range(size)
    ]


@settings(max_examples=settings().max_examples // 5)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.sampled_from([0.5, 2.0]))
def test_lines_that_always_want_looks_get_the_same_share(sizes: list[int], rate: float) -> None:
    scheduler, queues = scheduler_of(*(group(size, seed) for seed, size in enumerate(sizes)))
    counts = Counter(dict.fromkeys(queues, 0))
    for now in itertools.islice(slots(rate), 200):
        queue = poll(scheduler, now, rate)
        assert queue is not None
        counts[queue] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


def test_ten_thousand_do_not_keep_one_waiting() -> None:
    scheduler, (_crowd, single) = scheduler_of(group(10_000), [Song(SLOW, began=7.25)])
    polls = [(now, poll(scheduler, now)) for now in itertools.islice(slots(2.0), 40)]
    first = next(now for now, queue in polls if queue is single)
    assert first <= 8.0


def test_the_same_share_whatever_its_tasks_are_worth() -> None:
    scheduler, queues = scheduler_of(
        [Song(SWIFT, created=-99.0) for _ in range(50)], [Song(SLOW, gap=0.0) for _ in range(3)]
    )
    taken = [poll(scheduler, now) for now in itertools.islice(slots(2.0), 20)]
    assert taken == queues * 10


def test_a_line_that_wants_nothing_gives_its_turn_away() -> None:
    scheduler, (_empty, _late, busy) = scheduler_of([], [Song(began=1e6)], group(9))
    for now in itertools.islice(slots(2.0), 20):
        assert poll(scheduler, now) is busy


def test_a_line_at_its_limit_gives_its_turn_away() -> None:
    scheduler, (_one, _two) = scheduler_of(group(9), group(9), limit=2)
    songs = [scheduler.take(0.0, 2.0) for _ in range(5)]
    assert songs[-1] is None
    assert None not in songs[:-1]
    assert scheduler.next_due(0.0) == math.inf


def test_a_closed_line_is_served_no_more() -> None:
    scheduler, (closed, other) = scheduler_of(group(9), group(9))
    scheduler.close(closed)
    assert [queue.is_open for queue in (closed, other)] == [False, True]
    for now in itertools.islice(slots(2.0), 20):
        assert poll(scheduler, now) is other
    scheduler.close(other)
    assert scheduler.take(0.0, 2.0) is None
    assert scheduler.next_due(0.0) == math.inf
    assert not scheduler.tidy(0.0)


def test_a_line_that_opens_has_its_share_at_once() -> None:
    scheduler, _ = scheduler_of(group(50), group(50))
    for now in itertools.islice(slots(2.0), 20):
        poll(scheduler, now)
    backlog = FakeBacklog(*group(5))
    queue = scheduler.queue(backlog=backlog)
    taken = [scheduler.take(10.0, 2.0) for _ in range(3)]
    assert [song.queue for song in taken if song is not None].count(queue) == 1


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4), st.sampled_from([0.1, 2.0]))
def test_as_long_as_somebody_wants_a_look_somebody_is_taken(
    moments: list[list[int]], rate: float
) -> None:
    groups = [[Song(began=float(moment)) for moment in each] for each in moments]
    scheduler, _ = scheduler_of(*groups)
    songs = set(itertools.chain(*groups))
    for now in range(10):
        while (song := scheduler.take(float(now), rate)) is not None:
            assert song.began <= now
            songs.remove(song)
        assert all(song.began > now for song in songs)
        assert scheduler.next_due(float(now)) > now
    assert not songs
    assert scheduler.next_due(10.0) == math.inf


def test_it_is_due_when_the_first_of_all_is() -> None:
    scheduler, _ = scheduler_of([Song(began=9.0)], [], [Song(began=4.0), Song(began=6.0)])
    assert scheduler.next_due(0.0) == 4.0


def test_outdated_keys_of_every_line_are_brought_up_to_date() -> None:
    scheduler, queues = scheduler_of(group(900), group(500), group(1))
    for queue in queues:
        queue._price = 5.0
    slices = 1
    while scheduler.tidy(0.0):
        slices += 1
    assert [queue.price for queue in queues] == [5.0] * 3
    assert slices <= 6


@pytest.mark.parametrize("others", [0, 1, 3])
def test_who_waits_too_long_is_judged_by_the_share_of_its_line(others: int) -> None:
    """Beside others a line is slower, and its tasks are to be more patient."""
    groups = [group(100, seed) for seed in range(1 + others)]
    scheduler, _ = scheduler_of(*groups)
    longest = 0.0
    for now in itertools.islice(slots(4.0), 3000):
        poll(scheduler, now, 4.0)
        longest = max(longest, now - min(song.waiting_since for song in groups[0]))
    patience = max(60.0, 300 * (1 + others) / 4)
    assert patience < longest <= patience + 100 * (1 + others) / 4 + 1


def test_a_scheduler_without_lines_wants_nothing() -> None:
    scheduler: Scheduler[Song] = Scheduler(half)
    assert scheduler.take(0.0, 2.0) is None
    assert scheduler.next_due(0.0) == math.inf
    assert not scheduler.tidy(0.0)
