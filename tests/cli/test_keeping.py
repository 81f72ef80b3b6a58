"""What a report wants to know is kept while the tasks are followed."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli.stats import batch, client

from vocalsep_async import RateLimit, SeparationTask, TaskOutcome, TaskStatus
from vocalsep_async.cli import keeping
from vocalsep_async.cli.keeping import Keeper
from vocalsep_async.cli.report import Peaks, Run, peaks_of
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio

LIMIT = RateLimit(20, 10.0)


class Written:
    """What would have been written."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.peaks: dict[Path, Peaks] = {}

    def write(self, run: Run, _path: Path, peaks: dict[Path, Peaks]) -> None:
        self.run, self.peaks = run, peaks


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    written = Written()
    monkeypatch.setattr(keeping, "write_report", written.write)
    return written


def made() -> Keeper:
    return Keeper("vocalsep track a", "api.example", LIMIT)


def outcome(*files: Path) -> TaskOutcome:
    task = SeparationTask(task_id="a", status=TaskStatus.SUCCESS)
    return TaskOutcome(
        task_id="a",
        status=task.status,
        task=task,
        error=None,
        polls=1,
        elapsed=1.0,
        files={each.stem: each for each in files},
    )


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    content = Emulator().original_wav()
    files = [tmp_path / f"{number}.wav" for number in range(3)]
    for each in files:
        each.write_bytes(content)
    return files


async def test_a_report_tells_the_run(written: Written, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    async with made() as keeper:
        keeper.sampled(client(requests=7, throttled=1), batch(pending=3, finished=2))
        keeper.arrived(outcome(), 30.0)
        await keeper.write(tmp_path / "report.html", at_once=False)
    run = written.run
    assert run is not None
    assert (run.command, run.api, run.limit) == ("vocalsep track a", "api.example", LIMIT)
    assert before <= run.began_at <= run.ended_at <= datetime.now(UTC)
    (sample,) = run.samples
    assert (sample.requests, sample.throttled, sample.pending, sample.finished) == (7, 1, 3, 2)
    (arrival,) = run.arrivals
    assert arrival.outcome == outcome()
    assert timedelta(seconds=29) < run.ended_at - arrival.at
    assert written.peaks == {}


async def test_a_report_waits_until_all_files_are_drawn(
    written: Written, songs: list[Path], tmp_path: Path
) -> None:
    async with made() as keeper:
        keeper.arrived(outcome(*songs[:2]), 0.0)
        keeper.arrived(outcome(songs[2]), 0.0)
        await keeper.write(tmp_path / "report.html", at_once=False)
    assert set(written.peaks) == set(songs)


async def test_what_is_no_audio_is_not_drawn_and_keeps_nobody(
    written: Written, songs: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    async with made() as keeper:
        keeper.arrived(outcome(text, tmp_path / "gone.wav", songs[0]), 0.0)
        await keeper.write(tmp_path / "report.html", at_once=False)
    assert set(written.peaks) == {songs[0]}


async def test_at_once_means_with_the_files_that_are_drawn_by_then(
    written: Written, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(_path: Path) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert goes_on.wait(60)

    monkeypatch.setattr(keeping, "peaks_of", slow)
    async with made() as keeper:
        keeper.arrived(outcome(songs[0]), 0.0)
        await begun.wait()
        await keeper.write(tmp_path / "report.html", at_once=True)
        goes_on.set()
    assert written.run is not None
    assert written.peaks == {}


async def test_what_comes_while_the_report_waits_is_drawn_too(
    written: Written, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = threading.Event()

    def after_the_first(path: Path) -> Any:
        if path == songs[1]:
            assert drawn.wait(60)
        drawn.set()
        return peaks_of(path)

    monkeypatch.setattr(keeping, "peaks_of", after_the_first)
    async with made() as keeper:
        keeper.arrived(outcome(songs[0]), 0.0)
        writing = asyncio.create_task(keeper.write(tmp_path / "report.html", at_once=False))
        await asyncio.sleep(0)
        keeper.arrived(outcome(songs[1]), 0.0)
        await writing
    assert songs[0] in written.peaks


async def test_an_error_in_the_block_is_raised_and_the_drawing_ends(songs: list[Path]) -> None:
    async def broken() -> None:
        async with made() as keeper:
            keeper.arrived(outcome(*songs), 0.0)
            raise KeyError("a fault")

    with pytest.raises((KeyError, ExceptionGroup)) as caught:
        await broken()
    assert "a fault" in repr(caught.value)


async def test_a_page_is_written(tmp_path: Path) -> None:
    async with made() as keeper:
        await keeper.write(tmp_path / "report.html", at_once=False)
    assert "vocalsep track a" in (tmp_path / "report.html").read_text("utf-8")


async def test_a_page_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((OSError, ExceptionGroup)):
        async with made() as keeper:
            await keeper.write(tmp_path / "file" / "report.html", at_once=False)
