"""Helpers for tests of journals: their content and files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import payloads

from vocalsep_async import JournalError, TaskOutcome, TaskRef
from vocalsep_async._journal.codec import packed
from vocalsep_async._journal.store import Row, Store, Write
from vocalsep_async.providers import SUNOAPI
from vocalsep_async.providers._decoder import Decoder

ADD = "INSERT INTO added (task_id, added_at) VALUES (?, ?)"
END = (
    "INSERT INTO ended (number, status, polls, record) "
    "SELECT number, 'SUCCESS', 2, ? FROM added WHERE task_id = ?"
)

ODD_IDS = [
    'it\'s "quoted"; DROP TABLE tasks; --',
    "two\nlines\r\n",
    "a\0b",
    "x" * 512,
    "عود ☃ \U0001f3b5",
    "{curly} %s ?1 :name",
    " blank at both ends ",
]


def record_of(task_id: str) -> dict[str, Any]:
    return payloads.vocals_done(taskId=task_id)


def outcome_of(task_id: str, record: dict[str, Any] | None = None) -> TaskOutcome:
    task = Decoder(SUNOAPI).restored(
        TaskRef(task_id), record_of(task_id) if record is None else record
    )
    return TaskOutcome(
        task_id=task_id, status=task.status, task=task, error=None, polls=2, elapsed=1.5
    )


def added(task_id: str) -> Write:
    return (ADD, (task_id, 1.0))


def ended(task_id: str) -> tuple[Write, Write]:
    record = packed(record_of(task_id), keep_links=True)
    return added(task_id), (END, (record, task_id))


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    with closing(Store.open(path)) as store:
        yield store


def rows_in(path: Path) -> list[Row]:
    with closing(Store.read(path)) as store:
        return list(store.rows())


def made(path: Path, *writes: Write) -> Path:
    with opened(path) as store:
        store.apply(writes)
    return path


def changed(path: Path, *statements: str) -> None:
    """Run statements on the file of a closed journal."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def files_of(path: Path) -> list[Path]:
    """All files of a journal, the database first."""
    return sorted(path.parent.glob(f"{path.name}*"))


def opening_error(path: Path) -> str:
    """The error of opening it."""
    try:
        with opened(path):
            raise AssertionError("it was opened")
    except JournalError as error:
        return str(error)
