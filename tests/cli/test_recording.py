"""Recording a run for its report, while the tasks are being tracked."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cli.stats import batch, snapshot

from vocalsep_async import RateLimit, SeparationTask, TaskOutcome, TaskStatus, TransportError
from vocalsep_async.cli import recording
from vocalsep_async.cli.recording import RunRecorder
from vocalsep_async.cli.report import Peaks, Run, compute_peaks
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio

LIMIT = RateLimit(20, 10.0)


class WrittenReport:
    """Keeps what would be written."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.peaks: dict[Path, Peaks] = {}

    def write(self, run: Run, _path: Path, peaks: dict[Path, Peaks]) -> None:
        self.run, self.peaks = run, peaks


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> WrittenReport:
    written = WrittenReport()
    monkeypatch.setattr(recording, "write_report", written.write)
    return written


def new_recorder() -> RunRecorder:
    return RunRecorder("vocalsep track a", "api.example", LIMIT)


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


async def test_a_recorder_passes_the_run_to_the_report(
    written: WrittenReport, tmp_path: Path
) -> None:
    before = datetime.now(UTC)
    async with new_recorder() as recorder:
        recorder.sample(snapshot(requests=7, throttled=1, batch=batch(pending=3, finished=2)))
        recorder.on_outcome(outcome(), 30.0)
        await recorder.write(tmp_path / "report.html", wait_for_waveforms=True)
    run = written.run
    assert run is not None
    assert (run.command, run.api, run.limit) == ("vocalsep track a", "api.example", LIMIT)
    assert before <= run.began_at <= run.ended_at <= datetime.now(UTC)
    (sample,) = run.samples
    assert (sample.requests, sample.throttled, sample.pending, sample.finished) == (7, 1, 3, 2)
    (timed,) = run.outcomes
    assert timed.outcome == outcome()
    assert timed.at is not None
    assert timedelta(seconds=29) < run.ended_at - timed.at
    assert written.peaks == {}


async def test_a_recorder_knows_only_the_detections_of_its_own_run(
    written: WrittenReport, tmp_path: Path
) -> None:
    ended_by_an_error = evolve(outcome(), task=None, error=TransportError("no answer"))
    async with new_recorder() as recorder:
        recorder.on_outcome(evolve(outcome(), task_id="restored"), None)
        recorder.on_outcome(outcome(), 30.0)
        # Two songs can share a task.
        recorder.on_outcome(evolve(outcome(), label="The same song"), None)
        recorder.on_outcome(evolve(ended_by_an_error, task_id="lost"), None)
        await recorder.write(tmp_path / "report.html", wait_for_waveforms=True)
    assert written.run is not None
    restored, first, same, lost = (each.at for each in written.run.outcomes)
    assert restored is None
    assert same == first
    assert lost is not None
    assert first is not None
    assert lost > first


async def test_a_report_waits_for_all_waveforms(
    written: WrittenReport, songs: list[Path], tmp_path: Path
) -> None:
    async with new_recorder() as recorder:
        recorder.on_outcome(outcome(*songs[:2]), 0.0)
        recorder.on_outcome(outcome(songs[2]), 0.0)
        await recorder.write(tmp_path / "report.html", wait_for_waveforms=True)
    assert set(written.peaks) == set(songs)


async def test_a_file_without_audio_does_not_delay_the_report(
    written: WrittenReport, songs: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    async with new_recorder() as recorder:
        recorder.on_outcome(outcome(text, tmp_path / "gone.wav", songs[0]), 0.0)
        await recorder.write(tmp_path / "report.html", wait_for_waveforms=True)
    assert set(written.peaks) == {songs[0]}


async def test_a_report_that_does_not_wait_has_only_finished_waveforms(
    written: WrittenReport, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, may_continue = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(_path: Path) -> None:
        loop.call_soon_threadsafe(started.set)
        assert may_continue.wait(60)

    monkeypatch.setattr(recording, "compute_peaks", slow)
    async with new_recorder() as recorder:
        recorder.on_outcome(outcome(songs[0]), 0.0)
        await started.wait()
        await recorder.write(tmp_path / "report.html", wait_for_waveforms=False)
        may_continue.set()
    assert written.run is not None
    assert written.peaks == {}


async def test_a_report_waits_for_waveforms_that_are_added_during_the_wait(
    written: WrittenReport, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = threading.Event()

    def after_the_first(path: Path) -> Any:
        if path == songs[1]:
            assert drawn.wait(60)
        drawn.set()
        return compute_peaks(path)

    monkeypatch.setattr(recording, "compute_peaks", after_the_first)
    async with new_recorder() as recorder:
        recorder.on_outcome(outcome(songs[0]), 0.0)
        writing = asyncio.create_task(
            recorder.write(tmp_path / "report.html", wait_for_waveforms=True)
        )
        await asyncio.sleep(0)
        recorder.on_outcome(outcome(songs[1]), 0.0)
        await writing
    assert set(written.peaks) == set(songs[:2])


async def test_an_error_in_the_block_is_raised_and_cancels_the_waveforms(songs: list[Path]) -> None:
    async def broken() -> None:
        async with new_recorder() as recorder:
            recorder.on_outcome(outcome(*songs), 0.0)
            raise KeyError("a fault")

    with pytest.raises((KeyError, ExceptionGroup)) as caught:
        await broken()
    assert "a fault" in repr(caught.value)


async def test_a_recorder_writes_the_page(tmp_path: Path) -> None:
    async with new_recorder() as recorder:
        await recorder.write(tmp_path / "report.html", wait_for_waveforms=True)
    assert "vocalsep track a" in (tmp_path / "report.html").read_text("utf-8")


async def test_an_unwritable_page_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((OSError, ExceptionGroup)):
        async with new_recorder() as recorder:
            await recorder.write(tmp_path / "file" / "report.html", wait_for_waveforms=True)
