"""What the polled tasks of a batch tell about the age of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.sibling_ages import GUESSED_AGE, SiblingAges

MODEL = HazardModel()
waits = st.floats(0, 2000)


def siblings(*ages: float) -> SiblingAges:
    known = SiblingAges()
    for age in ages:
        known.observe(age)
    return known


@given(waits)
def test_without_siblings_a_task_counts_as_old_as_the_guess(waited: float) -> None:
    assert siblings().expected_delay(MODEL, waited) == MODEL.expected_delay(
        0.0, GUESSED_AGE + waited
    )
    assert siblings().ended(MODEL, waited) == MODEL.ended(0.0, GUESSED_AGE + waited)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=12), waits)
def test_a_task_is_as_old_as_any_of_its_siblings_or_the_guess_if_few_are_known(
    told: list[float], waited: float
) -> None:
    known = siblings(*told)
    ages = told[-8:] if len(told) >= 8 else [*told, GUESSED_AGE]
    delays = [MODEL.expected_delay(0.0, age + waited) for age in ages]
    assert known.expected_delay(MODEL, waited) == pytest.approx(sum(delays) / len(delays))
    shares = [MODEL.ended(0.0, age + waited) for age in ages]
    assert known.ended(MODEL, waited) == pytest.approx(sum(shares) / len(shares))


@given(st.lists(st.floats(0, 60), min_size=1, max_size=16), waits)
def test_the_expected_delay_grows_as_the_share_of_ended_tasks_says(
    ages: list[float], waited: float
) -> None:
    known, step = siblings(*ages), 1e-3
    grown = known.expected_delay(MODEL, waited + step) - known.expected_delay(MODEL, waited)
    assert known.ended(MODEL, waited) == pytest.approx(grown / step, rel=1e-2, abs=1e-3)


def test_siblings_of_very_different_ages_tell_nothing() -> None:
    assert siblings(0.0, 61.0).expected_delay(MODEL, 5.0) == siblings().expected_delay(MODEL, 5.0)
    assert siblings(0.0, 59.0).expected_delay(MODEL, 5.0) < siblings().expected_delay(MODEL, 5.0)


def test_the_last_eight_siblings_count() -> None:
    known = siblings(500.0, *[10.0] * 8)
    assert known.expected_delay(MODEL, 5.0) == pytest.approx(MODEL.expected_delay(0.0, 15.0))
