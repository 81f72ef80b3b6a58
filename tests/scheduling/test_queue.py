"""Whom to look at next, of those who share a budget and a price."""

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
    COLD,
    MODELS,
    SLOW,
    SWIFT,
    FakeBacklog,
    Song,
    answer,
    group,
    line_of,
    poll,
    settle,
    slots,
    taught,
)

from vocalsep_async._scheduling import queue as line_module
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue import PollQueue

PATIENCE = 60.0


def wanted(songs: list[Song], now: float) -> list[Song]:
    return [song for song in songs if song.waits and min(song.wants(0.0), song.latest) <= now]


def is_overlooked(song: Song, queue: PollQueue[Song], now: float, rate: float) -> bool:
    return now - song.waiting_since > max(PATIENCE, 3 * len(queue) / rate)


# Where looks cost nothing.


@given(st.lists(st.integers(0, 1000), unique=True, max_size=30))
def test_while_there_is_room_everybody_comes_when_wanted(moments: list[int]) -> None:
    queue = line_of(*(Song(created=-500.0, began=moment) for moment in moments))
    for moment in sorted(moments):
        assert queue.next_due(0.0) == moment
        assert queue.take(moment - 0.5, 2.0) is None
        song = queue.take(moment, 2.0)
        assert song is not None
        assert song.began == moment
        assert queue.price == 0.0
    assert queue.next_due(0.0) == math.inf
    assert queue.take(1e9, 2.0) is None


def test_looks_that_are_worth_next_to_nothing_hold_nobody_back() -> None:
    songs = [Song(SLOW, began=-float(n)) for n in range(9)]
    queue = line_of(*songs)
    assert [poll(queue, 0.0) for _ in songs] == songs[::-1]
    assert queue.price == 0.0


def test_who_leaves_is_not_looked_at() -> None:
    one, two = Song(began=1.0), Song(began=2.0)
    queue = line_of(one, two)
    queue.leave(one)
    assert len(queue) == 1
    assert queue.next_due(0.0) == 2.0
    assert queue.take(5.0, 2.0) is two
    queue.leave(two)
    assert len(queue) == 1  # its look is under way


def test_who_moved_comes_when_it_is_wanted_now() -> None:
    song = Song(began=50.0)
    queue = line_of(song)
    song.latest = 10.0
    queue.move(song)
    assert queue.next_due(0.0) == 10.0
    assert queue.take(10.0, 2.0) is song


def test_no_more_are_looked_at_at_once_than_its_limit() -> None:
    queue = line_of(*group(9), limit=3)
    for _ in range(3):
        assert queue.next_due(0.0) <= 0.0
        assert queue.take(0.0, 2.0) is not None
    assert queue.take(0.0, 2.0) is None
    assert queue.next_due(0.0) == math.inf
    queue.done_polling()
    assert queue.next_due(0.0) <= 0.0
    assert queue.take(0.0, 2.0) is not None
    assert queue.polling == 3
    assert len(queue) == 8


# The price.


def test_the_price_rises_when_more_is_wanted_than_can_be_had() -> None:
    queue = line_of(*group(100))
    for now in itertools.islice(slots(2.0), 200):
        assert poll(queue, now) is not None
    assert queue.price > 1.0


def test_the_price_falls_to_nothing_when_there_is_room_again() -> None:
    songs = group(100)
    queue = line_of(*songs)
    for now in itertools.islice(slots(2.0), 200):
        poll(queue, now)
    for song in songs[5:]:
        queue.leave(song)
    for now in itertools.islice(slots(50.0, 100.0), 500):
        poll(queue, now, 50.0)
    assert queue.price == 0.0


def test_one_who_comes_alone_after_a_rush_is_looked_at_when_wanted() -> None:
    songs = group(100)
    queue = line_of(*songs)
    for now in itertools.islice(slots(2.0), 200):
        poll(queue, now)
    for song in songs:
        queue.leave(song)
    late = Song(COLD, created=100.0, began=100.0, gap=7.0)
    queue.enter(late)
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
@example(0, (100, 10.0), [SWIFT, SLOW])
def test_whoever_is_taken_is_worth_nearly_as_much_as_anybody(
    seed: int, load: tuple[int, float], models: list[HazardModel]
) -> None:
    """Against the scan of all; not those who waited too long, who come first anyway."""
    (size, rate), random_ = load, random.Random(seed)
    songs = group(size, seed)
    for song in songs:
        song.model = random_.choice(models)
    queue = line_of(*songs, draw=random_.random)
    worths: list[tuple[float, float]] = []
    for number, now in enumerate(itertools.islice(slots(rate), 7 * size)):
        settle(queue, now)
        most = max(each.expected_delay(now) for each in wanted(songs, now))
        # One call goes only so far, so that others may run; the driver asks again at once.
        song = next(filter(None, (queue.take(now, rate) for _ in range(10))))
        if number > 4 * size and queue.price > 0 and not is_overlooked(song, queue, now, rate):
            worths.append((song.expected_delay(now), most))
        answer(queue, song, now)
    assert all(expected_delay >= 0.25 * most for expected_delay, most in worths)
    assert sum(expected_delay for expected_delay, _ in worths) >= 0.85 * sum(
        most for _, most in worths
    )


# Whatever happens.


class AnyLine(RuleBasedStateMachine):
    """Few candidates, any events in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.rate, self.limit = 1000.0, 2.0, 5
        self.queue = line_of(draw=random.Random(1).random, limit=self.limit)
        self.models = [HazardModel(5), HazardModel(7200)]
        self.waiting: list[Song] = []
        self.looked_at: list[Song] = []

    @rule(which=st.integers(0, 1), age=st.sampled_from([0, 5, 60, 900]), gap=st.integers(0, 90))
    def enter(self, which: int, age: int, gap: int) -> None:
        song = Song(self.models[which], created=self.now - age, began=self.now, gap=gap)
        self.queue.enter(song)
        self.waiting.append(song)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), soon=st.integers(0, 30))
    def poll_soon(self, data: st.DataObject, soon: int) -> None:
        song = data.draw(st.sampled_from(self.waiting))
        song.latest = min(song.latest, self.now + soon)
        self.queue.move(song)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), comes_back=st.booleans())
    def leave(self, data: st.DataObject, *, comes_back: bool) -> None:
        song = data.draw(st.sampled_from(self.waiting))
        self.queue.leave(song)
        if comes_back:
            self.queue.enter(song)
        else:
            self.waiting.remove(song)

    @precondition(lambda self: self.looked_at)
    @rule(data=st.data(), still_runs=st.booleans())
    def answer(self, data: st.DataObject, *, still_runs: bool) -> None:
        song = data.draw(st.sampled_from(self.looked_at))
        self.looked_at.remove(song)
        self.queue.done_polling()
        if still_runs:
            song.running_at = max(song.sent - song.created, 0.0)
            song.latest = math.inf
            self.queue.enter(song)
            self.waiting.append(song)

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
        settle(self.queue, self.now)
        entries = wanted(self.waiting, self.now)
        due = self.queue.next_due(self.now)
        song = self.queue.take(self.now, self.rate)
        if len(self.looked_at) == self.limit:
            assert song is None
            assert due == math.inf
        elif song is None:
            assert not entries
            assert self.queue.next_due(self.now) > self.now  # nobody asks again at once
        else:
            assert song in entries
            assert due <= self.now
            self.waiting.remove(song)
            self.looked_at.append(song)
            song.sent = self.now

    @invariant()
    def it_knows_how_many_there_are(self) -> None:
        assert self.queue.polling == len(self.looked_at)
        assert len(self.queue) == len(self.waiting) + len(self.looked_at)


TestAnyLine = AnyLine.TestCase


def test_whose_moment_has_come_goes_first_whatever_it_is_worth() -> None:
    songs = [Song(created=-float(n)) for n in range(100)]
    queue = line_of(*songs)
    for now in itertools.islice(slots(2.0), 300):
        poll(queue, now)
    worthless = min(songs, key=lambda song: song.expected_delay(150.0))
    worthless.latest = 150.0
    queue.move(worthless)
    price = queue._price
    assert queue.take(150.0, 2.0) is worthless
    assert queue._price == price  # which says nothing about the others


# Nobody is forgotten.


def longest_wait(
    size: int,
    rate: float,
    models: list[HazardModel],
    *,
    seed: int = 1,
    latency: float = 5.0,
    ending: float = 0.0,
) -> float:
    """The longest wait for a look, where everybody always wants one, as seen in the end."""
    random_ = random.Random(seed)

    def newcomer(now: float) -> Song:
        return Song(random_.choice(models), created=now - random_.uniform(0, 120), began=now)

    songs = {newcomer(0.0) for _ in range(size)}
    queue = line_of(*songs, draw=random_.random)
    answers: list[tuple[float, int, Song]] = []
    longest = 0.0
    for number in range(int(5 * rate * bound(size, rate, latency))):
        now = number / rate
        while answers and answers[0][0] <= now:
            song = heapq.heappop(answers)[2]
            queue.done_polling()
            if random_.random() < ending:
                songs.discard(song)
                song = newcomer(now)
                songs.add(song)
            queue.enter(song)
        settle(queue, now)
        taken = queue.take(now, rate)
        if taken is not None:
            longest = max(longest, now - taken.waiting_since)
            taken.looked_at(now)
            heapq.heappush(answers, (now + random_.uniform(0, latency), number, taken))
    return max(longest, *(now - song.waiting_since for song in songs))


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
def test_nobody_waits_for_ever_whatever_the_models_believe(
    load: tuple[int, float],
    models: list[HazardModel],
    seed: int,
    latency: float,
    ending: float,
) -> None:
    size, rate = load
    longest = longest_wait(size, rate, models, seed=seed, latency=latency, ending=ending)
    assert longest <= bound(size, rate, latency)


def test_nobody_waits_for_ever_behind_one_who_wants_no_look_for_long() -> None:
    sleeper, forgotten = Song(SLOW, gap=1e6), Song(SLOW)
    sleeper.looked_at(0.0)
    queue = line_of(sleeper, forgotten, *(Song(SWIFT, began=990.0) for _ in range(9)))
    queue._price = 1.0
    settle(queue, 1000.0)
    assert queue.take(1000.0, 2.0) is forgotten


def test_nobody_waits_for_ever_while_new_ones_keep_coming() -> None:
    backlog = FakeBacklog()
    songs = {Song(SLOW) for _ in range(10)}
    queue = line_of(*songs, backlog=backlog)
    for now in itertools.islice(slots(2.0), int(2 * bound(20, 2.0, 0.0))):
        backlog.songs.append(Song(SLOW))
        settle(queue, now)
        song = queue.take(now, 2.0)
        assert song is not None
        queue.done_polling()
        songs.discard(song)
    assert not songs


def test_no_newcomer_waits_for_ever_either() -> None:
    newcomer = Song(SLOW)
    backlog = FakeBacklog(newcomer, expected_delay=0.01)
    queue = line_of(*(Song(SWIFT) for _ in range(100)), backlog=backlog)
    polls = [
        poll(queue, now) for now in itertools.islice(slots(2.0), 2 * int(bound(101, 2.0, 0.0)))
    ]
    assert newcomer in polls


def test_who_waited_too_long_comes_in_the_order_of_waiting() -> None:
    songs = [Song(SLOW, began=float(n)) for n in range(9)]
    queue = line_of(*songs, *(Song(SWIFT, created=990.0, began=999.0) for _ in range(9)))
    queue._price = 1.0
    assert [queue.take(1000.0, 2.0) for _ in songs] == songs


def test_nobody_who_is_gone_is_held() -> None:
    queue = line_of()
    gone = []
    for now in itertools.islice(slots(1.0), 3000):
        song = Song(began=now)
        gone.append(weakref.ref(song))
        queue.enter(song)
        assert queue.take(now, 2.0) is song
        queue.done_polling()
        settle(queue, now)
    gc.collect()
    assert sum(song() is not None for song in gone) < 1000


def test_who_moved_to_another_line_is_looked_at_there() -> None:
    """With its place among those who wait long, and without one where it was."""
    song = Song(SLOW)
    first, second = (line_of(*group(20, now=100.0)) for _ in range(2))
    first._price = second._price = 10.0
    first.enter(song)
    first.leave(song)
    second.enter(song)
    first.leave(song)  # where it is not
    taken = [first.take(100.0, 2.0) for _ in range(20)]
    assert song not in taken
    assert first.take(100.0, 2.0) is None
    assert second.take(100.0, 2.0) is song
    assert (len(first), len(second)) == (20, 21)


# Whose moment has come.


@pytest.mark.parametrize("price", [0.0, 1.0])
def test_of_many_whose_moment_came_the_latest_moment_goes_first(price: float) -> None:
    queue = line_of(*(Song(SWIFT, created=-9.0 - n) for n in range(1000)))
    queue._price = price
    urgent = Song(SLOW, began=30.0)
    urgent.latest = 30.0
    queue.enter(urgent)
    settle(queue, 30.0)
    assert queue.take(30.0, 2.0) is urgent


# Newcomers.


def test_newcomers_come_first_come_first_served_and_move_no_price() -> None:
    songs = [Song(created=-120.0) for _ in range(9)]
    queue = line_of(backlog=FakeBacklog(*songs))
    assert len(queue) == 9
    assert queue.next_due(0.0) == 0.0
    assert [queue.take(0.0, 2.0) for _ in songs] == songs
    assert queue._price == queue.price == 0.0
    assert queue.take(0.0, 2.0) is None
    assert queue.next_due(0.0) == math.inf
    assert len(queue) == queue.polling == 9


def test_a_newcomer_that_needs_no_look_is_passed_over() -> None:
    song = Song()
    queue = line_of(backlog=FakeBacklog(None, None, song, None))
    assert queue.take(0.0, 2.0) is song
    assert queue.take(0.0, 2.0) is None
    assert len(queue) == queue.polling == 1


@pytest.mark.parametrize("expected_delay, is_first", [(1.0, False), (1000.0, True)])
def test_the_first_of_both_is_whoever_is_worth_more(
    expected_delay: float, *, is_first: bool
) -> None:
    known, newcomer = Song(created=-60.0), Song()
    queue = line_of(known, backlog=FakeBacklog(newcomer, expected_delay=expected_delay))
    expected = [newcomer, known] if is_first else [known, newcomer]
    assert [queue.take(0.0, 2.0), queue.take(0.0, 2.0)] == expected


def test_a_newcomer_fills_a_slot_that_nobody_else_wants() -> None:
    known, newcomer = Song(created=-1e4, began=5.0), Song()
    queue = line_of(known, backlog=FakeBacklog(newcomer, expected_delay=0.0))
    assert queue.take(0.0, 2.0) is newcomer
    assert queue.take(0.0, 2.0) is None


def test_no_newcomer_comes_before_whose_moment_has_come() -> None:
    urgent, newcomer = Song(), Song()
    urgent.latest = 0.0
    queue = line_of(urgent, backlog=FakeBacklog(newcomer, expected_delay=1e9))
    assert queue.take(0.0, 2.0) is urgent


def test_newcomers_keep_to_the_limit_too() -> None:
    queue = line_of(backlog=FakeBacklog(*group(9)), limit=2)
    assert [queue.take(0.0, 2.0) is None for _ in range(3)] == [False, False, True]
    assert queue.next_due(0.0) == math.inf


def test_above_its_worth_the_price_makes_no_way_for_newcomers() -> None:
    known = Song(created=-50.0)
    queue = line_of(known, backlog=FakeBacklog(Song(), expected_delay=1.0))
    queue._price = 1000.0
    settle(queue, 0.0)
    assert known.expected_delay(0.0) > 5.0
    assert queue.take(0.0, 2.0) is known


# Keys are brought up to date.


class Listener(Song):
    """Wants a look when its model finds it worth a tenth of a second."""

    def wants(self, price: float) -> float:
        return self.created + self.model.due(self.running_at, 0.1)


def test_who_sleeps_wakes_when_the_model_learns_that_it_should() -> None:
    model = HazardModel(3600)
    songs = [Listener(model, created=-5.0) for _ in range(50)]
    for song in songs:
        song.looked_at(0.0)
    queue = line_of(*songs)
    settle(queue, 0.0)
    before = queue.next_due(0.0)
    for _ in range(4):
        model.observe_completion(0.0, 6.0)
    settle(queue, 2.0)
    assert queue.next_due(2.0) == songs[0].wants(0.0) < before


def test_a_model_that_knows_no_more_costs_no_keys() -> None:
    songs = group(50)
    queue = line_of(*songs)
    settle(queue, 0.0)
    keys = sum(song.keys for song in songs)
    for now in range(1000):
        assert not queue.tidy(float(now))
    assert sum(song.keys for song in songs) == keys


@pytest.mark.parametrize("rate", [2.0, 100.0])
def test_a_look_costs_few_keys_however_many_wait_and_however_much_is_learned(rate: float) -> None:
    model, seconds = taught(20, 90, 65), 2000 / rate
    songs = [Song(model, created=-float(n % 99)) for n in range(2000)]
    queue = line_of(*songs)
    for now in itertools.islice(slots(rate), 2000):
        model.observe_completion(0.0, 50.0)
        assert poll(queue, now, rate) is not None
    keys = sum(song.keys for song in songs)
    # Each enters twice at most, and one time of all keys is free.
    assert keys <= 2000 + 2000 + 2000 + line_module._KEYS_PER_LOOK * 2000 + 50 * seconds


def test_one_call_computes_one_slice_of_keys_and_says_whether_more_is_left() -> None:
    songs = group(1000)
    queue = line_of(*songs)
    queue._price = 5.0
    for expected in (1400, 1800, 2000):
        assert queue.tidy(0.0) is (expected < 2000)
        assert sum(song.keys for song in songs) == expected
    assert queue.price == 5.0
    assert not queue.tidy(0.0)


def test_while_keys_are_outdated_the_price_falls_no_further() -> None:
    songs = [Song(began=100.0) for _ in range(1000)]
    queue = line_of(*songs)
    queue._price = 5.0
    assert queue.tidy(0.0)
    assert queue.take(0.0, 2.0) is None
    assert queue._price == 5.0
    settle(queue, 0.0)
    assert queue.take(0.0, 2.0) is None
    assert queue._price < 5.0
    assert Counter(song.waits for song in songs) == {True: 1000}


def test_a_fast_budget_leaves_no_slot_unused_either() -> None:
    songs = group(100)
    for song in songs:
        song.gap = 0.0
    queue = line_of(*songs, draw=random.Random(1).random)
    polls = [poll(queue, now, 100.0) for now in itertools.islice(slots(100.0), 2000)]
    assert None not in polls


def test_no_slot_is_left_unused_while_keys_hold_an_older_price() -> None:
    songs = [Song(began=-1.0) for _ in range(1000)]
    queue = line_of(*songs)
    queue._price = 50.0
    settle(queue, 0.0)
    queue._price = 0.0  # as after a few looks that were worth nothing
    settle(queue, 1.0)
    assert queue.next_due(1.0) <= 1.0
    assert queue.take(1.0, 2.0) is not None


def test_among_many_somebody_who_wants_is_found_in_a_few_tries() -> None:
    """Where the first in order sleeps: the price has to fall before others are seen."""
    sleepers = [Song(SWIFT, created=-90.0, gap=50.0) for _ in range(1000)]
    for song in sleepers:
        song.looked_at(0.0)
    awake = Song(SLOW, began=1.0)
    queue = line_of(*sleepers, awake)
    queue._price = 20.0
    tries = 0
    while (taken := queue.take(1.0, 2.0)) is None and tries < 40:
        settle(queue, 1.0)
        assert queue.next_due(1.0) <= 1.0
        tries += 1
    assert taken is awake


def test_so_many_newcomers_without_need_of_a_look_are_passed_over_in_one_go() -> None:
    backlog = FakeBacklog(*[None] * 1000)
    queue = line_of(backlog=backlog)
    assert queue.take(0.0, 2.0) is None
    assert 900 < len(backlog) < 1000
    assert queue.next_due(0.0) == 0.0


def test_of_those_who_want_nothing_yet_only_a_few_are_passed_over_in_one_go() -> None:
    songs = [Song(gap=1e6) for _ in range(30)]
    for song in songs:
        song.looked_at(0.0)
    queue = line_of(*songs)
    assert queue.take(1000.0, 2.0) is None
    assert queue._order.first() is songs[10]
