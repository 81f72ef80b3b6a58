"""The commands of one request: get, create and credits."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cli.in_process import assert_error, call
from cli.subprocesses import vocalsep

from vocalsep_async.emulator import Emulator, Fault

SONG = ("--audio-url", "https://example.com/song.mp3")
HOOK = ("--callback-url", "https://example.com/hook")


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        yield emulator


# As processes


@pytest.mark.anyio
async def test_get_prints_the_status_and_the_links(emulator: Emulator) -> None:
    task_id = emulator.add_task(duration=0)
    run = await vocalsep(emulator, "get", task_id)
    assert (run.status, run.err) == (0, "")
    first, *stems = run.out
    assert first == f"{task_id}  SUCCESS"
    assert [each.split()[0] for each in stems] == ["instrumental", "vocal"]
    assert all(each.split()[1].startswith(f"{emulator.url}/files/") for each in stems)
    assert len(emulator.requests) == 1


@pytest.mark.anyio
async def test_create_prints_the_id_and_records_it_in_the_journal(
    emulator: Emulator, tmp_path: Path
) -> None:
    journal = tmp_path / "batch.journal"
    words = (*SONG, *HOOK, "--type", "split_stem", "--journal", str(journal))
    run = await vocalsep(emulator, "create", *words)
    assert (run.status, run.err) == (0, "")
    assert run.out == list(emulator.tasks)
    kept = await vocalsep(emulator, "journal", "export", str(journal))
    (exported,) = map(json.loads, kept.out)
    assert (exported["task_id"], exported["type"]) == (run.out[0], "split_stem")
    # A batch with this journal tracks the created task.
    emulator.finish(run.out[0])
    tracked = await vocalsep(emulator, "track", "--journal", str(journal))
    assert (tracked.status, len(tracked.out)) == (0, 1)


@pytest.mark.anyio
async def test_credits_prints_a_number(emulator: Emulator) -> None:
    run = await vocalsep(emulator, "credits")
    assert run == (0, ["1000"], "")


@pytest.mark.anyio
async def test_every_command_prints_only_objects_with_json(
    emulator: Emulator, tmp_path: Path
) -> None:
    good, bad = emulator.add_task(duration=0), emulator.add_task(duration=math.inf)
    emulator.fail(bad)
    for words, status, lines in (
        (("get", good), 0, 1),
        (("wait", good, bad), 1, 2),
        (("track", good, bad), 1, 2),
        (("download", good, bad, "--to", str(tmp_path)), 1, 2),
        (("credits",), 0, 1),
        (("create", *SONG, *HOOK), 0, 1),
    ):
        run = await vocalsep(emulator, *words, "--json")
        assert (run.status, len(run.out)) == (status, lines), words
        assert all(isinstance(json.loads(line), dict) for line in run.out), words


# get


def test_get_prints_json(vocalsep_emulator: Emulator) -> None:
    task_id = vocalsep_emulator.add_task(duration=0, type="split_stem")
    task = json.loads(call(vocalsep_emulator, "get", task_id, "--json").stdout)
    assert (task["task_id"], task["status"], task["reason"]) == (task_id, "SUCCESS", None)
    assert len(task["stems"]) == 12
    assert task["created_at"] <= task["completed_at"]


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_get_of_a_pending_task_is_exit_code_0(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    task_id = vocalsep_emulator.add_task(duration=math.inf)
    result = call(vocalsep_emulator, "get", task_id, *words)
    assert result.exit_code == 0
    assert "PENDING" in result.stdout
    assert len(vocalsep_emulator.requests) == 1


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_get_prints_a_failed_task_with_exit_code_1(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    task_id = vocalsep_emulator.add_task(duration=math.inf)
    vocalsep_emulator.fail(task_id, message="no vocals in it")
    result = call(vocalsep_emulator, "get", task_id, *words)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "GENERATE_AUDIO_FAILED" in result.stdout
    assert "no vocals in it" in result.stdout


def test_get_of_an_unknown_task_is_exit_code_1(vocalsep_emulator: Emulator) -> None:
    assert_error(call(vocalsep_emulator, "get", "an-id"), "Check the task id", status=1)


@pytest.mark.parametrize("words", [("get", "an-id"), ("credits",), ("create", *SONG, *HOOK)])
def test_an_invalid_key_is_exit_code_3(vocalsep_emulator: Emulator, words: tuple[str, ...]) -> None:
    vocalsep_emulator.inject(Fault.UNAUTHORIZED)
    assert_error(call(vocalsep_emulator, *words), "Check the API key, and whether", status=3)


@pytest.mark.parametrize("given", ["", " ", "x" * 513])
def test_get_of_an_invalid_id_is_refused_before_any_request(
    vocalsep_emulator: Emulator, given: str
) -> None:
    assert_error(call(vocalsep_emulator, "get", given), "task id")
    assert vocalsep_emulator.requests == ()


def test_maintenance_is_reported_with_exit_code_1(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.maintenance = True
    assert_error(call(vocalsep_emulator, "get", "an-id"), "under maintenance", status=1)


# create


def test_create_prints_json(vocalsep_emulator: Emulator) -> None:
    words = ("--type", "split_stem_advanced", "--stem-name", "piano", "--json")
    result = call(vocalsep_emulator, "create", *SONG, *HOOK, *words)
    assert json.loads(result.stdout) == {
        "task_id": vocalsep_emulator.tasks[0],
        "type": "split_stem_advanced",
    }


def test_create_accepts_a_track_of_a_music_task(vocalsep_emulator: Emulator) -> None:
    words = ("--source-task-id", "a-music-task", "--audio-id", "a-track")
    result = call(vocalsep_emulator, "create", *words, *HOOK)
    assert result.stdout.split() == list(vocalsep_emulator.tasks)


def test_a_create_needs_no_callback_url(vocalsep_emulator: Emulator) -> None:
    result = call(vocalsep_emulator, "create", *SONG)
    assert result.exit_code == 0
    assert (result.stdout.strip(),) == vocalsep_emulator.tasks


def test_missing_credits_are_exit_code_3(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.inject(Fault.NO_CREDITS)
    assert_error(call(vocalsep_emulator, "create", *SONG, *HOOK), "Top up the account.", status=3)
    assert vocalsep_emulator.tasks == ()


@pytest.mark.parametrize(
    "words",
    [
        HOOK,
        (*SONG, "--callback-url", "no url"),
        ("--audio-url", "song.mp3", *HOOK),
        ("--source-task-id", "a-music-task", *HOOK),
        (*SONG, "--source-task-id", "a-music-task", "--audio-id", "a-track", *HOOK),
        (*SONG, *HOOK, "--type", "karaoke"),
        (*SONG, *HOOK, "--journal", "/no/such/folder/batch.journal"),
    ],
)
def test_a_create_with_invalid_arguments_is_exit_code_2_without_a_request(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    result = call(vocalsep_emulator, "create", *words)
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert vocalsep_emulator.requests == ()


# credits


def test_credits_prints_json(vocalsep_emulator: Emulator) -> None:
    result = call(vocalsep_emulator, "credits", "--json")
    assert json.loads(result.stdout) == {"credits": 1000}


class TestRichAccounts:
    @pytest.fixture
    def vocalsep_emulator_options(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {"credits": request.param}

    @pytest.mark.parametrize("vocalsep_emulator_options", [0, 999_999, 1_234_567], indirect=True)
    def test_credits_are_printed_exactly(self, vocalsep_emulator: Emulator) -> None:
        shown = call(vocalsep_emulator, "credits").stdout.strip()
        assert float(shown) == vocalsep_emulator.credits_left
        assert "e" not in shown
