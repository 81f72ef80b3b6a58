"""Signals, and the exit codes of all commands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.in_process import SIGNALS, call, restored_signals, signal_before_the_loop
from cli.subprocesses import ended, first_line, started

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    InsufficientCreditsError,
    InvalidParametersError,
    JournalError,
    NotBegunError,
    RequestTimeoutError,
    SeparationTask,
    ServerError,
    Stems,
    TaskFailedError,
    TaskNotFoundError,
    TaskOutcome,
    TaskStatus,
    TaskTimeoutError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.cli.process import ExitCode, StopSignal, exit_code_of, exit_code_of_error, worse
from vocalsep_async.emulator import Emulator

NUMBERS = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
CREATE = (
    *("create", "--callback-url", "https://example.com/hook"),
    *("--audio-url", "https://example.com/song.mp3"),
)


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


def send(number: signal.Signals) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


# The signal handler


@NUMBERS
def test_a_signal_cancels_the_scope(stop: StopSignal, number: signal.Signals) -> None:
    async def work() -> str:
        with stop.scope():
            send(number)
            await anyio.sleep_forever()
        return "continued"

    assert anyio.run(work) == "continued"
    assert stop.received


@NUMBERS
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    async def work() -> str:
        with stop.scope():
            send(number)
            await anyio.lowlevel.checkpoint()
            return "continued"
        raise AssertionError

    with restored_signals():
        signal.signal(number, signal.SIG_IGN)
        stop = StopSignal()
        assert anyio.run(work) == "continued"
    assert not stop.received


def test_a_scope_without_a_signal_is_not_cancelled(stop: StopSignal) -> None:
    async def work() -> str:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            return "ended"
        raise AssertionError

    assert anyio.run(work) == "ended"
    assert not stop.received


@NUMBERS
def test_a_signal_before_the_event_loop_runs_cancels_the_scope(
    stop: StopSignal, number: signal.Signals
) -> None:
    async def work() -> None:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            pytest.fail("was not cancelled")

    send(number)
    anyio.run(work)
    assert stop.received


def test_a_signal_before_the_scope_cancels_it(stop: StopSignal) -> None:
    async def work() -> None:
        send(signal.SIGTERM)
        await anyio.lowlevel.checkpoint()
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            pytest.fail("was not cancelled")

    anyio.run(work)


def test_a_signal_after_the_scope_does_not_cancel_the_cleanup(stop: StopSignal) -> None:
    async def work() -> str:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
        send(signal.SIGTERM)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return "cleaned up"

    assert anyio.run(work) == "cleaned up"
    assert stop.received


@NUMBERS
def test_a_signal_after_the_event_loop_is_received(
    stop: StopSignal, number: signal.Signals
) -> None:
    async def work() -> None:
        with stop.scope():
            await anyio.lowlevel.checkpoint()

    anyio.run(work)
    send(number)
    assert stop.received


@NUMBERS
def test_a_signal_after_a_failed_scope_is_received(
    stop: StopSignal, number: signal.Signals
) -> None:
    async def work() -> None:
        with stop.scope():
            raise KeyError("a fault")

    with pytest.raises(KeyError):
        anyio.run(work)
    # As while the error is being printed.
    send(number)
    assert stop.received


def test_a_signal_at_the_end_of_the_scope_does_not_cancel_what_follows(stop: StopSignal) -> None:
    async def work() -> str:
        with stop.scope():
            await anyio.lowlevel.checkpoint()
            send(signal.SIGTERM)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return "cleaned up"

    assert anyio.run(work) == "cleaned up"
    assert stop.received


TWICE = """
import os, signal, sys
import anyio
from vocalsep_async.cli.process import StopSignal

async def work():
    with stop.scope():
        await anyio.lowlevel.checkpoint()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    print("continued")

stop = StopSignal()
anyio.run(work)
"""


def test_the_second_signal_ends_the_process_immediately() -> None:
    run = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (ExitCode.INTERRUPTED, "", "")


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals")
def test_the_second_signal_restores_the_cursor() -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        run = subprocess.run(
            [sys.executable, "-c", TWICE], stdout=theirs, stderr=theirs, check=False
        )
        os.set_blocking(ours, False)
        assert (run.returncode, os.read(ours, 100)) == (ExitCode.INTERRUPTED, b"\x1b[?25h")
    finally:
        os.close(ours)
        os.close(theirs)


# Signals in commands


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
def test_a_signal_before_the_event_loop_runs_prevents_every_request(
    vocalsep_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    number: signal.Signals,
) -> None:
    monkeypatch.chdir(tmp_path)
    signal_before_the_loop(monkeypatch, number)
    result = call(vocalsep_emulator, *words)
    assert (result.exit_code, result.stdout) == (ExitCode.INTERRUPTED, "")
    assert vocalsep_emulator.requests == ()


def test_create_interrupted_at_its_start_creates_nothing(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_before_the_loop(monkeypatch)
    result = call(vocalsep_emulator, *CREATE)
    assert (result.exit_code, result.stdout) == (ExitCode.INTERRUPTED, "")
    assert (vocalsep_emulator.requests, vocalsep_emulator.tasks) == ((), ())


def test_a_run_interrupted_at_its_start_writes_its_report(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signal_before_the_loop(monkeypatch)
    page = tmp_path / "report.html"
    result = call(vocalsep_emulator, "track", "an-id", "--report", page)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "</html>" in page.read_text("utf-8")


def test_a_signal_outweighs_a_skipped_line(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async.cli import inputs

    async def chunks(_descriptor: int) -> AsyncIterator[bytes]:
        yield b"two words\n"
        send(signal.SIGTERM)
        await anyio.sleep_forever()

    monkeypatch.setattr(inputs, "read_chunks", chunks)
    result = call(vocalsep_emulator, "track", "-")
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "line skipped" in result.stderr


def test_create_prints_its_id_even_if_a_signal_arrives(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalsep_async import VocalSepClient

    create = VocalSepClient.create_task

    async def stopped_after(*arguments: Any, **options: Any) -> Any:
        with anyio.CancelScope(shield=True):
            ref = await create(*arguments, **options)
            send(signal.SIGTERM)
            await anyio.lowlevel.checkpoint()
        return ref

    monkeypatch.setattr(VocalSepClient, "create_task", stopped_after)
    result = call(vocalsep_emulator, *CREATE)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert result.stdout.split() == list(vocalsep_emulator.tasks)
    assert "may have been" not in result.stderr


# Signals during a request


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that never answers: its URL, and an event that is set by the first request."""
    asked = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        # The request is aborted, so that it cannot arrive later.
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.anyio
async def test_an_interrupted_create_warns_that_it_may_be_billed(tmp_path: Path) -> None:
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
        assert run.err == "interrupted; the task may have been created and billed nevertheless\n"
        kept = await ended(await started(emulator, "journal", "show", str(journal)))
    assert any(line.startswith("possibly created, id unknown") for line in kept.out)


@pytest.mark.anyio
@NUMBERS
@pytest.mark.parametrize("words", [("get", "an-id"), ("credits",)], ids=lambda words: words[0])
async def test_a_signal_cancels_a_request_that_is_in_flight(
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
async def test_ctrl_c_ends_a_command_that_waits_for_standard_input() -> None:
    async with Emulator(rate_limit=None) as emulator:
        process = await started(emulator, "track", "--json", "-")
        assert process.stdin is not None
        process.stdin.write(f"{emulator.add_task(duration=0)}\n".encode())
        assert json.loads(await first_line(process))["succeeded"]
        process.send_signal(signal.SIGINT)
        # Standard input stays open, like that of a terminal.
        async with asyncio.timeout(60):
            assert await process.wait() == 130
        run = await ended(process)
    assert "interrupted with 0 tasks still pending" in run.err


# Exit codes


DONE = SeparationTask(
    task_id="t", status=TaskStatus.SUCCESS, stems=Stems(vocal="https://cdn.example/v.mp3")
)
FAILED = SeparationTask(
    task_id="t", status=TaskStatus.GENERATE_AUDIO_FAILED, error_message="no vocals in it"
)
THROTTLED: dict[str, Any] = {"code": 401, "http_status": 401}
OUT_OF_TIME = TaskTimeoutError("too late", task_id="t", task=None, polls=1, last_error=None)
NOT_SAVED = DownloadError("the disk is full", task_id="t", stem="vocal")

STATUS: dict[VocalSepError, ExitCode] = {
    AuthenticationError("no", **THROTTLED): ExitCode.ACCOUNT,
    InsufficientCreditsError("no", **THROTTLED): ExitCode.ACCOUNT,
    ConfigurationError("no"): ExitCode.USAGE,
    JournalError("no"): ExitCode.USAGE,
    OUT_OF_TIME: ExitCode.TIMED_OUT,
    RequestTimeoutError("no answer"): ExitCode.FAILED,
    TransportError("cut"): ExitCode.FAILED,
    ClientClosedError("closed"): ExitCode.FAILED,
    InvalidParametersError("no", **THROTTLED): ExitCode.FAILED,
    ServerError("no", **THROTTLED): ExitCode.FAILED,
    TaskNotFoundError("no", **THROTTLED): ExitCode.FAILED,
    TaskFailedError("no", FAILED): ExitCode.FAILED,
    NOT_SAVED: ExitCode.FAILED,
    VocalSepError("no"): ExitCode.FAILED,
}


def outcome(
    task: SeparationTask | None = None,
    error: VocalSepError | None = None,
    download_error: DownloadError | None = None,
) -> TaskOutcome:
    return TaskOutcome(
        task_id="t",
        status=None if task is None else task.status,
        task=task,
        error=error,
        polls=1,
        elapsed=1.0,
        files={"vocal": Path("t/vocal.mp3")} if task is DONE and not download_error else {},
        download_error=download_error,
    )


def test_the_exit_codes_have_their_documented_values() -> None:
    assert {each.name: each.value for each in ExitCode} == {
        "SUCCEEDED": 0,
        "FAILED": 1,
        "USAGE": 2,
        "ACCOUNT": 3,
        "TIMED_OUT": 4,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize("one, other", list(product(ExitCode, ExitCode)))
def test_the_worse_of_two_exit_codes_does_not_depend_on_their_order(
    one: ExitCode, other: ExitCode
) -> None:
    assert worse(one, other) in {one, other}
    assert worse(one, other) == worse(other, one)


@pytest.mark.parametrize(
    "better, bad",
    [
        (ExitCode.SUCCEEDED, ExitCode.TIMED_OUT),
        (ExitCode.TIMED_OUT, ExitCode.FAILED),
        (ExitCode.FAILED, ExitCode.ACCOUNT),
        (ExitCode.SUCCEEDED, ExitCode.ACCOUNT),
    ],
)
def test_an_account_error_outweighs_a_failure_and_a_failure_a_timeout(
    better: ExitCode, bad: ExitCode
) -> None:
    assert worse(better, bad) is bad


@pytest.mark.parametrize("error", list(STATUS), ids=lambda error: type(error).__name__)
def test_every_error_has_its_exit_code(error: VocalSepError) -> None:
    assert exit_code_of_error(error) is STATUS[error]
    assert exit_code_of(outcome(error=error)) is STATUS[error]


@pytest.mark.parametrize("error", list(STATUS), ids=lambda error: type(error).__name__)
def test_the_exit_code_of_every_error_outweighs_success(error: VocalSepError) -> None:
    assert worse(ExitCode.SUCCEEDED, exit_code_of(outcome(error=error))) is STATUS[error]


@pytest.mark.parametrize(
    "cause, code",
    [
        (None, ExitCode.FAILED),
        (InsufficientCreditsError("no", code=429, http_status=200), ExitCode.ACCOUNT),
        (JournalError("full"), ExitCode.USAGE),
    ],
)
def test_a_song_that_was_not_begun_has_the_exit_code_of_its_cause(
    cause: VocalSepError | None, code: ExitCode
) -> None:
    assert exit_code_of_error(NotBegunError("not begun", cause=cause)) is code


def test_an_error_of_another_package_is_a_failure() -> None:
    assert exit_code_of_error(KeyError("k")) is ExitCode.FAILED


def test_an_outcome_whose_stems_were_not_saved_is_a_failure() -> None:
    assert exit_code_of(outcome(DONE)) is ExitCode.SUCCEEDED
    assert exit_code_of(outcome(FAILED)) is ExitCode.FAILED
    assert exit_code_of(outcome(DONE, download_error=NOT_SAVED)) is ExitCode.FAILED
