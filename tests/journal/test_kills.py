"""Batches that are killed: the next run loses no outcome, and polls no finished task again.

VOCALSEP_KILLS is the number of kills in the sweep, spread over all system calls that change the
disk; by default a sample of them.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from downloads.hosts import traced, why_no_strace
from journal.contents import files_of, rows_in
from sampling import sampled

from vocalsep_async import TaskOutcome, VocalSepClient
from vocalsep_async.emulator import Emulator

KILLS = int(os.environ.get("VOCALSEP_KILLS", "12"))
PROGRAM = Path(__file__).with_name("batch_program.py")
CALLS = "pwrite64,write,fsync,fdatasync,ftruncate,?unlink,?unlinkat,?rename,?renameat,?renameat2"
IDS = [f"task-{number}" for number in range(12)]
PATIENCE = 60.0
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
"""Coverage measurement writes files too, and would meet the faults meant for the journal."""

needs_strace = pytest.mark.skipif(why_no_strace() is not None, reason=str(why_no_strace()))


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None}


@pytest.fixture
def emulator(vocalsep_emulator: Emulator) -> Emulator:
    for task_id in IDS:
        vocalsep_emulator.add_task(task_id, duration=0)
    return vocalsep_emulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


def tracking(emulator: Emulator, path: Path, **options: Any) -> list[str]:
    arguments = {"url": emulator.url, "journal": str(path), "ids": IDS, **options}
    return [sys.executable, str(PROGRAM), json.dumps(arguments)]


def said_in(output: bytes) -> list[tuple[str, Any]]:
    """The lines that a program printed, without an incomplete last one."""
    lines = output.splitlines(keepends=True)
    return [tuple(json.loads(line)) for line in lines if line.endswith(b"\n")]


def said_by(command: list[str]) -> list[tuple[str, Any]]:
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=ENVIRON, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return said_in(done.stdout)


def handed_out(said: list[tuple[str, Any]]) -> list[str]:
    return [value for word, value in said if word == "outcome"]


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRON) as process:
        try:
            yield process
        finally:
            process.kill()


def until_handed_out(process: subprocess.Popen[bytes], number: int) -> list[str]:
    """Read until that many outcomes were printed."""
    said: list[tuple[str, Any]] = []
    assert process.stdout is not None
    while len(handed_out(said)) < number:
        line = process.stdout.readline()
        assert line, "the program ended early"
        said += said_in(line)
    return handed_out(said)


def rest_of(process: subprocess.Popen[bytes]) -> list[tuple[str, Any]]:
    output, _ = process.communicate(timeout=PATIENCE)
    return said_in(output)


async def outcomes_of_the_next_run(
    emulator: Emulator, path: Path, ids: list[str]
) -> tuple[list[TaskOutcome], set[str | None]]:
    """The outcomes of the next run, and the tasks that it polled."""
    began = time.monotonic()
    async with (
        VocalSepClient("a-key", base_url=emulator.url, rate_limit=None) as client,
        client.track(ids, journal=path) as batch,
    ):
        outcomes = [outcome async for outcome in batch]
        assert batch.pending_ids() == ()
    return outcomes, {each.task_id for each in emulator.requests if each.at >= began}


async def assert_the_next_run_finishes(
    emulator: Emulator, path: Path, handed: list[str], ids: list[str] = IDS
) -> None:
    assert len(handed) == len(set(handed))
    outcomes, asked = await outcomes_of_the_next_run(emulator, path, ids)
    assert asked.isdisjoint(handed)
    assert sorted(outcome.task_id for outcome in outcomes) == sorted(IDS)
    for outcome in outcomes:
        assert outcome.succeeded
        assert outcome.task is not None
        assert outcome.task.task_id == outcome.task_id
    assert files_of(path) == [path]
    again, asked = await outcomes_of_the_next_run(emulator, path, [])
    assert sorted(outcome.task_id for outcome in again) == sorted(IDS)
    assert asked == set()


def killed_at(call: str, when: int, emulator: Emulator, path: Path) -> list[str]:
    """The outcomes handed out before the kill; an earlier call is used if there are fewer."""
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
    command = [*traced(*inject), *tracking(emulator, path)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=ENVIRON, check=False)
    if done.returncode == 0 and when > 1:
        for file in files_of(path):
            file.unlink()
        return killed_at(call, when // 2, emulator, path)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    return handed_out(said_in(done.stdout))


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """The system calls of an undisturbed run that change the disk: name and number of each."""
    folder = tmp_path_factory.mktemp("undisturbed")
    log, path = folder / "log", folder / "batch.journal"
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Emulator(rate_limit=None)) as emulator,
    ):
        for task_id in IDS:
            emulator.add_task(task_id, duration=0)
        command = [*traced("-e", f"trace={CALLS}", log=str(log)), *tracking(emulator, path)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, env=ENVIRON)
    calls = re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE)
    numbers: dict[str, int] = {}
    for (_, call), number in Counter(calls).items():
        numbers[call] = max(numbers.get(call, 0), number)
    assert {"pwrite64", "fdatasync", "unlink"} <= set(numbers)
    return [(call, n + 1) for call, number in sorted(numbers.items()) for n in range(number)]


@needs_strace
@pytest.mark.anyio
@pytest.mark.parametrize("nth", sampled(range(KILLS), one_in=4))
async def test_a_kill_at_any_call_loses_nothing_that_was_handed_out(
    emulator: Emulator, path: Path, points: list[tuple[str, int]], nth: int
) -> None:
    call, when = points[(2 * nth + 1) * len(points) // (2 * KILLS) % len(points)]
    handed = killed_at(call, when, emulator, path)
    await assert_the_next_run_finishes(emulator, path, handed)


@pytest.mark.anyio
@pytest.mark.parametrize("number", [1, len(IDS)])
async def test_a_kill_after_any_outcome_loses_none_without_ids_being_given_again(
    emulator: Emulator, path: Path, number: int
) -> None:
    with running(tracking(emulator, path)) as process:
        handed = until_handed_out(process, number)
        process.kill()
        handed += handed_out(rest_of(process))
    await assert_the_next_run_finishes(emulator, path, handed, ids=[])


@pytest.mark.anyio
async def test_a_batch_that_is_killed_repeatedly_finishes(emulator: Emulator, path: Path) -> None:
    handed: list[str] = []
    for number in (2, 6):
        with running(tracking(emulator, path)) as process:
            handed = until_handed_out(process, number)
            process.kill()
            handed += handed_out(rest_of(process))
    await assert_the_next_run_finishes(emulator, path, handed)


def tracking_two_that_never_end(emulator: Emulator, path: Path) -> tuple[list[str], list[str]]:
    endless = [emulator.add_task(f"endless-{n}", duration=math.inf) for n in range(2)]
    return endless, tracking(emulator, path, ids=IDS + endless)


@pytest.mark.anyio
async def test_a_batch_that_is_stopped_has_written_everything_and_names_its_pending_tasks(
    emulator: Emulator, path: Path
) -> None:
    endless, command = tracking_two_that_never_end(emulator, path)
    with running(command) as process:
        handed = until_handed_out(process, len(IDS))
        process.send_signal(signal.SIGTERM)
        said = rest_of(process)
    assert process.returncode == 0
    assert said == [("pending", endless)]
    assert sorted(handed) == sorted(IDS)
    assert files_of(path) == [path]
    assert {row.task_id for row in rows_in(path) if row.record is None} == set(endless)
    for task_id in endless:
        emulator.finish(task_id)
    outcomes, asked = await outcomes_of_the_next_run(emulator, path, [])
    assert {outcome.task_id for outcome in outcomes} == {*IDS, *endless}
    assert asked == set(endless)


@pytest.mark.anyio
async def test_a_batch_that_is_stopped_half_way_loses_no_id(emulator: Emulator, path: Path) -> None:
    with running(tracking(emulator, path)) as process:
        handed = until_handed_out(process, 1)
        process.send_signal(signal.SIGTERM)
        said = rest_of(process)
    handed += handed_out(said)
    pending = [task_id for word, ids in said if word == "pending" for task_id in ids]
    assert set(handed).isdisjoint(pending)
    ended = {row.task_id for row in rows_in(path) if row.record is not None}
    assert set(handed) <= ended
    assert {row.task_id for row in rows_in(path)} == set(IDS)
    assert set(IDS) - ended <= set(pending) <= set(IDS)
    await assert_the_next_run_finishes(emulator, path, handed)


@pytest.mark.anyio
async def test_a_second_process_on_the_same_journal_is_refused_and_sends_nothing(
    emulator: Emulator, path: Path
) -> None:
    _, command = tracking_two_that_never_end(emulator, path)
    advice = "wait for it, or use another journal"
    with running(command) as process:
        until_handed_out(process, len(IDS))
        assert said_by(tracking(emulator, path, url="http://127.0.0.1:1")) == [
            ("error", f"{path} is in use by process {process.pid}; {advice}")
        ]
        process.kill()
        process.wait()
    with running(command) as process:
        assert sorted(until_handed_out(process, len(IDS))) == sorted(IDS)


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [0, 4096, 30_000])
async def test_a_file_that_cannot_grow_ends_the_batch_with_an_error(
    emulator: Emulator, path: Path, limit: int
) -> None:
    said = said_by(tracking(emulator, path, limit=limit))
    assert [word for word, _ in said if word == "error"] == ["error"]
    assert str(path) in said[-1][1]
    await assert_the_next_run_finishes(emulator, path, handed_out(said))


@needs_strace
@pytest.mark.anyio
@pytest.mark.parametrize(
    "calls, error, when",
    [
        pytest.param("pwrite64", "ENOSPC", "1+", id="full from the start"),
        pytest.param("pwrite64", "ENOSPC", "30+", id="full after a while"),
        pytest.param("pwrite64", "EIO", "25", id="broken once"),
        pytest.param("fsync,fdatasync", "EIO", "1+", id="nothing reaches the disk"),
    ],
)
async def test_a_failed_system_call_ends_the_batch_with_an_error(
    emulator: Emulator, path: Path, calls: str, error: str, when: str
) -> None:
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    said = said_by([*traced("--seccomp-bpf", *inject), *tracking(emulator, path)])
    assert [word for word, _ in said if word == "error"] == ["error"]
    assert str(path) in said[-1][1]
    await assert_the_next_run_finishes(emulator, path, handed_out(said))
