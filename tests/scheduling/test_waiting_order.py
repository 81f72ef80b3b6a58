"""The order of waiting."""

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st
from scheduling.entries import IntervalEntry

from vocalsep_async._scheduling.heaps import WaitingOrder


@given(st.lists(st.integers(0, 5), max_size=40))
def test_entries_come_in_the_order_in_which_they_were_appended(steps: list[int]) -> None:
    entries, expected = [IntervalEntry() for _ in range(6)], list[IntervalEntry]()
    order: WaitingOrder[IntervalEntry] = WaitingOrder()
    for which in steps:
        entry = entries[which]
        if entry in expected:
            order.remove(entry)
            expected.remove(entry)
        else:
            order.append(entry)
            expected.append(entry)
        assert list(order) == expected
        assert order.first is next(iter(expected), None)


def test_an_entry_that_left_no_longer_keeps_its_neighbours_alive() -> None:
    order: WaitingOrder[IntervalEntry] = WaitingOrder()
    entries = [IntervalEntry() for _ in range(3)]
    for entry in entries:
        order.append(entry)
    left, neighbours = entries[1], [weakref.ref(entry) for entry in (entries[0], entries[2])]
    order.remove(left)
    del order, entries, entry
    gc.collect()
    assert [neighbour() for neighbour in neighbours] == [None, None]
