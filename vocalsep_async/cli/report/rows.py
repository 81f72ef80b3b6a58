"""The table of the page: one row per task with an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from attrs import frozen

from vocalsep_async import TaskOutcome
from vocalsep_async._text import shortened
from vocalsep_async.cli.report.run import Run, TimedOutcome
from vocalsep_async.cli.report.status import RowStatus, last_record, reason_of, status_of
from vocalsep_async.cli.report.text import file_link


@frozen
class StemFile:
    """A saved stem.

    Attributes:
        name: the stem.
        path: the file.
        href: the link to the file, for a page in the folder of the report.
    """

    name: str
    path: Path
    href: str

    @property
    def label(self) -> str:
        """The name with spaces."""
        return self.name.replace("_", " ")


@frozen
class TaskRow:
    """One task, from its creation to the detection of its end.

    Attributes:
        number: its position in the order of outcomes, from 1.
        timed: its outcome, and when that was known.
        status: its status.
        reason: why it did not succeed; None if it did.
        created_at: by the provider's clock; None if unknown.
        completed_at: by the provider's clock; None if it has not ended, or that is unknown.
        duration: seconds from creation to completion; None if unknown.
        delay: seconds from its completion to its detection, as in `BatchStats.mean_delay`: None if
            it had ended before the run took it in, if an earlier run detected the end, or if that
            is unknown; 0 if the clocks differ by more than that.
        is_skewed: whether the delay is 0 because the clocks differ.
        stems: the saved stems.
        missing_stems: names of stems that were not saved.
    """

    number: int
    timed: TimedOutcome
    status: RowStatus
    reason: str | None
    created_at: datetime | None
    completed_at: datetime | None
    duration: float | None
    delay: float | None
    is_skewed: bool
    stems: tuple[StemFile, ...]
    missing_stems: tuple[str, ...]

    @property
    def outcome(self) -> TaskOutcome:
        """The outcome of the task."""
        return self.timed.outcome

    @property
    def name(self) -> str:
        """The label of the task, or its id without the middle."""
        return self.outcome.label or shortened(self.outcome.task_id)


def noun_of(rows: Sequence[TaskRow]) -> str:
    """What the page calls *rows*: songs where all of them have a label, which is a title."""
    return "song" if rows and all(row.outcome.label for row in rows) else "task"


def task_rows(run: Run, folder: Path) -> tuple[TaskRow, ...]:
    """All tasks of *run* with an outcome, for a page in *folder*."""
    return tuple(_row(number, timed, folder) for number, timed in enumerate(run.outcomes, start=1))


def _row(number: int, timed: TimedOutcome, folder: Path) -> TaskRow:
    outcome = timed.outcome
    record = last_record(outcome)
    # Of a task that timed out only a pending record is known, whatever its times are.
    completed_at = record.completed_at if record is not None and record.is_final else None
    delay = _delay(timed, completed_at)
    return TaskRow(
        number=number,
        timed=timed,
        status=status_of(outcome),
        reason=reason_of(outcome),
        created_at=None if record is None else record.created_at,
        completed_at=completed_at,
        duration=None if record is None else record.duration,
        delay=None if delay is None else max(0.0, delay),
        is_skewed=delay is not None and delay < 0,
        stems=_stem_files(outcome.files, folder),
        missing_stems=_missing_stems(outcome),
    )


def _delay(timed: TimedOutcome, completed_at: datetime | None) -> float | None:
    if completed_at is None or timed.at is None:
        return None
    delay = (timed.at - completed_at).total_seconds()
    # Of a task that had ended before it was taken in, no poll could have been in time.
    return delay if delay < timed.outcome.elapsed else None


def _stem_files(files: Mapping[str, Path], folder: Path) -> tuple[StemFile, ...]:
    return tuple(StemFile(name, path, file_link(path, folder)) for name, path in files.items())


def _missing_stems(outcome: TaskOutcome) -> tuple[str, ...]:
    if outcome.task is None:
        return ()
    return tuple(name for name, _ in outcome.task.stems if name not in outcome.files)
