"""The price heap while the price changes, and the deadline heap."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scheduling.entries import MODELS, IntervalEntry, random_entries

from vocalsep_async._scheduling import heaps
from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.heaps import DeadlineHeap, PriceHeap

SLICE = 3
DEADLINES = st.sampled_from([1.0, 2.0, 3.0, math.inf])

# The price heap.


def items_in(heap: PriceHeap[IntervalEntry]) -> int:
    """Number of items in both heaps, outdated ones included."""
    return len(heap._current) + len(heap._stale)


def finish_repricing(heap: PriceHeap[IntervalEntry]) -> None:
    while heap.is_repricing:
        heap.reprice_slice()


def drain(heap: PriceHeap[IntervalEntry]) -> list[IntervalEntry]:
    entries = []
    while (entry := heap.first()) is not None:
        heap.discard(entry)
        entries.append(entry)
    return entries


class PriceHeapMachine(RuleBasedStateMachine):
    """Any operations in any order, compared with a plain set of the waiting entries."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(heaps, "_SLICE", SLICE)
        self.heap: PriceHeap[IntervalEntry] = PriceHeap()
        self.entries: list[IntervalEntry] = []
        self.waiting: set[IntervalEntry] = set()

    def push(self, entry: IntervalEntry) -> None:
        self.heap.push(entry)
        self.waiting.add(entry)

    @rule(model=st.sampled_from(MODELS), age=st.integers(0, 200), began=st.integers(0, 9))
    def push_new(self, model: HazardModel, age: int, began: int) -> None:
        self.entries.append(IntervalEntry(model, created=-float(age), began=float(began)))
        # Entries with equal keys and draws come in the order of their addresses.
        self.entries[-1].draw = len(self.entries) / 1e6
        self.push(self.entries[-1])

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), began=st.integers(-9, 99) | st.none(), draw=st.floats(0, 1))
    def push_again(self, data: st.DataObject, began: int | None, draw: float) -> None:
        entry = data.draw(st.sampled_from(self.entries))
        entry.draw = (draw + self.entries.index(entry)) / 1e3
        if began is not None:
            entry.began = began
        self.push(entry)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.entries))
        self.heap.discard(entry)
        self.waiting.discard(entry)

    @rule()
    def pop_the_first(self) -> None:
        entry = self.heap.first()
        if entry is not None:
            self.heap.discard(entry)
            self.waiting.remove(entry)

    @precondition(lambda self: not self.heap.is_repricing)
    @rule(price=st.sampled_from([0.0, 0.1, 1.0, 30.0]))
    def reprice(self, price: float) -> None:
        self.heap.reprice(price)

    @rule()
    def reprice_slice(self) -> None:
        before = sum(entry.keys_computed for entry in self.entries)
        self.heap.reprice_slice()
        assert sum(entry.keys_computed for entry in self.entries) <= before + SLICE

    @invariant()
    def the_first_entry_has_the_smallest_key(self) -> None:
        first = self.heap.first()
        assert (first is None) is (not self.waiting)
        if first is not None:
            assert first in self.waiting
            assert first.key == min(entry.key for entry in self.waiting)

    @invariant()
    def exactly_the_pushed_entries_wait(self) -> None:
        assert len(self.heap) == len(self.waiting)
        assert {entry for entry in self.entries if entry.waits} == self.waiting

    @invariant()
    def once_repriced_no_key_is_outdated(self) -> None:
        if not self.heap.is_repricing:
            for entry in self.waiting:
                assert entry.key == entry.key_at(self.heap.price)

    def teardown(self) -> None:
        entries = drain(self.heap)
        assert len(entries) == len(self.waiting)
        assert set(entries) == self.waiting
        self.patch.undo()


TestPriceHeapMachine = PriceHeapMachine.TestCase


def test_a_price_heap_orders_entries_by_their_keys() -> None:
    heap: PriceHeap[IntervalEntry] = PriceHeap()
    heap.price = 5.0
    entries = random_entries(1000)
    for entry in entries:
        heap.push(entry)
    keys = {entry: entry.key for entry in entries}
    assert [keys[entry] for entry in drain(heap)] == sorted(keys.values())


def test_the_first_entry_is_right_while_a_hundred_thousand_are_repriced_in_slices() -> None:
    heap: PriceHeap[IntervalEntry] = PriceHeap()
    entries = random_entries(100_000)
    for entry in entries:
        heap.push(entry)
        entry.keys_computed = 0
    steps = [lambda: heap.reprice(5.0), *[heap.reprice_slice] * 249]
    for number, step in enumerate(steps):
        assert heap.is_repricing is (number > 0)
        step()
        if number % 50 == 0:
            assert sum(entry.keys_computed for entry in entries) == 400 * (number + 1)
            first = heap.first()
            assert first is not None
            assert first.key == min(entry.key for entry in entries)
    assert not heap.is_repricing
    assert {entry.keys_computed for entry in entries} == {1}


def test_the_draw_orders_entries_with_equal_keys() -> None:
    heap: PriceHeap[IntervalEntry] = PriceHeap()
    entries = [IntervalEntry() for _ in range(9)]
    for entry in entries:
        entry.draw = random.random()
        heap.push(entry)
    draws = [entry.draw for entry in drain(heap)]
    assert draws == sorted(draws)


@pytest.mark.parametrize("is_moved", [True, False])
def test_pushing_again_does_not_pile_up_outdated_items(*, is_moved: bool) -> None:
    """Neither memory nor the keys computed grow, whether the keys change or not."""
    heap: PriceHeap[IntervalEntry] = PriceHeap()
    entries = random_entries(100)
    for entry in entries:
        heap.push(entry)
    for turn in range(10_000):
        entry = entries[turn % 100]
        entry.began = -turn if is_moved else entry.began
        heap.push(entry)
        finish_repricing(heap)
        assert items_in(heap) <= 2 * len(heap) + heaps._SLICE
    assert sum(entry.keys_computed for entry in entries) < 2 * 10_000


def test_pushing_new_entries_drops_the_items_of_discarded_ones() -> None:
    heap: PriceHeap[IntervalEntry] = PriceHeap()
    for turn in range(5000):
        entry = IntervalEntry(began=float(turn % 7))
        heap.push(entry)
        heap.discard(entry)
        finish_repricing(heap)
        assert len(heap) == 0
        assert items_in(heap) <= heaps._SLICE + 2


def test_discarding_an_absent_entry_changes_nothing() -> None:
    heap: PriceHeap[IntervalEntry] = PriceHeap()
    heap.push(IntervalEntry())
    heap.discard(IntervalEntry())
    assert len(heap) == 1


# The deadline heap.


@given(st.lists(st.tuples(st.integers(0, 4), DEADLINES, st.booleans()), max_size=80))
def test_the_first_entry_of_a_deadline_heap_has_the_earliest_deadline(
    steps: list[tuple[int, float, bool]],
) -> None:
    entries = [IntervalEntry() for _ in range(5)]
    heap: DeadlineHeap[IntervalEntry] = DeadlineHeap()
    deadlines: dict[int, float] = {}
    for which, deadline, is_push in steps:
        deadlines.pop(which, None)
        if is_push:
            entries[which].latest = deadline
            heap.push(entries[which])
            if deadline < math.inf:
                deadlines[which] = deadline
        else:
            heap.discard(entries[which])
        first = heap.first()
        assert (first is None) == (not deadlines)
        if first is not None:
            assert first.latest == deadlines[entries.index(first)] == min(deadlines.values())


def test_changed_deadlines_do_not_pile_up_outdated_items() -> None:
    heap: DeadlineHeap[IntervalEntry] = DeadlineHeap()
    entry = IntervalEntry()
    for number in range(10_000):
        entry.latest = float(number)
        heap.push(entry)
    assert len(heap._heap) < 100
