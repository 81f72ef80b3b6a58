"""The routes of tasks in a journal, and journals of the version that had none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from batch.journals import journals_in_virtual_time, process
from batch.tracking import outcomes_of
from fakes import FakeProvider, finished, record
from journal.contents import END, ended, made, opened, opening_error, rows_in
from journal.running import using
from typer.testing import CliRunner
from virtual_time import VIRTUAL_TIME

from vocalsep_async import KIE, InvalidArgumentError, JournalError, Provider, TaskRef, TaskStatus
from vocalsep_async._journal.codec import packed
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._journal.schema import SCHEMA
from vocalsep_async.cli import journal as command_line
from vocalsep_async.cli.options import Settings
from vocalsep_async.providers import COMMON_CODES

pytestmark = pytest.mark.anyio

VERSION_1 = """
BEGIN;
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
INSERT INTO added (task_id, type, added_at, polls) VALUES ('open', 'split_stem', 1.0, 3);
PRAGMA application_id = 1448299084;
PRAGMA user_version = 1;
COMMIT;
"""
# Another provider at the host of kie.ai.
MINE = Provider(
    name="mine",
    codes=COMMON_CODES,
    credits_path="/",
    hosts=KIE.hosts,
    poll_path="/mine",
    statuses={"done": TaskStatus.SUCCESS},
)
STEMS = {"vocalUrl": "https://cdn.example/v.mp3"}
AT_KIE = {"base_url": "https://api.kie.ai", "provider": MINE}


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    journals_in_virtual_time(monkeypatch)


VERSION_2 = """
BEGIN;
DROP VIEW tasks;
ALTER TABLE added ADD COLUMN route TEXT;
CREATE VIEW tasks AS
    SELECT number, task_id, type, created_at, added_at,
        coalesce(ended.status, added.status) AS status,
        coalesce(ended.polls, added.polls) AS polls,
        elapsed, record, files, route
    FROM added LEFT JOIN ended USING (number);
UPDATE added SET route = 'kie' WHERE task_id = 'open';
PRAGMA user_version = 2;
COMMIT;
"""


@pytest.fixture
def old(path: Path) -> Path:
    """A journal of version 1 with an open task and one that has ended."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(VERSION_1)
        for statement, values in ended("done"):
            connection.execute(statement, values)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def routes_in(path: Path) -> list[tuple[str, str | None]]:
    return [(row.task_id, row.route) for row in rows_in(path)]


async def outcomes(
    fake: FakeProvider, path: Path, tasks: Iterable[Any] = (), **options: Any
) -> Any:
    timeout = options.pop("timeout", None)
    async with (
        process(fake, **{**AT_KIE, **options}) as client,
        client.track(list(tasks), journal=path, timeout=timeout) as batch,
    ):
        return await outcomes_of(batch)


def test_a_journal_of_version_1_is_read_without_a_change(old: Path) -> None:
    before = old.read_bytes()
    assert routes_in(old) == [("open", None), ("done", None)]
    assert old.read_bytes() == before


def test_a_journal_of_version_1_is_updated_when_it_is_opened_and_keeps_its_tasks(
    old: Path,
) -> None:
    before = rows_in(old)
    for _ in range(2):
        with opened(old) as store:
            assert list(store.rows()) == before
            assert [row.polls for row in store.tasks()] == [3, 2]
    assert version_of(old) == SCHEMA
    assert rows_in(old) == before


def test_an_update_that_fails_leaves_the_journal_of_version_1_as_it_was(old: Path) -> None:
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.executescript("DROP VIEW tasks; CREATE TABLE tasks (number)")
    assert "delete table tasks" in opening_error(old)
    assert version_of(old) == 1
    with closing(sqlite3.connect(old)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(added)")]
    assert "route" not in columns


def test_a_journal_of_version_2_keeps_the_routes_of_its_tasks(old: Path) -> None:
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.executescript(VERSION_2)
    before = rows_in(old)
    assert [(row.route, row.expects_callback) for row in before] == [("kie", 0), (None, 0)]
    with opened(old) as store:
        assert list(store.rows()) == before
    assert version_of(old) == SCHEMA
    assert rows_in(old) == before


async def test_a_batch_goes_on_from_a_journal_of_version_1(
    provider: FakeProvider, old: Path
) -> None:
    found = await outcomes(provider, old, provider=KIE)
    assert {task_id: each.succeeded for task_id, each in found.items()} == {
        "done": True,
        "open": True,
    }


async def test_a_journal_keeps_the_route_of_each_task(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a"), TaskRef("b", route="kie")])
        await journal.created(await journal.intend({}), TaskRef("c", route="mine"))
        assert [(each.ref.task_id, each.ref.route) for each in await journal.known()] == [
            ("a", None),
            ("b", "kie"),
            ("c", "mine"),
        ]


async def test_a_journal_keeps_which_tasks_expect_a_callback(path: Path) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a"), TaskRef("b", expects_callback=True)])
        await journal.created(await journal.intend({}), TaskRef("c", expects_callback=True))
        known = await journal.known()
    assert [each.ref.expects_callback for each in known] == [False, True, True]


async def test_a_batch_keeps_the_route_of_the_provider_where_others_share_its_host(
    provider: FakeProvider, path: Path
) -> None:
    provider.every_answer = finished
    await outcomes(provider, path, ["a", TaskRef("b", route="kie"), TaskRef("c", route="mine")])
    assert routes_in(path) == [("a", "mine"), ("b", "kie"), ("c", "mine")]


async def test_a_batch_keeps_no_route_where_the_host_leaves_no_doubt(
    provider: FakeProvider, path: Path
) -> None:
    provider.every_answer = finished
    await outcomes(provider, path, ["a"], provider=None, base_url="https://api.sunoapi.org")
    assert routes_in(path) == [("a", None)]


async def test_a_finished_task_is_restored_as_the_provider_of_its_route_reads_it(
    provider: FakeProvider, path: Path
) -> None:
    answers = {
        "a": record("a", "done", response=STEMS),
        "b": record("b", "SUCCESS", response=STEMS),
    }
    provider.every_answer = answers.__getitem__
    tasks = ["a", TaskRef("b", route="kie")]
    first = await outcomes(provider, path, tasks)
    provider.every_answer = None
    again = await outcomes(provider, path)
    for found in (first, again):
        results = [found[task_id].result() for task_id in ("a", "b")]
        assert [task.status for task in results] == [TaskStatus.SUCCESS] * 2
        assert [task.route for task in results] == ["mine", "kie"]
    assert len(provider.sent) == 2


async def test_an_open_task_is_polled_on_its_route_in_the_next_run(
    provider: FakeProvider, path: Path
) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a"), TaskRef("b", route="kie"), TaskRef("c", route="mine")])
    await outcomes(provider, path, timeout=0.0)
    assert dict(zip(provider.sent, provider.paths, strict=True)) == {
        "a": "/mine",
        "b": KIE.poll_path,
        "c": "/mine",
    }


async def test_a_task_on_a_route_that_the_client_cannot_poll_stops_the_batch_before_any_poll(
    provider: FakeProvider, path: Path
) -> None:
    async with using(JournalFile(path)) as journal:
        journal.add([TaskRef("a", route="mine"), TaskRef("b")])
    with pytest.raises(InvalidArgumentError, match="route 'mine'"):
        await outcomes(provider, path, provider=KIE)
    assert provider.sent == []


async def test_a_finished_task_on_a_route_that_the_client_cannot_poll_is_not_called_damaged(
    provider: FakeProvider, path: Path
) -> None:
    provider.script("a", record("a", "done", response=STEMS))
    assert await outcomes(provider, path, ["a"])
    with pytest.raises(JournalError, match="'a' is on the route 'mine'") as caught:
        await outcomes(provider, path, provider=KIE)
    assert "damaged" not in str(caught.value)


def test_the_commands_show_and_check_records_by_their_route(path: Path) -> None:
    content = packed({"taskId": "a", "successFlag": "SUCCESS"}, keep_links=True)
    made(
        path,
        ("INSERT INTO added (task_id, route) VALUES (?, ?)", ("a", "kie")),
        (END, (content, "a")),
    )
    settings = Settings(None, quiet=False, debug=False)
    shown, checked = (
        CliRunner().invoke(command_line.app, [command, str(path)], obj=settings)
        for command in ("export", "check")
    )
    assert json.loads(shown.stdout)["route"] == "kie"
    assert checked.exit_code == 0


def test_the_check_names_a_damaged_base_url(path: Path) -> None:
    made(path, ("INSERT INTO meta VALUES (?, ?)", ("base_url", "http://[")))
    settings = Settings(None, quiet=False, debug=False)
    checked = CliRunner().invoke(command_line.app, ["check", str(path)], obj=settings)
    assert checked.exit_code == 1
    assert "the base_url is damaged" in checked.output
