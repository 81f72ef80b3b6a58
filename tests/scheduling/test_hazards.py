"""Hazard models and their table: the arithmetic, and what they learn."""

import json
import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._scheduling.counts import BINS, EDGES, bin_of
from vocalsep_async._scheduling.hazards import HazardModel, HazardTable
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType

VOCAL, SPLIT = SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM


def lognormal(seed: int, median: float = 45.0, spread: float = 0.45) -> list[float]:
    random_ = random.Random(seed)
    return [median * math.exp(random_.gauss(0.0, spread)) for _ in range(200)]


def trained_model(durations: list[float], median: float = 75.0) -> HazardModel:
    model = HazardModel(median)
    for duration in durations:
        model.observe_completion(0.0, duration)
    return model


MODELS = [HazardModel(), HazardModel(1), HazardModel(7200), trained_model(lognormal(1))]
AGES = st.floats(0, 20_000)
models = st.sampled_from(MODELS)


# The arithmetic.


@given(models, AGES, st.floats(1e-3, 5000))
def test_the_expected_delay_is_reached_at_the_due_age(
    model: HazardModel, since: float, expected_delay: float
) -> None:
    due = model.due(since, expected_delay)
    assert due > since
    # Near since both are tiny differences of large numbers.
    error = 1e-5 * expected_delay + 1e-9 * since
    assert model.expected_delay(since, due) == pytest.approx(expected_delay, abs=error)


@given(models, AGES, st.floats(1, 5000))
def test_the_expected_delay_of_an_age_is_due_at_that_age(
    model: HazardModel, since: float, later: float
) -> None:
    age = since + later
    expected_delay = model.expected_delay(since, age)
    assert model.due(since, expected_delay) == pytest.approx(age, rel=1e-5)


@given(models, AGES, st.floats(0, 5000), st.floats(0, 5000))
def test_the_expected_delay_grows_with_age_ever_faster(
    model: HazardModel, since: float, one: float, two: float
) -> None:
    near, far = sorted((since + one, since + two))
    middle = (near + far) / 2
    values = [model.expected_delay(since, age) for age in (near, middle, far)]
    assert -1e-6 <= values[0] <= values[1] + 1e-6 <= values[2] + 2e-6
    assert values[1] <= (values[0] + values[2]) / 2 + 1e-6
    assert values[2] <= far - since + 1e-6


@given(models, AGES, st.floats(0, 5000), st.floats(0.1, 100))
def test_the_probability_of_an_end_is_the_growth_of_the_expected_delay(
    model: HazardModel, since: float, later: float, step: float
) -> None:
    age = since + later
    growth = model.expected_delay(since, age + step) - model.expected_delay(since, age)
    # The expected delay is convex: its slope lies between those at both ends.
    assert model.ended(since, age) * step <= growth + 1e-6
    assert growth <= model.ended(since, age + step) * step + 1e-6


@given(models, AGES, st.floats(0, 5000))
def test_the_probability_of_an_end_is_zero_up_to_the_last_poll(
    model: HazardModel, since: float, earlier: float
) -> None:
    assert model.ended(since, since - earlier) == 0.0
    assert 0.0 < model.ended(since, since + 1e9) <= 1.0


@given(models, AGES, st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_expected_delay_is_due_later(
    model: HazardModel, since: float, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    assert since <= model.due(since, low) <= model.due(since, high) + 1e-6


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("since", [-5.0, 0.0, 60.0, 7200.0, 1e9])
@pytest.mark.parametrize("expected_delay", [0.0, 5e-324, 1e-300, 1e-18, 1e-9, 1e300])
def test_extreme_expected_delays_have_a_finite_due_age(
    model: HazardModel, since: float, expected_delay: float
) -> None:
    due = model.due(since, expected_delay)
    assert due >= since
    assert math.isfinite(due)


def test_an_expected_delay_of_zero_is_due_immediately_even_at_tiny_hazards() -> None:
    """At some of these ages rounding takes a step past the root."""
    model = HazardModel(7200)
    for since in (hundredth / 100 for hundredth in range(2000)):
        assert model.due(since, 0.0) == pytest.approx(since, abs=1e-6)


@given(models, st.floats(1e-6, 1e5))
def test_the_table_of_age_zero_agrees_with_the_sum_over_the_bins(
    model: HazardModel, expected_delay: float
) -> None:
    assert model.due(0.0, expected_delay) == pytest.approx(
        model.due(1e-12, expected_delay), rel=1e-6, abs=1e-6
    )


@given(models, AGES)
def test_the_expected_delay_of_a_first_poll_agrees_with_the_sum_over_the_bins(
    model: HazardModel, age: float
) -> None:
    assert model.expected_delay(0.0, age) == pytest.approx(
        model.expected_delay(1e-12, age), rel=1e-6, abs=1e-6
    )


def test_the_table_of_age_zero_follows_what_is_learned() -> None:
    model = HazardModel()
    for duration in lognormal(9):
        model.observe_completion(0.0, duration)
        assert model.due(0.0, 5.0) == pytest.approx(model.due(1e-12, 5.0), rel=1e-6)
    model.update_from(trained_model(lognormal(10, 300.0)).to_dict())
    assert model.due(0.0, 5.0) == pytest.approx(model.due(1e-12, 5.0), rel=1e-6)


@given(models, AGES, st.floats(1e-9, 1.0))
def test_after_the_remaining_time_the_given_share_still_runs(
    model: HazardModel, since: float, share: float
) -> None:
    left = model.remaining(since, share)
    assert left >= 0
    # Compared with the integral of the hazards over the bins.
    ends = [since, *(edge for edge in EDGES[1:-1] if since < edge < since + left), since + left]
    spent = sum(model._hazards[bin_of((a + b) / 2)] * (b - a) for a, b in pairwise(ends))
    assert math.exp(-spent) == pytest.approx(share, rel=1e-6)


@given(models, AGES, st.floats(1e-9, 1.0), st.floats(1e-9, 1.0))
def test_a_smaller_share_has_a_longer_remaining_time(
    model: HazardModel, since: float, one: float, two: float
) -> None:
    few, many = sorted((one, two))
    assert model.remaining(since, many) <= model.remaining(since, few) + 1e-6


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("since", [0.0, 60.0, 7200.0, 1e6])
def test_the_remaining_time_of_all_tasks_is_zero(model: HazardModel, since: float) -> None:
    assert model.remaining(since, 1.0) == 0.0


def test_half_of_the_tasks_still_run_at_the_learned_median() -> None:
    assert trained_model(lognormal(11)).remaining(0.0, 0.5) == pytest.approx(45.0, rel=0.15)


def test_the_expected_delay_is_zero_up_to_the_last_poll() -> None:
    assert HazardModel().expected_delay(60.0, 60.0) == 0
    assert HazardModel().expected_delay(60.0, 50.0) == 0


def test_the_expected_delay_is_the_integral_of_its_definition() -> None:
    """Compared with the closed form for exponential durations."""
    model = HazardModel()
    random_ = random.Random(5)
    for _ in range(3000):
        model.observe_completion(0.0, random_.expovariate(1 / 50))
    age, rate = 40.0, 1 / 50
    exact = age - (1 - math.exp(-rate * age)) / rate
    assert model.expected_delay(0.0, age) == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("median", [0, 0.5, -1, math.nan, math.inf, True, "75", None])
def test_a_model_refuses_a_median_that_is_no_number_of_seconds(median: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^median must be"):
        HazardModel(median)


def test_a_median_above_two_hours_counts_as_two_hours() -> None:
    assert HazardModel(1e300).due(60, 1) == HazardModel(7200).due(60, 1)


# Learning.


def exposure_of(model: HazardModel) -> float:
    """Task-seconds that *model* has learned, in all bins."""
    total: float = sum(model.to_dict()["running"])
    return total


def median_of(model: HazardModel) -> float:
    """The age at which the model expects half of the tasks to have ended."""
    low, high = 0.0, 7200.0
    for _ in range(50):
        middle = (low + high) / 2
        # The derivative of the expected delay is the share that has ended.
        ended = model.expected_delay(0, middle + 0.01) - model.expected_delay(0, middle - 0.01)
        low, high = (middle, high) if ended / 0.02 < 0.5 else (low, middle)
    return low


@pytest.mark.parametrize("guess", [10.0, 75.0, 600.0])
@pytest.mark.parametrize("truth", [20.0, 45.0, 200.0])
def test_a_model_moves_to_the_observed_median_from_any_guess(guess: float, truth: float) -> None:
    assert median_of(HazardModel(guess)) == pytest.approx(guess, rel=0.15)
    model = trained_model(lognormal(2, truth), guess)
    assert median_of(model) == pytest.approx(truth, rel=0.15)


def test_a_model_follows_durations_that_change() -> None:
    model = trained_model(lognormal(3, 40.0))
    for duration in lognormal(4, 120.0) * 4:
        model.observe_completion(0.0, duration)
    assert median_of(model) == pytest.approx(120.0, rel=0.15)


def test_running_tasks_make_longer_durations_likelier() -> None:
    """Censoring: the known running time of a task that has not ended counts too."""
    censored, plain = trained_model(lognormal(5)), trained_model(lognormal(5))
    for _ in range(100):
        censored.observe_running(0.0, 60.0)
    for model in (censored, plain):
        model.observe_completion(0.0, 45.0)
        model._rebuild()
    assert median_of(censored) > 1.1 * median_of(plain)


def test_running_time_in_parts_counts_like_the_whole() -> None:
    once, twice = HazardModel(), HazardModel()
    once.observe_completion(0.0, 80.0)
    twice.observe_running(0.0, 30.0)
    twice.observe_running(30.0, 55.0)
    twice.observe_completion(55.0, 80.0)
    assert exposure_of(twice) == pytest.approx(exposure_of(once), rel=0.01)
    assert exposure_of(once) == pytest.approx(80.0)


def test_an_empty_or_reversed_or_too_old_range_of_ages_counts_nothing() -> None:
    model = HazardModel()
    model.observe_running(60.0, 60.0)
    model.observe_running(60.0, 30.0)
    model.observe_running(9000.0, 9999.0)
    assert exposure_of(model) == 0
    model.observe_completion(0.0, 1e9)
    assert sum(model.to_dict()["done"]) == 1


def test_the_memory_reaches_back_about_two_hundred_tasks() -> None:
    model = trained_model([50.0] * 3000)
    assert sum(model.to_dict()["done"]) == pytest.approx(200, rel=0.01)
    assert model.completions == 3000


def test_a_task_is_polled_again_at_any_age() -> None:
    """A stuck task is polled again, however narrow the learned durations are."""
    model = trained_model([30.0] * 1000)
    assert model.due(600.0, 0.1) < 600.0 + 300


def test_the_version_grows_exactly_when_the_estimates_change() -> None:
    model = HazardModel()
    versions = []
    for duration in lognormal(6):
        before = model.expected_delay(0.0, 60.0)
        version = model.version
        model.observe_completion(0.0, duration)
        versions.append(model.version)
        assert (model.expected_delay(0.0, 60.0) == before) is (model.version == version)
    assert versions[:4] == [1, 2, 3, 4]
    assert versions == sorted(versions)
    assert 15 < versions[-1] < 60


def test_a_model_shows_its_number_of_completions() -> None:
    assert repr(trained_model([5.0] * 3)) == "<HazardModel: 3 completions>"


# The table.


def completions_of(table: HazardTable) -> dict[SeparationType | None, int]:
    return {kind: table.model(kind).completions for kind in (*SeparationType, None)}


@pytest.mark.parametrize(
    "type_, learned",
    [(VOCAL, {VOCAL, None}), (SPLIT, {SPLIT, None}), (None, {None})],
)
def test_a_table_learns_from_a_task_for_its_type_and_for_unknown_types(
    type_: SeparationType | None, learned: set[SeparationType | None]
) -> None:
    table = HazardTable()
    table.observe_completion(60.0, type_=type_)
    assert {kind for kind, count in completions_of(table).items() if count} == learned


def test_running_time_learned_under_another_type_counts_in_full_under_the_real_one() -> None:
    table = HazardTable()
    table.model(None).observe_running(0.0, 50.0)
    table.observe_completion(60.0, type_=VOCAL, tracked_as=None, since=50.0)
    assert exposure_of(table.model(VOCAL)) == pytest.approx(60.0)
    assert exposure_of(table.model(None)) == pytest.approx(60.0, rel=0.01)


def test_each_type_begins_with_a_guess_of_its_own() -> None:
    table = HazardTable()
    assert median_of(table.model(SPLIT)) > 1.5 * median_of(table.model(VOCAL))


def test_an_updated_table_keeps_its_models_and_outdates_what_was_computed_from_them() -> None:
    learned, fresh = HazardTable(), HazardTable()
    for duration in lognormal(7):
        learned.observe_completion(duration, type_=VOCAL)
    model = fresh.model(VOCAL)
    fresh.update_from(learned.to_dict())
    assert fresh.model(VOCAL) is model
    assert model.to_dict() == learned.model(VOCAL).to_dict()
    assert model.version > 0


# Saved models.


def test_a_model_is_restored_from_saved_values() -> None:
    learned, model = trained_model(lognormal(8)), HazardModel()
    model.update_from(json.loads(json.dumps(learned.to_dict())))
    assert model.to_dict() == learned.to_dict()
    wrongs: list[Any] = [None, [], {"completions": 1}]
    for wrong in wrongs:
        with pytest.raises(ValueError):  # noqa: PT011
            model.update_from(wrong)
    assert model.to_dict() == learned.to_dict()


@pytest.mark.parametrize("done, running", [(200.0, 0.0), (0.0, 1e12), (0.0, 0.0), (1e12, 1e12)])
def test_extreme_saved_values_make_a_usable_model(done: float, running: float) -> None:
    model = HazardModel()
    model.update_from({"completions": 9, "done": [done] * BINS, "running": [running] * BINS})
    for age in (0.0, 50.0, 8000.0):
        assert age < model.due(age, 0.1) < math.inf
