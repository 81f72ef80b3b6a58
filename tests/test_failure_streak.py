"""Failures in a row, and when they are permanent."""

from __future__ import annotations

import pytest

from vocalsep_async._failures import (
    FailureStreak,
    address_error,
    doubts_address,
    is_refusal,
    may_help,
)
from vocalsep_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    ErrorAction,
    InsufficientCreditsError,
    InvalidParametersError,
    MaintenanceError,
    RateLimitedError,
    TaskNotFoundError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.policies import RetryPolicy

RETRY = RetryPolicy(attempts=3, initial=1.0, factor=2.0, maximum=8.0, jitter=0)
CUT = TransportError("cut")
UNREADABLE = DecodeError("strange", in_envelope=True)
UNKNOWN = TaskNotFoundError("no such task", code=200, http_status=200, action=ErrorAction.RETRY)


UNREADABLE_PAGE = DecodeError("no JSON", http_status=200)
MOVED = TransportError("moved", action=ErrorAction.RAISE)


def bare(code: int, action: ErrorAction = ErrorAction.RAISE) -> APIError:
    return APIError("no", code=code, http_status=code, action=action, in_envelope=False)


def gateway(code: int) -> APIError:
    return bare(code, ErrorAction.RETRY)


def enveloped(code: int, kind: type[APIError] = APIError) -> APIError:
    return kind("no", code=code, http_status=200)


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
    "error, limit",
    [
        (MOVED, 1),
        (enveloped(400, InvalidParametersError), 1),
        (UNREADABLE, 5),
        (enveloped(403), 5),
        (enveloped(0), 5),
        (UNKNOWN, 3),
        (CUT, None),
    ],
)
def test_an_error_is_permanent_after_so_many_failures_of_its_kind(
    error: VocalSepError, limit: int | None
) -> None:
    streak = FailureStreak()
    for failures in range(1, 20):
        streak = streak.record(error)
        is_permanent = limit is not None and failures >= limit
        assert streak.is_permanent(error, RETRY) is is_permanent


FOREIGN = [MOVED, UNREADABLE_PAGE, bare(403), bare(405, ErrorAction.THROTTLE), bare(501)]


@pytest.mark.parametrize("error", FOREIGN)
def test_answers_of_other_servers_prove_a_wrong_address_after_the_attempts(
    error: VocalSepError,
) -> None:
    streaks = [streak_of(*[error] * failures) for failures in range(1, 5)]
    proofs = [streak.proves_wrong_address(error, RETRY) for streak in streaks]
    assert proofs == [False, False, True, True]


def test_answers_of_other_servers_in_any_mixture_are_of_one_kind() -> None:
    assert streak_of(CUT, *FOREIGN).same_kind == len(FOREIGN)


@pytest.mark.parametrize(
    "error",
    [
        *[CUT, gateway(502), bare(429, ErrorAction.THROTTLE)],
        *[UNREADABLE, UNKNOWN, enveloped(403), enveloped(405), enveloped(401, AuthenticationError)],
    ],
)
def test_what_passes_by_itself_or_is_the_api_proves_no_wrong_address(error: VocalSepError) -> None:
    assert not doubts_address(error)
    assert not streak_of(*[error] * 9).proves_wrong_address(error, RETRY)


@pytest.mark.parametrize(
    "error, may",
    [
        *[(each, True) for each in (*FOREIGN, CUT, UNREADABLE, UNKNOWN, gateway(502))],
        (enveloped(403), True),
        (enveloped(400, InvalidParametersError), False),
        (enveloped(401, AuthenticationError), False),
        (TransportError("certificate", may_have_arrived=False, action=ErrorAction.RAISE), False),
        (MaintenanceError("no", code=455, http_status=200, action=ErrorAction.MAINTENANCE), False),
    ],
)
def test_a_call_is_tried_again_after_what_may_pass(error: VocalSepError, *, may: bool) -> None:
    assert may_help(error) is may


@pytest.mark.parametrize("kind", [AuthenticationError, InsufficientCreditsError])
def test_only_the_api_can_refuse_the_account(kind: type[APIError]) -> None:
    assert is_refusal(enveloped(401, kind))
    assert not is_refusal(kind("no", code=401, http_status=401, in_envelope=False))
    assert not is_refusal(enveloped(403))


@pytest.mark.parametrize("error", FOREIGN)
def test_the_error_about_an_address_is_of_the_class_of_the_last_doubt(error: VocalSepError) -> None:
    about = address_error(error)
    assert type(about) is type(error)
    assert str(about).count("check base_url") == 1
    assert about.action in (ErrorAction.RAISE, DecodeError.action)


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
