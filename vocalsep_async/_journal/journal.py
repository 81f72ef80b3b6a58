"""What survives a crash, for whoever has an event loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio
from anyio.to_thread import run_sync

from vocalsep_async._journal.codec import packed, without_queries
from vocalsep_async._journal.store import Row, Store, Write
from vocalsep_async._journal.writer import Then, Writer
from vocalsep_async._tasks import run_to_completion
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError, JournalError
from vocalsep_async.models import (
    Intent,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskStatus,
    as_status,
)

_ADD = (
    "INSERT INTO added (task_id, type, created_at, added_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (task_id) DO UPDATE SET added_at = coalesce(excluded.added_at, added_at)"
)
_TAKE_IN = "UPDATE added SET added_at = ? WHERE added_at IS NULL"
_NOTE = "UPDATE added SET status = ?, polls = ? WHERE task_id = ?"
_END = (
    "INSERT OR IGNORE INTO ended (number, status, polls, elapsed, record) "
    "SELECT number, ?, ?, ?, ? FROM added WHERE task_id = ?"
)
_FILES = "UPDATE ended SET files = ? WHERE number = (SELECT number FROM added WHERE task_id = ?)"
_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_FIRST_META = "INSERT OR IGNORE INTO meta VALUES (?, ?)"
_INTEND = "INSERT INTO intents (began_at, request) VALUES (?, ?)"
_CREATED = "UPDATE intents SET task_id = ? WHERE number = ?"
_FAILED = "UPDATE intents SET error = ? WHERE number = ?"
_NOT_CREATED = "DELETE FROM intents WHERE number = ?"


class Known(NamedTuple):
    """A task that a journal holds.

    Attributes:
        ref: the task.
        added_at: when its wait began, in seconds since 1970; None if no batch has taken it in.
        status: the last status seen; None if none was.
        polls: looks made for it in earlier runs.
        has_ended: whether its final record is there.
    """

    ref: TaskRef
    added_at: float | None
    status: TaskStatus | str | None
    polls: int
    has_ended: bool

    def age(self) -> float:
        """Seconds since its wait began; not less than 0, whatever the clock was set to since."""
        return 0.0 if self.added_at is None else max(0.0, time.time() - self.added_at)


class JournalFile:
    """The journal behind `Journal`.

    Args:
        path: the file.
        label: what to call the account; None for no label.
        keep_links: whether links are kept whole.
    """

    def __init__(self, path: Path, *, label: str | None = None, keep_links: bool = False) -> None:
        self.path = path
        self.label = label
        self.keep_links = keep_links
        self._store: Store | None = None
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._seen: dict[str, tuple[TaskStatus | str, int]] = {}
        """Status and polls of tasks that have not ended, to be written down in time."""
        self._learned: Mapping[str, Any] | None = None
        self.is_followed = False
        """Whether a batch has it: one at a time."""

    def __repr__(self) -> str:
        waiting = len(self._writer or ()) + len(self._seen)
        state = f"{waiting} writes waiting" if self.is_open else "closed"
        return f"<Journal {str(self.path)!r}, {state}>"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed."""
        return self._store is not None

    async def open(self) -> None:
        """Open the file.

        Raises:
            JournalError: it is in use, damaged, of a newer version, or no journal at all.
        """
        if self._store is not None:
            raise JournalError(f"the journal {self.path} is open already")
        try:
            await run_to_completion(self._open())
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = await run_sync(Store.open, self.path)
        self._writer = Writer(self._store, str(self.path), self._rest)

    async def aclose(self) -> None:
        """Write what is left, and close the file; may be called again.

        Raises:
            JournalError: it could not be written.
        """
        store, writer = self._store, self._writer
        if store is None or writer is None:
            return
        if self._closing is None:
            closing = self._close(store, writer)
            self._closing = asyncio.create_task(closing, name="vocalsep journal closing")
        await run_to_completion(_joined(self._closing))

    async def _close(self, store: Store, writer: Writer) -> None:
        try:
            await self.flush()
        finally:
            self._store = self._writer = self._closing = self._learned = None
            self._seen.clear()
            try:
                await run_sync(store.close)
            finally:
                writer.close()

    # Reading

    async def belongs_to(self, base_url: str) -> None:
        """Mark a new journal as one of this API and label; refuse one of others.

        Raises:
            JournalError: it belongs to another API or label.
        """
        store = self._opened()
        for name, ours in (("base_url", base_url.rstrip("/")), ("label", self.label or "")):
            there = await run_sync(store.meta, name)
            if there is None:
                # Several may find it new at the same time, and not all of one API.
                await run_sync(store.apply, [(_FIRST_META, (name, ours))])
                there = await run_sync(store.meta, name)
            if there != ours:
                raise JournalError(
                    f"the journal {self.path} has the {name} {there!r}, not {ours!r}; "
                    "use another file, or the client it was made with"
                )

    async def known(self) -> list[Known]:
        """All tasks in it, in the order in which it got them.

        Raises:
            JournalError: some of it is damaged.
        """
        await self.flush()
        # In a worker thread, for a hundred thousand hold up the loop.
        return await run_sync(self._known_in, self._opened())

    def _known_in(self, store: Store) -> list[Known]:
        return list(map(self._known, store.tasks()))

    def _known(self, row: Row) -> Known:
        created = None if row.created_at is None else self._time(row.created_at)
        try:
            ref = TaskRef(row.task_id, type=type_of(row), created_at=created)
        except InvalidArgumentError as error:
            raise JournalError(f"the journal {self.path} is damaged: {error}") from None
        status = as_status(row.status) if row.status else None
        return Known(ref, row.added_at, status, row.polls, row.record is not None)

    def _time(self, moment: float) -> datetime:
        try:
            return datetime.fromtimestamp(moment, UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            pass
        raise JournalError(f"the journal {self.path} is damaged: {moment!r} is no time")

    def _request(self, text: str) -> Mapping[str, Any]:
        request = self._json(text)
        if not isinstance(request, dict):
            raise JournalError(f"the journal {self.path} is damaged: {request!r:.60} is no request")
        return request

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
        raise JournalError(f"the journal {self.path} is damaged: {printable(str(text), 60)!r}")

    async def ended(self, after: int, most: int) -> list[Row]:
        """At most *most* tasks that have ended, added after the one of that number."""
        return await run_sync(self._opened().ended, after, most)

    async def intents(self) -> tuple[Intent, ...]:
        """Creations that may have been carried out, and billed, without anybody knowing the id.

        They are never sent again; look for them in the provider's own list of tasks.
        """
        await self.flush()
        rows = await run_sync(self._opened().intents)
        return tuple(
            Intent(began_at=self._time(began), request=self._request(request), error=error)
            for began, request, error in rows
        )

    async def durations(self) -> Any:
        """What was learned about durations when it was last written down; None if it never was."""
        told = await run_sync(self._opened().meta, "durations")
        return None if told is None else self._json(told)

    # Writing

    def take_in(self) -> None:
        """Write down that the tasks that were created are tracked from now on."""
        self._writing().put((_TAKE_IN, (time.time(),)))

    def add(self, refs: Iterable[TaskRef]) -> None:
        """Write down that these tasks are tracked from now on, also those that were before."""
        now = time.time()  # deadlines outlive the process, and with it the monotonic clock
        self._writing().put(*((_ADD, (ref.task_id, ref.type, _created(ref), now)) for ref in refs))

    def note(self, task_id: str, status: TaskStatus | str, polls: int) -> None:
        """Write down, in time, how a task stands that has not ended."""
        if not self._seen:
            self._writing().write_rest_in_time()
        self._seen[task_id] = status, polls

    def end(self, outcome: TaskOutcome, then: Then) -> None:
        """Write down the final record of a task; *then* is called when it is written."""
        writer = self._writing()
        if outcome.task is None:
            writer.put(then=then)
            return
        record = packed(outcome.task.raw, keep_links=self.keep_links)
        status = printable(str(outcome.status))
        values = (status, outcome.polls, outcome.elapsed, record, outcome.task_id)
        self._seen.pop(outcome.task_id, None)
        writer.put((_END, values), then=then)

    def saved(self, outcome: TaskOutcome, then: Then) -> None:
        """Write down where the stems of a task are that has ended; *then* is called after it."""
        writes = []
        if outcome.files:
            files = {stem: str(path) for stem, path in outcome.files.items()}
            writes.append((_FILES, (json.dumps(files), outcome.task_id)))
        self._writing().put(*writes, then=then)

    def learned(self, durations: Mapping[str, Any]) -> None:
        """Write down, in time, what was learned about durations."""
        self._writing().write_rest_in_time()
        self._learned = durations

    def _rest(self) -> Iterator[Write]:
        """What is written down in time; most of it was overtaken before."""
        for task_id, (status, polls) in self._seen.items():
            yield _NOTE, (printable(str(status)), polls, task_id)
        self._seen.clear()
        if self._learned is not None:
            yield _META, ("durations", json.dumps(self._learned))
        self._learned = None

    async def intend(self, request: Mapping[str, Any]) -> int:
        """Write down that a task is about to be created; it is on the disk when this returns.

        Returns:
            What to name this creation by.

        Raises:
            JournalError: it was not written: do not create the task.
        """
        return await self._now((_INTEND, (time.time(), json.dumps(request))))

    async def created(self, number: int, ref: TaskRef) -> None:
        """Write down which task came of an intent."""
        await self._now(
            (_CREATED, (ref.task_id, number)),
            (_ADD, (ref.task_id, ref.type, _created(ref), None)),
        )

    async def not_created(self, number: int, error: str | None) -> None:
        """Write down that nothing came of an intent; with *error*, that nobody knows."""
        if error is None:
            await self._now((_NOT_CREATED, (number,)))
        else:
            told = error if self.keep_links else without_queries(error)
            await self._now((_FAILED, (printable(told), number)))

    async def _now(self, *writes: Write) -> int:
        return await run_to_completion(
            run_sync(partial(self._opened().apply, writes, durably=True))
        )

    async def flush(self) -> None:
        """Wait until all is written.

        Raises:
            JournalError: it could not be.
        """
        writer, written = self._writing(), anyio.Event()
        writer.flush(lambda _failure: written.set())
        await written.wait()
        if writer.failure is not None:
            raise writer.failure

    def _writing(self) -> Writer:
        if self._writer is None:
            raise self._closed()
        self._check_loop()
        return self._writer

    def _opened(self) -> Store:
        if self._store is None:
            raise self._closed()
        self._check_loop()
        return self._store

    def _check_loop(self) -> None:
        # What is written is told in the loop it was opened in: another would wait for ever.
        if self._loop is not asyncio.get_running_loop():
            raise JournalError(f"the journal {self.path} was opened in another event loop")

    def _closed(self) -> JournalError:
        return JournalError(
            f"the journal {self.path} is not open: async with Journal(...) as journal: ..."
        )


def _created(ref: TaskRef) -> float | None:
    return None if ref.created_at is None else ref.created_at.timestamp()


async def _joined(task: asyncio.Task[None]) -> None:
    """Wait for what several wait for: none of them cancels it."""
    await asyncio.wait([task])
    task.result()


def type_of(row: Row) -> SeparationType | None:
    """What kind of separation a task is, as far as this version knows the kinds."""
    return SeparationType(row.type) if row.type in set(SeparationType) else None
