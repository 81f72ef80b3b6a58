"""Candidates in the order of their keys, while the price moves."""

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scheduling.entries import MODELS, Song, group

from vocalsep_async._scheduling import price_heap
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.price_heap import PriceHeap

SLICE = 3


def held(heap: PriceHeap[Song]) -> int:
    """Entries of both generations, outdated ones included."""
    return len(heap._current) + len(heap._stale)


def finish(heap: PriceHeap[Song]) -> None:
    while heap.is_repricing:
        heap.reprice_slice()


def drained(heap: PriceHeap[Song]) -> list[Song]:
    songs = []
    while (song := heap.first()) is not None:
        heap.discard(song)
        songs.append(song)
    return songs


class AnyOrder(RuleBasedStateMachine):
    """Whatever is done, in whatever order, against a plain set of who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(price_heap, "_SLICE", SLICE)
        self.heap: PriceHeap[Song] = PriceHeap()
        self.songs: list[Song] = []
        self.waiting: set[Song] = set()

    def push(self, song: Song) -> None:
        self.heap.push(song)
        self.waiting.add(song)

    @rule(model=st.sampled_from(MODELS), age=st.integers(0, 200), began=st.integers(0, 9))
    def enter(self, model: HazardModel, age: int, began: int) -> None:
        self.songs.append(Song(model, created=-float(age), began=float(began)))
        # Of songs that are alike in all, which comes first depends on where they lie in memory.
        self.songs[-1].draw = len(self.songs) / 1e6
        self.push(self.songs[-1])

    @precondition(lambda self: self.songs)
    @rule(data=st.data(), latest=st.integers(-9, 99) | st.none(), draw=st.floats(0, 1))
    def move_or_enter_again(self, data: st.DataObject, latest: int | None, draw: float) -> None:
        song = data.draw(st.sampled_from(self.songs))
        song.draw = (draw + self.songs.index(song)) / 1e3
        if latest is not None:
            song.latest = latest
        self.push(song)

    @precondition(lambda self: self.songs)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        song = data.draw(st.sampled_from(self.songs))
        self.heap.discard(song)
        self.waiting.discard(song)

    @rule()
    def take_the_first(self) -> None:
        song = self.heap.first()
        if song is not None:
            self.heap.discard(song)
            self.waiting.remove(song)

    @precondition(lambda self: not self.heap.is_repricing)
    @rule(price=st.sampled_from([0.0, 0.1, 1.0, 30.0]))
    def reprice(self, price: float) -> None:
        self.heap.reprice(price)

    @rule()
    def reprice_slice(self) -> None:
        before = sum(song.keys for song in self.songs)
        self.heap.reprice_slice()
        assert sum(song.keys for song in self.songs) <= before + SLICE

    @invariant()
    def the_first_has_the_smallest_key_of_those_who_wait(self) -> None:
        first = self.heap.first()
        assert (first is None) is (not self.waiting)
        if first is not None:
            assert first in self.waiting
            assert first.key == min(song.key for song in self.waiting)

    @invariant()
    def it_knows_who_waits(self) -> None:
        assert len(self.heap) == len(self.waiting)
        assert {song for song in self.songs if song.waits} == self.waiting

    @invariant()
    def once_repriced_every_key_is_of_today(self) -> None:
        if not self.heap.is_repricing:
            for song in self.waiting:
                assert song.key == song.key_at(self.heap.charged)

    def teardown(self) -> None:
        songs = drained(self.heap)
        assert len(songs) == len(self.waiting)
        assert set(songs) == self.waiting
        self.patch.undo()


TestAnyOrder = AnyOrder.TestCase


def test_candidates_come_out_in_the_order_of_their_keys() -> None:
    heap: PriceHeap[Song] = PriceHeap()
    heap.charged = 5.0
    songs = group(1000)
    for song in songs:
        heap.push(song)
    keys = {song: song.key for song in songs}
    assert [keys[song] for song in drained(heap)] == sorted(keys.values())


def test_a_hundred_thousand_are_repriced_slice_by_slice_and_the_first_is_right_meanwhile() -> None:
    heap: PriceHeap[Song] = PriceHeap()
    songs = group(100_000)
    for song in songs:
        heap.push(song)
        song.keys = 0
    steps = [lambda: heap.reprice(5.0), *[heap.reprice_slice] * 249]
    for number, step in enumerate(steps):
        assert heap.is_repricing is (number > 0)
        step()
        if number % 50 == 0:
            assert sum(song.keys for song in songs) == 400 * (number + 1)
            first = heap.first()
            assert first is not None
            assert first.key == min(song.key for song in songs)
    assert not heap.is_repricing
    assert {song.keys for song in songs} == {1}


def test_between_equals_the_draw_decides() -> None:
    heap: PriceHeap[Song] = PriceHeap()
    songs = [Song() for _ in range(9)]
    for song in songs:
        song.draw = random.random()
        heap.push(song)
    draws = [song.draw for song in drained(heap)]
    assert draws == sorted(draws)


@pytest.mark.parametrize("is_moved", [True, False])
def test_moving_leaves_no_pile_of_outdated_entries(*, is_moved: bool) -> None:
    """Neither in memory nor in time, whether the moves change anything or not."""
    heap: PriceHeap[Song] = PriceHeap()
    songs = group(100)
    for song in songs:
        heap.push(song)
    for turn in range(10_000):
        song = songs[turn % 100]
        song.latest = -turn if is_moved else song.latest
        heap.push(song)
        finish(heap)
        assert held(heap) <= 2 * len(heap) + price_heap._SLICE
    assert sum(song.keys for song in songs) < 2 * 10_000


def test_those_who_left_are_forgotten_as_others_come() -> None:
    heap: PriceHeap[Song] = PriceHeap()
    for turn in range(5000):
        song = Song(began=float(turn % 7))
        heap.push(song)
        heap.discard(song)
        finish(heap)
        assert len(heap) == 0
        assert held(heap) <= price_heap._SLICE + 2


def test_discarding_who_is_not_in_changes_nothing() -> None:
    heap: PriceHeap[Song] = PriceHeap()
    heap.push(Song())
    heap.discard(Song())
    assert len(heap) == 1
