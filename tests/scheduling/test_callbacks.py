"""What is learned about lost callbacks, and what a poll is worth beside one that may come."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling.entries import (
    TYPICAL,
    IntervalEntry,
    constant_draw,
    trained_model,
)

from vocalsep_async._scheduling.callbacks import COST, PATIENCE, CallbackLosses
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.scheduler import Scheduler


def lose(losses: CallbackLosses, number: int) -> None:
    for task in range(number):
        losses.on_end(task, 0.0)
    losses.settle(PATIENCE)


def test_before_the_first_callback_every_second_one_may_get_lost() -> None:
    losses = CallbackLosses()
    assert losses.share == 0.5
    assert losses.cost == COST
    assert not losses.are_few


def test_the_share_is_that_of_the_callbacks_that_did_not_come_with_one_of_each_before() -> None:
    losses = CallbackLosses()
    for _ in range(3):
        losses.on_callback()
    lose(losses, 1)
    assert losses.share == pytest.approx(2 / 6, rel=0.02)
    assert losses.cost == COST


def test_where_nearly_all_callbacks_get_lost_a_poll_has_no_cost_of_its_own() -> None:
    losses = CallbackLosses()
    lose(losses, 20)
    assert losses.cost == 0.0


def test_callbacks_that_die_are_noticed_after_thousands_that_came() -> None:
    losses = CallbackLosses()
    for _ in range(5000):
        losses.on_callback()
    assert losses.share < 0.01
    assert losses.are_few
    lose(losses, 20)
    assert losses.share > 0.15
    lose(losses, 300)
    assert losses.cost == 0.0


@given(st.lists(st.booleans(), max_size=300))
def test_the_share_is_bounded_whatever_happens(came: list[bool]) -> None:
    losses = CallbackLosses()
    for each in came:
        losses.on_callback() if each else lose(losses, 1)
        assert 1 / 102 < losses.share < 101 / 102


@pytest.mark.parametrize("at, is_lost", [(PATIENCE - 0.1, False), (PATIENCE + 0.1, True)])
def test_a_callback_may_come_a_little_after_a_poll_found_the_end(
    at: float, *, is_lost: bool
) -> None:
    losses = CallbackLosses()
    losses.on_end("a", 0.0)
    assert losses.next_change == PATIENCE
    losses.on_late("a", at)
    assert losses.next_change == math.inf
    assert (losses.share > 0.5) is is_lost


def test_a_callback_that_is_repeated_or_of_no_task_counts_once_at_most() -> None:
    losses = CallbackLosses()
    losses.on_end("a", 0.0)
    for task in ("a", "a", "b"):
        losses.on_late(task, 1.0)
    assert losses.share == pytest.approx(1 / 3)


def test_a_callback_that_is_late_has_its_time_in_the_next_event_loop() -> None:
    losses = CallbackLosses()
    losses.on_end("a", 10.0)
    losses.move(-100.0)
    assert losses.next_change == PATIENCE - 90.0


# In a queue


def awaiting(created: float = 0.0) -> IntervalEntry:
    entry = IntervalEntry(trained_model(20, 90, 65), created=created)
    entry.awaits_callback = True
    return entry


def queue_with(losses: CallbackLosses, *entries: IntervalEntry) -> PollQueue[IntervalEntry]:
    queue: PollQueue[IntervalEntry] = PollQueue(constant_draw, losses=losses)
    for entry in entries:
        queue.push(entry)
    return queue


@pytest.mark.parametrize("awaits, number", [(True, 1), (False, 0)])
def test_a_new_share_makes_the_keys_outdated_if_any_depends_on_it(
    number: int, *, awaits: bool
) -> None:
    losses = CallbackLosses()
    entry = awaiting()
    entry.awaits_callback = awaits
    queue = queue_with(losses, entry)
    before = entry.keys_computed
    for _ in range(5):
        losses.on_callback()
    queue.refresh(100.0)
    assert entry.keys_computed - before == number
    queue.refresh(200.0)
    assert entry.keys_computed - before == number


def test_a_loop_that_sleeps_is_woken_when_a_callback_is_lost() -> None:
    losses = CallbackLosses()
    scheduler: Scheduler[IntervalEntry] = Scheduler(constant_draw, losses)
    assert scheduler.next_change == math.inf
    losses.on_end("a", 10.0)
    assert scheduler.next_change == 10.0 + PATIENCE
    scheduler.refresh(scheduler.next_change)
    assert losses.share > 0.5
    assert scheduler.next_change == math.inf


def exposure(entry: IntervalEntry) -> float:
    return sum(entry.model.counts.exposure)


def test_a_task_whose_callback_has_not_come_counts_as_running_where_few_get_lost() -> None:
    losses = CallbackLosses()
    scheduler: Scheduler[IntervalEntry] = Scheduler(constant_draw, losses)
    queue = scheduler.queue()
    entry, other = awaiting(), IntervalEntry(trained_model(20, 90, 65))
    queue.push(entry)
    before = exposure(entry), exposure(other)
    scheduler.observe_end(30.0)  # of the callbacks nothing is known yet
    assert (exposure(entry), exposure(other)) == before
    for _ in range(10):
        losses.on_callback()
    for _ in range(2):
        scheduler.observe_end(30.0)
    assert exposure(entry) == pytest.approx(before[0] + 30.0 - PATIENCE)
    # A poll that finds it running counts the rest.
    entry.observe_running(40.0)
    entry.observe_running(35.0)
    assert exposure(entry) == pytest.approx(before[0] + 40.0)
    assert entry.counted_at == 40.0


def test_tasks_that_expect_no_callback_do_not_count_as_running() -> None:
    losses = CallbackLosses()
    for _ in range(10):
        losses.on_callback()
    entry, other = IntervalEntry(trained_model(20, 90, 65)), awaiting()
    queue = queue_with(losses, entry)
    before = exposure(entry)
    queue.observe_uncalled(50.0)
    queue.push(other)
    queue.remove(other)
    queue.observe_uncalled(50.0)
    assert exposure(entry) == before
    queue.remove(entry)
    queue.observe_uncalled(50.0)


def test_beside_a_callback_a_poll_is_worth_as_much_as_the_callback_may_get_lost() -> None:
    losses = CallbackLosses()
    for _ in range(8):
        losses.on_callback()
    entry, other = awaiting(), IntervalEntry(TYPICAL)
    entry.model = other.model
    queue = queue_with(losses, entry, other)
    assert queue.loss_share == losses.share
    assert queue.callback_cost == COST
    for now in (30.0, 60.0, 200.0):
        share = losses.share
        assert entry.expected_delay(now) == pytest.approx(share * other.expected_delay(now))
        assert entry.delay_growth(now) == pytest.approx(share * other.delay_growth(now))
    assert entry.due_at(1.0) == other.due_at(1.0 / losses.share)
    assert entry.expected_delay(entry.due_at(COST)) == pytest.approx(COST, rel=1e-3)


def test_the_price_of_a_poll_decides_when_the_expected_delay_has_reached_it() -> None:
    entry = IntervalEntry(TYPICAL, created=-10.0)
    due = entry.due_at(2.0)
    assert entry.expected_delay(due) == pytest.approx(2.0, rel=1e-3)
    assert entry.key_at(2.0) == due
