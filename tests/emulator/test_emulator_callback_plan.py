"""Which callbacks a task gets, what goes wrong with each, and how each is sent."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from vocalsep_async.emulator import CallbackFaults, CallbackKind, Emulator
from vocalsep_async.emulator.callback_faults import FORGED
from vocalsep_async.emulator.callback_plan import PlannedCallback, plan
from vocalsep_async.emulator.callback_posts import callback_post, signature_headers
from vocalsep_async.emulator.tasks import Ending, Task
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, TaskStatus

SHARES = [
    each.name for each in attrs.fields(CallbackFaults) if each.name not in {"delay", "clock_skew"}
]
IDS = [f"task-{number}" for number in range(2000)]


def planned(faults: CallbackFaults, seed: int = 0) -> dict[str, tuple[PlannedCallback, ...]]:
    return {task_id: plan(faults, seed, task_id) for task_id in IDS}


def task(*, created_at: float, ends_at: float) -> Task:
    return Task(
        task_id="a",
        type=SeparationType.SEPARATE_VOCAL,
        created_at=created_at,
        ends_at=ends_at,
        ending=Ending(TaskStatus.SUCCESS),
    )


@pytest.mark.parametrize(
    "option, value, message",
    [
        *((name, 1.1, f"{name} must be at most 1, not 1.1") for name in SHARES),
        *((name, -0.1, f"{name} must be a finite number at least 0") for name in SHARES),
        *((name, True, f"{name} must be a number, not bool") for name in SHARES),
        ("delay", 5, r"delay must be \(least, most\) in seconds, such as \(1.0, 3.0\), not int"),
        ("delay", "12", r"delay must be \(least, most\)"),
        ("delay", (1.0,), r"delay must be \(least, most\)"),
        ("delay", (-1.0, 2.0), "the first number of delay must be a finite number at least 0"),
        ("delay", (3.0, 2.0), "the second number of delay must be a finite number at least 3"),
        ("delay", (0.0, math.inf), "the second number of delay must be a finite number"),
        ("clock_skew", 2e9, r"clock_skew must be at most 1e\+09, not 2000000000"),
        ("clock_skew", -2e9, r"clock_skew must be a finite number at least -1e\+09"),
        ("clock_skew", math.nan, "clock_skew must be a finite number"),
    ],
)
def test_a_fault_of_callbacks_out_of_its_range_is_refused_by_name(
    option: str, value: Any, message: str
) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidArgumentError, match=f"^{message}"):
        CallbackFaults(**options)


def test_an_emulator_takes_the_faults_of_callbacks_as_one_value() -> None:
    with pytest.raises(InvalidArgumentError, match="callbacks must be a CallbackFaults, not dict"):
        Emulator(callbacks={"lost": 1})  # type: ignore[arg-type]
    faults = CallbackFaults(lost=1)
    assert Emulator(callbacks=faults).callbacks is faults


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_signature_needs_a_key_to_differ_from(kind: CallbackKind) -> None:
    options: dict[str, Any] = {kind.value: 0.5}
    faults = CallbackFaults(**options)
    Emulator(callbacks=faults, webhook_key="key")
    if kind in {"wrong_signature", "stale", "unsigned"}:
        with pytest.raises(InvalidArgumentError, match=f"^{kind} callbacks need a webhook_key"):
            Emulator(callbacks=faults)
    else:
        Emulator(callbacks=faults)


def test_without_faults_each_task_gets_one_callback_at_its_end() -> None:
    assert set(planned(CallbackFaults()).values()) == {
        (PlannedCallback(kind=CallbackKind.GENUINE),)
    }


def test_the_same_seed_plans_the_same_faults_and_another_one_others() -> None:
    faults = CallbackFaults(lost=0.5, delay=(0, 9), changed=0.5)
    assert planned(faults, 4) == planned(faults, 4) != planned(faults, 5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name, found", [("lost", "is_lost"), ("reordered", "is_reordered")])
def test_a_share_is_the_share_of_the_callbacks(name: str, found: str, share: float) -> None:
    options: dict[str, Any] = {name: share}
    ends = [each[-1] for each in planned(CallbackFaults(**options)).values()]
    assert sum(getattr(each, found) for each in ends) / len(ends) == pytest.approx(share, abs=0.04)


def test_a_fault_hits_the_same_tasks_whatever_else_goes_wrong() -> None:
    alone = planned(CallbackFaults(lost=0.3))
    others = planned(CallbackFaults(lost=0.3, repeated=0.5, delay=(1, 2), in_progress=1, changed=1))
    more = planned(CallbackFaults(lost=0.6))
    for task_id in IDS:
        assert alone[task_id][-1].is_lost is others[task_id][-1].is_lost
        assert alone[task_id][-1].is_lost <= more[task_id][-1].is_lost


def test_a_callback_that_is_lost_is_not_repeated() -> None:
    ends = [each[-1] for each in planned(CallbackFaults(lost=0.5, repeated=1)).values()]
    assert {(end.is_lost, end.repeat_after is None) for end in ends} == {
        (True, True),
        (False, False),
    }


@given(st.integers(), st.text(st.characters()), st.floats(0, 1), st.floats(0, 5), st.floats(0, 5))
def test_a_plan_is_in_the_order_of_what_is_due_and_within_its_bounds(
    seed: int, task_id: str, share: float, least: float, more: float
) -> None:
    faults = CallbackFaults(delay=(least, least + more), **dict.fromkeys(SHARES, share))
    *early, end = plan(faults, seed, task_id)
    life = task(created_at=5.0, ends_at=105.0)
    times = [each.due_at(life) for each in early]
    assert times == sorted(times)
    assert all(25.0 <= at <= 85.0 for at in times)
    assert (end.due_at(life), end.kind) == (105.0, CallbackKind.GENUINE)
    assert len({each.kind for each in early}) == len(early)
    for each in (*early, end):
        if not each.is_forged:
            assert least <= each.delay <= least + more


def test_a_callback_of_the_end_is_due_exactly_then_and_an_early_one_never_without_an_end() -> None:
    end = PlannedCallback(kind=CallbackKind.GENUINE)
    early = PlannedCallback(kind=CallbackKind.CHANGED, share=0.3)
    odd = task(created_at=0.1, ends_at=0.1 + 0.7)
    assert end.due_at(odd) == odd.ends_at
    assert early.due_at(task(created_at=1.0, ends_at=math.inf)) == math.inf


# Forged callbacks

KEY, NOW = "a-key", 1_700_000_000.9


def headers(kind: CallbackKind, key: str | None = KEY) -> dict[str, str]:
    post = callback_post("a.1", kind, URL("http://127.0.0.1/"), {}, key=key, now=NOW)
    return dict(post.headers)


def test_a_signature_covers_the_id_and_the_whole_second() -> None:
    assert signature_headers(KEY, "a.1", NOW) == {
        "X-Webhook-Timestamp": "1700000000",
        "X-Webhook-Signature": "tTmBhLfCl0ypafHLZ9kWaF+N+Y0iZQB18HWxnJYKz58=",
    }


@pytest.mark.parametrize(
    "kind", [CallbackKind.GENUINE, CallbackKind.CHANGED, CallbackKind.WRONG_ADDRESS]
)
def test_what_is_forged_elsewhere_is_well_signed(kind: CallbackKind) -> None:
    assert headers(kind) == signature_headers(KEY, "a.1", NOW)


def test_a_stale_signature_is_right_and_an_hour_old() -> None:
    assert headers(CallbackKind.STALE) == signature_headers(KEY, "a.1", NOW - 3600)


def test_a_wrong_signature_differs_in_nothing_else() -> None:
    right, wrong = headers(CallbackKind.GENUINE), headers(CallbackKind.WRONG_SIGNATURE)
    assert wrong.keys() == right.keys()
    assert wrong["X-Webhook-Timestamp"] == right["X-Webhook-Timestamp"]
    assert wrong["X-Webhook-Signature"] != right["X-Webhook-Signature"]


@pytest.mark.parametrize("kind", CallbackKind)
def test_nothing_is_signed_without_a_key(kind: CallbackKind) -> None:
    assert headers(kind, key=None) == {}


def test_an_unsigned_callback_has_no_signature_although_there_is_a_key() -> None:
    assert headers(CallbackKind.UNSIGNED) == {}


@pytest.mark.parametrize(
    "url, wrong",
    [
        ("http://127.0.0.1:80/hooks/cb_x", "http://127.0.0.1/hooks/cb_x0"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/0"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/0"),
        ("http://127.0.0.1/a%2Fb#part", "http://127.0.0.1/a%2Fb0"),
        ("http://127.0.0.1/a?token=x%2By#part", "http://127.0.0.1/a?token=x%2By0"),
    ],
)
def test_a_wrong_address_is_one_character_longer_in_the_place_of_a_secret(
    url: str, wrong: str
) -> None:
    kind = CallbackKind.WRONG_ADDRESS
    post = callback_post("a", kind, URL(url, encoded=True), {}, key=None, now=NOW)
    assert str(post.url) == str(URL(wrong, encoded=True))
