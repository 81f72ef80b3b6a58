"""Callers are told how far a file is, but not too often."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._downloads.progress import ProgressReporter, ToldError
from vocalsep_async.downloads import OnProgress
from vocalsep_async.models import DownloadProgress

PATH = Path("music/vocal.mp3")


def meter(on_progress: OnProgress | None) -> ProgressReporter:
    return ProgressReporter(on_progress, task_id="t", stem="vocal", path=PATH)


def test_what_is_told_says_all_there_is_to_know() -> None:
    told: list[DownloadProgress] = []
    meter(told.append).tell(5, 10, 0.0)
    assert told == [DownloadProgress(task_id="t", stem="vocal", path=PATH, done=5, total=10)]


def test_an_unknown_size_is_told_as_none() -> None:
    told: list[DownloadProgress] = []
    meter(told.append).tell(5, None, 0.0)
    assert told[0].total is None


def test_the_first_and_the_last_news_are_always_told() -> None:
    told: list[DownloadProgress] = []
    each = meter(told.append)
    each.tell(1, 3, 100.0)
    each.tell(2, 3, 100.05)
    each.tell(3, 3, 100.1, at_end=True)
    assert [progress.done for progress in told] == [1, 3]


def test_nobody_need_be_told() -> None:
    silent = meter(None)
    silent.tell(5, 10, 0.0)
    silent.tell(10, 10, 1.0, at_end=True)
    assert silent._told_at < 0


@pytest.mark.parametrize("error", [ValueError("mine"), OSError("no room"), ToldError()])
def test_what_the_caller_raises_is_told_from_what_others_raise(error: Exception) -> None:
    def refuse(_: DownloadProgress) -> None:
        raise error

    with pytest.raises(ToldError) as caught:
        meter(refuse).tell(5, 10, 0.0)
    assert caught.value.__cause__ is error


def test_what_ends_the_program_is_raised_as_it_is() -> None:
    def end(_: DownloadProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meter(end).tell(5, 10, 0.0)


@given(st.lists(st.floats(0.0, 0.4), min_size=1, max_size=60), st.floats(0.0, 1e6))
def test_at_most_ten_are_told_in_any_second_the_last_one_included(
    gaps: list[float], start: float
) -> None:
    times: list[float] = []
    now = start

    def note(_: DownloadProgress) -> None:
        times.append(now)

    each = meter(note)
    for gap in gaps:
        each.tell(1, 2, now)
        now += gap
    each.tell(2, 2, now, at_end=True)
    assert times[0] == start
    assert times[-1] == now
    for at in times:
        assert sum(at <= other < at + 0.999 for other in times) <= 10


def test_news_that_come_all_the_time_are_told_nine_times_a_second() -> None:
    told: list[DownloadProgress] = []
    each = meter(told.append)
    for thousandth in range(1000):
        each.tell(thousandth, None, thousandth / 1000)
    assert len(told) == 9
