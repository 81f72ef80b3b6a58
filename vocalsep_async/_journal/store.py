"""The database file of a journal: SQLite with one writer.

Every call blocks, and runs in a worker thread. Write-ahead logging makes each transaction whole or
absent after a kill. So does a rollback journal, which is used where the file system cannot share
memory between processes. Only writes that money depends on wait for the disk
(``synchronous=FULL``): after a power cut the last seconds of the others may be missing, and their
tasks are polled again.
"""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from vocalsep_async._journal.lock import JournalLock
from vocalsep_async._journal.problems import damage, journal_errors
from vocalsep_async._journal.schema import (
    CREATION,
    SCHEMA,
    columns_of,
    foreign_table,
    tasks_in,
    update_from,
)
from vocalsep_async._text import printable
from vocalsep_async.errors import JournalError

_APPLICATION = 0x56534A4C
"""Marks a database as a journal of this package ("VSJL")."""
_MAGIC = b"SQLite format 3\0"
"""The first bytes of every SQLite file."""
_VERSION_AT = 18
"""The place of the byte that says which kind of log the file has."""
_ROLLBACK = b"\x01"

Write = tuple[str, tuple[Any, ...]]
"""A statement and its parameters."""


class Row(NamedTuple):
    """One task in the journal.

    Attributes:
        number: its place in the order in which tasks were added, from 1.
        task_id: its id.
        type: its kind of separation; None if not known.
        created_at: when the provider created it, in seconds since 1970; None if not known.
        added_at: when a batch began to track it, likewise; None if none has.
        status: the last status seen; None before the first.
        polls: polls made in all runs.
        elapsed: seconds from adding it to its outcome; None while it is pending.
        record: its packed final record; None while it is pending.
        files: its saved stems as JSON; None if there are none.
        route: the name of the provider whose route it is on; None if that was not in doubt.
        label: its label; None if it has none.
        expects_callback: 1 if a callback was to come at its end.
    """

    number: int
    task_id: str
    type: str | None
    created_at: float | None
    added_at: float | None
    status: str | None
    polls: int
    elapsed: float | None
    record: bytes | None
    files: str | None
    route: str | None
    label: str | None
    expects_callback: int


_TEXT, _NUMBER, _BLOB = str | None, float | None, bytes | None
_KINDS = (int, str, _TEXT, _NUMBER, _NUMBER, _TEXT, int, _NUMBER, _BLOB, _TEXT, _TEXT, _TEXT, int)
"""The types of the columns of a row, which SQLite does not enforce."""

_NO_SHARED_MEMORY = ("disk I/O error", "unable to open database file", "locking protocol")
"""SQLite's words where the file for shared memory cannot be made, mapped or locked."""
_BUSY_TIMEOUT = 1.0
"""Seconds to wait for a locked database: other programs that read it lock it for moments."""
_PAGE = 500
"""Rows of one query."""
_BRIEF = {"record": "CASE WHEN record IS NULL THEN NULL ELSE x'' END", "files": "NULL"}


class Store:
    """An open journal file.

    Raises:
        JournalError: from every method, when the file cannot be read or written.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, file_lock: JournalLock | None
    ) -> None:
        self._path = path
        self._connection = connection
        self._file_lock = file_lock
        # SQLite allows one thread at a time, and closing a connection under a query crashes.
        self._mutex = threading.Lock()
        self._name = os.fspath(path)
        self._file = os.lstat(self._name)
        self._is_durable = False
        self._version = SCHEMA
        self._immutable_state: tuple[int, int] | None = None
        """Size and date of a file that SQLite takes for immutable; None for any other."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal at *path* for writing, and create it if it does not exist.

        Raises:
            JournalError: it is in use, not a journal, damaged or of a newer version.
        """
        with journal_errors(path):
            # Links are resolved first, so that all names of a journal share one lock.
            path = _resolved(path)
            # The lock comes first: closing any descriptor of a file drops all POSIX locks that
            # this process has on it, those of another connection of SQLite included.
            file_lock = JournalLock(path)
            try:
                _make(path)
                store = cls(path, _connection(path), file_lock)
            except BaseException:
                file_lock.release()
                raise
            store._close_on_error(store._prepare)
            return store

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open the journal at *path* for reading, even while another process writes to it.

        Raises:
            JournalError: it does not exist, is not a journal, damaged or of a newer version.
        """
        with journal_errors(path):
            path = _resolved(path)  # the log is beside the file, not beside a link to it
            _check_kind(path)
            # Without a writer the file is opened as immutable, which creates no files beside it.
            state = _state_without_writer(path)
            mode = "?mode=ro" if state is None else "?mode=ro&immutable=1"
            store = cls(path, _connection(path, mode), None)
        store._immutable_state = state
        store._close_on_error(store._check_header)
        return store

    def _close_on_error(self, check: Callable[[], None]) -> None:
        try:
            check()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """A block that one thread at a time runs; errors of the file become `JournalError`."""
        with journal_errors(self._path), self._mutex:
            try:
                yield
            finally:
                self._check_immutable()

    def _check_immutable(self) -> None:
        # SQLite returns garbage from an "immutable" file once another process writes to it.
        state = self._immutable_state
        if state is not None and state != _state_without_writer(self._path):
            raise JournalError(f"{self._path} was changed while it was read: read it again")

    def _prepare(self) -> None:
        try:
            self._prepare_in("WAL")
        except (sqlite3.OperationalError, JournalError) as error:
            if not _may_lack_shared_memory(error):
                raise
            self._prepare_without_sharing()

    def _prepare_without_sharing(self) -> None:
        try:
            self._connection.close()
            self._connection = _connection(self._path)
            # Held exclusively, a file in write-ahead mode can be opened without shared memory, and
            # so be brought into the other mode.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._prepare_in("DELETE")
            self._connection.execute("PRAGMA locking_mode = NORMAL")
            self._is_new()  # the next read gives the exclusive lock back
        except (sqlite3.OperationalError, JournalError) as error:
            if not _may_lack_shared_memory(error):
                raise
            raise JournalError(
                f"the file system of {self._path} cannot hold a journal ({_sqlite_error(error)}): "
                "put the journal on a local disk"
            ) from error

    def _prepare_in(self, mode: Literal["WAL", "DELETE"]) -> None:
        if self._is_new():
            self._connection.execute(f"PRAGMA journal_mode = {mode}")
            self._execute_all(f"{CREATION} PRAGMA application_id = {_APPLICATION};")
        self._check_header()
        self._connection.execute(f"PRAGMA journal_mode = {mode}")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self.check()
        # After the check: a damaged file is left as it is.
        if self._version < SCHEMA:
            self._execute_all(update_from(self._version))
            self._version = SCHEMA

    def _execute_all(self, script: str) -> None:
        self._connection.executescript(f"BEGIN; {script} PRAGMA user_version = {SCHEMA}; COMMIT")

    def _is_new(self) -> bool:
        (tables,) = self._fetch_one("SELECT count(*) FROM sqlite_master")
        return bool(tables == 0 and self._fetch_one("PRAGMA application_id") == (0,))

    def _check_header(self) -> None:
        with self._exclusive():
            (application,) = self._fetch_one("PRAGMA application_id")
            (version,) = self._fetch_one("PRAGMA user_version")
            is_empty = self._is_new()
        if is_empty:
            raise JournalError(f"{self._path} is empty: no batch has written to this journal yet")
        if application != _APPLICATION:
            raise JournalError(
                f"{self._path} is a database, but not a journal of this package; use another path"
            )
        self._version = version
        if version < 1:
            raise damage(self._path, f"it has version {version}")
        if version > SCHEMA:
            raise JournalError(
                f"{self._path} has version {version}, but this package reads {SCHEMA}: update it"
            )

    def check(self) -> None:
        """Check the whole file.

        Raises:
            JournalError: it is damaged.
        """
        with self._exclusive():
            (found,) = self._fetch_one("PRAGMA integrity_check(1)")
            wrong = foreign_table(self._connection, self._version) if found == "ok" else found
        if wrong is not None:
            raise damage(self._path, printable(wrong))

    def _fetch_one(self, query: str, *values: Any) -> Any:
        return self._connection.execute(query, values).fetchone()

    def apply(self, writes: Iterable[Write], *, durably: bool = False) -> int:
        """Apply all of *writes* or none; with *durably* they are on the disk on return.

        Returns:
            The number of the row that was inserted last; of no meaning without such a write.

        Raises:
            JournalError: nothing was written.
        """
        writes = list(writes)
        with self._exclusive():
            self._check_same_file()
            self._synchronise(durably=durably)
            if len(writes) == 1:  # a transaction by itself
                return self._connection.execute(*writes[0]).lastrowid or 0
            self._apply_all(writes)
            (number,) = self._fetch_one("SELECT last_insert_rowid()")
            return int(number)

    def _apply_all(self, writes: list[Write]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, group in groupby(writes, itemgetter(0)):
                self._connection.executemany(statement, [values for _, values in group])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _synchronise(self, *, durably: bool) -> None:
        if durably != self._is_durable:
            self._is_durable = durably
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")

    def _check_same_file(self) -> None:
        # Writes to a file that was removed or replaced would succeed, and be lost.
        with suppress(FileNotFoundError):
            if os.path.samestat(self._file, os.lstat(self._name)):
                return
        raise JournalError(
            f"the journal {self._path} was removed or replaced by another file while it was in "
            "use; put it back and run the same again"
        )

    def meta(self, name: str) -> str | None:
        """The value stored under *name*; None if there is none."""
        with self._exclusive():
            found = self._fetch_one("SELECT value FROM meta WHERE name = ?", name)
        return None if found is None else str(found[0])

    def tasks(self) -> list[Row]:
        """All tasks in the order of adding; records are empty, files None."""
        with self._exclusive():
            query = f"{self._select(_BRIEF)} ORDER BY number"
            return list(map(_row, self._connection.execute(query)))

    def rows(self) -> Iterator[Row]:
        """All tasks with records and files, in the order of adding."""
        after = 0
        while page := self._page("number > ?", after, _PAGE):
            yield from page
            after = page[-1].number

    def ended(self, after: int, most: int) -> list[Row]:
        """At most *most* tasks with a final record, those with numbers above *after*."""
        return self._page("record IS NOT NULL AND number > ?", after, most)

    def _select(self, replaced: Mapping[str, str]) -> str:
        """The query of all tasks, with other expressions for some columns."""
        columns = ", ".join(replaced.get(name, name) for name in Row._fields)
        return f"SELECT {columns} FROM {tasks_in(self._version)}"  # noqa: S608

    def _page(self, condition: str, after: int, most: int) -> list[Row]:
        query = f"{self._select({})} WHERE {condition} ORDER BY number LIMIT ?"
        with self._exclusive():
            return list(map(_row, self._connection.execute(query, (after, most))))

    def intents(self) -> list[tuple[float, str, str | None, str | None]]:
        """Creations without a known result, oldest first.

        Each with its time in seconds since 1970, its request as JSON, its error (None if the
        program ended before the response), and its label (None if it has none).
        """
        query = (
            f"SELECT began_at, request, error, {columns_of('intents', self._version)['label']} "  # noqa: S608
            "FROM intents WHERE task_id IS NULL ORDER BY number"
        )
        with self._exclusive():
            return list(self._connection.execute(query))

    def claim(self, identity: str) -> tuple[int, float, str | None, str | None] | None:
        """The creation of a song: its number, its time, the id of its task, and its error."""
        query = "SELECT number, began_at, task_id, error FROM intents WHERE identity = ?"
        with self._exclusive():
            found = self._fetch_one(query, identity)
        return None if found is None else tuple(found)

    def task(self, task_id: str) -> Row | None:
        """One task with its record and files; None if the journal does not have it."""
        query = f"{self._select({})} WHERE task_id = ?"
        with self._exclusive():
            found = self._fetch_one(query, task_id)
        return None if found is None else _row(found)

    def close(self) -> None:
        """Close the file and release its lock; may be called again."""
        self._immutable_state = None  # all reads are done: a change no longer matters
        try:
            with self._exclusive():
                self._connection.close()
        finally:
            if self._file_lock is not None:
                self._file_lock.release()


def _sqlite_error(error: BaseException) -> BaseException | None:
    return error.__cause__ if isinstance(error, JournalError) else error


def _may_lack_shared_memory(error: sqlite3.OperationalError | JournalError) -> bool:
    # The same words stand for faults of the disk, with which the other mode fails, too.
    return str(_sqlite_error(error)) in _NO_SHARED_MEMORY


def _row(values: tuple[Any, ...]) -> Row:
    if not all(map(isinstance, values, _KINDS)) or math.inf in values:
        raise ValueError(f"a task has a value of a wrong type: {values[:2]!r}")
    return Row._make(values)


def _resolved(path: Path) -> Path:
    # Path.resolve() reports loops of links differently in each version of Python.
    return Path(os.path.realpath(path))


def _make(path: Path) -> None:
    """Create an empty file that only its owner can read, if none exists."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return
    _check_kind(path)
    if path.stat().st_nlink > 1:
        # SQLite's log and the lock lie beside one name: writers by two names would not meet.
        raise JournalError(f"{path} has more than one name (hard links): use a copy")


def _check_kind(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise JournalError(f"{path} is not a regular file; use the path of one, or a new one")
    if _beginning(path)[: len(_MAGIC)] not in (b"", _MAGIC):
        raise JournalError(f"{path} is not a journal of this package; use another path")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_VERSION_AT + 1)


def _connection(path: Path, mode: str = "") -> sqlite3.Connection:
    # SQLite opens the file at the first query, when the journal's lock is already held.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}{mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_TIMEOUT,
    )


def _state_without_writer(path: Path) -> tuple[int, int] | None:
    """Size and date of the file; None if it is gone, or has a log and so perhaps a writer.

    None as well without write-ahead logging: reading such a file creates none beside it.
    """
    with suppress(FileNotFoundError):
        if _beginning(path)[_VERSION_AT:] == _ROLLBACK:
            return None
        found = path.stat()
        if not path.with_name(f"{path.name}-wal").exists():
            return found.st_size, found.st_mtime_ns
    return None
