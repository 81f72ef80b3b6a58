"""Outcomes of tasks that ended in an earlier run, as a journal holds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.journal import type_of
from vocalsep_async._journal.store import Row
from vocalsep_async.errors import DecodeError, InvalidArgumentError, JournalError
from vocalsep_async.models import SeparationTask, TaskOutcome, TaskRef

Restore = Callable[[TaskRef, Any], SeparationTask]
"""Reads the stored record of a task that had ended."""


def restored_outcome(path: Path, row: Row, restore: Restore, label: str | None) -> TaskOutcome:
    """The outcome of a task with a final record in the journal at *path*.

    Raises:
        JournalError: its row is damaged.
    """
    task, files = _task(path, row, restore), _files(path, row)
    return TaskOutcome(
        task_id=row.task_id,
        status=task.status,
        task=task,
        error=None,
        polls=row.polls,
        elapsed=row.elapsed or 0.0,
        files=files,
        label=label,
    )


def _files(path: Path, row: Row) -> dict[str, Path]:
    try:
        files = json.loads(row.files or "{}")
        return {stem: Path(name) for stem, name in files.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise JournalError(f"{path}: the files of task {row.task_id!r} are damaged")


def _task(path: Path, row: Row, restore: Restore) -> SeparationTask:
    ref = TaskRef(row.task_id, type=type_of(row), route=row.route)
    try:
        return restore(ref, unpacked(row.record or b""))
    except InvalidArgumentError as error:
        # Not damaged: the task is on a route that this client cannot poll.
        raise JournalError(f"{path}: {error}") from None
    except (ValueError, DecodeError) as error:
        raise JournalError(
            f"{path}: the record of task {row.task_id!r} is damaged: {error}"
        ) from None
