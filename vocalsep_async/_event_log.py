"""Log records from events: the listener that every client has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from attrs import define, fields

from vocalsep_async._failures import is_foreign
from vocalsep_async._text import counted, printable
from vocalsep_async.errors import (
    ErrorAction,
    MaintenanceError,
    ServerError,
    VocalSepError,
)
from vocalsep_async.instrumentation import (
    BatchFinished,
    BatchStarted,
    CreationConfirmed,
    CreationFailed,
    CreationIntended,
    CreationSent,
    DownloadFinished,
    DownloadStarted,
    Event,
    JournalClosed,
    JournalOpened,
    JournalWritten,
    OutcomeDelivered,
    Paused,
    PollFinished,
    RequestRetried,
    Resumed,
    StemFailed,
    StemSaved,
    StemStarted,
    TaskFinished,
    Throttled,
    UploadFinished,
    UploadStarted,
    WaitFinished,
    WaitStarted,
)

# Users set levels by these names, so they follow no module path; docs/reference/events.md has all.
_BATCHES = logging.getLogger("vocalsep_async.batches")
_CREATIONS = logging.getLogger("vocalsep_async.creations")
_DOWNLOADS = logging.getLogger("vocalsep_async.downloads")
_JOURNAL = logging.getLogger("vocalsep_async.journal")
_LIMITS = logging.getLogger("vocalsep_async.limits")
POLLS = logging.getLogger("vocalsep_async.polls")
_REQUESTS = logging.getLogger("vocalsep_async.requests")
_TASKS = logging.getLogger("vocalsep_async.tasks")
_UPLOADS = logging.getLogger("vocalsep_async.uploads")
_WAITS = logging.getLogger("vocalsep_async.waits")

_ALL_TASKS = ""
"""The key of the streak of failures that concern all tasks; no task has this id."""


class EventLog:
    """Writes the records of one client.

    Attributes:
        streaks: polls that fail in a row, by task; while there are any, a poll that succeeds is
            worth a record.
    """

    def __init__(self) -> None:
        self.streaks: dict[str, _Streak] = {}

    def __call__(self, event: Event) -> None:
        """Log *event*."""
        line = _LINES.get(type(event))
        if line is not None:
            _write(line.logger, self._level(line, event), line.sentence, event)
        match event:
            case PollFinished():
                self._on_poll(event)
            case WaitFinished(task_id=task_id):
                self.streaks.pop(task_id, None)
            case OutcomeDelivered(outcome=outcome):
                self.streaks.pop(outcome.task_id, None)
            case BatchFinished():
                # Its tasks may have left without an outcome. The streak of all tasks goes on.
                self.streaks = {
                    key: each for key, each in self.streaks.items() if key == _ALL_TASKS
                }

    def _level(self, line: _Line, event: Event) -> int:
        # Polls have warned of the outage already.
        if isinstance(event, RequestRetried) and event.attempt == 1 and _is_failure(event.error):
            return logging.DEBUG if _ALL_TASKS in self.streaks else logging.WARNING
        return line.level

    def _on_poll(self, event: PollFinished) -> None:
        # A poll that serves no wait raises its error, or is followed by a `RequestRetried`.
        if not event.wait_ids:
            return
        if event.error is None:
            self._end_streak(_ALL_TASKS, event)
            self._end_streak(event.task_id, event)
        elif isinstance(event.error, VocalSepError) and _is_failure(event.error):
            key = _ALL_TASKS if _concerns_all_tasks(event.error) else event.task_id
            self._add_failure(key, event)

    def _add_failure(self, key: str, event: PollFinished) -> None:
        streak = self.streaks.get(key)
        if streak is not None:
            streak.failures += 1
        # Polls of one task that go on failing while others succeed have been warned of.
        elif event.failures == 1:
            self.streaks[key] = _Streak(began=asyncio.get_running_loop().time())
            what = "polling" if key == _ALL_TASKS else f"polling task {_id(event)}"
            _write(
                POLLS,
                logging.WARNING,
                lambda e: f"{what} failed, retrying: {_reason(e.error)}",
                event,
            )

    def _end_streak(self, key: str, event: PollFinished) -> None:
        streak = self.streaks.pop(key, None)
        if streak is None:
            return
        seconds = asyncio.get_running_loop().time() - streak.began
        whose = "polls" if key == _ALL_TASKS else f"polls of task {_id(event)}"
        _write(
            POLLS,
            logging.INFO,
            lambda _: (
                f"{whose} succeed again after {counted(streak.failures, 'failure')} "
                f"in {seconds:.1f} s"
            ),
            event,
        )


@define
class _Streak:
    """Polls that fail in a row."""

    began: float
    failures: int = 1


def _is_failure(error: BaseException | None) -> bool:
    """Whether *error* deserves a warning: it is retried, so nothing else reports it."""
    # Errors that are raised reach the caller, and pauses have records of their own.
    if not isinstance(error, VocalSepError) or error.action is ErrorAction.THROTTLE:
        return False
    return error.action is not ErrorAction.RAISE or is_foreign(error)


def _concerns_all_tasks(error: VocalSepError) -> bool:
    return is_foreign(error) or isinstance(error, (ServerError, MaintenanceError))


def _write(
    logger: logging.Logger, level: int, sentence: Callable[[Any], str], event: Event
) -> None:
    if logger.isEnabledFor(level):
        logger.log(level, sentence(event), extra=_extra(event))


def _extra(event: Event) -> dict[str, object]:
    # Prefixed, because log records have attributes such as "name" of their own.
    extra = {
        f"vocalsep_{each.name}": _plain(getattr(event, each.name)) for each in fields(type(event))
    }
    return {"vocalsep_event": event.name, **extra}


def _plain(value: object) -> object:
    """*value* as formatters for JSON can write it."""
    if value is None or isinstance(value, (str, int, float, tuple)):
        return value
    return _reason(value) if isinstance(value, BaseException) else str(value)


# Words of sentences


def _id(about: Any) -> str:
    return repr(printable(about.task_id))


def _reason(error: BaseException) -> str:
    # Messages of foreign errors may hold anything, whole links included.
    text = f"{error}" if isinstance(error, VocalSepError) else ""
    return printable(text) or type(error).__name__


def _because(error: BaseException | None) -> str:
    return "" if error is None else f": {_reason(error)}"


def _result(status: str | None, error: BaseException | None) -> str:
    return printable(str(status)) if error is None else _reason(error)


def _how_long(timeout: float | None) -> str:
    return "without a timeout" if timeout is None else f"with a timeout of {timeout:g} s"


def _next_poll(seconds: float | None) -> str:
    return "" if seconds is None else f"; next poll in {seconds:.1f} s"


def _noticed(delay: float | None) -> str:
    return "" if delay is None else f", noticed {delay:.1f} s later"


def _of_type(kind: str | None) -> str:
    return "" if kind is None else f": {kind}"


class _Line(NamedTuple):
    """How one kind of event is logged."""

    logger: logging.Logger
    level: int
    sentence: Callable[[Any], str]


_LINES: dict[type[Event], _Line] = {
    WaitStarted: _Line(
        _WAITS,
        logging.INFO,
        lambda e: f"{e.wait_id} for task {_id(e)} started {_how_long(e.timeout)}",
    ),
    WaitFinished: _Line(
        _WAITS,
        logging.INFO,
        lambda e: (
            f"{e.wait_id} for task {_id(e)} finished after {e.duration:.1f} s "
            f"and {counted(e.polls, 'poll')}: {_result(e.status, e.error)}"
        ),
    ),
    BatchStarted: _Line(
        _BATCHES, logging.INFO, lambda e: f"{e.batch_id} started with {counted(e.tasks, 'task')}"
    ),
    BatchFinished: _Line(
        _BATCHES,
        logging.INFO,
        lambda e: (
            f"{e.batch_id} finished after {e.duration:.1f} s: {e.stats.succeeded} succeeded, "
            f"{e.stats.failed} failed, {e.stats.pending} pending{_because(e.error)}"
        ),
    ),
    OutcomeDelivered: _Line(
        _BATCHES,
        logging.DEBUG,
        lambda e: f"{e.batch_id} delivered the outcome of task {_id(e.outcome)}",
    ),
    DownloadStarted: _Line(
        _DOWNLOADS,
        logging.INFO,
        lambda e: f"{e.download_id} started: {counted(len(e.stems), 'stem')} of task {_id(e)}",
    ),
    DownloadFinished: _Line(
        _DOWNLOADS,
        logging.INFO,
        lambda e: (
            f"{e.download_id} of task {_id(e)} finished after {e.duration:.1f} s: "
            f"{e.saved} saved, {e.failed} failed{_because(e.error)}"
        ),
    ),
    StemStarted: _Line(
        _DOWNLOADS, logging.DEBUG, lambda e: f"stem {e.stem} of task {_id(e)} started"
    ),
    StemSaved: _Line(
        _DOWNLOADS,
        logging.DEBUG,
        lambda e: f"stem {e.stem} of task {_id(e)} is complete: {counted(e.size, 'byte')}",
    ),
    StemFailed: _Line(
        _DOWNLOADS,
        logging.INFO,
        lambda e: f"stem {e.stem} of task {_id(e)} failed{_because(e.error)}",
    ),
    UploadStarted: _Line(_UPLOADS, logging.INFO, lambda e: f"{e.upload_id} started"),
    UploadFinished: _Line(
        _UPLOADS,
        logging.INFO,
        lambda e: (
            f"{e.upload_id} finished after {e.duration:.1f} s: {counted(e.size, 'byte')}"
            if e.error is None
            else f"{e.upload_id} failed after {e.duration:.1f} s{_because(e.error)}"
        ),
    ),
    PollFinished: _Line(
        POLLS,
        logging.DEBUG,
        lambda e: (
            f"poll {e.attempt} of task {_id(e)} took {e.duration:.3f} s: "
            f"{_result(e.status, e.error)}{_next_poll(e.next_poll_in)}"
        ),
    ),
    TaskFinished: _Line(
        _TASKS,
        logging.INFO,
        lambda e: f"task {_id(e)} ended with status {printable(str(e.status))}{_noticed(e.delay)}",
    ),
    RequestRetried: _Line(
        _REQUESTS,
        logging.DEBUG,
        lambda e: f"{printable(e.request)} failed, retrying in {e.delay:.1f} s{_because(e.error)}",
    ),
    Throttled: _Line(
        _LIMITS, logging.DEBUG, lambda e: f"a request was throttled with code {e.code}"
    ),
    Paused: _Line(
        _LIMITS,
        logging.INFO,
        lambda e: f"all requests pause for {e.duration:.1f} s: {printable(e.reason)}",
    ),
    Resumed: _Line(_LIMITS, logging.INFO, lambda _: "the pause is over"),
    CreationIntended: _Line(
        _CREATIONS, logging.INFO, lambda e: f"{e.creation_id} started{_of_type(e.type)}"
    ),
    CreationSent: _Line(_CREATIONS, logging.DEBUG, lambda e: f"{e.creation_id} is being sent"),
    CreationConfirmed: _Line(
        _CREATIONS, logging.INFO, lambda e: f"{e.creation_id} created task {_id(e)}"
    ),
    CreationFailed: _Line(
        _CREATIONS,
        logging.INFO,
        lambda e: (
            f"{e.creation_id} failed{_because(e.error)}"
            f"{'; the task may exist' if e.may_exist else ''}"
        ),
    ),
    JournalOpened: _Line(
        _JOURNAL, logging.INFO, lambda e: f"journal {printable(str(e.path))} opened"
    ),
    JournalWritten: _Line(
        _JOURNAL,
        logging.DEBUG,
        lambda e: f"journal {printable(str(e.path))} was written in {e.duration:.3f} s",
    ),
    JournalClosed: _Line(
        _JOURNAL, logging.INFO, lambda e: f"journal {printable(str(e.path))} closed"
    ),
}
"""One record for each event; a `PollStarted` has none, because a poll is one record."""
