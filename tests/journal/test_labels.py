"""The labels of tasks in a journal, and journals of the version that had none."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from batch.journals import journals_in_virtual_time, run
from fakes import FakeProvider, finished
from journal.contents import changed, ended, opened, opening_error, rows_in
from journal.running import using
from typer.testing import CliRunner

from vocalsep_async import JournalError, TaskRef
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._journal.schema import SCHEMA
from vocalsep_async.cli import journal as command_line
from vocalsep_async.cli.options import Settings

pytestmark = pytest.mark.anyio

VERSION_2 = """
BEGIN;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE added (
    number INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    type TEXT,
    created_at REAL,
    added_at REAL,
    status TEXT,
    polls INTEGER NOT NULL DEFAULT 0,
    route TEXT
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
        elapsed, record, files, route
    FROM added LEFT JOIN ended USING (number);
CREATE TABLE intents (
    number INTEGER PRIMARY KEY,
    began_at REAL NOT NULL,
    request TEXT NOT NULL,
    task_id TEXT,
    error TEXT
);
INSERT INTO added (task_id, type, added_at, polls, route)
    VALUES ('open', 'split_stem', 1.0, 3, 'kie');
PRAGMA application_id = 1448299084;
PRAGMA user_version = 2;
COMMIT;
"""


@pytest.fixture
def old(path: Path) -> Path:
    """A journal of version 2 with an open task and one that has ended."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(VERSION_2)
        for statement, values in ended("done"):
            connection.execute(statement, values)
    return path


def labels_in(path: Path) -> list[tuple[str, str | None, str | None]]:
    return [(row.task_id, row.route, row.label) for row in rows_in(path)]


def test_a_journal_of_version_2_is_read_without_a_change(old: Path) -> None:
    before = old.read_bytes()
    assert labels_in(old) == [("open", "kie", None), ("done", None, None)]
    assert old.read_bytes() == before


def test_a_journal_of_version_2_is_updated_when_it_is_opened_and_keeps_its_tasks(
    old: Path,
) -> None:
    before = rows_in(old)
    for _ in range(2):
        with opened(old) as store:
            assert list(store.rows()) == before
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    assert rows_in(old) == before


async def test_a_batch_gives_labels_to_the_tasks_of_a_journal_of_version_2(
    provider: FakeProvider, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals_in_virtual_time(monkeypatch)
    provider.every_answer = finished
    changed(old, "UPDATE added SET route = NULL")
    refs = [TaskRef("open", label="Open"), TaskRef("done", label="Done")]
    outcomes = await run(provider, refs, journal=old)
    assert {each.task_id: each.label for each in outcomes.values()} == {
        "open": "Open",
        "done": "Done",
    }


def test_an_update_that_fails_leaves_the_journal_of_version_2_as_it_was(old: Path) -> None:
    changed(old, "DROP VIEW tasks", "CREATE TABLE tasks (number)")
    assert "delete table tasks" in opening_error(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(added)")]
    assert "label" not in columns


async def test_a_journal_keeps_the_label_of_each_task(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a"), TaskRef("b", label="Für Elise")])
        await journal.created(await journal.intend({}), TaskRef("c", label="C"))
        # What is added again without one keeps it, and what has another one gets that.
        journal.add([TaskRef("b"), TaskRef("c", label="D")])
        found = {each.ref.task_id: each.ref.label for each in await journal.known()}
    assert found == {"a": None, "b": "Für Elise", "c": "D"}


async def test_a_label_that_cannot_be_one_is_damage(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a", label="A")])
    changed(path, "UPDATE added SET label = 'two' || char(10) || 'lines'")
    async with using(JournalFile(path)) as journal:
        with pytest.raises(JournalError, match="is damaged: label holds"):
            await journal.known()
    checked = CliRunner().invoke(command_line.app, ["check", str(path)], obj=Settings(quiet=True))
    assert checked.exit_code == 1
    assert "label holds" in checked.output


async def test_the_export_of_a_journal_has_labels(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a", label="Für Elise"), TaskRef("b")])
    printed = CliRunner().invoke(command_line.app, ["export", str(path)], obj=Settings(quiet=True))
    rows = [json.loads(line) for line in printed.output.splitlines()]
    assert [(row["task_id"], row["label"]) for row in rows] == [("a", "Für Elise"), ("b", None)]
