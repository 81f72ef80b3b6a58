"""The line in front of a budget: whose turn it is among the clients of one account."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._limiting import Line, Place

NOW = 1000.0


def line_of(count: int) -> tuple[Line, list[Place]]:
    line, places = Line(), [Place() for _ in range(count)]
    for place in places:
        line.append(place)
    return line, places


def bid(place: Place, worth: float, growth: float = 0.0, *, must: bool = False) -> None:
    place.bid(worth, growth, must=must, now=NOW)


def test_places_without_a_bid_take_turns_in_the_order_of_arrival() -> None:
    line, places = line_of(3)
    served = []
    for _ in range(3):
        place = line.next(NOW)
        assert place is line.leader
        assert place is not None
        line.take_turn(place)
        served.append(place)
    assert served == places
    assert line.next(NOW) is None
    assert line.leader is None


def test_a_place_with_little_to_gain_gives_way() -> None:
    line, (first, second) = line_of(2)
    bid(first, 1.0)
    bid(second, 10.0)
    assert line.next(NOW) is second
    bid(first, 9.0)
    assert line.next(NOW) is first


def test_bids_grow_while_their_places_wait() -> None:
    line, (first, second) = line_of(2)
    bid(first, 0.0, growth=1.0)
    bid(second, 5.0)
    assert line.next(NOW) is second
    assert line.next(NOW + 20) is first


def test_a_place_that_must_have_the_slot_comes_before_every_worth() -> None:
    line, (first, second, third) = line_of(3)
    bid(first, 1e9)
    bid(second, 0.0, must=True)
    bid(third, 0.0, must=True)
    assert line.next(NOW) is second


def test_an_absent_place_is_passed_over_until_it_comes() -> None:
    line, (first, second) = line_of(2)
    first.is_absent = True
    assert line.next(NOW) is second
    assert line.leader is second
    assert line.ahead(second) == 0
    first.is_absent = False
    assert line.next(NOW) is first
    assert line.ahead(second) == 1


def test_a_place_may_leave_twice() -> None:
    line, (first, second) = line_of(2)
    for _ in range(2):
        line.remove(first)
    assert first not in line
    assert line.leader is second


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=6, max_size=6), min_size=60, max_size=60))
def test_no_place_starves_whatever_the_others_bid(rounds: list[list[float]]) -> None:
    line, places = line_of(6)
    passed: Counter[Place] = Counter()
    for worths in rounds:
        for place, worth in zip(places, worths, strict=True):
            bid(place, worth)
        served = line.next(NOW)
        assert served is not None
        passed = Counter({place: passed[place] + 1 for place in places if place is not served})
        assert max(passed.values()) <= 8 + len(places)
        line.take_turn(served)
        served.passes = 0
        line.append(served)
