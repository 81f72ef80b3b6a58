"""The command that follows tasks, run as its users run it."""

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from vocalsep_async.emulator import Emulator, Fault

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

KEY = "sk-0123456789abcdef"
SOON = 60.0


class Run(NamedTuple):
    status: int
    out: list[str]
    err: str


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        yield emulator


async def started(
    emulator: Emulator, *words: str, given: str | None = None
) -> asyncio.subprocess.Process:
    environ = {**os.environ, "VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "vocalsep_async", "track", *words),
        env=environ | {"NO_COLOR": "1", "COLUMNS": "200"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write((given or "").encode())
    process.stdin.close()
    return process


async def ended(process: asyncio.subprocess.Process) -> Run:
    async with asyncio.timeout(SOON):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err
    assert KEY.encode() not in out + err
    return Run(process.returncode, out.decode().splitlines(), err.decode())


async def track(emulator: Emulator, *words: str, given: str | None = None) -> Run:
    return await ended(await started(emulator, *words, given=given))


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.wav")}


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(SOON):
        return (await process.stdout.readline()).decode()


async def test_each_task_gets_a_line_and_all_succeeding_is_status_0(emulator: Emulator) -> None:
    ids = [emulator.add_task(duration=0), emulator.add_task(duration=0, type="split_stem")]
    run = await track(emulator, *ids)
    assert run.status == 0
    assert sorted(line.split()[0] for line in run.out) == sorted(ids)
    assert all("SUCCESS" in line and "vocal" in line for line in run.out)


async def test_ids_come_from_a_file_and_from_standard_input(
    emulator: Emulator, tmp_path: Path
) -> None:
    ids = [emulator.add_task(duration=0) for _ in range(4)]
    file = tmp_path / "ids.txt"
    file.write_bytes(f"\ufeff{ids[0]}\r\n\r\n  {ids[1]}  \r\n".encode())
    run = await track(emulator, ids[2], "-", "--file", str(file), given=f"{ids[3]}\n")
    assert (run.status, len(run.out)) == (0, 4)


async def test_json_is_one_object_a_line_with_the_files(emulator: Emulator, tmp_path: Path) -> None:
    task_id = emulator.add_task(duration=0)
    run = await track(emulator, task_id, "--json", "--to", str(tmp_path))
    (told,) = map(json.loads, run.out)
    assert (told["task_id"], told["ok"], told["error"]) == (task_id, True, None)
    assert {Path(path).name for path in told["files"].values()} == names_below(tmp_path)


async def test_a_task_that_failed_is_status_1_and_hurts_no_other(emulator: Emulator) -> None:
    good, bad = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    emulator.fail(bad)
    run = await track(emulator, good, bad)
    assert (run.status, len(run.out)) == (1, 2)


async def test_running_out_of_time_is_status_4(emulator: Emulator) -> None:
    run = await track(emulator, emulator.add_task(duration=math.inf), "--timeout", "0")
    assert run.status == 4
    assert "wait again" in run.out[0]


async def test_a_dead_key_is_status_3(emulator: Emulator) -> None:
    emulator.inject(Fault.UNAUTHORIZED)
    run = await track(emulator, emulator.add_task(duration=0))
    assert run.status == 3


@pytest.mark.parametrize(
    "words, hint",
    [
        ((), "--journal"),
        (("--file", "/no/such/file"), "No such file"),
        (("--journal", "/no/such/folder/j"), "No such file"),
        ((" ",), "empty"),
    ],
)
async def test_what_cannot_be_done_is_status_2_and_one_sentence(
    emulator: Emulator, words: tuple[str, ...], hint: str
) -> None:
    run = await track(emulator, *words)
    assert (run.status, run.out) == (2, [])
    assert hint in run.err


async def test_without_a_key_it_says_which_variable_to_set(emulator: Emulator) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "vocalsep_async", "track", "an-id"),
        env={name: value for name, value in os.environ.items() if not name.startswith("VOCALSEP")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    run = await ended(process)
    assert run.status == 2
    assert "VOCALSEP_API_KEY" in run.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_and_the_same_command_goes_on(
    emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    words = (done, still, "--journal", str(tmp_path / "journal"))
    process = await started(emulator, *words)
    assert done in await first_line(process)
    process.send_signal(number)
    run = await ended(process)
    assert run.status == 130
    assert "1 tasks are open" in run.err
    asked = len(emulator.requests)
    emulator.finish(still)
    run = await track(emulator, *words)
    assert (run.status, len(run.out)) == (0, 2)
    assert {each.task_id for each in emulator.requests[asked:]} == {still}


async def test_without_a_journal_it_says_that_nothing_is_kept(emulator: Emulator) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    process = await started(emulator, done, still)
    await first_line(process)
    process.send_signal(signal.SIGINT)
    run = await ended(process)
    assert run.status == 130
    assert "not kept" in run.err


async def test_a_second_signal_ends_it_at_once_and_leaves_a_sound_journal(
    emulator: Emulator, tmp_path: Path
) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    words = (done, still, "--journal", str(tmp_path / "journal"))
    process = await started(emulator, *words)
    await first_line(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    run = await ended(process)
    assert run.status == 130
    emulator.finish(still)
    run = await track(emulator, *words)
    assert (run.status, len(run.out)) == (0, 2)
