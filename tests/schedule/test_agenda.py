"""A queue of moments whose entries can move and leave."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from vocalsep_async.schedule import Agenda


def test_the_earliest_comes_first() -> None:
    agenda: Agenda[str] = Agenda()
    for item, due in (("late", 9.0), ("early", 1.0), ("middle", 5.0)):
        agenda.put(item, due)
    assert agenda.next_due() == 1.0
    assert [agenda.pop(10.0) for _ in range(4)] == ["early", "middle", "late", None]


def test_nothing_comes_before_it_is_due() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.put("a", 5.0)
    assert agenda.pop(4.999) is None
    assert len(agenda) == 1
    assert agenda.pop(5.0) == "a"
    assert len(agenda) == 0


def test_of_equals_the_first_one_in_comes_first() -> None:
    agenda: Agenda[int] = Agenda()
    for item in (3, 1, 2):
        agenda.put(item, 5.0)
    assert [agenda.pop(5.0) for _ in range(3)] == [3, 1, 2]


def test_an_entry_moves_both_ways() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.put("a", 5.0)
    agenda.put("b", 6.0)
    agenda.put("a", 7.0)
    assert len(agenda) == 2
    assert agenda.next_due() == 6.0
    agenda.put("a", 1.0)
    assert [agenda.pop(10.0) for _ in range(3)] == ["a", "b", None]


def test_an_entry_that_left_does_not_come_back() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.put("a", 5.0)
    agenda.discard("a")
    agenda.discard("never entered")
    assert len(agenda) == 0
    assert agenda.next_due() == math.inf
    assert agenda.pop(math.inf) is None


def test_items_need_no_order_of_their_own() -> None:
    agenda: Agenda[object] = Agenda()
    first, second = object(), object()
    agenda.put(first, 5.0)
    agenda.put(second, 5.0)
    assert agenda.pop(5.0) is first


def test_it_says_how_full_it_is() -> None:
    agenda: Agenda[str] = Agenda()
    assert repr(agenda) == "<Agenda: 0 entries, next at inf>"
    agenda.put("a", 1.5)
    assert repr(agenda) == "<Agenda: 1 entries, next at 1.500>"


STEPS = st.tuples(st.sampled_from(["put", "discard", "pop"]), st.integers(0, 5), st.floats(0, 9))


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_it_does_what_a_sorted_list_would(steps: list[tuple[str, int, float]]) -> None:
    agenda: Agenda[int] = Agenda()
    expected: dict[int, float] = {}
    for step, item, moment in steps:
        match step:
            case "put":
                agenda.put(item, moment)
                expected.pop(item, None)
                expected[item] = moment
            case "discard":
                agenda.discard(item)
                expected.pop(item, None)
            case _:
                first = min(expected, key=expected.__getitem__, default=None)
                if first is not None and expected[first] > moment:
                    first = None
                assert agenda.pop(moment) == first
                expected.pop(first, None) if first is not None else None
        assert len(agenda) == len(expected)
        assert agenda.next_due() == min(expected.values(), default=math.inf)


def test_entries_that_moved_or_left_are_not_kept_for_ever() -> None:
    agenda: Agenda[int] = Agenda()
    for item in range(1000):
        agenda.put(item, 1e9)
        agenda.discard(item)
        agenda.put(-1, float(item))
    assert len(agenda) == 1
    assert len(agenda._heap) < 100
    assert (agenda.due(-1), agenda.due(5)) == (999.0, math.inf)
    assert agenda.pop(1e10) == -1
