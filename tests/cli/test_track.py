"""The command that follows tasks, run as its users run it."""

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cli.commands import KEY, Run, ended, first_line, started, vocalsep
from sampling import sampled

from vocalsep_async.emulator import Emulator, Fault

pytestmark = pytest.mark.anyio


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        yield emulator


async def track(emulator: Emulator, *words: str, given: str = "") -> Run:
    return await vocalsep(emulator, "track", *words, given=given)


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.wav")}


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
    sampled(
        [
            pytest.param((), "--journal"),
            pytest.param(("--file", "/no/such/file"), "No such file"),
            pytest.param(("--journal", "/no/such/folder/j"), "No such file"),
            pytest.param((" ",), "the arguments: "),
            pytest.param(("two words",), "one id a line"),
            pytest.param(("an-id", "--stem", "vocal"), "say where, with --to"),
            pytest.param(("an-id", "--to", "/proc/no-such-folder"), "/proc/no-such-folder: "),
            pytest.param(("an-id", "--report", "/"), "/: Is a directory"),
        ],
        one_in=3,
    ),
)
async def test_what_cannot_be_done_is_status_2_and_one_sentence(
    emulator: Emulator, words: tuple[str, ...], hint: str
) -> None:
    run = await track(emulator, *words)
    assert (run.status, run.out, emulator.requests) == (2, [], ())
    assert hint in run.err
    assert len(run.err.splitlines()) == 1


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
    process = await started(emulator, "track", *words)
    assert done in await first_line(process)
    process.send_signal(number)
    run = await ended(process)
    assert run.status == 130
    assert "stopped with 1 task open" in run.err
    asked = len(emulator.requests)
    emulator.finish(still)
    run = await track(emulator, *words)
    assert (run.status, len(run.out)) == (0, 2)
    assert {each.task_id for each in emulator.requests[asked:]} == {still}


async def test_without_a_journal_it_says_that_nothing_is_kept(emulator: Emulator) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    process = await started(emulator, "track", done, still)
    await first_line(process)
    process.send_signal(signal.SIGINT)
    run = await ended(process)
    assert run.status == 130
    assert "nothing of it is kept" in run.err


async def test_a_second_signal_ends_it_at_once_and_leaves_a_sound_journal(
    emulator: Emulator, tmp_path: Path
) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    words = (done, still, "--journal", str(tmp_path / "journal"))
    process = await started(emulator, "track", *words)
    await first_line(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    run = await ended(process)
    assert run.status == 130
    emulator.finish(still)
    run = await track(emulator, *words)
    assert (run.status, len(run.out)) == (0, 2)


async def test_ids_are_tracked_as_they_come(emulator: Emulator) -> None:
    ids = [emulator.add_task(duration=0) for _ in range(2)]
    process = await started(emulator, "track", "-")
    assert process.stdin is not None
    for task_id in ids:
        process.stdin.write(f"{task_id}\n".encode())
        assert task_id in await first_line(process)
    run = await ended(process)
    assert (run.status, run.out) == (0, [])


async def test_a_line_of_standard_input_that_is_no_id_is_left_out_and_status_1(
    emulator: Emulator,
) -> None:
    task_id = emulator.add_task(duration=0)
    run = await track(emulator, "-", given=f"two words\n{task_id}\n")
    assert run.status == 1
    assert task_id in run.out[0]
    assert "left out: standard input: 'two words'" in run.err


async def test_a_standard_input_that_is_closed_is_one_sentence(emulator: Emulator) -> None:
    command = f"{sys.executable} -m vocalsep_async track - <&-"
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    process = await asyncio.create_subprocess_shell(
        command,
        env={**os.environ, **account},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    run = await ended(process)
    assert (run.status, run.out) == (2, [])
    assert run.err == "standard input is closed: nothing can be read from it\n"


async def test_somebody_who_reads_one_line_only_gets_no_traceback(emulator: Emulator) -> None:
    ids = " ".join(emulator.add_task(duration=0) for _ in range(20))
    account = {"VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url}
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m vocalsep_async -q track {ids} | head -1",
        env={**os.environ, **account},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    run = await ended(process)
    assert len(run.out) == 1


async def test_quiet_leaves_results_and_errors(emulator: Emulator) -> None:
    good, bad = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    emulator.fail(bad, message="no vocals in it")
    run = await vocalsep(emulator, "-q", "track", good, bad)
    assert (run.status, len(run.out), run.err) == (1, 2, "")
    assert any("no vocals in it" in line for line in run.out)


async def test_at_the_end_it_says_what_came_of_it(emulator: Emulator) -> None:
    run = await track(emulator, emulator.add_task(duration=0))
    assert "1 task: 1 succeeded, 0 failed; 1 request, 0 refused" in run.err


@pytest.mark.parametrize("command", ["wait", "track"])
async def test_waiting_is_tracking(emulator: Emulator, command: str) -> None:
    task_id = emulator.add_task(duration=0)
    run = await vocalsep(emulator, command, task_id, "--type", "separate_vocal", "--json")
    assert json.loads(run.out[0])["task_id"] == task_id
    assert run.status == 0


async def test_downloading_saves_the_stems_that_are_named(
    emulator: Emulator, tmp_path: Path
) -> None:
    task_id = emulator.add_task(duration=0, type="split_stem")
    words = (task_id, "--to", str(tmp_path), "--stem", "drums", "--stem", "bass")
    run = await vocalsep(emulator, "download", *words)
    assert run.status == 0
    assert names_below(tmp_path) == {"drums.wav", "bass.wav"}
    fetched = len(emulator.requests)
    run = await vocalsep(emulator, "download", *words)
    assert (run.status, len(emulator.requests)) == (0, fetched + 1)


async def test_a_report_is_written_also_when_it_is_stopped(
    emulator: Emulator, tmp_path: Path
) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    page = tmp_path / "pages" / "report.html"
    words = (done, still, "--to", str(tmp_path / "stems"), "--report", str(page))
    process = await started(emulator, "track", *words)
    await first_line(process)
    process.send_signal(signal.SIGTERM)
    run = await ended(process)
    assert run.status == 130
    assert f"report: {page}" in run.err
    content = page.read_text("utf-8")
    assert done in content
    assert KEY not in content


async def test_a_hundred_thousand_lines_are_read_before_anything_is_asked(
    emulator: Emulator, tmp_path: Path
) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"id-{number}\n" for number in range(100_000)) + "two words\n")
    run = await track(emulator, "--file", str(file))
    assert (run.status, emulator.requests) == (2, ())
    assert f"{file}, line 100001: 'two words'" in run.err
