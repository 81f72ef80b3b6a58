"""Errors of a journal's file say what to do, and lose nothing that was written before."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from journal.contents import ended, opened, opening_error, rows_in

from vocalsep_async import JournalError
from vocalsep_async._journal.problems import journal_errors

REMEDIES = {
    "ENOSPC": "free some space",
    "EDQUOT": "free some space",
    "EFBIG": "free some space",
    "EACCES": "let this user write to the file and its folder",
    "EPERM": "let this user write",
    "EROFS": "let this user write",
    "EIO": "check the disk",
    "ESTALE": "check the disk",
    "ENOENT": "check the path",
    "ENOTDIR": "use another path",
    "EISDIR": "use another path",
    "ELOOP": "use another path",
    "ENAMETOOLONG": "use a shorter name",
    "EMFILE": "let the process open more files",
    "ENFILE": "let the system open more files",
}


@pytest.mark.parametrize("code", REMEDIES)
def test_an_error_of_the_system_that_keeps_a_journal_closed_says_what_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    with opened(path) as store:
        store.apply(ended("a"))
    real, number = os.open, getattr(errno, code)

    def failing(name: Any, flags: int, *options: Any, **others: Any) -> int:
        if os.fspath(name) == f"{path}.lock":
            raise OSError(number, os.strerror(number), name)
        return real(name, flags, *options, **others)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        error = opening_error(path)
    assert error.startswith(f"the journal {path}: {os.strerror(number)}")
    assert f"; {REMEDIES[code]}" in error
    assert list(path.parent.iterdir()) == [path]
    assert [row.task_id for row in rows_in(path)] == ["a"]


@pytest.mark.parametrize(
    "words, remedy",
    [
        ("database or disk is full", "free some space"),
        ("attempt to write a readonly database", "let this user write"),
        ("unable to open database file", "let this user write"),
        ("database disk image is malformed", "save what `vocalsep journal export` still reads"),
        ("file is not a database", "keep the file"),
        ("no such table: tasks", "keep the file"),
        ("disk I/O error", "check the disk"),
        ("database is locked", "end the other program that has it open"),
    ],
)
def test_an_error_of_sqlite_says_what_to_do(path: Path, words: str, remedy: str) -> None:
    with pytest.raises(JournalError) as caught, journal_errors(path):
        raise sqlite3.OperationalError(words)
    assert str(caught.value).startswith(f"the journal {path}: {words}; ")
    assert remedy in str(caught.value)


def test_an_error_without_a_remedy_is_reported_as_it_is(path: Path) -> None:
    for error in (sqlite3.OperationalError("interrupted"), OSError(errno.EPIPE, "interrupted")):
        with pytest.raises(JournalError) as caught, journal_errors(path):
            raise error
        assert str(caught.value) == f"the journal {path}: interrupted"
    with pytest.raises(JournalError, match="odd"), journal_errors(path):
        raise OSError("odd")


@pytest.mark.parametrize("lost", ["intents", "meta", "ended"])
def test_a_journal_without_a_table_is_refused_before_it_is_used(path: Path, lost: str) -> None:
    with opened(path) as store:
        store.apply(ended("a"))
    connection = sqlite3.connect(path)
    connection.execute(f"DROP TABLE {lost}")
    connection.close()
    before = path.read_bytes()
    error = opening_error(path)
    assert f"no such table: {lost}; keep the file" in error
    assert path.read_bytes() == before


def test_a_removed_journal_is_named_as_one(path: Path) -> None:
    with opened(path) as store:
        path.unlink()
        with pytest.raises(JournalError, match=r"was removed .* put it back"):
            store.apply(ended("a"))
