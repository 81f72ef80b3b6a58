"""What is remembered of callbacks that came before a wait."""

from __future__ import annotations

import pytest

from vocalsep_async import SeparationTask, TaskStatus
from vocalsep_async._polling.early import EarlyCallback, EarlyCallbacks
from vocalsep_async.policies import EARLY_CALLBACK_PATIENCE, MAX_EARLY_CALLBACKS

ENDED = SeparationTask(task_id="a", status=TaskStatus.SUCCESS)


def test_a_callback_is_taken_once() -> None:
    early = EarlyCallbacks()
    early.remember("a", ENDED, 5.0)
    assert "a" in early
    assert early.take("b", 6.0) is None
    assert early.take("a", 6.0) == EarlyCallback(5.0, ENDED)
    assert early.take("a", 6.0) is None
    assert "a" not in early


@pytest.mark.parametrize("later", [None, ENDED])
def test_a_repeated_callback_is_the_newest_one_and_keeps_its_record(
    later: SeparationTask | None,
) -> None:
    early = EarlyCallbacks()
    early.remember("a", ENDED, 1.0)
    early.remember("a", later, 2.0)
    assert len(early) == 1
    assert early.take("a", 2.0) == EarlyCallback(2.0, ENDED)


@pytest.mark.parametrize("over, is_known", [(0.0, True), (0.001, False)])
def test_a_callback_is_forgotten_after_its_patience(over: float, *, is_known: bool) -> None:
    early = EarlyCallbacks()
    early.remember("a", None, 10.0)
    early.remember("b", None, 11.0)
    assert (early.take("a", 10.0 + EARLY_CALLBACK_PATIENCE + over) is not None) is is_known
    assert "b" in early


def test_the_oldest_callbacks_make_room_for_new_ones() -> None:
    early = EarlyCallbacks()
    for number in range(MAX_EARLY_CALLBACKS + 2):
        early.remember(f"t{number}", None, float(number) / 1e6)
    assert len(early) == MAX_EARLY_CALLBACKS
    assert ("t1" in early, "t2" in early) == (False, True)
    # Repeated, it is among the newest ones.
    early.remember("t2", None, 1.0)
    early.remember("new", None, 1.0)
    assert ("t2" in early, "t3" in early) == (True, False)


def test_the_patience_goes_on_in_the_next_event_loop() -> None:
    early = EarlyCallbacks()
    early.remember("a", None, 10.0)
    early.remember("b", None, 20.0)
    early.move(-5.0)
    now = 5.5 + EARLY_CALLBACK_PATIENCE
    assert early.take("a", now) is None
    assert early.take("b", now) == EarlyCallback(15.0, None)
