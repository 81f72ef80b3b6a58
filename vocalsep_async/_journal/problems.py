"""Errors of a journal's file, each with what to do about it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalsep_async._text import printable
from vocalsep_async.errors import JournalError

_FULL = "free some space, then run the same again; what was written before is kept"
_READ_ONLY = "let this user write to the file and its folder, or use a journal elsewhere"
_DAMAGED = (
    "keep the file, save what `vocalsep journal export` still reads of it, and use another journal"
)
_DEVICE = "check the disk and its connection; what was written before is kept if it still works"
_ELSEWHERE = "use another path"

_OF_SYSTEM = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.EIO: _DEVICE,
    errno.ESTALE: _DEVICE,
    errno.ENOENT: "check the path",
    errno.ENOTDIR: _ELSEWHERE,
    errno.EISDIR: _ELSEWHERE,
    errno.ELOOP: _ELSEWHERE,
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EMFILE: "let the process open more files (ulimit -n)",
    errno.ENFILE: "let the system open more files",
}
# Of SQLite's words, because its codes are not those of errors that it passes on.
_OF_SQLITE = {
    "is full": _FULL,
    "readonly": _READ_ONLY,
    "unable to open": _READ_ONLY,
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
    "no such table": _DAMAGED,
    "disk I/O error": _DEVICE,
    "is locked": "end the other program that has it open, then run the same again",
}


@contextmanager
def journal_errors(path: Path) -> Iterator[None]:
    """Raise errors of the file at *path* as `JournalError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(path, str(error), _remedy_of_sqlite(str(error))) from error
    except OSError as error:
        raise _explained(path, _reason(error), _OF_SYSTEM.get(error.errno or 0)) from error
    except (ValueError, OverflowError) as error:
        # Damage that SQLite passes on, and values that it cannot store.
        raise JournalError(f"the journal {path}: {printable(str(error))}") from None


def damage(path: Path, found: str) -> JournalError:
    """The error for a journal in which something wrong was found."""
    return JournalError(f"{path} is damaged: {found}; {_DAMAGED}")


def _reason(error: OSError) -> str:
    # What stands at the place of the lock must be named: the journal itself may be fine.
    is_in_the_way = error.errno in (errno.EISDIR, errno.EACCES) and error.filename is not None
    place = f" ({error.filename})" if is_in_the_way else ""
    return f"{error.strerror or error}{place}"


def _remedy_of_sqlite(words: str) -> str | None:
    return next((remedy for part, remedy in _OF_SQLITE.items() if part in words), None)


def _explained(path: Path, reason: str, remedy: str | None) -> JournalError:
    advice = "" if remedy is None else f"; {remedy}"
    return JournalError(f"the journal {path}: {reason}{advice}")
