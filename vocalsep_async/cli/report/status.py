"""The status of a task on the page, one of four, and the reason for it."""

from __future__ import annotations

import enum

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    SeparationTask,
    TaskFailedError,
    TaskOutcome,
    TaskTimeoutError,
)
from vocalsep_async.cli.report.text import without_links
from vocalsep_async.cli.wording import in_options


class RowStatus(enum.StrEnum):
    """The status of a task on the page."""

    SUCCEEDED = "succeeded"
    """The stems exist, and are saved if that was asked for."""
    UNSAVED = "unsaved"
    """The stems exist, and not all of them were saved."""
    FAILED = "failed"
    """The task ended without stems, or the API rejected the polls."""
    OPEN = "open"
    """Tracking ended before the task did; it may still succeed."""


LABELS = {
    RowStatus.SUCCEEDED: "Succeeded",
    RowStatus.UNSAVED: "Not saved",
    RowStatus.FAILED: "Failed",
    RowStatus.OPEN: "Open",
}
# These errors end the tracking, and say nothing about the task itself.
_TRACKING_ERRORS = (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    TaskTimeoutError,
)


def status_of(outcome: TaskOutcome) -> RowStatus:
    """The status of the task with *outcome*."""
    if outcome.succeeded:
        return RowStatus.SUCCEEDED
    if outcome.task is not None and outcome.task.succeeded:
        return RowStatus.UNSAVED
    if outcome.task is not None and outcome.task.is_final:
        return RowStatus.FAILED
    if outcome.error is None or isinstance(outcome.error, _TRACKING_ERRORS):
        return RowStatus.OPEN
    return RowStatus.FAILED


def reason_of(outcome: TaskOutcome) -> str | None:
    """Why the task did not succeed, without links; None if it did."""
    reason = _api_message(outcome) or outcome.reason
    return None if reason is None else without_links(in_options(reason))


def _api_message(outcome: TaskOutcome) -> str | None:
    # The row already shows the id and the status, which the full reason would repeat.
    task = outcome.task
    if task is None or task.succeeded or not task.error_message:
        return None
    code = "" if task.error_code is None else f" (code {task.error_code})"
    return f"{task.error_message}{code}"


def last_record(outcome: TaskOutcome) -> SeparationTask | None:
    """The final record, or the last one that an error kept; None if there is none."""
    if outcome.task is None and isinstance(outcome.error, (TaskTimeoutError, TaskFailedError)):
        return outcome.error.task
    return outcome.task
