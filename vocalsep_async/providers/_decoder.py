"""Reads answers: one method for each endpoint, which gives a value or raises an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Protocol

from attrs import evolve

from vocalsep_async._text import printable, without_queries
from vocalsep_async.errors import (
    DecodeError,
    ErrorAction,
    TaskNotFoundError,
)
from vocalsep_async.models import SeparationTask, SeparationType, TaskRef, TaskStatus
from vocalsep_async.providers._callbacks import Callback, OpenedCallback
from vocalsep_async.providers._creations import Evidence, evidence_in, id_of_created, unread_id
from vocalsep_async.providers._documented import documented_task
from vocalsep_async.providers._echoes import without_secrets
from vocalsep_async.providers._envelope import (
    CHECK_BASE_URL,
    Envelope,
    http_date,
    open_envelope,
    retry_after,
)
from vocalsep_async.providers._records import (
    created_by_epoch,
    finite,
    read_by,
    structure_task,
    unreadable,
)
from vocalsep_async.providers.base import ErrorRule, Provider

Headers = Mapping[str, str]
_POSTED = {"code", "msg", "data"}
"""The names in a callback."""


class KnownTask(Protocol):
    """What is known of a task before its record: a `TaskRef`, or what tracks the task."""

    @property
    def task_id(self) -> str:
        """Its id."""

    @property
    def type(self) -> SeparationType | None:
        """Its type; None if not known."""


class Decoder:
    """Reads the answers of one provider.

    Args:
        provider: knows what its codes mean and how its records are spelt.
        route: what `SeparationTask.route` is; None where ids leave no doubt about it.
    """

    def __init__(self, provider: Provider, route: str | None = None) -> None:
        self.provider = provider
        self.route = route
        self._may_be_documented = type(provider).read_record is Provider.read_record

    def task(self, known: KnownTask, status: int, headers: Headers, body: bytes) -> SeparationTask:
        """Read the record of a task.

        Raises:
            APIError: the provider's error for the code; `TaskNotFoundError` (action RETRY,
                because a new task may not be readable yet) where the API knows no such task.
            DecodeError: not an answer of this API, or another task's record.
        """
        task_id = known.task_id
        envelope = self._payload(status, headers, body, task_id=task_id)
        # The API answers for an unknown task with a success without a record.
        if envelope.data is None:
            raise self._no_such_task(envelope, status, task_id)
        task = self._documented(known, envelope.data)
        if task is not None:
            return task
        task = self._record(known, envelope.data, http_status=status)
        # A cache in between that ignores the query would answer with the record of another task.
        if task.task_id != task_id:
            raise unreadable("the answer is about another task", status)
        return task

    def created(
        self, status: int, headers: Headers, body: bytes, *, sent: Collection[str] = ()
    ) -> str:
        """Read the id of a task that was just created: an answer with an id is no error.

        Args:
            status: the HTTP status.
            headers: of the answer.
            body: of the answer.
            sent: texts of the request; an error that repeats one of them holds no new id, and the
                secrets of its links are left out of messages.

        Raises:
            APIError: the API answered with an error, and without an id.
            DecodeError: the answer holds no task id.
        """
        task_id = id_of_created(self.provider, body, sent)
        if task_id is not None:
            return task_id
        # It may have been billed: what cannot be read is shown.
        unread = unread_id(self.provider, body, sent)
        held = "" if unread is None else f"It holds '{unread}', which may be the id of a new task."
        data = self._payload(status, headers, body, is_creation=True, sent=sent, held=held).data
        if isinstance(data, dict):
            read_by(self.provider.read_task_id, data, status)
        raise unreadable(f"the answer holds no usable task id. {held}".rstrip(". "), status)

    def evidence(self, body: bytes) -> Evidence:
        """What an answer that `created` has to read proves about the task."""
        return evidence_in(self.provider, body)

    def credits(self, status: int, headers: Headers, body: bytes) -> float:
        """Read the account's remaining credits.

        Raises:
            APIError: the API answered with an error.
            DecodeError: the answer is no number.
        """
        data = self._payload(status, headers, body).data
        number = finite(read_by(self.provider.read_credits, data, status))
        if number is None:
            raise unreadable("the answer holds no number of credits", status)
        return number

    def restored(self, ref: TaskRef, record: Any) -> SeparationTask:
        """Read a stored record: ``SeparationTask.raw`` of the task *ref*, which had ended.

        Raises:
            DecodeError: it is no record, or one of a task that has not ended.
        """
        is_posted = isinstance(record, dict) and record.keys() == _POSTED
        task = self._posted(ref, record) if is_posted else self.ended(ref, record)
        if not task.is_final:
            raise DecodeError(f"a stored task has the status {printable(str(task.status))}")
        return task

    def recordable(self, ref: TaskRef, task: SeparationTask) -> SeparationTask | None:
        """*task* as one that `restored` reads; None if its ``raw`` does not hold what it says.

        The status of most callbacks is the code beside their record, so their ``raw`` alone says
        no end. Then the whole callback takes its place.
        """
        code = 200 if task.error_code is None else task.error_code
        posted = {"code": code, "msg": task.error_message or "", "data": task.raw}
        for raw in (task.raw, posted):
            try:
                restored = self.restored(ref, raw)
            except DecodeError:
                continue
            if (restored.status, restored.stems) == (task.status, task.stems):
                return restored
        return None

    def _posted(self, ref: TaskRef, posted: Mapping[str, Any]) -> SeparationTask:
        read = partial(self.provider.read_callback, code=posted["code"], message=posted["msg"])
        task = structure_task(
            posted["data"],
            read=read,
            statuses=self.provider.statuses,
            route=self.route,
            type_=ref.type,
            taskId=ref.task_id,
        )
        return evolve(task, raw=posted)

    def ended(self, ref: TaskRef, record: Any) -> SeparationTask:
        """Read a record whose missing status, if it has none, may be that of an end.

        A first record without a status is taken for one of a running task. The rest of a later
        one decides as for a status that is not documented.

        Raises:
            DecodeError: it is no record.
        """
        task = self._record(ref, record, blank_status="")
        if task.status:
            return task
        if not task.is_final:
            return evolve(task, status=TaskStatus.PENDING)
        failed = TaskStatus.GENERATE_AUDIO_FAILED
        return evolve(task, status=TaskStatus.SUCCESS if task.succeeded else failed)

    def callback(self, opened: OpenedCallback) -> Callback:
        """Read a callback of which nothing is proven: a reason to poll the task, not a result.

        Raises:
            DecodeError: it is not a callback of this API.
        """
        code, message, data, task_id, _ = opened
        if data is None and task_id is None:
            raise DecodeError("the callback names no task: its data is null")
        task = structure_task(
            # A failure may have no data.
            {} if data is None else data,
            read=partial(self.provider.read_callback, code=code, message=message),
            statuses=self.provider.statuses,
            route=self.route,
            taskId=task_id,
        )
        # A provider may spell the id in a way of its own.
        if task_id not in (None, task.task_id):
            raise DecodeError("the callback names two tasks")
        return Callback(code, printable(without_queries(message)), task)

    def _documented(self, known: KnownTask, record: Any) -> SeparationTask | None:
        # What a provider of its own makes of a record is not known here.
        if not self._may_be_documented:
            return None
        return documented_task(
            known.task_id,
            record,
            statuses=self.provider.statuses,
            type_=known.type,
            route=self.route,
        )

    def _record(
        self, known: KnownTask, record: Any, *, http_status: int | None = None, **options: Any
    ) -> SeparationTask:
        return structure_task(
            record,
            read=self.provider.read_record,
            statuses=self.provider.statuses,
            http_status=http_status,
            route=self.route,
            type_=known.type,
            taskId=known.task_id,
            **options,
        )

    def _payload(
        self,
        status: int,
        headers: Headers,
        body: bytes,
        *,
        task_id: str | None = None,
        is_creation: bool = False,
        sent: Collection[str] = (),
        held: str = "",
    ) -> Envelope:
        envelope = open_envelope(status, body)
        if envelope.genuine and envelope.code == 200:
            return envelope
        # Only for polls: in a creation the same words are about the caller's parameters. Without
        # an envelope they are those of something in between.
        if (
            task_id is not None
            and envelope.genuine
            and self.provider.is_unknown_task(envelope.code, envelope.message)
        ):
            raise self._no_such_task(envelope, status, task_id)
        rule = self._rule(envelope, is_creation=is_creation)
        raise rule.error(
            self._message(envelope, sent),
            code=envelope.code,
            http_status=status,
            task_id=task_id,
            retry_after=retry_after(headers),
            action=rule.action,
            hint=f"The answer is an error. {held}" if held else rule.hint,
            in_envelope=envelope.genuine,
        )

    def _rule(self, envelope: Envelope, *, is_creation: bool) -> ErrorRule:
        classify = partial(
            self.provider.classify,
            envelope.code,
            in_envelope=envelope.genuine,
            is_creation=is_creation,
        )
        rule = classify(message=envelope.message)
        if not envelope.genuine and rule.action is ErrorAction.RAISE:
            rule = _foreign(rule)
        # A creation is sent again by the code alone, and then not without its pause.
        if is_creation and classify(message="").action is ErrorAction.THROTTLE:
            return evolve(rule, action=ErrorAction.THROTTLE)
        return rule

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

    def _message(self, envelope: Envelope, sent: Collection[str] = ()) -> str:
        # The key was taken out before: after the cut, a part of it would not be recognised.
        # Messages echo the links of a request, and are shown in logs and events.
        return printable(without_queries(without_secrets(envelope.message, sent)))


def _foreign(rule: ErrorRule) -> ErrorRule:
    """*rule* for an answer that has no envelope, and so may be of another server."""
    hint = rule.hint or rule.error.hint
    if "base_url" in hint:
        return rule
    return evolve(rule, hint=f"{hint} The answer is none of this API: {CHECK_BASE_URL}.".lstrip())


def age_of(task: SeparationTask, headers: Headers) -> float | None:
    """Seconds since the task was created, by the server's own clock; None if it does not say.

    Both ends come from the server (its Date and its creation time), so a wrong clock on this
    side does not matter. Creation times without a zone are not used.
    """
    answered = http_date(headers.get("Date", ""))
    if answered is None or task.created_at is None or not created_by_epoch(task):
        return None
    return max((answered - task.created_at).total_seconds(), 0.0)
