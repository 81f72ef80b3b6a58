"""Reads answers: one method for each endpoint, which gives a value or raises an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from vocalsep_async._text import printable
from vocalsep_async.errors import (
    APIError,
    DecodeError,
    ErrorAction,
    InvalidArgumentError,
    TaskNotFoundError,
)
from vocalsep_async.models import SeparationTask, TaskRef, TaskStatus
from vocalsep_async.providers._envelope import (
    Envelope,
    code_of,
    http_date,
    message_of,
    open_envelope,
    parse_json,
    retry_after,
)
from vocalsep_async.providers._records import created_by_epoch, finite, structure_task, unreadable
from vocalsep_async.providers.base import Provider, says_no_such_record

Headers = Mapping[str, str]


class Decoder:
    """Reads the answers of one provider.

    Args:
        provider: decides what its codes mean.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def task(self, ref: TaskRef, status: int, headers: Headers, body: bytes) -> SeparationTask:
        """Read the record of the task *ref*.

        Raises:
            APIError: the provider's error for the code; `TaskNotFoundError` (action RETRY,
                because a new task may not be readable yet) where the API knows no such task.
            DecodeError: not an answer of this API, or another task's record.
        """
        envelope = self._payload(status, headers, body, ref.task_id)
        # The API answers for an unknown task with a success without a record.
        if envelope.data is None:
            raise self._no_such_task(envelope, status, ref.task_id)
        task = structure_task(
            envelope.data,
            http_status=status,
            type_=ref.type,
            taskId=ref.task_id,
        )
        # A cache in between that ignores the query would answer with the record of another task.
        if task.task_id != ref.task_id:
            raise unreadable("the answer is about another task", status)
        return task

    def created(self, status: int, headers: Headers, body: bytes) -> str:
        """Read the id of a task that was just created.

        Raises:
            APIError: the API answered with an error.
            DecodeError: the answer holds no task id.
        """
        data = self._payload(status, headers, body, None).data
        task_id = _of(data, "taskId") or _of(data, "task_id")
        try:
            return TaskRef(task_id).task_id
        except InvalidArgumentError:
            pass
        # Raised outside the handler, so that the error about an argument is not chained.
        raise unreadable("the answer holds no usable task id", status)

    def credits(self, status: int, headers: Headers, body: bytes) -> float:
        """Read the account's remaining credits.

        Raises:
            APIError: the API answered with an error.
            DecodeError: the answer is no number.
        """
        number = finite(self._payload(status, headers, body, None).data)
        if number is None:
            raise unreadable("the answer holds no number of credits", status)
        return number

    def _payload(self, status: int, headers: Headers, body: bytes, task_id: str | None) -> Envelope:
        envelope = open_envelope(status, body)
        if envelope.genuine and envelope.code == 200:
            return envelope
        raise self._error(envelope, status, headers, task_id)

    def _error(
        self, envelope: Envelope, status: int, headers: Headers, task_id: str | None
    ) -> APIError:
        # Only for polls: in a creation the same words are about the caller's parameters.
        if task_id is not None and says_no_such_record(envelope.code, envelope.message):
            return self._no_such_task(envelope, status, task_id)
        rule = self._provider.classify(
            envelope.code, envelope.message, in_envelope=envelope.genuine
        )
        return rule.error(
            self._message(envelope),
            code=envelope.code,
            http_status=status,
            task_id=task_id,
            retry_after=retry_after(headers),
            action=rule.action,
            hint=rule.hint,
            in_envelope=envelope.genuine,
        )

    def _no_such_task(self, envelope: Envelope, status: int, task_id: str) -> TaskNotFoundError:
        # The message of a success says nothing about the missing record.
        message = "" if envelope.code == 200 else self._message(envelope)
        return TaskNotFoundError(
            message,
            code=envelope.code,
            http_status=status,
            task_id=task_id,
            action=ErrorAction.RETRY,
            in_envelope=envelope.genuine,
        )

    def _message(self, envelope: Envelope) -> str:
        # The key was taken out before: after the cut, a part of it would not be recognised.
        return printable(envelope.message)


def _of(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None


def age_of(task: SeparationTask, headers: Headers) -> float | None:
    """Seconds since the task was created, by the server's own clock; None if it does not say.

    Both ends come from the server (its Date and its creation time), so a wrong clock on this
    side does not matter. Creation times without a zone are not used.
    """
    answered = http_date(headers.get("Date", ""))
    if answered is None or task.created_at is None or not created_by_epoch(task):
        return None
    return max((answered - task.created_at).total_seconds(), 0.0)


def restored_task(ref: TaskRef, record: Any) -> SeparationTask:
    """Read a stored record: ``SeparationTask.raw`` of the task *ref*, which had ended.

    Raises:
        DecodeError: it is no record, or one of a task that has not ended.
    """
    task = structure_task(record, type_=ref.type, taskId=ref.task_id)
    if not task.is_final:
        raise DecodeError(f"a stored task has the status {printable(str(task.status))}")
    return task


def decode_callback(body: bytes) -> SeparationTask:
    """Read what the API posts to a callback URL.

    Nothing in it is proven: a callback is a reason to poll the task, not a result.
    The status is SUCCESS for code 200 and GENERATE_AUDIO_FAILED for any other.

    Raises:
        DecodeError: it is not a callback of this API.
    """
    content = parse_json(body)
    code = code_of(content)
    if code is None:
        raise DecodeError("the callback has no code")
    done = code == 200
    status = TaskStatus.SUCCESS if done else TaskStatus.GENERATE_AUDIO_FAILED
    task = structure_task(
        _of(content, "data"),
        successFlag=status,
        errorCode=None if done else code,
        errorMessage=None if done else message_of(content),
    )
    # The code decides, also where the record brings a status of its own.
    return evolve(task, status=status)
