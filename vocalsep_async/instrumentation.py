"""Events: what a client does, as frozen values for listeners.

A listener is called with each of them, in the event loop::

    def show(event: Event) -> None:
        if isinstance(event, TaskFinished):
            print(event.task_id, event.status, event.delay)

    async with VocalSepClient(on_event=show) as client:
        await client.separate("song.mp3")

Durations and delays are seconds. No event, and no repr of one, shows the API key or the query of a
link; the records inside of outcomes hold their links.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

from attrs import field, fields, frozen

from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import BatchStats, SeparationType, TaskOutcome, TaskStatus


def _shown(error: BaseException | None) -> str:
    # Messages of foreign errors may hold anything, whole links included.
    if error is None or isinstance(error, VocalSepError):
        return repr(error)
    return f"<{type(error).__name__}>"


@frozen(kw_only=True)
class Event:
    """The base class of all events.

    Attributes:
        name: which event it is, such as "poll.finished"; it stays the same in all versions.
    """

    name: ClassVar[str]

    # Those of attrs leave fields out that a pickle of an earlier version lacks.
    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(type(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for each in fields(type(self)):
            object.__setattr__(self, each.name, state.get(each.name, each.default))


class EventListener(Protocol):
    """What `VocalSepClient` accepts as *on_event*: a plain function of one event.

    It is called in the event loop while the client waits for it, so it must not block. What it
    returns is ignored. An exception that it raises is logged and changes nothing.
    """

    def __call__(self, event: Event, /) -> object:
        """Handle *event*."""


@frozen(kw_only=True, getstate_setstate=False)
class WaitStarted(Event):
    """A `wait_for_task` began.

    Attributes:
        wait_id: the wait, unique in the process.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        timeout: seconds for the whole wait; None if it has no end.
    """

    name: ClassVar[str] = "wait.started"
    wait_id: str
    task_id: str
    label: str | None = None
    timeout: float | None


@frozen(kw_only=True, getstate_setstate=False)
class WaitFinished(Event):
    """A `wait_for_task` ended: with a record, an error or a cancellation.

    Attributes:
        wait_id: the wait.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        duration: seconds since it began.
        polls: polls that it made or shared.
        status: the last status seen; None if no poll succeeded.
        error: what it raised, a ``CancelledError`` included; None if it returned a record.
    """

    name: ClassVar[str] = "wait.finished"
    wait_id: str
    task_id: str
    label: str | None = None
    duration: float
    polls: int
    status: TaskStatus | str | None
    error: BaseException | None = field(repr=_shown)


@frozen(kw_only=True)
class BatchStarted(Event):
    """The block of a batch was entered.

    Attributes:
        batch_id: the batch, unique in the process.
        tasks: how many tasks are known at this moment; more may be added.
    """

    name: ClassVar[str] = "batch.started"
    batch_id: str
    tasks: int


@frozen(kw_only=True)
class BatchFinished(Event):
    """The block of a batch was left.

    Attributes:
        batch_id: the batch.
        duration: seconds since it was entered.
        stats: what the batch has done.
        error: what ended it early, a ``CancelledError`` included; None if nothing did.
    """

    name: ClassVar[str] = "batch.finished"
    batch_id: str
    duration: float
    stats: BatchStats
    error: BaseException | None = field(repr=_shown)


@frozen(kw_only=True, getstate_setstate=False)
class DownloadStarted(Event):
    """The download of a task's stems began.

    Attributes:
        download_id: the download, unique in the process.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        stems: the names of the stems to save.
    """

    name: ClassVar[str] = "download.started"
    download_id: str
    task_id: str
    label: str | None = None
    stems: tuple[str, ...]


@frozen(kw_only=True, getstate_setstate=False)
class DownloadFinished(Event):
    """The download of a task's stems ended.

    Attributes:
        download_id: the download.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        duration: seconds since it began.
        saved: how many stems are on disk now, those that were there before included.
        failed: how many are not.
        error: the first error, or the ``CancelledError`` that ended it; None if all were saved.
    """

    name: ClassVar[str] = "download.finished"
    download_id: str
    task_id: str
    label: str | None = None
    duration: float
    saved: int
    failed: int
    error: BaseException | None = field(repr=_shown)


@frozen(kw_only=True)
class UploadStarted(Event):
    """An `upload` began.

    Attributes:
        upload_id: the upload, unique in the process.
    """

    name: ClassVar[str] = "upload.started"
    upload_id: str


@frozen(kw_only=True)
class UploadFinished(Event):
    """An `upload` ended: with a link, an error or a cancellation.

    Attributes:
        upload_id: the upload.
        duration: seconds since it began.
        size: bytes of the file; None if it ended before they were known.
        error: what it raised, a ``CancelledError`` included; None if the upload host has the file.
    """

    name: ClassVar[str] = "upload.finished"
    upload_id: str
    duration: float
    size: int | None
    error: BaseException | None = field(repr=_shown)


@frozen(kw_only=True)
class PollStarted(Event):
    """A poll was granted a slot and is being sent.

    Attributes:
        task_id: the task.
        attempt: which poll of this task it is, from 1; counted anew after all its waits ended.
        wait_ids: the ids of the waits and batches that it serves; empty for a poll of `get_task`,
            `poll_once` or a download.
    """

    name: ClassVar[str] = "poll.started"
    task_id: str
    attempt: int
    wait_ids: tuple[str, ...]


@frozen(kw_only=True)
class PollFinished(Event):
    """A poll was answered, failed or was cancelled.

    Attributes:
        task_id: the task.
        attempt: as in its `PollStarted`.
        wait_ids: the ids of the waits and batches that it served, those that joined it included;
            of a cancelled poll, those that it was sent for.
        duration: seconds from sending the request to its end.
        code: the API's code, or the HTTP status of an answer without one; None without an answer.
        status: the status of the task; None if the poll did not succeed.
        error: why the poll did not succeed; None if it did.
        failures: polls of this task that failed in a row, this one included unless it was
            cancelled or a hook of yours raised; 0 if it succeeded.
        next_poll_in: seconds until the task is polled again at the earliest; None if that is not
            planned: of a poll that failed, if it was the last one of its waits.
    """

    name: ClassVar[str] = "poll.finished"
    task_id: str
    attempt: int
    wait_ids: tuple[str, ...]
    duration: float
    code: int | None
    status: TaskStatus | str | None
    error: BaseException | None = field(repr=_shown)
    failures: int
    next_poll_in: float | None


@frozen(kw_only=True)
class RequestRetried(Event):
    """A request that serves no wait failed and will be sent again.

    Attributes:
        request: its method and path, such as "GET /api/v1/generate/credit".
        attempt: which try failed, from 1.
        delay: seconds until the next try, before queueing for the rate limit.
        error: why it failed.
    """

    name: ClassVar[str] = "request.retried"
    request: str
    attempt: int
    delay: float
    error: VocalSepError


@frozen(kw_only=True)
class Throttled(Event):
    """A request was answered with "too many requests".

    Attributes:
        code: the API's code, such as 430.
        retry_after: seconds that the server asked to wait; None if it did not.
    """

    name: ClassVar[str] = "throttled"
    code: int
    retry_after: float | None


@frozen(kw_only=True)
class Paused(Event):
    """The whole client stopped sending, or a pause became longer.

    Attributes:
        duration: seconds until the end of the pause, from now.
        reason: "throttled", "maintenance" or "outage"; a limiter of your own may give others.
    """

    name: ClassVar[str] = "paused"
    duration: float
    reason: str


@frozen(kw_only=True)
class Resumed(Event):
    """The pause is over: the client sends again."""

    name: ClassVar[str] = "resumed"


@frozen(kw_only=True)
class TaskFinished(Event):
    """A record with a final status was received for the first time.

    Attributes:
        task_id: the task.
        status: its final status.
        type: what kind of separation it was; None if not known.
        duration: seconds from creation to completion by the provider's clock; None if not known.
        delay: seconds from its end until this client saw it, however long that was before a wait
            began; up to a second too small where the moment of creation is known from a Date header
            alone; None if not known.
        polls: polls that its waits and batches made; 0 if there were none.
    """

    name: ClassVar[str] = "task.finished"
    task_id: str
    status: TaskStatus | str
    type: SeparationType | None
    duration: float | None
    delay: float | None
    polls: int


@frozen(kw_only=True)
class OutcomeDelivered(Event):
    """A batch handed an outcome to the user's loop.

    Attributes:
        batch_id: the batch.
        outcome: how tracking the task ended.
    """

    name: ClassVar[str] = "outcome.delivered"
    batch_id: str
    outcome: TaskOutcome


@frozen(kw_only=True, getstate_setstate=False)
class StemStarted(Event):
    """A stem is being fetched or checked.

    Attributes:
        download_id: the download; each `open_stem` has one of its own.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        stem: the stem's name.
        path: where it will be, but for a suffix that its content decides; None if it is only read.
    """

    name: ClassVar[str] = "stem.started"
    download_id: str
    task_id: str
    label: str | None = None
    stem: str
    path: Path | None


@frozen(kw_only=True, getstate_setstate=False)
class StemSaved(Event):
    """A stem is complete.

    Attributes:
        download_id: the download.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        stem: the stem's name.
        path: where it is; None if it was only read.
        size: bytes.
        was_fetched: whether this download fetched it; False if it was there already.
    """

    name: ClassVar[str] = "stem.saved"
    download_id: str
    task_id: str
    label: str | None = None
    stem: str
    path: Path | None
    size: int
    was_fetched: bool


@frozen(kw_only=True, getstate_setstate=False)
class StemFailed(Event):
    """A stem could not be fetched or saved, or the download was cancelled.

    Attributes:
        download_id: the download.
        task_id: the task.
        label: that of its `TaskRef` or outcome; None if it has none.
        stem: the stem's name.
        path: where it was to be; None if it was only read.
        error: why; a ``CancelledError`` included.
    """

    name: ClassVar[str] = "stem.failed"
    download_id: str
    task_id: str
    label: str | None = None
    stem: str
    path: Path | None
    error: BaseException = field(repr=_shown)


@frozen(kw_only=True)
class CreationIntended(Event):
    """A creation began; with a journal, its intent is written before its request is sent.

    Attributes:
        creation_id: the creation, unique in the process.
        type: what kind of separation is asked for; None leaves it to the provider.
    """

    name: ClassVar[str] = "creation.intended"
    creation_id: str
    type: SeparationType | None


@frozen(kw_only=True)
class CreationSent(Event):
    """The request of a `create_task` is being sent; again after an attempt that created nothing.

    Attributes:
        creation_id: the creation.
    """

    name: ClassVar[str] = "creation.sent"
    creation_id: str


@frozen(kw_only=True)
class CreationConfirmed(Event):
    """The API gave the id of a task that `create_task` asked for: the creation is over.

    Attributes:
        creation_id: the creation.
        task_id: the task.
    """

    name: ClassVar[str] = "creation.confirmed"
    creation_id: str
    task_id: str


@frozen(kw_only=True)
class CreationFailed(Event):
    """A `create_task` ended without the id of a task.

    Attributes:
        creation_id: the creation.
        error: what it raised, a ``CancelledError`` included.
        may_exist: whether the task may have been created and billed all the same.
    """

    name: ClassVar[str] = "creation.failed"
    creation_id: str
    error: BaseException = field(repr=_shown)
    may_exist: bool


@frozen(kw_only=True)
class JournalOpened(Event):
    """A journal was opened for a batch or a creation.

    Attributes:
        path: its file.
    """

    name: ClassVar[str] = "journal.opened"
    path: Path


@frozen(kw_only=True)
class JournalWritten(Event):
    """What a batch or a creation had to write before it went on is in the journal.

    Attributes:
        path: its file.
        duration: seconds from the request to write until it was done, others before it included.
    """

    name: ClassVar[str] = "journal.written"
    path: Path
    duration: float


@frozen(kw_only=True)
class JournalClosed(Event):
    """A journal that a batch or a creation had opened was closed.

    Attributes:
        path: its file.
    """

    name: ClassVar[str] = "journal.closed"
    path: Path
