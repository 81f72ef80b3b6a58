"""`Silence`: for how long polls have been without an answer."""

from __future__ import annotations

import pytest

from vocalsep_async import DecodeError, RateLimitedError, RequestTimeoutError, VocalSepError
from vocalsep_async._polling.silence import Silence

THROTTLED = RateLimitedError("too often", code=430, http_status=200)
PAGE = RateLimitedError("a page", code=429, http_status=429, in_envelope=False)


def test_a_silence_lasts_from_the_first_poll_after_an_answer() -> None:
    silence = Silence()
    assert silence.lasts(5.0) == 0.0
    silence.on_sent(10.0)
    silence.on_sent(12.0)
    assert silence.lasts(15.0) == 5.0
    silence.end()
    assert silence.lasts(16.0) == 0.0
    silence.on_sent(20.0)
    assert silence.lasts(21.0) == 1.0


@pytest.mark.parametrize(
    "error, lasts",
    [
        (THROTTLED, 0.0),
        (PAGE, 5.0),
        (RequestTimeoutError("late"), 5.0),
        (DecodeError("a page"), 5.0),
    ],
)
def test_an_error_ends_a_silence_only_if_it_is_an_answer_of_the_api(
    error: VocalSepError, lasts: float
) -> None:
    silence = Silence()
    silence.on_sent(10.0)
    silence.on_error(error, 11.0)
    assert silence.lasts(15.0) == lasts


def test_a_poll_that_fails_after_the_answer_of_another_begins_a_silence_when_it_was_sent() -> None:
    silence = Silence()
    silence.on_sent(10.0)
    silence.end()
    silence.on_error(RequestTimeoutError("late"), 9.0)
    assert silence.lasts(15.0) == 6.0


def test_a_poll_that_is_cancelled_leaves_the_silence_of_the_others() -> None:
    silence = Silence()
    silence.on_sent(10.0)
    silence.on_sent(12.0)
    silence.on_cancelled(10.0)
    assert silence.lasts(15.0) == 3.0
    silence.on_error(RequestTimeoutError("late"), 12.0)
    silence.on_sent(14.0)
    silence.on_cancelled(14.0)
    assert silence.lasts(15.0) == 3.0


def test_polls_that_are_all_cancelled_are_no_silence() -> None:
    silence = Silence()
    silence.on_sent(10.0)
    silence.on_cancelled(10.0)
    assert silence.lasts(15.0) == 0.0


def test_the_cancellation_of_a_poll_from_before_an_answer_changes_nothing() -> None:
    silence = Silence()
    silence.on_sent(10.0)
    silence.end()
    silence.on_sent(12.0)
    silence.on_cancelled(10.0)
    assert silence.lasts(15.0) == 3.0
