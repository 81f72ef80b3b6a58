"""One task in a queue, and the moment at which it is due."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling.entries import MODELS, TYPICAL, IntervalEntry, queue_of

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue_entry import QueueEntry

models = st.sampled_from(MODELS)
prices = st.floats(0.01, 1000)
ages = st.floats(0, 2000)


def test_an_entry_waits_since_its_wait_began_and_then_since_its_last_poll() -> None:
    entry = IntervalEntry(created=-50.0, began=3.0)
    assert entry.waiting_since == 3.0
    entry.sent = 10.0
    assert entry.waiting_since == 10.0


def test_a_wait_that_began_after_the_last_poll_counts_from_its_beginning() -> None:
    entry = IntervalEntry(began=20.0)
    entry.sent = 10.0
    assert entry.waiting_since == 20.0


@given(models, ages, st.floats(0, 100))
def test_without_a_price_an_entry_is_due_when_its_policy_wants_it(
    model: HazardModel, age: float, gap: float
) -> None:
    entry = IntervalEntry(model, created=-age, gap=gap)
    assert entry.key_at(0.0) == 0.0
    entry.on_pending(0.0)
    assert entry.key_at(0.0) == gap


@given(models, ages, prices)
def test_at_a_price_an_entry_is_due_when_its_expected_delay_reaches_it(
    model: HazardModel, age: float, price: float
) -> None:
    entry = IntervalEntry(model, created=-age, gap=0.0)
    entry.on_pending(0.0)
    assert entry.expected_delay(entry.key_at(price)) == pytest.approx(price, rel=1e-3, abs=1e-6)


@given(models, ages, prices, st.floats(0, 100))
def test_an_entry_is_never_due_before_its_policy_wants_it(
    model: HazardModel, age: float, price: float, gap: float
) -> None:
    entry = IntervalEntry(model, created=-age, gap=gap)
    entry.on_pending(0.0)
    assert entry.key_at(price) >= entry.wants(price)


@given(models, ages, prices, prices)
def test_a_higher_price_makes_an_entry_due_later(
    model: HazardModel, age: float, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    entry = IntervalEntry(model, created=-age)
    entry.on_pending(0.0)
    assert entry.key_at(0.0) <= entry.key_at(low) <= entry.key_at(high) + 1e-6


def test_the_expected_delay_is_zero_at_the_moment_of_a_poll() -> None:
    entry = IntervalEntry(created=-60.0)
    entry.on_pending(0.0)
    assert entry.expected_delay(0.0) == 0.0
    assert 0.0 < entry.expected_delay(1.0) < 1.0


def test_an_entry_waits_from_its_push_until_it_is_taken() -> None:
    entry, queue = IntervalEntry(), queue_of()
    keys = [entry.key]
    queue.push(entry)
    keys.append(entry.key)
    assert queue.take(0.0, 2.0) is entry
    keys.append(entry.key)
    assert keys == [math.inf, 0.0, math.inf]
    assert not entry.waits


def test_one_of_two_equal_entries_comes_first() -> None:
    one, two = IntervalEntry(), IntervalEntry()
    assert (one < two) is not (two < one)


def test_the_moment_that_the_policy_wants_is_left_to_subclasses() -> None:
    with pytest.raises(NotImplementedError):
        QueueEntry(TYPICAL, 0.0, 0.0).wants(0.0)


def test_a_new_entry_has_no_last_poll_and_no_deadline() -> None:
    assert IntervalEntry().sent == -math.inf
    assert IntervalEntry().latest == math.inf
