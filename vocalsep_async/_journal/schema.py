"""The tables of a journal, in this version and in earlier ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from typing import Any

SCHEMA = 3
"""The version of the tables."""

# Final records have a table of their own: rows that grow in place split page after page.
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE added (
    number INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    type TEXT,
    created_at REAL,
    added_at REAL,
    status TEXT,
    polls INTEGER NOT NULL DEFAULT 0,
    route TEXT,
    label TEXT,
    expects_callback INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE ended (
    number INTEGER PRIMARY KEY REFERENCES added,
    status TEXT,
    polls INTEGER NOT NULL,
    elapsed REAL,
    record BLOB NOT NULL,
    files TEXT
);
CREATE TABLE intents (
    number INTEGER PRIMARY KEY,
    began_at REAL NOT NULL,
    request TEXT NOT NULL,
    task_id TEXT,
    error TEXT,
    identity TEXT,
    label TEXT
);
"""
# Of two creations of one song, the second one fails here at the latest.
_INDEX = "CREATE UNIQUE INDEX IF NOT EXISTS one_creation ON intents (identity);"
_NAMES = ("meta", "added", "ended", "intents")
_LATER = (
    (2, "added", "route", "TEXT"),
    (3, "added", "label", "TEXT"),
    (3, "added", "expects_callback", "INTEGER NOT NULL DEFAULT 0"),
    (3, "intents", "identity", "TEXT"),
    (3, "intents", "label", "TEXT"),
)
"""The columns that earlier versions lack: the first version with each, its table, its name and its
kind."""
# Not a view in the file: a changed byte in its text would change what is read, unnoticed.
_TASKS = """(
    SELECT number, task_id, type, created_at, added_at,
        coalesce(ended.status, added.status) AS status,
        coalesce(ended.polls, added.polls) AS polls,
        elapsed, record, files, {later}
    FROM added LEFT JOIN ended USING (number)
)"""

CREATION = f"{_TABLES} {_INDEX}"
"""What makes the tables."""


def update_from(version: int) -> str:
    """What brings the tables of an earlier version to this one."""
    columns = (
        f"ALTER TABLE {table} ADD COLUMN {name} {kind};"
        for since, table, name, kind in _LATER
        if since > version
    )
    return f"{' '.join(columns)} {_INDEX} DROP VIEW IF EXISTS tasks;"


def columns_of(table: str, version: int) -> dict[str, str]:
    """The later columns of a table, each with what reads it in a file of *version*."""
    # A file of an earlier version that is only read stays as it is.
    return {
        name: name if since <= version else f"{_empty(kind)} AS {name}"
        for since, where, name, kind in _LATER
        if where == table
    }


def _empty(kind: str) -> str:
    """What a column of that kind holds for what was stored before it."""
    return kind.rpartition("DEFAULT ")[2] if "DEFAULT" in kind else "NULL"


def tasks_in(version: int) -> str:
    """All tasks, with their ends, as a query in brackets."""
    return _TASKS.format(later=", ".join(columns_of("added", version).values()))


def foreign_table(connection: sqlite3.Connection, version: int) -> str | None:
    """What is wrong with the tables of a file of *version*; None if nothing is."""
    # SQLite takes a misspelt column for another one, and its own check finds nothing wrong.
    for table, columns in _expected().items():
        later = {name for since, where, name, _ in _LATER if where == table and since > version}
        found = _columns(connection, table)
        if not found:
            return f"no such table: {table}"
        if found != {each for each in columns if each[0] not in later}:
            return f"the table {table} has other columns"
    return None


@cache
def _expected() -> Mapping[str, set[tuple[Any, ...]]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_TABLES)
        return {table: _columns(connection, table) for table in _NAMES}


def _columns(connection: sqlite3.Connection, table: str) -> set[tuple[Any, ...]]:
    """Each column with its type, whether it may be NULL, what it holds then, and its key."""
    query = "SELECT name, type, [notnull], dflt_value, pk FROM pragma_table_info(?)"
    return set(connection.execute(query, (table,)))
