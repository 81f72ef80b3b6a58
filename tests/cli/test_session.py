"""One session, from its client to its report."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.inside import call
from cli.stats import batch, client
from fakes import FakeProvider, finished, make_client, record

from vocalsep_async import VocalSepClient
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.following import Order
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.session import LIMIT, Session, summary
from vocalsep_async.cli.stop import Stop
from vocalsep_async.emulator import Emulator

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


def test_the_last_words_say_what_came_of_it() -> None:
    counts = "12 tasks: 11 succeeded, 1 failed; 50 requests, 2 refused"
    assert summary(batch(mean_delay=None), client(throttled=2)) == counts
    assert summary(batch(mean_delay=2.66), client(throttled=2)) == (
        f"{counts}; known 2.7 s after their end, on average"
    )


def test_the_limit_of_a_report_is_the_clients_own() -> None:
    from inspect import signature

    assert signature(VocalSepClient).parameters["rate_limit"].default == LIMIT


@pytest.mark.anyio
async def test_a_session_ends_with_its_summary(
    provider: FakeProvider, stop: Stop, capsys: Captured
) -> None:
    provider.round_trip = 0.0
    provider.script("a", finished("a"))
    session = Session(Order(tasks=["a"]), Screen(is_quiet=False), stop)
    async with make_client() as client:
        assert await session.run(client) is Exit.SUCCEEDED
    out, err = capsys.readouterr()
    assert out == "a  SUCCESS  ready: instrumental, vocal\n"
    assert err.startswith("1 task: 1 succeeded, 0 failed; 1 request, 0 refused")
    assert len(err.splitlines()) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("keeps", [False, True])
async def test_a_session_that_is_stopped_says_what_is_open_and_what_becomes_of_it(
    provider: FakeProvider, stop: Stop, capsys: Captured, tmp_path: Path, *, keeps: bool
) -> None:
    provider.round_trip = 0.0
    provider.add("b", 1e6)

    def told() -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return record("a", "GENERATE_AUDIO_FAILED", errorMessage="no")

    provider.script("a", told)
    journal = tmp_path / "batch.journal" if keeps else None
    order = Order(tasks=["a", "b"], journal=journal)
    async with make_client(rate_limit=None) as client:
        assert await Session(order, Screen(is_quiet=True), stop).run(client) is Exit.INTERRUPTED
    kept = f"{journal} has all of it: run the same command again"
    err = capsys.readouterr().err
    assert err.startswith("stopped with ")
    assert err.endswith(f"; {kept if keeps else 'without --journal nothing of it is kept'}\n")


@pytest.mark.anyio
async def test_a_session_that_is_stopped_before_it_began_promises_nothing(
    provider: FakeProvider, stop: Stop, capsys: Captured, tmp_path: Path
) -> None:
    order = Order(tasks=["a", "b"], journal=tmp_path / "batch.journal")
    os.kill(os.getpid(), signal.SIGTERM)
    async with make_client(rate_limit=None) as client:
        assert await Session(order, Screen(is_quiet=True), stop).run(client) is Exit.INTERRUPTED
    assert provider.sent == []
    assert capsys.readouterr().err == "stopped before it began: run the same command again\n"


def test_a_report_tells_the_command_without_what_is_secret(
    vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "my report.html"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vocalsep", "track", task_id, "--report", str(page)])
    result = call(vocalsep_emulator, "track", task_id, "--report", page)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == f"report: {page}"
    content = page.read_text("utf-8")
    assert f"vocalsep track {task_id} --report" in content
    assert "127.0.0.1" in content


def test_quiet_does_not_say_where_the_report_is(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "-q", "track", task_id, "--report", page)
    assert (result.exit_code, result.stderr) == (0, "")
    assert page.exists()


def test_a_report_whose_place_has_gone_meanwhile_is_a_sentence(
    vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async.cli import keeping

    def gone(_run: object, path: Path, _peaks: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(keeping, "write_report", gone)
    task_id = vocalsep_emulator.add_task(duration=0)
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "track", task_id, "--report", page)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert result.stdout.split()[0] == task_id
    assert result.stderr == f"{page}: No such file or directory\n"


# Stems


def test_a_task_without_the_wanted_stem_hurts_no_other(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    vocal = vocalsep_emulator.add_task(duration=0)
    split = vocalsep_emulator.add_task(duration=0, type="split_stem")
    words = (vocal, split, "--to", tmp_path, "--stem", "drums")
    result = call(vocalsep_emulator, "download", *words)
    assert result.exit_code == 1
    assert {line.split()[0] for line in result.stdout.splitlines()} == {vocal, split}
    assert [each.name for each in tmp_path.rglob("*.wav")] == ["drums.wav"]


def test_ids_cannot_act_on_a_terminal(vocalsep_emulator: Emulator) -> None:
    task_id = vocalsep_emulator.add_task("\x1b]0;owned\x07\x1b[2J", duration=0)
    for command in ("get", "wait"):
        result = call(vocalsep_emulator, command, task_id)
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
