"""Being told to stop: once in order, twice at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.commands import ended, first_line, started
from cli.inside import SIGNALS, call, stopped_before_the_loop_runs

from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.stop import Stop
from vocalsep_async.emulator import Emulator

NUMBERS = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
CREATE = (
    *("create", "--callback-url", "https://example.com/hook"),
    *("--audio-url", "https://example.com/song.mp3"),
)


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


def tell(number: signal.Signals) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


# What it is


@NUMBERS
def test_a_signal_ends_what_runs_in_the_scope(stop: Stop, number: signal.Signals) -> None:
    async def work() -> str:
        with stop.scope():
            tell(number)
            await anyio.sleep_forever()
        return "went on"

    assert anyio.run(work) == "went on"
    assert stop.is_wanted


def test_without_a_signal_nothing_is_ended(stop: Stop) -> None:
    async def work() -> str:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            return "ended"
        raise AssertionError

    assert anyio.run(work) == "ended"
    assert not stop.is_wanted


@NUMBERS
def test_a_signal_before_the_loop_runs_is_heeded_in_the_scope(
    stop: Stop, number: signal.Signals
) -> None:
    async def work() -> None:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            pytest.fail("was not ended")

    tell(number)
    anyio.run(work)
    assert stop.is_wanted


def test_a_signal_before_the_scope_is_heeded_in_the_scope(stop: Stop) -> None:
    async def work() -> None:
        tell(signal.SIGTERM)
        await anyio.lowlevel.checkpoint()
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            pytest.fail("was not ended")

    anyio.run(work)


def test_a_signal_after_the_scope_leaves_the_winding_up_alone(stop: Stop) -> None:
    async def work() -> str:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
        tell(signal.SIGTERM)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return "wound up"

    assert anyio.run(work) == "wound up"
    assert stop.is_wanted


@NUMBERS
def test_a_signal_after_the_loop_is_heeded_too(stop: Stop, number: signal.Signals) -> None:
    async def work() -> None:
        with stop.scope():
            await anyio.lowlevel.checkpoint()

    anyio.run(work)
    tell(number)
    assert stop.is_wanted


@NUMBERS
def test_a_signal_after_a_scope_that_broke_is_heeded_too(
    stop: Stop, number: signal.Signals
) -> None:
    async def work() -> None:
        with stop.scope():
            raise KeyError("a fault")

    with pytest.raises(KeyError):
        anyio.run(work)
    # As while the error is being told.
    tell(number)
    assert stop.is_wanted


def test_a_signal_at_the_very_end_of_the_scope_comes_too_late_for_it(stop: Stop) -> None:
    async def work() -> str:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            tell(signal.SIGTERM)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return "wound up"

    assert anyio.run(work) == "wound up"
    assert stop.is_wanted


TWICE = """
import os, signal, sys
import anyio
from vocalsep_async.cli.stop import Stop

async def work():
    with stop.scope():
        await anyio.lowlevel.checkpoint()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    print("went on")

stop = Stop()
anyio.run(work)
"""


def test_the_second_signal_ends_the_process_at_once() -> None:
    run = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (Exit.INTERRUPTED, "", "")


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals")
def test_the_second_signal_gives_a_terminal_its_cursor_back() -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        run = subprocess.run(
            [sys.executable, "-c", TWICE], stdout=theirs, stderr=theirs, check=False
        )
        os.set_blocking(ours, False)
        assert (run.returncode, os.read(ours, 100)) == (Exit.INTERRUPTED, b"\x1b[?25h")
    finally:
        os.close(ours)
        os.close(theirs)


# What the commands make of it


@NUMBERS
@pytest.mark.parametrize(
    "words",
    [
        ("get", "an-id"),
        ("wait", "an-id"),
        ("track", "an-id"),
        ("download", "an-id", "--to", "stems"),
        ("credits",),
    ],
    ids=lambda words: words[0],
)
def test_a_command_stopped_at_its_very_start_asks_nothing(
    vocalsep_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    number: signal.Signals,
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped_before_the_loop_runs(monkeypatch, number)
    result = call(vocalsep_emulator, *words)
    assert (result.exit_code, result.stdout) == (Exit.INTERRUPTED, "")
    assert vocalsep_emulator.requests == ()


def test_create_stopped_at_its_very_start_creates_nothing(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_before_the_loop_runs(monkeypatch)
    result = call(vocalsep_emulator, *CREATE)
    assert (result.exit_code, result.stdout) == (Exit.INTERRUPTED, "")
    assert (vocalsep_emulator.requests, vocalsep_emulator.tasks) == ((), ())


def test_stopped_at_its_very_start_a_report_is_written_all_the_same(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped_before_the_loop_runs(monkeypatch)
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "track", "an-id", "--report", page)
    assert result.exit_code == Exit.INTERRUPTED
    assert "</html>" in page.read_text("utf-8")


def test_a_bad_line_and_a_stop_is_a_stop(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async.cli import ids

    async def chunks(_descriptor: int) -> AsyncIterator[bytes]:
        yield b"two words\n"
        tell(signal.SIGTERM)
        await anyio.sleep_forever()

    monkeypatch.setattr(ids, "_chunks", chunks)
    result = call(vocalsep_emulator, "track", "-")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == Exit.INTERRUPTED
    assert "left out" in result.stderr


def test_a_result_that_was_had_is_shown_also_when_stopped(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async import VocalSepClient

    create = VocalSepClient.create_task

    async def stopped_after(*arguments: Any, **options: Any) -> Any:
        with anyio.CancelScope(shield=True):
            ref = await create(*arguments, **options)
            tell(signal.SIGTERM)
            await anyio.lowlevel.checkpoint()
        return ref

    monkeypatch.setattr(VocalSepClient, "create_task", stopped_after)
    result = call(vocalsep_emulator, *CREATE)
    assert result.exit_code == Exit.INTERRUPTED
    assert result.stdout.split() == list(vocalsep_emulator.tasks)
    assert "may have been" not in result.stderr


# Silence of a server: the request is under way when the signal comes.


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """An address that takes requests and gives no answer, and an event of the first."""
    asked = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.anyio
async def test_create_that_is_interrupted_says_that_it_may_be_billed(tmp_path: Path) -> None:
    journal = tmp_path / "batch.journal"
    async with Emulator() as emulator, silent_server() as (url, asked):
        environ = {"VOCALSEP_BASE_URL": url}
        process = await started(
            emulator, *CREATE, "--journal", str(journal), environ=environ, cwd=tmp_path
        )
        async with asyncio.timeout(60):
            await asked.wait()
        process.send_signal(signal.SIGINT)
        run = await ended(process)
        assert (run.status, run.out) == (130, [])
        assert run.err == "stopped; the task may have been created, and billed, all the same\n"
        kept = await ended(await started(emulator, "journal", "show", str(journal)))
    assert any(line.startswith("perhaps created, id not known") for line in kept.out)


@pytest.mark.anyio
@NUMBERS
@pytest.mark.parametrize("words", [("get", "an-id"), ("credits",)], ids=lambda words: words[0])
async def test_a_question_under_way_is_broken_off(
    number: signal.Signals, words: tuple[str, ...]
) -> None:
    async with Emulator() as emulator, silent_server() as (url, asked):
        process = await started(emulator, *words, environ={"VOCALSEP_BASE_URL": url})
        async with asyncio.timeout(60):
            await asked.wait()
        process.send_signal(number)
        run = await ended(process)
    assert (run.status, run.out, run.err) == (130, [], "")


@pytest.mark.anyio
async def test_somebody_who_types_nothing_more_can_stop_it() -> None:
    async with Emulator(rate_limit=None) as emulator:
        process = await started(emulator, "track", "--json", "-")
        assert process.stdin is not None
        process.stdin.write(f"{emulator.add_task(duration=0)}\n".encode())
        assert json.loads(await first_line(process))["ok"]
        process.send_signal(signal.SIGINT)
        # Its standard input stays open, as that of a terminal does.
        async with asyncio.timeout(60):
            assert await process.wait() == 130
        run = await ended(process)
    assert "stopped with 0 tasks open" in run.err
