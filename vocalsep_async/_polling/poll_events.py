"""The events of polls, made from the state of the task that is polled."""

from __future__ import annotations

import math

from vocalsep_async._polling.target import PollTarget
from vocalsep_async.errors import APIError, DecodeError
from vocalsep_async.instrumentation import PollFinished, PollStarted, TaskFinished
from vocalsep_async.models import SeparationTask

_SUCCESS = 200


def poll_started(target: PollTarget, wait_ids: tuple[str, ...]) -> PollStarted:
    """The event of a poll that is about to be sent."""
    return PollStarted(task_id=target.task_id, attempt=target.polls, wait_ids=wait_ids)


def poll_finished(
    target: PollTarget,
    wait_ids: tuple[str, ...],
    now: float,
    *,
    paused_until: float,
    task: SeparationTask | None = None,
    error: BaseException | None = None,
) -> PollFinished:
    """The event of a poll that returned *task* or failed with *error*.

    *wait_ids* are those before the subscribers were notified, because some leave then.
    """
    return PollFinished(
        task_id=target.task_id,
        attempt=target.polls,
        wait_ids=wait_ids,
        duration=now - target.sent,
        code=code_of(error),
        status=None if task is None else task.status,
        error=error,
        failures=0 if task is not None else target.failures,
        next_poll_in=_next_poll_in(target, now, paused_until),
    )


def _next_poll_in(target: PollTarget, now: float, paused_until: float) -> float | None:
    # A poll before a deadline comes whatever the key says; a target that has ended does not wait.
    due = min(target.key, target.latest) if target.waits else math.inf
    return None if due == math.inf else max(0.0, max(due, paused_until) - now)


def task_finished(task: SeparationTask, target: PollTarget | None, now: float) -> TaskFinished:
    """The event of the first final record; *target* is None if no subscriber waits for it."""
    ended_at = None if target is None else target.ended_at(task)
    return TaskFinished(
        task_id=task.task_id,
        status=task.status,
        type=task.type,
        duration=task.duration,
        # Where the server's clock is ahead, a task seems to end after it was seen.
        delay=None if ended_at is None else max(0.0, now - ended_at),
        polls=0 if target is None else target.polls,
    )


def wait_ids_of(target: PollTarget) -> tuple[str, ...]:
    """The ids of the waits and batches that a poll of *target* serves."""
    return tuple(each.wait_id for each in target.subscribers)


def code_of(error: BaseException | None) -> int | None:
    """The code of an answer that led to *error*, or to a record where that is None."""
    match error:
        case None:
            return _SUCCESS
        case APIError():
            return error.code
        case DecodeError():
            return error.http_status
        case _:
            return None
