"""The demo, as a process and inside the process of a test."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.in_process import assert_error, call, signal_before_the_loop
from cli.subprocesses import ended

from vocalsep_async import Durations
from vocalsep_async.cli.demo import TYPES, usual_durations
from vocalsep_async.emulator import Emulator

# The demo needs no key, and sends requests to its emulator only.
NOTHING = {name: value for name, value in os.environ.items() if not name.startswith("VOCALSEP")}
NOTHING |= {"NO_COLOR": "1", "COLUMNS": "200"}
COMMAND = (sys.executable, "-m", "vocalsep_async", "demo")


def names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_the_demo_saves_the_stems_of_a_dozen_songs_and_writes_a_report(tmp_path: Path) -> None:
    shown = subprocess.run(
        COMMAND, env=NOTHING, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0
    results = [line.split() for line in shown.stdout.splitlines()]
    assert len(results) == 12
    status = {task_id: word for task_id, word, *_ in results}
    assert set(status.values()) == {"SUCCESS", "GENERATE_AUDIO_FAILED"}
    saved = {task_id for task_id, word in status.items() if word == "SUCCESS"}
    assert {words[2] for words in results if words[1] == "SUCCESS"} == {"saved:"}

    first, *_, last, report = shown.stderr.splitlines()
    assert "http://127.0.0.1:" in first
    counts = (
        rf"12 tasks: {len(saved)} succeeded, {12 - len(saved)} failed; \d+ stems saved; "
        r"\d+ requests, 0 throttled"
    )
    assert re.match(counts + r"; detected \d+\.\d s after completion on average$", last)

    page = tmp_path / "vocalsep-demo" / "report.html"
    assert report == f"report: {page}"
    assert names_in(tmp_path) == {"vocalsep-demo"}
    assert names_in(page.parent) == {*saved, "report.html"}
    kinds = {len(list((page.parent / task_id).glob("*.wav"))) for task_id in saved}
    assert kinds == {2, 12}
    content = page.read_text("utf-8")
    assert all(task_id in content for task_id in status)
    assert "demo-key" not in content + shown.stdout + shown.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
async def test_a_signal_ends_the_demo_while_it_creates_tasks(
    tmp_path: Path, number: signal.Signals
) -> None:
    to = tmp_path / "here"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("--to", str(to)),
        env=NOTHING,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        assert b"Emulating the API" in await process.stderr.readline()
        assert b"Creating and tracking 12 tasks" in await process.stderr.readline()
    process.send_signal(number)
    run = await ended(process)
    assert run.status == 130
    assert re.search(r"^interrupted with \d+ tasks? open; ", run.err, re.MULTILINE)
    assert run.err.endswith(f"report: {to / 'report.html'}\n")
    assert "</html>" in (to / "report.html").read_text("utf-8")
    assert names_in(tmp_path) == {"here"}


# In this process


@pytest.mark.anyio
async def test_the_demo_knows_how_long_its_tasks_take() -> None:
    durations = Durations()
    durations.update_from(await usual_durations())
    for type_ in (None, *TYPES):
        # The longest takes 15 s; the built-in guess is over a minute.
        assert durations.view(type_).remaining(0.0, 0.5) < 15


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None}


def test_a_demo_interrupted_at_its_start_creates_nothing(
    vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_before_the_loop(monkeypatch)
    result = call(vocalsep_emulator, "-q", "demo", "--to", tmp_path)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "interrupted with 0 tasks open" in result.stderr
    assert names_in(tmp_path) == {"report.html"}


def test_the_demo_sends_no_request_to_the_configured_api(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = call(vocalsep_emulator, "-q", "demo", "--to", tmp_path / "file")
    assert_error(result, "file: a file is where a folder is needed")
    assert vocalsep_emulator.requests == ()
