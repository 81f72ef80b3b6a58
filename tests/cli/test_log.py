"""The log of the package on the terminal of a command."""

from __future__ import annotations

import logging
import re

import anyio
import pytest
from cli.in_process import call
from cli.stats import snapshot
from cli.subprocesses import vocalsep
from cli.test_output import on_terminal, screen_of
from event_values import failed_poll
from virtual_time import VIRTUAL_TIME

from vocalsep_async import TransportError
from vocalsep_async._events import Events
from vocalsep_async.cli.log import log_shown_by
from vocalsep_async.cli.output import Output
from vocalsep_async.emulator import Emulator, Fault

Captured = pytest.CaptureFixture[str]
PACKAGE = logging.getLogger("vocalsep_async")
JOURNAL = logging.getLogger("vocalsep_async.journal")


@pytest.fixture(autouse=True)
def _log_of_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PACKAGE, "handlers", [])


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"rate_limit": None, "speed": 1000}


async def have_a_poll_fail() -> None:
    # Async, because the log reads the time of the event loop.
    Events().emit(failed_poll(TransportError("cut")))


@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_command_shows_warnings_and_no_other_records(capsys: Captured, *, is_quiet: bool) -> None:
    with log_shown_by(Output(is_quiet=is_quiet)):
        JOURNAL.warning("[red]strange")
        JOURNAL.info("usual")
    assert capsys.readouterr() == ("", "warning: [red]strange\n")


def test_a_command_leaves_the_log_as_it_was() -> None:
    with log_shown_by(Output(is_quiet=False)):
        pass
    assert PACKAGE.handlers == []


def test_a_warning_that_cannot_be_shown_ends_no_command(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(_text: str) -> None:
        raise OSError("the terminal is gone")

    output = Output(is_quiet=False)
    monkeypatch.setattr(output, "warn", fail)
    with log_shown_by(output):
        JOURNAL.warning("strange")
    assert "the terminal is gone" in capsys.readouterr().err


# Beside the progress


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_a_warning_appears_above_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    output = Output(is_quiet=False)
    async with anyio.create_task_group() as group:
        group.start_soon(output.show_progress, snapshot)
        await anyio.sleep(1)
        with log_shown_by(output):
            JOURNAL.warning("strange")
        await anyio.sleep(1)
        during = screen_of(terminal)
        group.cancel_scope.cancel()
    assert during.lines[0] == "warning: strange"
    assert during.lines[1].startswith("12 of 42 tasks done: ")
    assert sum("tasks done" in line for line in during.lines) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_failed_polls_are_left_to_the_progress_while_it_is_shown(capsys: Captured) -> None:
    output = Output(is_quiet=False)
    with log_shown_by(output):
        async with anyio.create_task_group() as group:
            group.start_soon(output.show_progress, snapshot)
            await anyio.sleep(1)
            await have_a_poll_fail()
            group.cancel_scope.cancel()
        assert capsys.readouterr().err == ""
        await have_a_poll_fail()
        assert capsys.readouterr().err == "warning: polling failed, retrying: cut\n"


# Whole commands


def test_a_quiet_command_warns_of_polls_that_fail(vocalsep_emulator: Emulator) -> None:
    task_id = vocalsep_emulator.add_task(duration=0)
    vocalsep_emulator.inject(Fault.DROPPED)
    result = call(vocalsep_emulator, "-q", "wait", task_id)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: polling failed, retrying: ")


def test_a_request_that_is_repeated_is_no_warning(vocalsep_emulator: Emulator) -> None:
    vocalsep_emulator.inject(Fault.DROPPED)
    result = call(vocalsep_emulator, "credits")
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.anyio
async def test_the_log_that_is_asked_for_has_all_records_once() -> None:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        task_id = emulator.add_task(duration=0)
        emulator.inject(Fault.DROPPED)
        run = await vocalsep(emulator, "wait", task_id, environ={"VOCALSEP_LOG": "debug"})
    assert run.status == 0
    *log, _summary = run.err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+ vocal", each) for each in log)
    assert sum("WARNING vocalsep_async.polls: polling failed" in each for each in log) == 1
    assert sum("INFO vocalsep_async.polls: polls succeed again" in each for each in log) == 1
    assert sum("INFO vocalsep_async.tasks: " in each for each in log) == 1
