"""One task, and the moment at which it is looked at next."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling.entries import MODELS, USUAL, Song, line_of

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue_entry import QueueEntry

models = st.sampled_from(MODELS)
prices = st.floats(0.01, 1000)
ages = st.floats(0, 2000)


def test_it_waits_since_it_began_and_then_since_its_last_look() -> None:
    song = Song(created=-50.0, began=3.0)
    assert song.waiting_since == 3.0
    song.sent = 10.0
    assert song.waiting_since == 10.0


def test_a_wait_that_began_after_the_last_look_waits_since_it_began() -> None:
    song = Song(began=20.0)
    song.sent = 10.0
    assert song.waiting_since == 20.0


@given(models, ages, st.floats(0, 100))
def test_where_looks_cost_nothing_it_comes_when_its_policy_wants(
    model: HazardModel, age: float, gap: float
) -> None:
    song = Song(model, created=-age, gap=gap)
    assert song.key_at(0.0) == 0.0
    song.looked_at(0.0)
    assert song.key_at(0.0) == gap


@given(models, ages, prices)
def test_at_a_price_it_comes_when_it_is_worth_the_price(
    model: HazardModel, age: float, price: float
) -> None:
    song = Song(model, created=-age, gap=0.0)
    song.looked_at(0.0)
    assert song.expected_delay(song.key_at(price)) == pytest.approx(price, rel=1e-3, abs=1e-6)


@given(models, ages, prices, st.floats(0, 100))
def test_whatever_it_is_worth_it_never_comes_before_its_policy_wants(
    model: HazardModel, age: float, price: float, gap: float
) -> None:
    song = Song(model, created=-age, gap=gap)
    song.looked_at(0.0)
    assert song.key_at(price) >= song.wants(price)


@given(models, ages, prices, prices)
def test_the_higher_the_price_the_later_it_comes(
    model: HazardModel, age: float, one: float, two: float
) -> None:
    low, high = sorted((one, two))
    song = Song(model, created=-age)
    song.looked_at(0.0)
    assert song.key_at(0.0) <= song.key_at(low) <= song.key_at(high) + 1e-6


def test_nothing_has_gone_unnoticed_at_the_moment_of_a_look() -> None:
    song = Song(created=-60.0)
    song.looked_at(0.0)
    assert song.expected_delay(0.0) == 0.0
    assert 0.0 < song.expected_delay(1.0) < 1.0


def test_it_waits_from_when_it_enters_a_line_until_it_is_taken() -> None:
    song, queue = Song(), line_of()
    keys = [song.key]
    queue.enter(song)
    keys.append(song.key)
    assert queue.take(0.0, 2.0) is song
    keys.append(song.key)
    assert keys == [math.inf, 0.0, math.inf]
    assert not song.waits


def test_of_two_that_are_alike_one_comes_first() -> None:
    one, two = Song(), Song()
    assert (one < two) is not (two < one)


def test_what_it_wants_is_for_others_to_say() -> None:
    with pytest.raises(NotImplementedError):
        QueueEntry(USUAL, 0.0, 0.0).wants(0.0)


def test_before_its_first_look_nothing_is_known_to_be_over() -> None:
    assert Song().sent == -math.inf
    assert Song().latest == math.inf
