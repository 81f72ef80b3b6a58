"""The command track, run as a process."""

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cli.in_process import assert_error, call
from cli.subprocesses import KEY, Run, ended, first_line, started, vocalsep
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


async def test_track_prints_a_line_per_task_with_exit_code_0(emulator: Emulator) -> None:
    ids = [emulator.add_task(duration=0), emulator.add_task(duration=0, type="split_stem")]
    run = await track(emulator, *ids)
    assert run.status == 0
    assert sorted(line.split()[0] for line in run.out) == sorted(ids)
    assert all("SUCCESS" in line and "vocal" in line for line in run.out)


async def test_track_reads_ids_from_arguments_a_file_and_standard_input(
    emulator: Emulator, tmp_path: Path
) -> None:
    ids = [emulator.add_task(duration=0) for _ in range(4)]
    file = tmp_path / "ids.txt"
    file.write_bytes(f"\ufeff{ids[0]}\r\n\r\n  {ids[1]}  \r\n".encode())
    run = await track(emulator, ids[2], "-", "--file", str(file), given=f"{ids[3]}\n")
    assert (run.status, len(run.out)) == (0, 4)


async def test_track_names_files_and_results_by_the_labels_of_a_csv(
    emulator: Emulator, tmp_path: Path
) -> None:
    file, to = tmp_path / "songs.csv", tmp_path / "stems"
    ids = [emulator.add_task(duration=0) for _ in range(3)]
    labels = ["Für Elise", "AC/DC", "für elise"]
    rows = [",".join(row) for row in zip(ids, labels, strict=True)]
    file.write_text("\n".join(["id,label", *rows]), "utf-8")
    words = ["--file", str(file), "--to", str(to), "--stem", "vocal", "--json"]
    run = await track(emulator, *words, "--template", "{label}{ext}")
    outcomes = {each["task_id"]: each for each in map(json.loads, run.out)}
    assert [outcomes[task_id]["label"] for task_id in ids] == labels
    # The third task has the name of the first, where file systems ignore case.
    saved = [task_id for task_id in ids if outcomes[task_id]["succeeded"]]
    assert (run.status, len(saved)) == (1, 2)
    assert {path.casefold() for path in names_below(to)} == {"für elise.wav", "ac_dc.wav"}
    (reason,) = (each["reason"] for each in outcomes.values() if each["reason"])
    assert "give one of them another label, or put {task_id} into --template" in reason


@pytest.mark.parametrize(
    "template, words",
    [
        (
            "{label}{ext}",
            (
                "--template must contain {stem}, or all stems would be one file; without it, "
                "ask for one stem, as in --stem vocal"
            ),
        ),
        ("{stem}{ext}", "--template must contain {task_id} or {label} in a batch"),
        ("{title}", "--template may hold {task_id}, {label}, {stem} and {ext}, and nothing else"),
    ],
)
def test_a_template_that_cannot_name_files_is_refused_before_any_request(
    vocalsep_emulator: Emulator, tmp_path: Path, template: str, words: str
) -> None:
    command = ("track", "a", "b", "--template", template, "--to", tmp_path)
    assert_error(call(vocalsep_emulator, *command), words)
    assert vocalsep_emulator.requests == ()


def test_a_template_without_a_folder_is_refused(vocalsep_emulator: Emulator) -> None:
    result = call(vocalsep_emulator, "track", "a", "--template", "{label}/{stem}{ext}")
    assert_error(result, "--template names files to save: add --to with a folder")


async def test_track_prints_json_with_the_saved_files(emulator: Emulator, tmp_path: Path) -> None:
    task_id = emulator.add_task(duration=0)
    run = await track(emulator, task_id, "--json", "--to", str(tmp_path))
    (outcome,) = map(json.loads, run.out)
    assert (outcome["task_id"], outcome["succeeded"], outcome["reason"]) == (task_id, True, None)
    assert {Path(path).name for path in outcome["files"].values()} == names_below(tmp_path)


async def test_a_failed_task_is_exit_code_1_and_does_not_affect_the_others(
    emulator: Emulator,
) -> None:
    good, bad = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    emulator.fail(bad)
    run = await track(emulator, good, bad)
    assert (run.status, len(run.out)) == (1, 2)


async def test_a_timeout_is_exit_code_4(emulator: Emulator) -> None:
    run = await track(emulator, emulator.add_task(duration=math.inf), "--timeout", "0")
    assert run.status == 4
    assert "1 task: 0 succeeded, 0 failed, 1 timed out; " in run.err
    assert "Wait again" in run.out[0]


async def test_an_invalid_key_is_exit_code_3(emulator: Emulator) -> None:
    emulator.inject(Fault.UNAUTHORIZED)
    run = await track(emulator, emulator.add_task(duration=0))
    assert run.status == 3


USAGE_ERRORS: list[tuple[tuple[str, ...], str]] = [
    ((), "--journal"),
    (("--file", "/no/such/file"), "No such file"),
    (("--journal", "/no/such/folder/j"), "No such file"),
    ((" ",), "argument: "),
    (("two words",), "one id per line"),
    (("an-id", "--stem", "vocal"), "add --to with a folder"),
    (("an-id", "--to", "stems", "--stem", "vocals"), "did you mean vocal?"),
    (("an-id", "--to", "stems", "--stem", "drumz"), "did you mean drums?"),
    (("an-id", "--to", "/proc/no-such-folder"), "/proc/no-such-folder: "),
    (("an-id", "--report", "/"), "/: Is a directory"),
]


@pytest.mark.parametrize("words, hint", USAGE_ERRORS)
def test_a_usage_error_is_one_error_line_before_any_request(
    vocalsep_emulator: Emulator, words: tuple[str, ...], hint: str
) -> None:
    assert_error(call(vocalsep_emulator, "track", *words), hint)
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize(
    "words, hint", sampled([pytest.param(*each) for each in USAGE_ERRORS], one_in=3)
)
async def test_a_usage_error_is_exit_code_2_and_one_sentence(
    emulator: Emulator, words: tuple[str, ...], hint: str
) -> None:
    run = await track(emulator, *words)
    assert (run.status, run.out, emulator.requests) == (2, [], ())
    assert hint in run.err
    assert len(run.err.splitlines()) == 1


async def test_track_without_a_key_names_the_variable_to_set(emulator: Emulator) -> None:
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
async def test_the_same_command_continues_after_a_signal(
    emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    words = (done, still, "--journal", str(tmp_path / "journal"))
    process = await started(emulator, "track", *words)
    assert done in await first_line(process)
    process.send_signal(number)
    run = await ended(process)
    assert run.status == 130
    assert "interrupted with 1 task still pending" in run.err
    asked = len(emulator.requests)
    emulator.finish(still)
    run = await track(emulator, *words)
    assert (run.status, len(run.out)) == (0, 2)
    assert {each.task_id for each in emulator.requests[asked:]} == {still}


async def test_an_interruption_without_a_journal_warns_of_lost_progress(emulator: Emulator) -> None:
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    process = await started(emulator, "track", done, still)
    await first_line(process)
    process.send_signal(signal.SIGINT)
    run = await ended(process)
    assert run.status == 130
    assert "progress is lost without --journal" in run.err


async def test_a_second_signal_ends_the_command_and_leaves_the_journal_intact(
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


async def test_track_reads_ids_as_standard_input_delivers_them(emulator: Emulator) -> None:
    ids = [emulator.add_task(duration=0) for _ in range(2)]
    process = await started(emulator, "track", "-")
    assert process.stdin is not None
    for task_id in ids:
        process.stdin.write(f"{task_id}\n".encode())
        assert task_id in await first_line(process)
    run = await ended(process)
    assert (run.status, run.out) == (0, [])


async def test_an_invalid_line_of_standard_input_is_skipped_with_exit_code_1(
    emulator: Emulator,
) -> None:
    task_id = emulator.add_task(duration=0)
    run = await track(emulator, "-", given=f"two words\n{task_id}\n")
    assert run.status == 1
    assert task_id in run.out[0]
    assert "line skipped: standard input: 'two words'" in run.err


async def test_a_closed_standard_input_is_one_sentence(emulator: Emulator) -> None:
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
    assert run.err == "standard input is closed: no ids can be read from it\n"


async def test_track_into_a_closed_pipe_prints_no_traceback(emulator: Emulator) -> None:
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


async def test_quiet_prints_results_only(emulator: Emulator) -> None:
    good, bad = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    emulator.fail(bad, message="no vocals in it")
    run = await vocalsep(emulator, "-q", "track", good, bad)
    assert (run.status, len(run.out), run.err) == (1, 2, "")
    assert any("no vocals in it" in line for line in run.out)


async def test_track_ends_with_a_summary(emulator: Emulator) -> None:
    run = await track(emulator, emulator.add_task(duration=0))
    assert "1 task: 1 succeeded, 0 failed; 1 request, 0 throttled" in run.err


@pytest.mark.parametrize("command", ["wait", "track"])
async def test_wait_and_track_print_the_same_json(emulator: Emulator, command: str) -> None:
    task_id = emulator.add_task(duration=0)
    run = await vocalsep(emulator, command, task_id, "--type", "separate_vocal", "--json")
    assert json.loads(run.out[0])["task_id"] == task_id
    assert run.status == 0


async def test_download_saves_only_the_selected_stems(emulator: Emulator, tmp_path: Path) -> None:
    task_id = emulator.add_task(duration=0, type="split_stem")
    words = (task_id, "--to", str(tmp_path), "--stem", "drums", "--stem", "bass")
    run = await vocalsep(emulator, "download", *words)
    assert run.status == 0
    assert names_below(tmp_path) == {"drums.wav", "bass.wav"}
    fetched = len(emulator.requests)
    run = await vocalsep(emulator, "download", *words)
    assert (run.status, len(emulator.requests)) == (0, fetched + 1)


async def test_an_interrupted_run_writes_its_report(emulator: Emulator, tmp_path: Path) -> None:
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


async def test_all_lines_of_a_file_are_checked_before_the_first_request(
    emulator: Emulator, tmp_path: Path
) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"id-{number}\n" for number in range(100_000)) + "two words\n")
    run = await track(emulator, "--file", str(file))
    assert (run.status, emulator.requests) == (2, ())
    assert f"{file}, line 100001: 'two words'" in run.err
