"""Delays that grow, within bounds, and never overflow."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import RetryPolicy
from vocalsep_async.policies import _grown as grown
from vocalsep_async.policies import _jittered as jittered

ALMOST_ONE = math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    "count, delay", [(0, 0.5), (1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (1100, 8.0)]
)
def test_delays_double_up_to_the_longest(count: int, delay: float) -> None:
    assert grown(count, initial=0.5, factor=2.0, maximum=8.0) == delay


@pytest.mark.parametrize("count", [1100, 10**6, 2**1100])
@pytest.mark.parametrize("factor", [2, 2.0, 1.0000001, 1e308])
@pytest.mark.parametrize("initial, maximum", [(0.5, 8.0), (1e-300, 1e300), (1, 10**9)])
def test_no_number_of_tries_overflows(
    count: int, factor: float, initial: float, maximum: float
) -> None:
    delay = grown(count, initial=initial, factor=factor, maximum=maximum)
    assert initial <= delay <= maximum


@pytest.mark.parametrize("count", [0, 1, 2**1100])
def test_a_factor_of_one_changes_nothing(count: int) -> None:
    assert grown(min(count, 10**300), initial=3.0, factor=1.0, maximum=9.0) == 3.0


@given(st.integers(0, 2000), st.floats(1e-6, 1e6), st.floats(1, 1e3), st.floats(1, 1e6))
def test_delays_never_shrink_and_stay_in_bounds(
    count: int, initial: float, factor: float, room: float
) -> None:
    how = {"initial": initial, "factor": factor, "maximum": initial * room}
    assert initial <= grown(count, **how) <= grown(count + 1, **how) <= initial * room


@pytest.mark.parametrize(
    "jitter, draw, delay",
    [(0.25, 0.0, 7.5), (0.25, 0.5, 10.0), (0.25, ALMOST_ONE, 12.5), (0.0, 0.9, 10.0)],
)
def test_jitter_spreads_evenly_both_ways(jitter: float, draw: float, delay: float) -> None:
    assert jittered(10.0, jitter, draw) == pytest.approx(delay)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_jittered_delay_is_never_negative(jitter: float, draw: float) -> None:
    assert 10 * (1 - jitter) <= jittered(10.0, jitter, draw) <= 10 * (1 + jitter)


def test_the_delays_between_tries_follow_the_policy() -> None:
    policy = RetryPolicy()
    assert [policy.delay(failures, 0.5) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert policy.delay(1, 0.0) == 0.375
    assert policy.delay(2**1100, ALMOST_ONE) == pytest.approx(10.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, True, "1", None, [1]])
@pytest.mark.parametrize("name", ["attempts", "initial", "factor", "maximum", "jitter"])
def test_every_option_is_checked(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be"):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"initial": 0},
        {"initial": 9},
        {"factor": 0.99},
        {"maximum": 0},
        {"maximum": 0.4},
        {"jitter": 1},
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        RetryPolicy(**options)


def test_the_longest_delay_is_not_below_the_first() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"maximum \(1\) must not be below initial \(2\)"
    ):
        RetryPolicy(initial=2, maximum=1)
    assert RetryPolicy(initial=2, maximum=2).delay(5, 0.5) == 2


def test_a_retry_policy_is_a_value() -> None:
    assert RetryPolicy() == RetryPolicy(attempts=4)
    assert hash(RetryPolicy()) == hash(RetryPolicy())
    assert RetryPolicy(attempts=1).attempts == 1
