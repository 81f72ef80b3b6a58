"""How following a task ended, in the four words that the page has for it."""

from __future__ import annotations

import enum

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    SeparationTask,
    TaskOutcome,
    TaskTimeoutError,
    VocalSepError,
)
from vocalsep_async.cli.report.text import without_links


class Ending(enum.StrEnum):
    """What became of a task."""

    SUCCEEDED = "succeeded"
    """Its stems are there, and on disk if that was asked for."""
    UNSAVED = "unsaved"
    """Its stems are there, and not all of them on disk."""
    FAILED = "failed"
    """It ended without stems, or the API would not tell of it."""
    OPEN = "open"
    """Nobody looked until its end; it may still succeed."""


WORDS = {
    Ending.SUCCEEDED: "Succeeded",
    Ending.UNSAVED: "Not saved",
    Ending.FAILED: "Failed",
    Ending.OPEN: "Open",
}
_SAYS_NOTHING_OF_THE_TASK = (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    TaskTimeoutError,
)


def ending_of(outcome: TaskOutcome) -> Ending:
    """What became of the task."""
    if outcome.succeeded:
        return Ending.SUCCEEDED
    if outcome.task is not None and outcome.task.succeeded:
        return Ending.UNSAVED
    if outcome.task is not None and outcome.task.is_final:
        return Ending.FAILED
    if outcome.error is None or isinstance(outcome.error, _SAYS_NOTHING_OF_THE_TASK):
        return Ending.OPEN
    return Ending.FAILED


def reason_of(outcome: TaskOutcome) -> str | None:
    """Why there are no stems, or not all of them on disk; None if there are."""
    try:
        outcome.result()
    except VocalSepError as error:
        return without_links(_words_of_the_api(outcome) or str(error))
    return None


def _words_of_the_api(outcome: TaskOutcome) -> str | None:
    """What the record says itself, if the task failed: the rest stands in the row already."""
    task = outcome.task
    if task is None or task.succeeded or not task.error_message:
        return None
    code = "" if task.error_code is None else f" (code {task.error_code})"
    return f"{task.error_message}{code}"


def last_record(outcome: TaskOutcome) -> SeparationTask | None:
    """The final record, or the last one seen of a task that ran out of time."""
    if outcome.task is None and isinstance(outcome.error, TaskTimeoutError):
        return outcome.error.task
    return outcome.task
