"""Results to standard output, what is for people beside them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.commands import KEY, first_line, started
from cli.stats import batch, client
from cli.terminal import Terminal
from virtual_time import VIRTUAL_TIME

from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.snapshot import Snapshot, plain
from vocalsep_async.emulator import Emulator

Captured = pytest.CaptureFixture[str]

HOSTILE = "[red]x[/] :key: :smile:"
SNAPSHOT = Snapshot(
    batch=batch(pending=1, finished=1, failed=0),
    client=client(),
    used=0.2,
    slowest=(("an-id", 8.0),),
)


# Words


def test_a_result_is_a_line_of_standard_output(capsys: Captured) -> None:
    screen = Screen(is_quiet=True)
    screen.result(HOSTILE)
    screen.result({"task_id": "ü\u2028\n"})
    out, err = capsys.readouterr()
    assert err == ""
    text, told = out.splitlines()
    assert text == HOSTILE
    assert json.loads(told) == {"task_id": "ü\u2028\n"}


@pytest.mark.parametrize("is_quiet", [False, True])
def test_what_is_for_people_goes_to_standard_error(capsys: Captured, *, is_quiet: bool) -> None:
    screen = Screen(is_quiet=is_quiet)
    screen.say("said")
    screen.warn("warned")
    assert capsys.readouterr() == ("", "warned\n" if is_quiet else "said\nwarned\n")


def test_no_name_is_markup(capsys: Captured) -> None:
    screen = Screen(is_quiet=False)
    screen.say(HOSTILE)
    screen.warn(HOSTILE)
    assert capsys.readouterr().err == f"{HOSTILE}\n{HOSTILE}\n"


def test_a_long_line_is_not_broken(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    Screen(is_quiet=False).warn("word " * 100)
    assert len(capsys.readouterr().err.splitlines()) == 1


# Progress in virtual time


async def shown_for(seconds: float, screen: Screen) -> None:
    with anyio.move_on_after(seconds):
        await screen.show(lambda: SNAPSHOT)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_a_log_gets_a_line_now_and_then(capsys: Captured) -> None:
    await shown_for(4, Screen(is_quiet=False))
    assert capsys.readouterr() == ("", "")
    await shown_for(16, Screen(is_quiet=False))
    assert capsys.readouterr() == ("", (plain(SNAPSHOT) + "\n") * 3)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_quiet_shows_no_progress(capsys: Captured) -> None:
    await shown_for(60, Screen(is_quiet=True))
    assert capsys.readouterr() == ("", "")


class OnTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> OnTerminal:
    """Have standard output and standard error on one terminal."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = OnTerminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def seen_on(stream: io.StringIO) -> Terminal:
    seen = Terminal()
    # As the driver of a terminal has it.
    seen.write(stream.getvalue().replace("\n", "\r\n"))
    return seen


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_a_terminal_shows_progress_below_the_results_and_nothing_of_it_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    screen = Screen(is_quiet=False)
    async with anyio.create_task_group() as group:
        group.start_soon(screen.show, lambda: SNAPSHOT)
        await anyio.sleep(1)
        for result in ("first", HOSTILE, "x" * 200):
            screen.result(result)
            await anyio.sleep(1)
        meanwhile = seen_on(terminal)
        assert meanwhile.lines[:3] == ["first", HOSTILE, "x" * 200]
        assert meanwhile.lines[3].startswith("1 of 2 known ")
        assert meanwhile.lines[-1] == "  an-id  waiting for 8 s"
        assert not meanwhile.has_cursor
        group.cancel_scope.cancel()
    screen.say("said")
    afterwards = seen_on(terminal)
    assert afterwards.lines == ["first", HOSTILE, "x" * 200, "said"]
    assert afterwards.has_cursor


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_results_go_past_the_progress_where_they_go_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, elsewhere = on_terminal(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stdout", elsewhere)
    screen = Screen(is_quiet=False)
    async with anyio.create_task_group() as group:
        group.start_soon(screen.show, lambda: SNAPSHOT)
        await anyio.sleep(1)
        screen.result("first")
        assert elsewhere.getvalue() == "first\n"
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    assert "1 of 2 known" in terminal.getvalue()
    assert "first" not in terminal.getvalue()
    assert seen_on(terminal).lines == [""]


# Whole commands on a pseudo-terminal


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        yield emulator


@pytest.fixture
def pseudo_terminal() -> Iterator[tuple[int, int]]:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    yield ours, theirs
    for each in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(each)


async def follow(emulator: Emulator, *words: str, **streams: Any) -> asyncio.subprocess.Process:
    without = {"NO_COLOR", "FORCE_COLOR"}
    environ = {name: value for name, value in os.environ.items() if name not in without}
    environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "25"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vocalsep_async", *words),
        env={**environ, "VOCALSEP_API_KEY": KEY, "VOCALSEP_BASE_URL": emulator.url},
        stdin=asyncio.subprocess.DEVNULL,
        **streams,
    )


def written_to(descriptor: int, until: str = "") -> str:
    """What a process writes to a terminal, until something is there or it has gone."""
    text = b""
    with contextlib.suppress(OSError):
        while not until or until.encode() not in text:
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            text += piece
    return text.decode()


@pytest.mark.anyio
async def test_on_a_terminal_only_the_results_and_the_last_words_stay(
    emulator: Emulator, pseudo_terminal: tuple[int, int]
) -> None:
    ours, theirs = pseudo_terminal
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=float("inf"))
    process = await follow(emulator, "track", done, still, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = await asyncio.to_thread(written_to, ours, "1 of 2 known")
    process.send_signal(signal.SIGINT)
    text += await asyncio.to_thread(written_to, ours)
    assert await process.wait() == 130
    seen = Terminal()
    seen.write(text)
    result, last = seen.lines
    assert result == f"{done}  SUCCESS  ready: instrumental, vocal"
    assert last.startswith("stopped with 1 task open; ")
    assert seen.has_cursor
    assert still in text
    assert KEY not in text


@pytest.mark.anyio
async def test_a_pipe_gets_results_only_while_a_terminal_shows_progress(
    emulator: Emulator, pseudo_terminal: tuple[int, int]
) -> None:
    ours, theirs = pseudo_terminal
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=float("inf"))
    process = await follow(
        emulator, "track", done, still, "--json", stdout=asyncio.subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    assert json.loads(await first_line(process))["task_id"] == done
    text = await asyncio.to_thread(written_to, ours, "1 of 2 known")
    emulator.finish(still)
    rest = asyncio.create_task(asyncio.to_thread(written_to, ours))
    out, _ = await process.communicate()
    text += await rest
    assert process.returncode == 0
    assert [json.loads(line)["task_id"] for line in out.splitlines()] == [still]
    seen = Terminal()
    seen.write(text)
    assert len(seen.lines) == 1
    assert seen.lines[0].startswith("2 tasks: 2 succeeded, 0 failed; ")


@pytest.mark.anyio
async def test_without_a_terminal_there_are_no_codes_for_one(
    emulator: Emulator, tmp_path: Path
) -> None:
    task_id = emulator.add_task(duration=0)
    process = await started(
        emulator,
        "track",
        task_id,
        "--to",
        str(tmp_path),
        environ={"NO_COLOR": "", "FORCE_COLOR": ""},
    )
    out, err = await process.communicate()
    assert process.returncode == 0
    assert b"\x1b" not in out + err
