"""When to look again: frozen values with bounds."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async.durations import DurationView
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import Adaptive, Backoff, Interval, PollContext, PollPolicy

ALMOST_ONE = math.nextafter(1.0, 0.0)
COLD = HazardModel()


def durations(seed: int, count: int) -> list[float]:
    random_ = random.Random(seed)
    return [45.0 * math.exp(random_.gauss(0.0, 0.45)) for _ in range(count)]


def a_warm_model() -> HazardModel:
    model = HazardModel()
    for duration in durations(1, 200):
        model.observe_completion(0.0, duration)
    return model


WARM = a_warm_model()


def at(
    *,
    polls: int = 1,
    age: float = 0.0,
    draw: float = 0.5,
    model: HazardModel = COLD,
    price: float = 0.0,
) -> PollContext:
    return PollContext(
        polls=polls, elapsed=age, age=age, durations=DurationView(model), draw=draw, price=price
    )


# Plain policies.


def test_every_waits_the_same_each_time() -> None:
    assert Interval(7).delay(at()) == Interval(7).delay(at(polls=99, age=1e6)) == 7


def test_back_off_grows_to_its_longest_gap() -> None:
    policy = Backoff(initial=2.0, factor=1.5, maximum=5.0, jitter=0.0)
    assert [policy.delay(at(polls=polls)) for polls in (1, 2, 3, 4, 1100)] == [2, 3, 4.5, 5, 5]


@pytest.mark.parametrize("polls", [1100, 2**1100])
@pytest.mark.parametrize("factor", [1.0, 1.5, 2, 1e308])
def test_back_off_never_overflows(polls: int, factor: float) -> None:
    policy = Backoff(initial=2.0, factor=factor, maximum=30.0, jitter=0.2)
    assert 1.6 <= policy.delay(at(polls=polls)) <= 36.0


@pytest.mark.parametrize("draw, delay", [(0.0, 8.0), (0.5, 10.0), (ALMOST_ONE, 12.0)])
def test_back_off_is_spread_by_its_jitter(draw: float, delay: float) -> None:
    policy = Backoff(initial=10.0, maximum=10.0, jitter=0.2)
    assert policy.delay(at(draw=draw)) == pytest.approx(delay)
    assert 8.0 <= policy.delay(at(draw=draw)) <= 12.0


# The learning one.


def polls(policy: PollPolicy, duration: float, model: HazardModel) -> list[float]:
    """The ages at which *policy* looks at a task of *duration*, the last one after its end."""
    ages = [0.0]
    while ages[-1] < duration:
        ages.append(ages[-1] + policy.delay(at(polls=len(ages), age=ages[-1], model=model)))
    return ages


@given(
    st.sampled_from([COLD, WARM]), st.floats(0, 1e5), st.sampled_from([1e-300, 0.1, 1, 1e3, 1e300])
)
def test_gaps_of_adaptive_stay_within_its_bounds(
    model: HazardModel, age: float, cost: float
) -> None:
    longest = max(20.0, age / 4)
    if model is COLD:
        longest = min(longest, max(2.0, age / 2))
    assert 1.0 <= Adaptive(cost=cost).delay(at(age=age, model=model)) <= longest


@pytest.mark.parametrize(
    "age, longest", [(0, 2.0), (4, 2.0), (10, 5.0), (40, 20.0), (80, 20.0), (400, 100.0)]
)
def test_until_ten_tasks_were_seen_gaps_are_short(age: float, longest: float) -> None:
    model = HazardModel()
    for duration in durations(3, 9):
        assert Adaptive(cost=1e300).delay(at(age=age, model=model)) == longest
        model.observe_completion(0.0, duration)
    assert Adaptive(cost=1e300).delay(at(age=age, model=model)) == longest
    model.observe_completion(0.0, 45.0)
    assert Adaptive(cost=1e300).delay(at(age=age, model=model)) >= 20.0


@pytest.mark.parametrize("age, longest", [(0, 20.0), (10, 20.0), (80, 20.0), (400, 100.0)])
def test_later_no_gap_is_longer_than_a_quarter_of_the_age(age: float, longest: float) -> None:
    assert Adaptive(cost=1e300).delay(at(age=age, model=WARM)) == longest


def test_nobody_looks_more_often_than_every_second() -> None:
    assert Adaptive(cost=1e-300).delay(at(age=45.0, model=WARM)) == 1.0


@given(st.sampled_from([COLD, WARM]), st.floats(0, 1e5), st.floats(0, 100), st.floats(0.01, 10))
def test_at_a_price_above_its_cost_only_the_shortest_gap_is_wanted(
    model: HazardModel, age: float, price: float, cost: float
) -> None:
    """The schedule itself holds back whom it is not worth it."""
    policy = Adaptive(cost=cost)
    gap = policy.delay(at(age=age, model=model, price=price))
    if price > cost:
        assert gap == pytest.approx(max(1.0, age / 100))
    else:
        assert gap == policy.delay(at(age=age, model=model))


def test_plain_policies_know_no_price() -> None:
    for policy in (Interval(7), Backoff()):
        assert policy.delay(at(price=1e6)) == policy.delay(at())


def test_a_lower_cost_looks_more_often() -> None:
    gaps = [Adaptive(cost=cost).delay(at(age=40.0, model=WARM)) for cost in (0.02, 0.1, 0.5, 2.0)]
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1]


def test_a_silent_task_is_looked_at_ever_less_often() -> None:
    ages = (100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
    gaps = [Adaptive().delay(at(age=age, model=WARM)) for age in ages]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 3 * gaps[0]


def test_looks_are_closest_where_tasks_end() -> None:
    policy = Adaptive()
    early, likely = (policy.delay(at(age=age, model=WARM)) for age in (2.0, 45.0))
    assert likely < early / 2


def test_what_was_learned_saves_looks_at_the_same_delay() -> None:
    """Against a fixed gap, on tasks that the model has not seen."""
    tasks = durations(2, 300)

    def cost(policy: PollPolicy) -> tuple[float, float]:
        seen = [polls(policy, duration, WARM) for duration in tasks]
        late = sum(ages[-1] - duration for ages, duration in zip(seen, tasks, strict=True))
        return late / len(tasks), sum(len(ages) - 1 for ages in seen) / len(tasks)

    learned_delay, learned_polls = cost(Adaptive(cost=0.32))
    fixed_delay, fixed_polls = cost(Interval(5))
    assert learned_delay <= fixed_delay
    assert learned_polls <= 0.85 * fixed_polls


# Their options.

WRONG: list[Any] = [0, -1, math.nan, math.inf, True, "5", None, [5]]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(
    "policy, name",
    [(Interval, "seconds"), (Adaptive, "cost"), (Backoff, "initial"), (Backoff, "maximum")],
)
def test_seconds_are_finite_numbers_above_zero(policy: Any, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be"):
        policy(**{name: value})


@pytest.mark.parametrize(
    "options", [{"factor": 0.9}, {"factor": math.nan}, {"jitter": 1}, {"jitter": -0.1}]
)
def test_growth_and_jitter_have_their_ranges(options: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(options))} must be"):
        Backoff(**options)


def test_the_longest_gap_is_not_below_the_first() -> None:
    with pytest.raises(InvalidArgumentError, match="must not be below initial"):
        Backoff(initial=40.0)


def test_policies_are_values() -> None:
    assert Adaptive() == Adaptive(cost=0.1)
    assert Interval(5) == Interval(5.0)
    assert {Backoff(), Backoff(initial=2.0)} == {Backoff()}


# Deadlines.
