"""What is told of progress: never backwards, never too often, and what a callback may do."""

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

from vocalsep_async import ConfigurationError, DownloadError, DownloadProgress, TransportError
from vocalsep_async._downloads.progress import ProgressReporter
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio


def most_in_any_second(moments: list[float]) -> int:
    return max(sum(at <= other < at + 1.0 for other in moments) for at in moments)


@given(st.lists(st.floats(0, 0.3) | st.just(1 / 9), min_size=1, max_size=60))
def test_nobody_is_told_of_a_file_more_than_ten_times_in_any_second(gaps: list[float]) -> None:
    now, moments, told = 1000.0, list[float](), list[DownloadProgress]()
    path = Path("a.mp3")

    def tell(progress: DownloadProgress) -> None:
        told.append(progress)
        moments.append(now)

    meter = ProgressReporter(tell, task_id="a", stem="vocal", path=path)
    for done, gap in enumerate(gaps):
        now += gap
        meter.tell(done, None, now)
    meter.tell(len(gaps), len(gaps), now, at_end=True)
    assert most_in_any_second(moments) <= 10
    expected = DownloadProgress(
        task_id="a", stem="vocal", path=path, done=len(gaps), total=len(gaps)
    )
    assert told[-1] == expected
    assert told[0].done == 0


def test_a_long_file_is_told_of_about_nine_times_a_second() -> None:
    told: list[object] = []
    meter = ProgressReporter(told.append, task_id="a", stem="vocal", path=Path("a.mp3"))
    for hundredth in range(1000):
        meter.tell(hundredth, 1000, hundredth / 100)
    assert 80 <= len(told) <= 100


def test_nobody_need_be_told() -> None:
    ProgressReporter(None, task_id="a", stem="vocal", path=Path("a.mp3")).tell(
        1, 1, 0.0, at_end=True
    )


async def test_progress_goes_up_and_ends_with_the_size_of_the_file(tmp_path: Path) -> None:
    told: dict[str, list[DownloadProgress]] = {}

    def tell(progress: DownloadProgress) -> None:
        told.setdefault(progress.stem, []).append(progress)

    async with Emulator() as emulator, client_of(emulator.url) as client:
        task_id = emulator.add_task(type="split_stem", duration=0)
        report = await client.download_stems(task_id, tmp_path, on_progress=tell)
    assert len(report.files) == len(told) == 12
    for file in report.files:
        one = told[file.stem]
        assert all(before.done <= after.done for before, after in pairwise(one))
        assert one[-1].done == one[-1].total == file.size
        assert {progress.path for progress in one} == {file.path}
        assert {progress.task_id for progress in one} == {task_id}
        assert {progress.total for progress in one} == {file.size}


async def test_pieces_that_come_at_one_moment_are_told_of_once_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[DownloadProgress] = []
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal", size=3_000_000)
        with monkeypatch.context() as patch:
            patch.setattr("anyio.current_time", lambda: 1000.0)
            await client.download_stems(task_id, tmp_path, on_progress=told.append)
    first, last = told
    assert 0 < first.done < last.done == last.total == 3_000_000


async def test_progress_goes_on_after_a_cut(tmp_path: Path) -> None:
    told: list[DownloadProgress] = []
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=3_000_000)
        host.cut("a/vocal", 1_000_000, 2_000_000)
        await client.download_stems("a", tmp_path, on_progress=told.append)
    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert told[-1].done == told[-1].total == 3_000_000


async def test_nothing_is_told_of_a_file_that_is_there_already(tmp_path: Path) -> None:
    told: list[DownloadProgress] = []
    async with StemHost() as host, client_of(host.url) as client:
        await client.download_stems(host.add("a", "vocal"), tmp_path)
        await client.download_stems("a", tmp_path, on_progress=told.append)
    assert told == []


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
@pytest.mark.parametrize("at_end", [False, True], ids=["at once", "at the end"])
async def test_what_the_callback_raises_is_raised_as_it_is(
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


async def test_what_the_callback_raises_ends_the_other_stems_too(tmp_path: Path) -> None:
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
    async def told(self, progress: DownloadProgress) -> None:
        raise AssertionError(progress)


async def asynchronous(*_args: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    "on_progress", [asynchronous, partial(asynchronous, 1), Asynchronous().told]
)
async def test_an_asynchronous_callback_is_refused_before_anything_is_sent(
    on_progress: Any, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(ConfigurationError, match="on_progress must be a plain function"):
            await client.download_stems("a", tmp_path, on_progress=on_progress)
    assert host.polls == []


async def test_progress_counts_what_an_earlier_call_left(tmp_path: Path) -> None:
    size, told, kept = 3_000_000, list[DownloadProgress](), list[DownloadProgress]()

    def first(progress: DownloadProgress) -> None:
        kept.append(progress)
        raise ValueError("enough")

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=size)
        with pytest.raises(ValueError, match="enough"):
            await client.download_stems("a", tmp_path, on_progress=first)
        await client.download_stems("a", tmp_path, on_progress=told.append)
    start = int(host.seen[1].headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert told[0].done > start > 0
    assert kept[0].total == told[-1].done == size
