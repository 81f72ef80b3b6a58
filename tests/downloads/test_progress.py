"""Progress: reported in order and not too often, by a callback that may raise."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from downloads.stem_host import Held, StemHost, client_of
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    ConfigurationError,
    DownloadError,
    DownloadProgress,
    InvalidArgumentError,
    TransportError,
)
from vocalsep_async._downloads.transfer import CallbackError, ProgressReporter
from vocalsep_async.downloads import OnProgress
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio

PATH = Path("music/vocal.mp3")


def most_in_any_second(moments: list[float]) -> int:
    return max(sum(at <= other < at + 0.999 for other in moments) for at in moments)


def reporter_to(on_progress: OnProgress | None) -> ProgressReporter:
    return ProgressReporter(on_progress, task_id="t", stem="vocal", path=PATH)


# Of the reporter


@pytest.mark.parametrize("total", [10, None])
def test_a_report_names_the_file_and_counts_its_bytes(total: int | None) -> None:
    reports: list[DownloadProgress] = []
    reporter_to(reports.append).report(5, total, 0.0)
    assert reports == [DownloadProgress(task_id="t", stem="vocal", path=PATH, done=5, total=total)]


def test_the_first_and_the_last_report_are_never_dropped() -> None:
    reports: list[DownloadProgress] = []
    reporter = reporter_to(reports.append)
    reporter.report(1, 3, 100.0)
    reporter.report(2, 3, 100.05)
    reporter.report(3, 3, 100.1, at_end=True)
    assert [progress.done for progress in reports] == [1, 3]


@given(st.lists(st.floats(0.0, 0.4) | st.just(1 / 9), min_size=1, max_size=60), st.floats(0.0, 1e6))
def test_at_most_ten_reports_are_made_in_any_second_the_last_one_included(
    gaps: list[float], start: float
) -> None:
    moments: list[float] = []
    now = start
    reporter = reporter_to(lambda _: moments.append(now))
    for gap in gaps:
        reporter.report(1, 2, now)
        now += gap
    reporter.report(2, 2, now, at_end=True)
    assert (moments[0], moments[-1]) == (start, now)
    assert most_in_any_second(moments) <= 10


def test_steady_progress_is_reported_nine_times_a_second() -> None:
    reports: list[DownloadProgress] = []
    reporter = reporter_to(reports.append)
    for thousandth in range(1000):
        reporter.report(thousandth, None, thousandth / 1000)
    assert len(reports) == 9


def test_a_reporter_without_a_callback_reports_nothing() -> None:
    reporter = reporter_to(None)
    reporter.report(5, 10, 0.0)
    reporter.report(10, 10, 1.0, at_end=True)
    assert reporter._reported_at < 0


@pytest.mark.parametrize("error", [ValueError("mine"), OSError("no room"), CallbackError()])
def test_an_exception_of_the_callback_is_wrapped_whatever_it_is(error: Exception) -> None:
    def fail(_: DownloadProgress) -> None:
        raise error

    with pytest.raises(CallbackError) as caught:
        reporter_to(fail).report(5, 10, 0.0)
    assert caught.value.__cause__ is error


def test_an_exit_raised_by_the_callback_is_not_wrapped() -> None:
    def end(_: DownloadProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reporter_to(end).report(5, 10, 0.0)


# Of downloads


async def test_progress_increases_and_ends_with_the_size_of_the_file(tmp_path: Path) -> None:
    reports: dict[str, list[DownloadProgress]] = {}

    def on_progress(progress: DownloadProgress) -> None:
        reports.setdefault(progress.stem, []).append(progress)

    async with Emulator() as emulator, client_of(emulator.url) as client:
        task_id = emulator.add_task(type="split_stem", duration=0)
        report = await client.download_stems(task_id, tmp_path, on_progress=on_progress)
    assert len(report.files) == len(reports) == 12
    for file in report.files:
        one = reports[file.stem]
        assert all(before.done <= after.done for before, after in pairwise(one))
        assert one[-1].done == one[-1].total == file.size
        assert {progress.path for progress in one} == {file.path}
        assert {progress.task_id for progress in one} == {task_id}
        assert {progress.total for progress in one} == {file.size}


async def test_chunks_of_one_moment_are_reported_once_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[DownloadProgress] = []
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal", size=3_000_000)
        with monkeypatch.context() as patch:
            patch.setattr("anyio.current_time", lambda: 1000.0)
            await client.download_stems(task_id, tmp_path, on_progress=reports.append)
    first, last = reports
    assert 0 < first.done < last.done == last.total == 3_000_000


async def test_progress_continues_after_a_cut(tmp_path: Path) -> None:
    reports: list[DownloadProgress] = []
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=3_000_000)
        host.cut("a/vocal", 1_000_000, 2_000_000)
        await client.download_stems("a", tmp_path, on_progress=reports.append)
    done = [progress.done for progress in reports]
    assert done == sorted(done)
    assert reports[-1].done == reports[-1].total == 3_000_000


async def test_a_file_that_exists_already_is_not_reported(tmp_path: Path) -> None:
    reports: list[DownloadProgress] = []
    async with StemHost() as host, client_of(host.url) as client:
        await client.download_stems(host.add("a", "vocal"), tmp_path)
        await client.download_stems("a", tmp_path, on_progress=reports.append)
    assert reports == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        BrokenPipeError("mine"),
        TransportError("mine"),
        ConfigurationError("mine"),
        DownloadError("mine", task_id="other", stem="other"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("at_end", [False, True], ids=["immediately", "at the end"])
async def test_an_exception_of_the_callback_is_raised_unchanged(
    error: Exception, *, at_end: bool, tmp_path: Path
) -> None:
    def fail(progress: DownloadProgress) -> None:
        if progress.done == progress.total or not at_end:
            raise error

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=1_000_000)
        with pytest.raises(type(error), match=r"^mine$") as caught:
            await client.download_stems("a", tmp_path, on_progress=fail)
        assert caught.value is error
        assert len(host.seen) == 1
        report = await client.download_stems("a", tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]


async def test_an_exception_of_the_callback_ends_the_other_stems_too(tmp_path: Path) -> None:
    def fail(progress: DownloadProgress) -> None:
        raise ValueError(progress.stem)

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass")
        host.hook = held = Held("a/drums", "a/bass")

        async def until_both_wait(request: web.Request) -> web.StreamResponse | None:
            if request.match_info["stem"] == "vocal":
                await held.until(lambda: held.under_way == 2)
            return await held(request)

        host.hook = until_both_wait
        with pytest.raises(ValueError, match=r"^vocal$"):
            await client.download_stems("a", tmp_path, on_progress=fail)
        await held.until(lambda: held.left == 2)


class Asynchronous:
    async def callback(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)


async def asynchronous(*_args: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    "on_progress", [asynchronous, partial(asynchronous, 1), Asynchronous().callback]
)
async def test_an_asynchronous_callback_is_refused_before_anything_is_sent(
    on_progress: Any, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(InvalidArgumentError, match="on_progress must be a plain function"):
            await client.download_stems("a", tmp_path, on_progress=on_progress)
    assert host.polls == []


async def test_progress_includes_the_bytes_of_an_earlier_call(tmp_path: Path) -> None:
    size, reports, kept = 3_000_000, list[DownloadProgress](), list[DownloadProgress]()

    def first(progress: DownloadProgress) -> None:
        kept.append(progress)
        raise ValueError("enough")

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=size)
        with pytest.raises(ValueError, match="enough"):
            await client.download_stems("a", tmp_path, on_progress=first)
        await client.download_stems("a", tmp_path, on_progress=reports.append)
    start = int(host.seen[1].headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert reports[0].done > start > 0
    assert kept[0].total == reports[-1].done == size
