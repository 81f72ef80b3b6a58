"""The asyncio side of a journal: what batches and creations read and write."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from anyio.to_thread import run_sync

from vocalsep_async._journal.codec import packed, without_queries
from vocalsep_async._journal.store import Row, Store, Write
from vocalsep_async._journal.writer import Writer
from vocalsep_async._tasks import run_to_completion
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError, JournalError, TaskFailedError
from vocalsep_async.models import (
    Intent,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskStatus,
    as_status,
)

# The NULL of a creation must not undo the time at which a batch added the task.
_ADD = (
    "INSERT INTO added (task_id, type, created_at, added_at, route, label, expects_callback) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (task_id) DO UPDATE SET added_at = coalesce(excluded.added_at, added_at), "
    "label = coalesce(excluded.label, label)"
)
_ADD_CREATED = "UPDATE added SET added_at = ? WHERE added_at IS NULL"
_SET_LABEL = "UPDATE added SET label = ? WHERE task_id = ?"
_SET_STATUS = "UPDATE added SET status = ?, polls = ? WHERE task_id = ?"
_END = (
    "INSERT OR IGNORE INTO ended (number, status, polls, elapsed, record) "
    "SELECT number, ?, ?, ?, ? FROM added WHERE task_id = ?"
)
_SET_FILES = (
    "UPDATE ended SET files = ? WHERE number = (SELECT number FROM added WHERE task_id = ?)"
)
_SET_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_SET_META_ONCE = "INSERT OR IGNORE INTO meta VALUES (?, ?)"
_INTEND = "INSERT INTO intents (began_at, request, identity, label) VALUES (?, ?, ?, ?)"
_SET_CREATED = "UPDATE intents SET task_id = ? WHERE number = ?"
_SET_ERROR = "UPDATE intents SET error = ? WHERE number = ?"
_DROP_INTENT = "DELETE FROM intents WHERE number = ?"
_SET_IDENTITY = "UPDATE intents SET identity = ? WHERE number = ?"
_FORGET_IDENTITY = "UPDATE intents SET identity = NULL WHERE number = ?"


class KnownTask(NamedTuple):
    """A task in a journal.

    Attributes:
        ref: the task.
        added_at: when its wait began, in seconds since 1970; None if no batch has tracked it.
        status: the last status seen; None before the first.
        polls: polls made in earlier runs.
        has_ended: whether the journal has its final record.
    """

    ref: TaskRef
    added_at: float | None
    status: TaskStatus | str | None
    polls: int
    has_ended: bool

    def age(self) -> float:
        """Seconds since its wait began; 0 if the wall clock was set back since."""
        return 0.0 if self.added_at is None else max(0.0, time.time() - self.added_at)


class Claim(NamedTuple):
    """The creation of a song, which no other one may repeat.

    Attributes:
        number: the intent.
        began_at: when it began.
        task_id: the id of its task; None if that is not known.
        error: why the id is not known; None if the program ended before anything was known.
    """

    number: int
    began_at: datetime
    task_id: str | None
    error: str | None


class JournalFile:
    """The machinery of `Journal`.

    Args:
        path: the file.
        label: the account's name; None for no label.
        keep_links: whether links are stored with their queries.

    Attributes:
        has_batch: whether a batch uses it; one at a time may.
    """

    def __init__(self, path: Path, *, label: str | None = None, keep_links: bool = False) -> None:
        self.path = path
        self.label = label
        self.keep_links = keep_links
        self.has_batch = False
        self._store: Store | None = None
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._statuses: dict[str, tuple[TaskStatus | str, int]] = {}
        """Status and polls of pending tasks, to be written later."""
        self._durations: Mapping[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed since."""
        return self._store is not None

    @property
    def waiting_writes(self) -> int:
        """Writes that are not under way yet."""
        return len(self._writer or ()) + len(self._statuses)

    async def open(self) -> None:
        """Open the file.

        Raises:
            JournalError: it is in use, not a journal, damaged or of a newer version.
        """
        if self._store is not None:
            raise JournalError(f"the journal {self.path} is already open")
        try:
            await run_to_completion(self._open())
        except asyncio.CancelledError:
            # The file is open by now, and no caller is left to close it.
            await self.aclose()
            raise

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = await run_sync(Store.open, self.path)
        self._writer = Writer(self._store, str(self.path), self._deferred)

    async def aclose(self) -> None:
        """Write what is left, and close the file; may be called again.

        Raises:
            JournalError: a write failed.
        """
        store, writer = self._store, self._writer
        if store is None or writer is None:
            return
        # Simultaneous calls share one closing.
        if self._closing is None:
            closing = self._close(store, writer)
            self._closing = asyncio.create_task(closing, name="vocalsep journal closing")
        await run_to_completion(_joined(self._closing))

    async def _close(self, store: Store, writer: Writer) -> None:
        try:
            await self.flush()
        finally:
            # From here on calls fail; they would wait without end for a writer that has ended.
            self._store = self._writer = self._closing = self._durations = None
            self._statuses.clear()
            try:
                await run_sync(store.close)
            finally:
                writer.close()

    # Reading

    async def check_owner(self, base_url: str) -> None:
        """Refuse a journal of another API or label; a new journal gets these.

        Raises:
            JournalError: it has another API or label.
        """
        store = self._open_store()
        for name, ours in (("base_url", base_url.rstrip("/")), ("label", self.label or "")):
            stored = await run_sync(store.meta, name)
            if stored is None:
                # Two calls with different APIs may find a new journal simultaneously: the first
                # write wins, and the loser reads it here.
                await run_sync(store.apply, [(_SET_META_ONCE, (name, ours))])
                stored = await run_sync(store.meta, name)
            if stored != ours:
                raise JournalError(
                    f"the journal {self.path} has the {name} {stored!r}, not {ours!r}; "
                    "use another file, or the client it was made with"
                )

    async def known(self) -> list[KnownTask]:
        """All tasks in the order of adding.

        Raises:
            JournalError: one of them is damaged.
        """
        await self.flush()
        # Converted in the worker thread too: a hundred thousand rows would block the loop.
        return await run_sync(self._known_in, self._open_store())

    def _known_in(self, store: Store) -> list[KnownTask]:
        return list(map(self.known_task, store.tasks()))

    def known_task(self, row: Row) -> KnownTask:
        """The task of a row.

        Raises:
            JournalError: it is damaged.
        """
        created = None if row.created_at is None else self._time(row.created_at)
        try:
            ref = TaskRef(
                row.task_id,
                type=type_of(row),
                created_at=created,
                route=row.route,
                label=row.label,
                expects_callback=bool(row.expects_callback),
            )
        except InvalidArgumentError as error:
            raise JournalError(f"the journal {self.path} is damaged: {error}") from None
        status = as_status(row.status) if row.status else None
        return KnownTask(ref, row.added_at, status, row.polls, row.record is not None)

    def _time(self, seconds: float) -> datetime:
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            pass
        raise JournalError(f"the journal {self.path} is damaged: {seconds!r} is not a time")

    def _request(self, text: str) -> Mapping[str, Any]:
        request = self._json(text)
        if not isinstance(request, dict):
            raise JournalError(
                f"the journal {self.path} is damaged: {request!r:.60} is not a request"
            )
        return request

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        # TypeError: a damaged row may hold NULL where none can be.
        except (TypeError, ValueError, RecursionError):
            pass
        raise JournalError(f"the journal {self.path} is damaged: {printable(str(text), 60)!r}")

    async def ended(self, after: int, most: int) -> list[Row]:
        """At most *most* tasks with a final record, those with numbers above *after*."""
        return await run_sync(self._open_store().ended, after, most)

    async def intents(self) -> tuple[Intent, ...]:
        """Creations that may have been carried out and billed without a known id, oldest first."""
        await self.flush()
        rows = await run_sync(self._open_store().intents)
        return tuple(
            Intent(
                began_at=self._time(began),
                request=self._request(request),
                error=error,
                label=label,
            )
            for began, request, error, label in rows
        )

    async def claim(self, identity: str) -> Claim | None:
        """The creation of a song; None if there is none."""
        found = await run_sync(self._open_store().claim, identity)
        if found is None:
            return None
        number, began_at, task_id, error = found
        return Claim(number, self._time(began_at), task_id, error)

    async def task(self, task_id: str) -> Row | None:
        """One task with its record and files; None if the journal does not have it."""
        await self.flush()
        return await run_sync(self._open_store().task, task_id)

    async def secret(self) -> bytes:
        """A secret of this journal, for the identities of songs; made at the first call."""
        store = self._open_store()
        await run_sync(store.apply, [(_SET_META_ONCE, ("secret", secrets.token_hex(32)))])
        text = await run_sync(store.meta, "secret")
        try:
            return bytes.fromhex(text or "")
        except ValueError:
            raise JournalError(f"the journal {self.path} is damaged: its secret is none") from None

    async def durations(self) -> Any:
        """The durations that were saved last, as plain values; None if none were."""
        text = await run_sync(self._open_store().meta, "durations")
        return None if text is None else self._json(text)

    # Writing

    def add(self, refs: Iterable[TaskRef]) -> None:
        """Save tasks whose wait begins now; it begins again for those that the journal has."""
        now = time.time()  # the monotonic clock ends with the process, deadlines do not
        self._open_writer().put(*(_added(ref, now) for ref in refs))

    def add_created(self) -> None:
        """Begin the waits of created tasks that no batch has tracked yet."""
        self._open_writer().put((_ADD_CREATED, (time.time(),)))

    def save_label(self, task_id: str, label: str) -> None:
        """Save another label of a task."""
        self._open_writer().put((_SET_LABEL, (label, task_id)))

    def save_status(self, task_id: str, status: TaskStatus | str, polls: int) -> None:
        """Save the status of a pending task within ten seconds."""
        if not self._statuses:
            self._open_writer().schedule_deferred()
        # Only the newest of many statuses is written.
        self._statuses[task_id] = status, polls

    async def save_outcome(self, outcome: TaskOutcome) -> None:
        """Save the final record of a task if it has one, or that it ended without links.

        Raises:
            JournalError: it was not saved.
        """
        writes: list[Write] = []
        # Without a record nothing is stored, so that the next run waits again; yet the outcome
        # keeps its place in the order.
        if outcome.task is not None:
            record = packed(outcome.task.raw, keep_links=self.keep_links)
            status = printable(str(outcome.status))
            values = (status, outcome.polls, outcome.elapsed, record, outcome.task_id)
            writes.append((_END, values))
        elif isinstance(outcome.error, TaskFailedError):
            status = printable(str(outcome.status))
            writes.append((_SET_STATUS, (status, outcome.polls, outcome.task_id)))
        if writes:
            # The last status replaces one that was deferred.
            self._statuses.pop(outcome.task_id, None)
        await self._open_writer().write(*writes)

    async def save_files(self, outcome: TaskOutcome) -> None:
        """Save the paths of a finished task's stems, if there are any.

        Raises:
            JournalError: they were not saved.
        """
        writes: list[Write] = []
        if outcome.files:
            files = {stem: str(path) for stem, path in outcome.files.items()}
            writes.append((_SET_FILES, (json.dumps(files), outcome.task_id)))
        await self._open_writer().write(*writes)

    def save_durations(self, durations: Mapping[str, Any]) -> None:
        """Save what was learned about durations within ten seconds."""
        self._open_writer().schedule_deferred()
        self._durations = durations

    def _deferred(self) -> Iterator[Write]:
        """The writes that may be late; most statuses were replaced by newer ones meanwhile."""
        for task_id, (status, polls) in self._statuses.items():
            yield _SET_STATUS, (printable(str(status)), polls, task_id)
        self._statuses.clear()
        if self._durations is not None:
            yield _SET_META, ("durations", json.dumps(self._durations))
        self._durations = None

    async def intend(
        self,
        request: Mapping[str, Any],
        *,
        identity: str | None = None,
        label: str | None = None,
        replaces: int | None = None,
    ) -> int:
        """Save that a task is about to be created; it is on the disk when this returns.

        Args:
            request: the request, without links.
            identity: the song, of which there may be one creation; None for any number.
            label: the label of the task; None for none.
            replaces: the intent that held the song so far, and is kept without it; None for none.

        Returns:
            The number of the intent.

        Raises:
            JournalError: it was not saved: do not create the task.
        """
        values = (time.time(), json.dumps(request), identity, label)
        # One transaction: in between, the song would be free without another creation.
        forget = [] if replaces is None else [(_FORGET_IDENTITY, (replaces,))]
        return await self._write_durably(*forget, (_INTEND, values))

    async def created(self, number: int, ref: TaskRef) -> None:
        """Save the task that an intent led to."""
        await self._write_durably(
            (_SET_CREATED, (ref.task_id, number)),
            _added(ref, None),
        )

    async def not_created(
        self,
        number: int,
        error: str | None,
        *,
        before: tuple[int, str | None] | None = None,
    ) -> None:
        """Drop an intent that created nothing; keep it with *error* if the result is unknown.

        Args:
            number: the intent.
            error: why its result is unknown; None if it created nothing.
            before: the intent whose place a dropped one took, and the song that it gets back; None
                for none.
        """
        if error is None:
            back = [] if before is None else [(_SET_IDENTITY, before[::-1])]
            await self._write_durably((_DROP_INTENT, (number,)), *back)
        else:
            text = error if self.keep_links else without_queries(error)
            await self._write_durably((_SET_ERROR, (printable(text), number)))

    # Past the writer: what is billed waits for the disk, and not for the writes of a batch.
    async def _write_durably(self, *writes: Write) -> int:
        return await run_to_completion(
            run_sync(partial(self._open_store().apply, writes, durably=True))
        )

    async def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            JournalError: a write failed.
        """
        await self._open_writer().flush()

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise self._closed()
        self._check_loop()
        return self._writer

    def _open_store(self) -> Store:
        if self._store is None:
            raise self._closed()
        self._check_loop()
        return self._store

    def _check_loop(self) -> None:
        # The writer calls back in the loop it was made in: a caller in another would never wake.
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is not running:
            raise JournalError(f"the journal {self.path} was opened in another event loop")

    def _closed(self) -> JournalError:
        return JournalError(
            f"the journal {self.path} is not open: async with Journal(...) as journal: ..."
        )


def _added(ref: TaskRef, now: float | None) -> Write:
    """What adds a task whose wait begins *now*; None if no batch tracks it yet."""
    created = None if ref.created_at is None else ref.created_at.timestamp()
    values = (ref.task_id, ref.type, created, now, ref.route, ref.label, int(ref.expects_callback))
    return _ADD, values


async def _joined(task: asyncio.Task[None]) -> None:
    """Wait for a task that several callers share, without cancelling it."""
    await asyncio.wait([task])
    task.result()


def type_of(row: Row) -> SeparationType | None:
    """The task's kind of separation; None if it is not known, or newer than this version."""
    return SeparationType(row.type) if row.type in set(SeparationType) else None
