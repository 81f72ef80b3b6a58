"""A file that comes too slowly is not waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._downloads.stall import StallDetector
from vocalsep_async.errors import ErrorAction, TransportError

ENOUGH = 1 << 16


def test_a_byte_a_second_is_given_up_after_a_minute_and_worth_another_try() -> None:
    pace = StallDetector()
    for _ in range(59):
        pace.gained(1, 1.0)
    with pytest.raises(TransportError, match=r"fewer than 65,536 bytes came in 60 s") as caught:
        pace.gained(1, 1.0)
    assert caught.value.action is ErrorAction.RETRY


def test_enough_in_each_minute_may_go_on_for_ever() -> None:
    pace = StallDetector()
    for _ in range(1000):
        pace.gained(ENOUGH // 2, 29.0)


def test_bytes_that_came_at_the_last_moment_count() -> None:
    StallDetector().gained(ENOUGH, 3600.0)


def test_one_byte_less_does_not_do() -> None:
    with pytest.raises(TransportError):
        StallDetector().gained(ENOUGH - 1, 60.0)


def test_what_came_in_the_minute_before_does_not_help() -> None:
    pace = StallDetector()
    pace.gained(100 * ENOUGH, 1.0)
    pace.gained(ENOUGH - 1, 59.0)
    with pytest.raises(TransportError):
        pace.gained(0, 1.0)


def test_time_in_which_nobody_waited_does_not_count() -> None:
    pace = StallDetector()
    for _ in range(1000):
        pace.gained(1, 0.0)


@given(st.lists(st.tuples(st.integers(0, 1 << 18), st.floats(0.0, 59.0)), max_size=50))
def test_nothing_is_given_up_in_less_than_a_minute_of_waiting(
    gains: list[tuple[int, float]],
) -> None:
    pace, waited = StallDetector(), 0.0
    for count, seconds in gains:
        waited += seconds
        try:
            pace.gained(count, seconds)
        except TransportError:
            assert waited >= 60.0
            return
