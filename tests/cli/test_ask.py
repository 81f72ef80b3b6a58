"""The commands that ask once: get, create and credits."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cli.commands import vocalsep
from cli.inside import call, throttled

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


# As users run them


@pytest.mark.anyio
async def test_get_shows_how_a_task_stands_and_its_links(emulator: Emulator) -> None:
    task_id = emulator.add_task(duration=0)
    run = await vocalsep(emulator, "get", task_id)
    assert (run.status, run.err) == (0, "")
    first, *stems = run.out
    assert first == f"{task_id}  SUCCESS"
    assert [each.split()[0] for each in stems] == ["instrumental", "vocal"]
    assert all(each.split()[1].startswith(f"{emulator.url}/files/") for each in stems)
    assert len(emulator.requests) == 1


@pytest.mark.anyio
async def test_create_prints_the_id_alone_and_writes_it_down(
    emulator: Emulator, tmp_path: Path
) -> None:
    journal = tmp_path / "batch.journal"
    words = (*SONG, *HOOK, "--type", "split_stem", "--journal", str(journal))
    run = await vocalsep(emulator, "create", *words)
    assert (run.status, run.err) == (0, "")
    assert run.out == list(emulator.tasks)
    kept = await vocalsep(emulator, "journal", "export", str(journal))
    (told,) = map(json.loads, kept.out)
    assert (told["task_id"], told["type"]) == (run.out[0], "split_stem")
    # The same journal goes on with what was created.
    emulator.finish(run.out[0])
    tracked = await vocalsep(emulator, "track", "--journal", str(journal))
    assert (tracked.status, len(tracked.out)) == (0, 1)


@pytest.mark.anyio
async def test_credits_are_a_number(emulator: Emulator) -> None:
    run = await vocalsep(emulator, "credits")
    assert run == (0, ["1000"], "")


@pytest.mark.anyio
async def test_with_json_every_command_prints_objects_and_nothing_else(
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


def test_get_for_programs_is_an_object(vocalsep_emulator: Emulator) -> None:
    task_id = vocalsep_emulator.add_task(duration=0, type="split_stem")
    told = json.loads(call(vocalsep_emulator, "get", task_id, "--json").stdout)
    assert (told["task_id"], told["status"], told["error"]) == (task_id, "SUCCESS", None)
    assert len(told["stems"]) == 12
    assert told["created_at"] <= told["completed_at"]


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_task_that_goes_on_is_no_failure(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    task_id = vocalsep_emulator.add_task(duration=math.inf)
    result = call(vocalsep_emulator, "get", task_id, *words)
    assert result.exit_code == 0
    assert "PENDING" in result.stdout
    assert len(vocalsep_emulator.requests) == 1


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_task_that_failed_is_status_1_and_shown_all_the_same(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    task_id = vocalsep_emulator.add_task(duration=math.inf)
    vocalsep_emulator.fail(task_id, message="no vocals in it")
    result = call(vocalsep_emulator, "get", task_id, *words)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "GENERATE_AUDIO_FAILED" in result.stdout
    assert "no vocals in it" in result.stdout


def test_a_task_that_nobody_knows_is_status_1(vocalsep_emulator: Emulator) -> None:
    throttled(call(vocalsep_emulator, "get", "an-id"), "Check the task id", status=1)


@pytest.mark.parametrize("words", [("get", "an-id"), ("credits",), ("create", *SONG, *HOOK)])
def test_a_dead_key_is_status_3(vocalsep_emulator: Emulator, words: tuple[str, ...]) -> None:
    vocalsep_emulator.inject(Fault.UNAUTHORIZED)
    throttled(call(vocalsep_emulator, *words), "Check the API key.", status=3)


@pytest.mark.parametrize("given", ["", " ", "x" * 513])
def test_what_is_no_id_is_not_asked_for(vocalsep_emulator: Emulator, given: str) -> None:
    throttled(call(vocalsep_emulator, "get", given), "task id")
    assert vocalsep_emulator.requests == ()


def test_maintenance_is_status_1_and_said_so(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.maintenance = True
    throttled(call(vocalsep_emulator, "get", "an-id"), "under maintenance", status=1)


# create


def test_create_for_programs_is_an_object(vocalsep_emulator: Emulator) -> None:
    words = ("--type", "split_stem_advanced", "--stem-name", "piano", "--json")
    result = call(vocalsep_emulator, "create", *SONG, *HOOK, *words)
    assert json.loads(result.stdout) == {
        "task_id": vocalsep_emulator.tasks[0],
        "type": "split_stem_advanced",
    }


def test_create_takes_a_track_of_a_music_task(vocalsep_emulator: Emulator) -> None:
    words = ("--source-task-id", "a-music-task", "--audio-id", "a-track")
    result = call(vocalsep_emulator, "create", *words, *HOOK)
    assert result.stdout.split() == list(vocalsep_emulator.tasks)


def test_an_empty_account_is_status_3(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.inject(Fault.NO_CREDITS)
    throttled(call(vocalsep_emulator, "create", *SONG, *HOOK), "Top up the account.", status=3)
    assert vocalsep_emulator.tasks == ()


@pytest.mark.parametrize(
    "words",
    [
        SONG,
        HOOK,
        (*SONG, "--callback-url", "no url"),
        ("--audio-url", "song.mp3", *HOOK),
        ("--source-task-id", "a-music-task", *HOOK),
        (*SONG, "--source-task-id", "a-music-task", "--audio-id", "a-track", *HOOK),
        (*SONG, *HOOK, "--type", "karaoke"),
        (*SONG, *HOOK, "--journal", "/no/such/folder/batch.journal"),
    ],
)
def test_what_cannot_be_created_is_status_2_and_costs_nothing(
    vocalsep_emulator: Emulator, words: tuple[str, ...]
) -> None:
    result = call(vocalsep_emulator, "create", *words)
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
    assert vocalsep_emulator.requests == ()


# credits


def test_credits_for_programs_are_an_object(vocalsep_emulator: Emulator) -> None:
    result = call(vocalsep_emulator, "credits", "--json")
    assert json.loads(result.stdout) == {"credits": 1000}


class TestRichAccounts:
    @pytest.fixture
    def vocalsep_emulator_options(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return {"credits": request.param}

    @pytest.mark.parametrize("vocalsep_emulator_options", [0, 999_999, 1_234_567], indirect=True)
    def test_credits_are_told_to_the_last_one(self, vocalsep_emulator: Emulator) -> None:
        shown = call(vocalsep_emulator, "credits").stdout.strip()
        assert float(shown) == vocalsep_emulator.credits_left
        assert "e" not in shown
