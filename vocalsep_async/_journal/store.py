"""The file of a journal: SQLite, one writer. All here blocks and runs in worker threads.

Write-ahead logging makes each transaction whole or absent after a kill. Its end is not waited for
on the disk (``synchronous=NORMAL``), but where money depends on it: after a power cut the last
seconds may be missing, and what they told is asked again.
"""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from vocalsep_async._journal.lock import Lock
from vocalsep_async._text import printable
from vocalsep_async.errors import JournalError

SCHEMA = 1
_APPLICATION = 0x56534A4C
"""Marks a database as a journal of this package ("VSJL")."""
_MAGIC = b"SQLite format 3\0"
"""What every file of SQLite begins with."""
# What has ended has a table of its own: rows that grew in their places split page after page.
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE added (
    number INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    type TEXT,
    created_at REAL,
    added_at REAL,
    status TEXT,
    polls INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE ended (
    number INTEGER PRIMARY KEY REFERENCES added,
    status TEXT,
    polls INTEGER NOT NULL,
    elapsed REAL,
    record BLOB NOT NULL,
    files TEXT
);
CREATE VIEW tasks AS
    SELECT number, task_id, type, created_at, added_at,
        coalesce(ended.status, added.status) AS status,
        coalesce(ended.polls, added.polls) AS polls,
        elapsed, record, files
    FROM added LEFT JOIN ended USING (number);
CREATE TABLE intents (
    number INTEGER PRIMARY KEY,
    began_at REAL NOT NULL,
    request TEXT NOT NULL,
    task_id TEXT,
    error TEXT
);
"""


Write = tuple[str, tuple[Any, ...]]
"""One statement, and what it is filled with."""


class Row(NamedTuple):
    """What is kept of one task.

    ``record`` is there once it has ended; ``added_at`` once a batch has taken it in.
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


_TEXT, _NUMBER, _BLOB = str | None, float | None, bytes | None
_KINDS = (int, str, _TEXT, _NUMBER, _NUMBER, _TEXT, int, _NUMBER, _BLOB, _TEXT)
"""What each column of a row holds: SQLite itself would take anything anywhere."""

_PATIENCE = 1.0
"""Seconds to wait for others at the database: whoever looks into it locks it for moments."""
_PAGE = 500
"""Tasks that are read in one go."""
_COLUMNS = ", ".join(Row._fields)
_BRIEF = ", ".join(name if name not in ("record", "files") else "NULL" for name in Row._fields)


class Store:
    """An open journal file.

    Raises:
        JournalError: from every method, when the file cannot be read or written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: Lock | None) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._name = os.fspath(path)
        self._file = os.lstat(self._name)
        self._is_durable = False
        self._turn = _Turn(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal at *path* to write, making it if there is none.

        Raises:
            JournalError: it is in use, belongs to something else, is damaged or of a newer version.
        """
        with _Turn(path):
            # A link to a journal is that journal, for the lock too.
            path = _resolved(path)
            # First of all the lock: whoever opens and closes a file that SQLite has open in the
            # same process takes away SQLite's own locks.
            lock = Lock(path)
            try:
                _make(path)
                store = cls(path, _connection(path), lock)
            except BaseException:
                lock.release()
                raise
            store._guarded(store._prepare)
            return store

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open the journal at *path* to read only, also while somebody writes to it.

        Raises:
            JournalError: there is none, it is damaged, or of a newer version.
        """
        with _Turn(path):
            path = _resolved(path)  # the log is beside the file, not beside a link to it
            _check_kind(path)
            # Where nobody writes, nothing is put beside the file for those who might.
            untouched = _untouched(path)
            mode = "?mode=ro" if untouched is None else "?mode=ro&immutable=1"
            store = cls(path, _connection(path, mode), None)
        store._turn.untouched = untouched
        store._guarded(store._check_header)
        return store

    def _guarded(self, check: Callable[[], None]) -> None:
        try:
            check()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        if self._is_new():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(
                f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION}; "
                f"PRAGMA user_version = {SCHEMA}; COMMIT"
            )
        self._check_header()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self.check()

    def _is_new(self) -> bool:
        (tables,) = self._one("SELECT count(*) FROM sqlite_master")
        return bool(tables == 0 and self._one("PRAGMA application_id") == (0,))

    def _check_header(self) -> None:
        with self._turn:
            (application,) = self._one("PRAGMA application_id")
            (version,) = self._one("PRAGMA user_version")
        if application != _APPLICATION:
            raise JournalError(f"{self._path} is a database, but no journal of this package")
        if version > SCHEMA:
            raise JournalError(
                f"{self._path} is of version {version}; this package knows {SCHEMA}: update it"
            )

    def check(self) -> None:
        """Look for damage.

        Raises:
            JournalError: there is some.
        """
        with self._turn:
            (found,) = self._one("PRAGMA integrity_check(1)")
        if found != "ok":
            raise JournalError(f"{self._path} is damaged: {found}")

    def _one(self, query: str, *values: Any) -> Any:
        return self._connection.execute(query, values).fetchone()

    def apply(self, writes: Iterable[Write], *, durably: bool = False) -> int:
        """Write all of *writes*, or none; on the disk before it returns, if *durably*.

        Returns:
            The number of the row, if it was one that was made; else 0.

        Raises:
            JournalError: none of them was written.
        """
        writes = list(writes)
        with self._turn:
            self._check_still_there()
            self._synchronise(durably=durably)
            if len(writes) == 1:
                # Whole by itself; each statement more is a turn more of the interpreter's lock.
                return self._connection.execute(*writes[0]).lastrowid or 0
            self._apply_all(writes)
            return 0

    def _apply_all(self, writes: list[Write]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, alike in groupby(writes, itemgetter(0)):
                self._connection.executemany(statement, [values for _, values in alike])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _synchronise(self, *, durably: bool) -> None:
        if durably != self._is_durable:
            self._is_durable = durably
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")

    def _check_still_there(self) -> None:
        """Refuse to write to a file that nobody will find again."""
        if not os.path.samestat(self._file, os.lstat(self._name)):
            raise JournalError(f"the journal {self._path} was replaced by another file")

    def meta(self, name: str) -> str | None:
        """A word that is kept under *name*; None if there is none."""
        with self._turn:
            found = self._one("SELECT value FROM meta WHERE name = ?", name)
        return None if found is None else str(found[0])

    def tasks(self) -> list[Row]:
        """All tasks in the order in which they were added, without records and files."""
        with self._turn:
            ended = "CASE WHEN record IS NULL THEN NULL ELSE x'' END"
            columns = _BRIEF.replace("NULL, NULL", f"{ended}, NULL")
            query = f"SELECT {columns} FROM tasks ORDER BY number"  # noqa: S608
            return list(map(_row, self._connection.execute(query)))

    def rows(self) -> Iterator[Row]:
        """All tasks, whole, in the order in which they were added."""
        after = 0
        while page := self._page("number > ?", after, _PAGE):
            yield from page
            after = page[-1].number

    def ended(self, after: int, most: int) -> list[Row]:
        """At most *most* tasks that have ended, added after the one of that number."""
        return self._page("record IS NOT NULL AND number > ?", after, most)

    def _page(self, condition: str, after: int, most: int) -> list[Row]:
        query = f"SELECT {_COLUMNS} FROM tasks WHERE {condition} ORDER BY number LIMIT ?"  # noqa: S608
        with self._turn:
            return list(map(_row, self._connection.execute(query, (after, most))))

    def intents(self) -> list[tuple[float, str, str | None]]:
        """Creations of which nobody knows whether they were carried out, oldest first.

        When each began, what it asked for, and what went wrong if that was told.
        """
        query = "SELECT began_at, request, error FROM intents WHERE task_id IS NULL ORDER BY number"
        with self._turn:
            return list(self._connection.execute(query))

    def close(self) -> None:
        """Close it; may be called again."""
        self._turn.untouched = None  # what was read was read
        try:
            with self._turn:
                self._connection.close()
        finally:
            if self._lock is not None:
                self._lock.release()


def _row(values: tuple[Any, ...]) -> Row:
    if not all(map(isinstance, values, _KINDS)) or math.inf in values:
        raise ValueError(f"a task holds what it cannot hold: {values[:2]!r}")
    return Row._make(values)


def _resolved(path: Path) -> Path:
    # Path.resolve() has errors of its own for links in a circle, another one with each Python.
    return Path(os.path.realpath(path))


def _make(path: Path) -> None:
    """Make an empty file that only its owner can read, if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return
    _check_kind(path)
    if path.stat().st_nlink > 1:
        # SQLite keeps its log, and we our lock, beside one of its names.
        raise JournalError(f"{path} has another name too (a hard link): use a copy of it")


def _check_kind(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise JournalError(f"{path} is no file")
    with path.open("rb") as file:
        beginning = file.read(len(_MAGIC))
    if beginning not in (b"", _MAGIC):
        raise JournalError(f"{path} is no journal of this package")


def _connection(path: Path, mode: str = "") -> sqlite3.Connection:
    # It is opened at the first query; the journal's lock is taken before that.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}{mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_PATIENCE,
    )


def _untouched(path: Path) -> tuple[int, int] | None:
    """What changes when somebody writes to the file; None while somebody may, or has removed it."""
    with suppress(FileNotFoundError):
        found = path.stat()
        if not path.with_name(f"{path.name}-wal").exists():
            return found.st_size, found.st_mtime_ns
    return None


class _Turn:
    """A block that one thread at a time runs, and in which errors of the file are worded.

    Worker threads take turns: a connection that is closed under a query ends the process.
    Not a generator: each write passes through here, and that took a tenth of its time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.untouched: tuple[int, int] | None = None
        """What SQLite was told nobody writes to is read as nonsense once somebody does."""

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
        if self.untouched is not None and self.untouched != _untouched(self._path):
            raise JournalError(f"{self._path} was written to meanwhile: look again") from error
        if isinstance(error, sqlite3.Error):
            raise JournalError(f"the journal {self._path}: {error}") from error
        if isinstance(error, OSError):
            raise JournalError(f"the journal {self._path}: {error.strerror}") from error
        if isinstance(error, (ValueError, OverflowError)):
            # Damage that SQLite hands on as it is, and what it cannot keep.
            raise JournalError(f"the journal {self._path}: {printable(str(error))}") from None
