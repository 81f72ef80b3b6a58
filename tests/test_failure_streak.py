"""Failures in a row, and when they are permanent."""

from __future__ import annotations

import pytest

from vocalsep_async._failures import FailureStreak
from vocalsep_async.errors import (
    DecodeError,
    ErrorAction,
    MaintenanceError,
    RateLimitedError,
    ServerError,
    TaskNotFoundError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.policies import RetryPolicy

RETRY = RetryPolicy(attempts=3, initial=1.0, factor=2.0, maximum=8.0, jitter=0)
CUT = TransportError("cut")
UNREADABLE = DecodeError("strange")
UNKNOWN = TaskNotFoundError("no such task", code=200, http_status=200, action=ErrorAction.RETRY)


def gateway(code: int) -> ServerError:
    return ServerError("broken", code=code, http_status=code, in_envelope=False)


def streak_of(*errors: VocalSepError) -> FailureStreak:
    streak = FailureStreak()
    for error in errors:
        streak = streak.record(error)
    return streak


def test_a_streak_counts_all_failures_and_the_last_ones_of_one_kind() -> None:
    streak = streak_of(CUT, UNREADABLE, UNREADABLE)
    assert (streak.failures, streak.same_kind, streak.kind) == (3, 2, "DecodeError")


def test_gateways_with_other_statuses_fail_with_another_kind() -> None:
    assert streak_of(gateway(502), gateway(503)).same_kind == 1
    assert streak_of(gateway(502), gateway(502)).same_kind == 2


@pytest.mark.parametrize(
    "error, in_doubt, limit",
    [
        (TransportError("moved", action=ErrorAction.RAISE), False, 1),
        (UNREADABLE, False, 5),
        (UNKNOWN, False, 3),
        (CUT, True, 3),
        (CUT, False, None),
    ],
)
def test_an_error_is_permanent_after_so_many_failures_of_its_kind(
    error: VocalSepError, *, in_doubt: bool, limit: int | None
) -> None:
    streak = FailureStreak()
    for failures in range(1, 20):
        streak = streak.record(error)
        is_permanent = limit is not None and failures >= limit
        assert streak.is_permanent(error, RETRY, in_doubt=in_doubt) is is_permanent


def test_the_delay_grows_with_each_failure() -> None:
    delays = [streak_of(*[CUT] * n).delay(CUT, RETRY, lambda: 0.5) for n in range(1, 6)]
    assert delays == pytest.approx([1, 2, 4, 8, 8])


@pytest.mark.parametrize(
    "error",
    [
        RateLimitedError("no", code=430, http_status=200, action=ErrorAction.THROTTLE),
        MaintenanceError("no", code=455, http_status=200, action=ErrorAction.MAINTENANCE),
    ],
)
def test_a_pause_of_the_limiter_replaces_the_delay(error: VocalSepError) -> None:
    assert streak_of(error).delay(error, RETRY, lambda: 0.5) == 0.0
