"""Tasks and outcomes as lines for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vocalsep_async import SeparationTask, TaskOutcome, VocalSepError
from vocalsep_async._text import printable

_LONGEST = 10_000
"""Characters of a line; a link may be long."""
_NAMES = 4
"""Stems that are named on a line."""


def line(outcome: TaskOutcome) -> str:
    """What became of a task, for people."""
    beginning = f"{outcome.task_id}  {outcome.status or 'not seen'}"
    return printable(f"{beginning}  {_ending(outcome)}", _LONGEST)


def _ending(outcome: TaskOutcome) -> str | None:
    if not outcome.succeeded or outcome.task is None:
        return _reason(outcome)
    saved = "saved" if outcome.files else "ready"
    return f"{saved}: {_named(list(outcome.files) or list(dict(outcome.task.stems)))}"


def _reason(outcome: TaskOutcome) -> str | None:
    told = None if outcome.task is None else outcome.task.error_message
    return told or problem(outcome)


def problem(outcome: TaskOutcome) -> str | None:
    """Why a task counts as failed; None if it does not."""
    try:
        outcome.result()
    except VocalSepError as error:
        return str(error)
    return None


def _named(stems: Sequence[str]) -> str:
    more = len(stems) - _NAMES
    return ", ".join(stems[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def told(outcome: TaskOutcome) -> dict[str, Any]:
    """What became of a task, for programs."""
    return {
        "task_id": outcome.task_id,
        "status": outcome.status,
        "ok": outcome.succeeded,
        "stems": {} if outcome.task is None else dict(outcome.task.stems),
        "files": {stem: str(path) for stem, path in outcome.files.items()},
        "error": problem(outcome),
        "polls": outcome.polls,
        "elapsed": outcome.elapsed,
    }


def record(task: SeparationTask) -> dict[str, Any]:
    """How a task stands, for programs."""
    return {
        "task_id": task.task_id,
        "status": task.status,
        "stems": dict(task.stems),
        "error": task.error_message,
        "created_at": _moment(task.created_at),
        "completed_at": _moment(task.completed_at),
    }


def lines_of(task: SeparationTask) -> list[str]:
    """How a task stands, for people."""
    first = f"{task.task_id}  {task.status}"
    if task.error_message:
        first += f"  {task.error_message}"
    return [printable(each, _LONGEST) for each in (first, *_stems(dict(task.stems)))]


def _stems(stems: Mapping[str, str]) -> list[str]:
    width = max(map(len, stems), default=0)
    return [f"  {name:<{width}}  {link}" for name, link in stems.items()]


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
