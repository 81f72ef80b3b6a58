"""Poll policies, retry policies and rate limits: frozen values with checked ranges."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async.durations import view_of
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import (
    Adaptive,
    Backoff,
    Interval,
    PollContext,
    PollPolicy,
    RateLimit,
    RetryPolicy,
)

ALMOST_ONE = math.nextafter(1.0, 0.0)
UNTRAINED = HazardModel()


def random_durations(seed: int, count: int) -> list[float]:
    random_ = random.Random(seed)
    return [45.0 * math.exp(random_.gauss(0.0, 0.45)) for _ in range(count)]


def trained_model() -> HazardModel:
    model = HazardModel()
    for duration in random_durations(1, 200):
        model.observe_completion(0.0, duration)
    return model


TRAINED = trained_model()


def context(
    *,
    polls: int = 1,
    age: float = 0.0,
    draw: float = 0.5,
    model: HazardModel = UNTRAINED,
    price: float = 0.0,
    spare: bool = False,
) -> PollContext:
    return PollContext(
        polls=polls,
        elapsed=age,
        age=age,
        durations=view_of(model),
        draw=draw,
        price=price,
        spare=spare,
    )


# Interval and Backoff.


def test_interval_returns_the_same_gap_each_time() -> None:
    assert Interval(7).delay(context()) == Interval(7).delay(context(polls=99, age=1e6)) == 7


def test_backoff_grows_to_its_maximum() -> None:
    policy = Backoff(initial=2.0, factor=1.5, maximum=5.0, jitter=0.0)
    assert [policy.delay(context(polls=polls)) for polls in (1, 2, 3, 4, 1100)] == [2, 3, 4.5, 5, 5]


@pytest.mark.parametrize("polls", [1100, 2**1100])
@pytest.mark.parametrize("factor", [1.0, 1.5, 2, 1e308])
def test_backoff_never_overflows(polls: int, factor: float) -> None:
    policy = Backoff(initial=2.0, factor=factor, maximum=30.0, jitter=0.2)
    assert 1.6 <= policy.delay(context(polls=polls)) <= 36.0


@pytest.mark.parametrize("draw, delay", [(0.0, 8.0), (0.5, 10.0), (ALMOST_ONE, 12.0)])
def test_backoff_is_spread_by_its_jitter(draw: float, delay: float) -> None:
    policy = Backoff(initial=10.0, maximum=10.0, jitter=0.2)
    assert policy.delay(context(draw=draw)) == pytest.approx(delay)
    assert 8.0 <= policy.delay(context(draw=draw)) <= 12.0


# Adaptive.


def poll_ages(policy: PollPolicy, duration: float, model: HazardModel) -> list[float]:
    """The ages at which *policy* polls a task of *duration*; the last one is after its end."""
    ages = [0.0]
    while ages[-1] < duration:
        ages.append(ages[-1] + policy.delay(context(polls=len(ages), age=ages[-1], model=model)))
    return ages


@given(
    st.sampled_from([UNTRAINED, TRAINED]),
    st.floats(0, 1e5),
    st.sampled_from([1e-300, 0.1, 1, 1e3, 1e300]),
)
def test_gaps_of_adaptive_stay_within_its_bounds(
    model: HazardModel, age: float, cost: float
) -> None:
    longest = max(20.0, age / 4)
    if model is UNTRAINED:
        longest = min(longest, max(2.0, age / 2))
    assert 1.0 <= Adaptive(cost=cost).delay(context(age=age, model=model)) <= longest


@pytest.mark.parametrize(
    "age, longest", [(0, 2.0), (4, 2.0), (10, 5.0), (40, 20.0), (80, 20.0), (400, 100.0)]
)
def test_adaptive_has_short_gaps_until_ten_tasks_have_finished(age: float, longest: float) -> None:
    model = HazardModel()
    for duration in random_durations(3, 9):
        assert Adaptive(cost=1e300).delay(context(age=age, model=model)) == longest
        model.observe_completion(0.0, duration)
    assert Adaptive(cost=1e300).delay(context(age=age, model=model)) == longest
    model.observe_completion(0.0, 45.0)
    assert Adaptive(cost=1e300).delay(context(age=age, model=model)) >= 20.0


@pytest.mark.parametrize("age, longest", [(0, 20.0), (10, 20.0), (80, 20.0), (400, 100.0)])
def test_later_gaps_of_adaptive_are_at_most_a_quarter_of_the_age(
    age: float, longest: float
) -> None:
    assert Adaptive(cost=1e300).delay(context(age=age, model=TRAINED)) == longest


def test_adaptive_never_polls_more_often_than_every_second() -> None:
    assert Adaptive(cost=1e-300).delay(context(age=45.0, model=TRAINED)) == 1.0


@given(
    st.sampled_from([UNTRAINED, TRAINED]), st.floats(0, 1e5), st.floats(0, 100), st.floats(0.01, 10)
)
def test_adaptive_wants_its_shortest_gap_at_a_price_above_its_cost(
    model: HazardModel, age: float, price: float, cost: float
) -> None:
    """The schedule itself waits until the expected delay reaches the price."""
    policy = Adaptive(cost=cost)
    gap = policy.delay(context(age=age, model=model, price=price))
    if price > cost:
        assert gap == pytest.approx(max(1.0, age / 100))
    else:
        assert gap == policy.delay(context(age=age, model=model))


def test_interval_and_backoff_ignore_the_price() -> None:
    for policy in (Interval(7), Backoff()):
        assert policy.delay(context(price=1e6)) == policy.delay(context())


def test_adaptive_polls_more_often_at_a_lower_cost() -> None:
    gaps = [
        Adaptive(cost=cost).delay(context(age=40.0, model=TRAINED))
        for cost in (0.02, 0.1, 0.5, 2.0)
    ]
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1]


def test_adaptive_polls_more_often_while_slots_are_left_unused() -> None:
    """As at a fifth of the cost."""
    plain, spare = (
        Adaptive().delay(context(age=60.0, model=TRAINED, spare=s)) for s in (False, True)
    )
    assert spare < plain
    assert spare == Adaptive(cost=0.02).delay(context(age=60.0, model=TRAINED))


def test_adaptive_polls_a_task_that_outlasts_all_others_ever_less_often() -> None:
    ages = (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
    gaps = [Adaptive().delay(context(age=age, model=TRAINED)) for age in ages]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 3 * gaps[0]


def test_adaptive_polls_most_often_at_the_ages_at_which_tasks_end() -> None:
    policy = Adaptive()
    early, likely = (policy.delay(context(age=age, model=TRAINED)) for age in (2.0, 45.0))
    assert likely < early / 2


def test_adaptive_needs_fewer_polls_than_an_interval_for_the_same_delay() -> None:
    """Measured with tasks from which the model has not learned."""
    tasks = random_durations(2, 300)

    def cost(policy: PollPolicy) -> tuple[float, float]:
        ages_of_all = [poll_ages(policy, duration, TRAINED) for duration in tasks]
        late = sum(ages[-1] - duration for ages, duration in zip(ages_of_all, tasks, strict=True))
        return late / len(tasks), sum(len(ages) - 1 for ages in ages_of_all) / len(tasks)

    learned_delay, learned_polls = cost(Adaptive(cost=0.32))
    fixed_delay, fixed_polls = cost(Interval(5))
    assert learned_delay <= fixed_delay
    assert learned_polls <= 0.85 * fixed_polls


# Arguments.

WRONG: list[Any] = [0, -1, math.nan, math.inf, True, "5", None, [5]]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(
    "policy, name",
    [(Interval, "seconds"), (Adaptive, "cost"), (Backoff, "initial"), (Backoff, "maximum")],
)
def test_policies_refuse_seconds_that_are_not_finite_numbers_above_zero(
    policy: Any, name: str, value: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be"):
        policy(**{name: value})


@pytest.mark.parametrize(
    "options", [{"factor": 0.9}, {"factor": math.nan}, {"jitter": 1}, {"jitter": -0.1}]
)
def test_backoff_refuses_a_factor_or_jitter_out_of_its_range(options: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(options))} must be"):
        Backoff(**options)


def test_backoff_refuses_a_maximum_below_initial() -> None:
    with pytest.raises(InvalidArgumentError, match="must not be below initial"):
        Backoff(initial=40.0)


def test_policies_are_values() -> None:
    assert Adaptive() == Adaptive(cost=0.1)
    assert Interval(5) == Interval(5.0) == Interval(seconds=5)
    assert {Backoff(), Backoff(initial=2.0)} == {Backoff()}


@pytest.mark.parametrize("policy", [Adaptive, Backoff, RetryPolicy])
def test_policies_with_several_options_take_them_by_keyword_only(policy: Any) -> None:
    with pytest.raises(TypeError):
        policy(1)


# Retries.


def test_retry_delays_double_up_to_the_maximum() -> None:
    policy = RetryPolicy()
    assert [policy.delay(failures, 0.5) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("failures", [1101, 10**6, 2**1100])
@pytest.mark.parametrize("factor", [2, 2.0, 1.0000001, 1e308])
@pytest.mark.parametrize("initial, maximum", [(0.5, 8.0), (1e-300, 1e300), (1, 10**9)])
def test_no_number_of_failures_overflows(
    failures: int, factor: float, initial: float, maximum: float
) -> None:
    policy = RetryPolicy(initial=initial, factor=factor, maximum=maximum, jitter=0)
    assert initial <= policy.delay(failures, 0.5) <= maximum


@pytest.mark.parametrize("failures", [1, 2, 10**300])
def test_a_factor_of_one_keeps_the_initial_delay(failures: int) -> None:
    assert RetryPolicy(initial=3, factor=1, maximum=9, jitter=0).delay(failures, 0.9) == 3


@given(st.integers(1, 2000), st.floats(1e-6, 1e6), st.floats(1, 1e3), st.floats(1, 1e6))
def test_retry_delays_never_shrink_and_stay_within_their_bounds(
    failures: int, initial: float, factor: float, room: float
) -> None:
    maximum = initial * room
    policy = RetryPolicy(initial=initial, factor=factor, maximum=maximum, jitter=0)
    one, next_one = (policy.delay(count, 0.5) for count in (failures, failures + 1))
    assert initial <= one <= next_one <= maximum


@pytest.mark.parametrize(
    "jitter, draw, delay",
    [(0.25, 0.0, 7.5), (0.25, 0.5, 10.0), (0.25, ALMOST_ONE, 12.5), (0.0, 0.9, 10.0)],
)
def test_jitter_spreads_retry_delays_evenly_both_ways(
    jitter: float, draw: float, delay: float
) -> None:
    policy = RetryPolicy(initial=10, maximum=10, jitter=jitter)
    assert policy.delay(1, draw) == pytest.approx(delay)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_retry_delay_with_jitter_is_never_negative(jitter: float, draw: float) -> None:
    delay = RetryPolicy(initial=10, maximum=10, jitter=jitter).delay(1, draw)
    assert 0 <= 10 * (1 - jitter) <= delay <= 10 * (1 + jitter)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, True, "1", None, [1]])
@pytest.mark.parametrize("name", ["attempts", "initial", "factor", "maximum", "jitter"])
def test_a_retry_policy_checks_every_option(name: str, value: Any) -> None:
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
def test_a_retry_policy_refuses_an_option_out_of_its_range(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        RetryPolicy(**options)


def test_the_maximum_of_a_retry_policy_is_not_below_its_initial_delay() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"maximum \(1\) must not be below initial \(2\)"
    ):
        RetryPolicy(initial=2, maximum=1)
    assert RetryPolicy(initial=2, maximum=2).delay(5, 0.5) == 2


def test_a_retry_policy_is_a_value() -> None:
    assert RetryPolicy() == RetryPolicy(attempts=4)
    assert hash(RetryPolicy()) == hash(RetryPolicy())
    assert RetryPolicy(attempts=1).attempts == 1


# Rate limits.


@pytest.mark.parametrize("max_requests", [0, -1, 1.5, True, "20", None, math.nan])
def test_a_rate_limit_allows_at_least_one_request(max_requests: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^max_requests must be"):
        RateLimit(max_requests, 10.0)


@pytest.mark.parametrize("period", [0, -1, math.nan, math.inf, True, "10", None])
def test_a_rate_limit_has_a_finite_period_above_zero(period: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^period must be"):
        RateLimit(20, period)


def test_a_rate_limit_is_a_value() -> None:
    assert RateLimit() == RateLimit(20, 10.0) == RateLimit(max_requests=20, period=10.0)
    assert RateLimit(5, 1) == RateLimit(5, 1.0)
