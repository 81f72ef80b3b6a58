"""Inspecting a journal from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import FakeProvider, finished, make_client, record
from typer.testing import CliRunner, Result

from vocalsep_async import Interval, Journal, TaskRef
from vocalsep_async._journal.codec import packed
from vocalsep_async.cli import journal as command_line
from vocalsep_async.cli.options import Settings

COMMANDS = ["show", "check", "export"]
CREATED = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def call(*arguments: object) -> Result:
    settings = Settings(None, quiet=False, debug=False)
    return CliRunner().invoke(command_line.app, [str(each) for each in arguments], obj=settings)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vocalsep_async", "journal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


@pytest.fixture
def path(tmp_path: Path, provider: FakeProvider) -> Path:
    """A journal with two finished tasks, a pending one, and two intents."""
    path = tmp_path / "batch.journal"

    async def make() -> None:
        provider.round_trip = 0.0
        stems = {"vocalUrl": "https://cdn.example/v.mp3?signature=CANARY"}
        provider.script("done", record("done", "SUCCESS", response=stems))
        provider.script("bad", record("bad", "GENERATE_AUDIO_FAILED", errorMessage="[red]no"))
        provider.add("runs", 1e6)
        async with (
            Journal(path, label="mine") as journal,
            make_client(rate_limit=None) as client,
        ):
            ref = TaskRef("runs", type="split_stem", created_at=CREATED)
            tasks: list[str | TaskRef] = ["done", "bad", ref]
            async with client.track(tasks, journal=journal, poll=Interval(1000)) as batch:
                for _ in "12":
                    await anext(batch)
            await journal._file.intend({"type": "split_stem"})
            number = await journal._file.intend({"type": "[bold]other"})
            await journal._file.not_created(number, "the answer was cut")

    asyncio.run(make())
    return path


# Intact journals


def test_show_prints_a_summary_of_a_journal(path: Path) -> None:
    shown = run("show", path)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[:3] == [
        "API: https://api.sunoapi.org",
        "account: mine",
        "tasks: 3, 2 finished",
    ]
    assert len(lines) == 5
    assert lines[3].startswith("possibly created, id unknown: 20")
    assert lines[3].endswith('{"type": "split_stem"} (the program ended before the answer)')
    assert lines[4].endswith('{"type": "[bold]other"} (the answer was cut)')


def test_show_of_a_new_journal_prints_what_is_unknown(tmp_path: Path) -> None:
    async def make() -> None:
        async with Journal(tmp_path / "new"):
            pass

    asyncio.run(make())
    shown = call("show", tmp_path / "new")
    assert shown.output.splitlines() == [
        "API: unknown",
        "account: no label",
        "tasks: 0, 0 finished",
    ]
    assert call("check", tmp_path / "new").output == f"{tmp_path / 'new'}: 0 tasks, no damage\n"
    assert not call("export", tmp_path / "new").output


def test_check_counts_the_tasks_of_an_intact_journal(path: Path) -> None:
    checked = run("check", path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"{path}: 3 tasks, no damage\n"


def test_export_prints_one_json_object_per_task(path: Path) -> None:
    exported = run("export", path)
    assert (exported.returncode, exported.stderr) == (0, "")
    done, bad, runs = map(json.loads, exported.stdout.splitlines())
    assert [each["task_id"] for each in (done, bad, runs)] == ["done", "bad", "runs"]
    assert set(done) == {
        "task_id",
        "label",
        "type",
        "created_at",
        "added_at",
        "status",
        "polls",
        "elapsed",
        "has_ended",
        "files",
        "route",
        "expects_callback",
        "record",
    }
    assert (done["status"], done["has_ended"], done["polls"]) == ("SUCCESS", True, 1)
    assert done["record"]["response"] == {"vocalUrl": "https://cdn.example/v.mp3"}
    assert done["files"] is None
    assert [each["expects_callback"] for each in (done, runs)] == [False, False]
    assert done["elapsed"] >= 0
    assert datetime.fromisoformat(done["added_at"]).utcoffset() is not None
    assert bad["record"]["errorMessage"] == "[red]no"
    assert (runs["type"], runs["has_ended"], runs["record"]) == ("split_stem", False, None)
    assert datetime.fromisoformat(runs["created_at"]) == CREATED
    assert "CANARY" not in exported.stdout


def test_export_has_the_saved_files(path: Path) -> None:
    change(path, "UPDATE ended SET files = ? WHERE number = 1", '{"vocal": "/s/ü.mp3"}')
    done = json.loads(call("export", path).stdout.splitlines()[0])
    assert done["files"] == {"vocal": "/s/ü.mp3"}


def test_export_keeps_an_id_with_line_ends_on_one_line(path: Path) -> None:
    change(
        path, "UPDATE added SET task_id = ? WHERE task_id = 'done'", 'a\n{"task_id": "b"}\r\u2028'
    )
    exported = run("export", path).stdout
    assert exported.isascii()
    assert [json.loads(line)["task_id"] for line in exported.splitlines()][1:] == ["bad", "runs"]


def test_inspecting_a_journal_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    for command in COMMANDS:
        assert call(command, path).exit_code == 0
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_export_to_a_closed_pipe_prints_no_traceback(path: Path) -> None:
    change(path, "INSERT INTO added (task_id, added_at) SELECT number || 'x', 0 FROM added")
    for _ in range(11):
        change(
            path,
            "INSERT INTO added (task_id, added_at) SELECT hex(randomblob(8)), 0 FROM added",
        )
    command = [sys.executable, "-m", "vocalsep_async", "journal", "export", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["task_id"] == "done"
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


async def _inspect_during_a_batch(path: Path, provider: FakeProvider) -> None:
    provider.round_trip = 0.0
    provider.script("first", finished("first"))
    provider.add("later", 1e6)
    async with make_client(rate_limit=None) as client:  # noqa: SIM117 - clearer
        async with client.track(["first", "later"], journal=path, poll=Interval(1000)) as batch:
            assert (await anext(batch)).task_id == "first"
            for command in COMMANDS:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "vocalsep_async",
                    "journal",
                    command,
                    str(path),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                )
                output, errors = await process.communicate()
                assert (process.returncode, errors) == (0, b"")
                assert b"later" in output or command != "export"
            batch.add("last")
            assert (await anext(batch)).task_id == "last"
    exported = [json.loads(line) for line in call("export", path).stdout.splitlines()]
    assert {each["task_id"]: each["has_ended"] for each in exported} == {
        "first": True,
        "later": False,
        "last": True,
    }


def test_a_journal_can_be_inspected_while_a_batch_writes_to_it(
    tmp_path: Path, provider: FakeProvider
) -> None:
    asyncio.run(_inspect_during_a_batch(tmp_path / "batch.journal", provider))


# Missing and damaged journals


def assert_damage(result: Result, *words: str) -> None:
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_journal_is_reported_and_not_created(tmp_path: Path, command: str) -> None:
    ended = run(command, tmp_path / "none")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "No such file" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_no_journal_is_refused_and_left_unchanged(
    tmp_path: Path, command: str
) -> None:
    text, empty, foreign = tmp_path / "text", tmp_path / "empty", tmp_path / "foreign"
    text.write_bytes(b"not a journal")
    empty.write_bytes(b"")
    change(foreign, "CREATE TABLE tasks (task_id)")
    before = foreign.read_bytes()
    assert_damage(call(command, text), "is not a journal")
    assert_damage(call(command, empty), "is empty: no batch has written to this journal yet")
    assert_damage(call(command, foreign), "not a journal of this package")
    assert_damage(call(command, tmp_path), "is not a regular file")
    assert foreign.read_bytes() == before
    assert (text.read_bytes(), empty.read_bytes()) == (b"not a journal", b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert_damage(call("check", tmp_path / "pipe"), "is not a regular file")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_journal_of_a_newer_version_is_refused(path: Path, command: str) -> None:
    change(path, "PRAGMA user_version = 99")
    assert_damage(call(command, path), "version 99", "update")


@pytest.mark.parametrize(
    "damage",
    [
        "ended SET record = x'00'",
        "ended SET record = x''",
        "ended SET record = 'text'",
        "ended SET files = '{'",
        "ended SET files = '5'",
        "ended SET record = x'789c8b8e0500015d00bb'",  # packed "[]"
        "ended SET status = x'ff'",
        "added SET added_at = 1e300",
        "added SET created_at = 'yesterday'",
        "added SET task_id = CAST(x'ff' AS TEXT)",
        "ended SET elapsed = 9e999",
    ],
)
def test_check_and_export_report_a_damaged_task(path: Path, damage: str) -> None:
    change(path, f"UPDATE {damage} WHERE number = 1")
    for command in ("check", "export"):
        assert_damage(call(command, path))


PENDING = packed({"taskId": "done", "successFlag": "PENDING"}, keep_links=False)


@pytest.mark.parametrize(
    "damage, value",
    [
        ("added SET task_id = ?", " "),
        ("added SET task_id = ?", "x" * 600),
        ("ended SET record = ?", PENDING),
    ],
)
def test_check_reports_a_task_that_a_batch_would_refuse(
    path: Path, damage: str, value: object
) -> None:
    change(path, f"UPDATE {damage} WHERE number = 1", value)
    assert_damage(call("check", path), "of task", "is damaged")
    assert call("export", path).exit_code == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")  # noqa: PTH110
@pytest.mark.parametrize("output", ["/dev/full", "&-"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_unwritable_standard_output_is_reported(path: Path, command: str, output: str) -> None:
    words = shlex.join([sys.executable, "-m", "vocalsep_async", "journal", command, str(path)])
    ended = subprocess.run(
        f"{words} >{output}", shell=True, stderr=subprocess.PIPE, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("standard output: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "began_at = 1e300",
        "began_at = 'yesterday'",
        "request = '5'",
        "request = '{'",
        "request = x'80ff'",
        f"request = '{'[' * 100_000}'",
    ],
)
def test_check_and_show_report_a_damaged_intent(path: Path, damage: str) -> None:
    change(path, f"UPDATE intents SET {damage}")
    for command in ("show", "check"):
        assert_damage(call(command, path))


def test_check_and_show_report_an_intent_without_a_request(path: Path) -> None:
    # What a flipped bit does to a column that may not be NULL.
    change(path, "ALTER TABLE intents RENAME TO sound")
    columns = "number, began_at, NULL AS request, task_id, error, identity, label"
    change(path, f"CREATE TABLE intents AS SELECT {columns} FROM sound")
    for command in ("show", "check"):
        assert_damage(call(command, path), "is damaged")


@pytest.mark.parametrize("durations", ["[]", "{}", "{", "[" * 100_000])
def test_check_reports_damaged_durations(path: Path, durations: str) -> None:
    change(path, f"INSERT OR REPLACE INTO meta VALUES ('durations', '{durations}')")
    assert_damage(call("check", path))


@pytest.mark.parametrize("step", [5003, pytest.param(509, marks=pytest.mark.deep)])
def test_check_reports_a_journal_truncated_anywhere_without_a_traceback(
    path: Path, step: int
) -> None:
    content, exported = path.read_bytes(), call("export", path).stdout
    for length in range(1, len(content), step):
        path.write_bytes(content[:length])
        checked = call("check", path)
        if checked.exit_code == 0:
            # Only zeros were cut off, which SQLite tolerates.
            assert not content[length:].strip(b"\0"), length
            assert call("export", path).stdout == exported
            continue
        assert checked.exit_code == 1, length
        assert isinstance(checked.exception, SystemExit), length
        for side in path.parent.glob("*-*"):
            side.unlink()


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.deep)])
def test_flipped_bits_never_cause_a_traceback(path: Path, number: int) -> None:
    content = path.read_bytes()
    used = [place for place, byte in enumerate(content) if byte]
    draw = random.Random(number)
    for place in draw.sample(used, number):
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        for command in COMMANDS:
            result = call(command, path)
            assert result.exit_code in {0, 1}, (place, command)
            assert isinstance(result.exception, SystemExit | None), (place, command)
        for side in path.parent.glob("*-*"):
            side.unlink()


def test_a_call_without_a_journal_command_lists_the_commands() -> None:
    for command in COMMANDS:
        assert command in call().output
        assert call(command).exit_code == 2


def test_the_journal_commands_are_part_of_the_command_line() -> None:
    helped = run("--help")
    assert helped.returncode == 0
    assert "Inspect the journal of a batch." in helped.stdout
