"""The error of a wait that ends without a record that tells how its task ended."""

from __future__ import annotations

import asyncio
import math

from vocalsep_async._polling.doubts import lacks_links
from vocalsep_async._polling.target import PollTarget, Verdict, printable_status
from vocalsep_async._text import counted, printable
from vocalsep_async.errors import (
    RequestTimeoutError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    VocalSepError,
)
from vocalsep_async.models import NO_ERROR, SeparationTask
from vocalsep_async.policies import HANGING_POLL


def unfinished_error(
    task_id: str,
    target: PollTarget | None,
    *,
    elapsed: float,
    polls: int,
    task: SeparationTask | None = None,
    pause_cause: VocalSepError | None = None,
) -> TaskTimeoutError | TaskFailedError:
    """The error of a wait that ends now.

    Args:
        task_id: the task.
        target: what is known of it; None if it was never polled.
        elapsed: seconds that the wait took.
        polls: polls made meanwhile.
        task: the last record, where it was kept.
        pause_cause: what began the present pause of the client; None without one.
    """
    verdict = None if target is None else target.verdict
    if verdict is not None and lacks_links(verdict.task):
        return _missing_links_error(verdict)
    task = task or (None if verdict is None else verdict.task)
    error = pause_cause if target is None else _fault(target, pause_cause)
    seen = "no poll has succeeded yet" if target is None else _last_seen(target, task)
    # What was never seen may not exist, and the last error says what to check.
    advice = "" if isinstance(error, TaskNotFoundError) else " Wait again with the same id."
    return TaskTimeoutError(
        f"task {task_id!r} has no final status after {elapsed:.1f} s and "
        f"{counted(polls, 'poll')}: {seen}.{_reason(target, error, pause_cause)}{advice}",
        task_id=task_id,
        task=task,
        polls=polls,
        last_error=error,
    )


def _fault(target: PollTarget, pause_cause: VocalSepError | None) -> VocalSepError | None:
    """What kept the polls of a wait that runs out of time from an answer; None if nothing did."""
    known = target.last_error or pause_cause
    if not target.is_polling:
        return known
    seconds = asyncio.get_running_loop().time() - target.sent
    if known is not None and seconds < HANGING_POLL:
        return known
    return RequestTimeoutError(f"a poll has been without an answer for {seconds:.1f} s")


def _missing_links_error(verdict: Verdict) -> TaskFailedError:
    task, _, doubted_for, _ = verdict
    # Infinity: an earlier run has waited for the links.
    waited = doubted_for is not None and 0.5 <= doubted_for < math.inf
    meanwhile = f"came within {doubted_for:.0f} s" if waited else "is in its record"
    return TaskFailedError(
        f"task {printable(task.task_id)!r} ended with status {printable_status(task.status)}, "
        f"but no link to a stem {meanwhile}; poll it again later",
        task,
    )


def _last_seen(target: PollTarget, task: SeparationTask | None) -> str:
    if target.status is None:
        return "no poll has succeeded yet"
    # A poll that failed, or is under way, saw nothing.
    saw = target.last_error is None and not target.is_polling
    when = f" {asyncio.get_running_loop().time() - target.sent:.1f} s ago" if saw else ""
    return f"last seen {printable_status(target.status)}{when}{error_in(task)}"


def error_in(task: SeparationTask | None) -> str:
    """The error that a record brings although its task is pending; "" if there is none."""
    if task is None:
        return ""
    code = None if task.error_code in NO_ERROR else task.error_code
    words = [str(each) for each in (code, task.error_message) if each]
    return f" with the error {': '.join(words)}" if words else ""


def _reason(
    target: PollTarget | None, error: VocalSepError | None, pause_cause: VocalSepError | None
) -> str:
    if error is None:
        return ""
    if target is not None and target.last_error is error:
        return f" The last poll failed: {_sentence(error)}"
    if error is pause_cause:
        return f" The client is paused: {_sentence(error)}"
    return f" At the end: {_sentence(error)}"


def _sentence(error: VocalSepError) -> str:
    # Another sentence may follow. Some messages end one themselves, others are a phrase.
    said = str(error)
    return said if said.endswith((".", "?", "!")) else f"{said}."
