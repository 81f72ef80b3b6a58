"""Invented runs for reports."""

from __future__ import annotations

import math
import struct
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from vocalsep_async import (
    DownloadError,
    DownloadReport,
    RateLimit,
    SeparationTask,
    Stems,
    TaskOutcome,
    TaskStatus,
    VocalSepError,
)
from vocalsep_async.cli.report import Run, Sample, TimedOutcome

BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAMES = (
    *("vocal", "backing_vocals", "drums", "bass", "guitar", "keyboard"),
    *("percussion", "strings", "synth", "fx", "brass", "woodwinds"),
)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def task(task_id: str = "t", **fields: Any) -> SeparationTask:
    """A task that was created at 0 s and finished at 10 s."""
    usual: dict[str, Any] = {
        "status": TaskStatus.SUCCESS,
        "stems": Stems(vocal="https://files.example.com/v.mp3?signature=secret"),
        "created_at": at(0),
        "completed_at": at(10),
    }
    return SeparationTask(task_id=task_id, **(usual | fields))


def failed_task(task_id: str = "t", **fields: Any) -> SeparationTask:
    usual: dict[str, Any] = {
        "status": TaskStatus.GENERATE_AUDIO_FAILED,
        "stems": Stems(),
        "error_code": 500,
        "error_message": "It failed.",
    }
    return task(task_id, **(usual | fields))


def outcome(record: SeparationTask | None, **fields: Any) -> TaskOutcome:
    usual: dict[str, Any] = {
        "task_id": record.task_id if record else "t",
        "status": record.status if record else None,
        "task": record,
        "error": None,
        "polls": 3,
        "elapsed": 12.0,
    }
    return TaskOutcome(**(usual | fields))


def ended_by(error: VocalSepError, **fields: Any) -> TaskOutcome:
    return outcome(None, error=error, **fields)


def unsaved() -> TaskOutcome:
    """A task of whose three stems one is saved."""
    errors = tuple(
        DownloadError(f"stem {stem}: no connection", task_id="t", stem=stem)
        for stem in ("drums", "bass")
    )
    report = DownloadReport(task_id="t", files=(), errors=errors)
    return outcome(task(), files={"vocal": Path("vocal.wav")}, download_error=report.error)


def timed(
    record: SeparationTask | TaskOutcome,
    known: float = 12.0,
    label: str | None = None,
    *,
    added: float = 0.0,
) -> TimedOutcome:
    given = record if isinstance(record, TaskOutcome) else outcome(record)
    given = attrs.evolve(given, label=label or given.label, elapsed=max(0.0, known - added))
    return TimedOutcome(given, at(known))


def restored(record: SeparationTask, label: str | None = None) -> TimedOutcome:
    """An outcome from the journal, whose end an earlier run detected."""
    return TimedOutcome(outcome(record, label=label), None)


def run(*outcomes: TimedOutcome, **fields: Any) -> Run:
    """A run of one minute, with one sample per second."""
    usual: dict[str, Any] = {
        "command": "track --file ids.txt",
        "api": "api.example.com",
        "began_at": BEGAN,
        "ended_at": at(60),
        "outcomes": outcomes,
        "samples": tuple(sample(second, second) for second in range(61)),
        "limit": RateLimit(20, 10.0),
    }
    return Run(**(usual | fields))


def sample(second: float, requests: int, throttled: int = 0, pending: int = 0) -> Sample:
    return Sample(at(second), requests, throttled, pending, finished=0)


def with_files(number: int, folder: Path, names: tuple[str, ...] = NAMES) -> TaskOutcome:
    """A task with saved stems; the files need not exist."""
    task_id = f"task-{number:04}"
    paths = {name: folder / task_id / f"{name}.wav" for name in names}
    link: Any = "https://files.example.com/a.mp3?signature=secret"
    stems = Stems(**dict.fromkeys(names, link))
    return outcome(task(task_id, stems=stems), files=paths)


def write_tone(path: Path, seconds: float = 2.0, channels: int = 2, rate: int = 22_050) -> Path:
    """Write a tone that rises from silence to full level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(seconds * rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        for number in range(count):
            value = round(32_000 * number / count * math.sin(number * 0.06))
            file.writeframesraw(struct.pack("<h", value) * channels)
    return path
