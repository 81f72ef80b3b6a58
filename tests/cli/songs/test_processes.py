"""The command that separates songs, as a process: on a terminal, interrupted, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from cli.songs.commands import CREATE, UPLOAD, begun, sent, songs_in
from cli.subprocesses import KEY, SOON, ended, first_line
from cli.terminal import Terminal

from vocalsep_async.emulator import Emulator, UploadFault

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals"),
]
QUESTION = "separate 2 songs for 20 credits? [y/N] "


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(rate_limit=None, speed=1000) as emulator:
        yield emulator


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    return songs_in(tmp_path / "songs", "One.mp3", "Two.mp3")


class OnTerminal:
    """The command on a pseudo-terminal of its own.

    Attributes:
        text: what the terminal has got so far.
    """

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.text = ""

    async def until(self, words: str) -> None:
        """Wait until *words* are written."""
        async with asyncio.timeout(SOON):
            while words not in self.text:
                piece = await asyncio.to_thread(os.read, self._descriptor, 65536)
                self.text += piece.decode(errors="replace")

    def type(self, text: str) -> None:
        """Type *text*."""
        os.write(self._descriptor, text.encode())

    async def end(self) -> int:
        """Wait for the end; return the exit status."""
        with contextlib.suppress(OSError):
            await self.until("\0")
        async with asyncio.timeout(SOON):
            status = await self.process.wait()
        assert "Traceback" not in self.text
        assert KEY not in self.text
        return status

    @property
    def lines(self) -> list[str]:
        """What the screen shows."""
        screen = Terminal()
        screen.write(self.text)
        assert screen.has_cursor
        return screen.lines


async def until(has_come: Callable[[], bool]) -> None:
    """Wait until a request has reached the server, which tells nothing about it."""
    with anyio.fail_after(SOON):
        while not has_come():  # noqa: ASYNC110
            await anyio.sleep(0.001)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    yield ours, theirs
    for each in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(each)


async def on_terminal(
    emulator: Emulator, terminal: tuple[int, int], *words: str | Path
) -> OnTerminal:
    ours, theirs = terminal
    environ = {
        **{name: value for name, value in os.environ.items() if name != "FORCE_COLOR"},
        "TERM": "xterm",
        "COLUMNS": "200",
        "LINES": "25",
        "NO_COLOR": "1",
        "VOCALSEP_API_KEY": KEY,
        "VOCALSEP_BASE_URL": emulator.url,
        "VOCALSEP_UPLOAD_URL": emulator.url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vocalsep_async", "separate", *map(str, words)),
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return OnTerminal(process, ours)


# The question


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
async def test_a_terminal_is_asked_and_yes_separates(
    emulator: Emulator, songs: Path, tmp_path: Path, terminal: tuple[int, int], answer: str
) -> None:
    command = await on_terminal(emulator, terminal, songs, "--to", tmp_path / "to")
    await command.until(QUESTION)
    assert sent(emulator, UPLOAD) == sent(emulator, CREATE) == 0
    command.type(answer)
    assert await command.end() == 0
    lines = command.lines
    assert lines[:4] == [
        "2 songs: 2 to be created",
        (
            "  separate_vocal: 2 × 10 credits = 20 credits, as a copy of docs.sunoapi.org said on "
            "2026-11-30"
        ),
        "the account has 1,000 credits",
        f"{QUESTION}{answer.strip()}",
    ]
    assert sorted(line.split("  ")[0] for line in lines[4:6]) == ["One", "Two"]
    assert lines[6] == "2 songs: 2 done"
    assert sent(emulator, CREATE) == 2


@pytest.mark.parametrize("answer", ["\n", "n\n", "yes please\n", "\x04", "y\x04\x04"])
async def test_anything_but_yes_creates_nothing(
    emulator: Emulator, songs: Path, tmp_path: Path, terminal: tuple[int, int], answer: str
) -> None:
    command = await on_terminal(emulator, terminal, songs, "--to", tmp_path / "to")
    await command.until(QUESTION)
    command.type(answer)
    assert await command.end() == 1
    assert command.lines[-1] == "nothing was created"
    assert sent(emulator, UPLOAD) == sent(emulator, CREATE) == 0


async def test_ctrl_c_ends_the_question(
    emulator: Emulator, songs: Path, tmp_path: Path, terminal: tuple[int, int]
) -> None:
    command = await on_terminal(emulator, terminal, songs, "--to", tmp_path / "to")
    await command.until(QUESTION)
    command.process.send_signal(signal.SIGINT)
    assert await command.end() == 130
    assert command.lines[-2:] == [QUESTION.rstrip(), "interrupted; nothing was created"]
    assert sent(emulator, UPLOAD) == sent(emulator, CREATE) == 0


# Interrupted and killed


async def test_ctrl_c_keeps_what_was_paid_for_and_the_same_command_goes_on(
    songs: Path, tmp_path: Path, terminal: tuple[int, int]
) -> None:
    async with Emulator(rate_limit=None) as emulator:
        words = (songs, "--to", tmp_path / "to", "--yes")
        command = await on_terminal(emulator, terminal, *words)
        await command.until("2 waiting")
        await command.until("  Two  waiting for ")
        command.process.send_signal(signal.SIGINT)
        assert await command.end() == 130
        *_, cost, last = command.lines
        assert cost == "about 20 credits spent"
        assert last == (
            f"interrupted; progress is kept in {tmp_path / 'to' / 'songs.journal'}: run the same "
            "command again to continue, and nothing is paid for twice"
        )
        for task_id in emulator.tasks:
            emulator.finish(task_id)
        again = await ended(await begun(emulator, *words))
        assert again.status == 0
        assert "2 songs: 2 known to the journal" in again.err
        assert sent(emulator, CREATE) == sent(emulator, UPLOAD) == 2


async def test_ctrl_c_during_an_upload_leaves_nothing_to_pay(
    emulator: Emulator, songs: Path, tmp_path: Path, terminal: tuple[int, int]
) -> None:
    emulator.inject(UploadFault.STALLED, times=2)
    command = await on_terminal(emulator, terminal, songs, "--to", tmp_path / "to", "--yes")
    await command.until("2 uploading")
    command.process.send_signal(signal.SIGINT)
    assert await command.end() == 130
    assert "about 0 credits spent" in command.text
    assert sent(emulator, CREATE) == 0


async def test_a_second_terminal_says_which_process_holds_the_journal(
    songs: Path, tmp_path: Path
) -> None:
    async with Emulator(rate_limit=None) as emulator:
        words = (songs, "--to", tmp_path / "to", "--yes")
        first = await begun(emulator, *words)
        await until(lambda: len(emulator.tasks) == 2)
        second = await ended(await begun(emulator, *words))
        assert second.status == 2
        assert f"songs.journal is in use by process {first.pid}" in second.err
        for task_id in emulator.tasks:
            emulator.finish(task_id)
        assert (await ended(first)).status == 0
        assert sent(emulator, CREATE) == 2


@pytest.mark.parametrize("requests", [1, 2, 3, 4, 6])
async def test_a_command_that_was_killed_never_pays_twice(
    emulator: Emulator, songs: Path, tmp_path: Path, requests: int
) -> None:
    words = (songs, "--to", tmp_path / "to", "--yes")
    killed = await begun(emulator, *words)
    await until(lambda: len(emulator.requests) >= requests or killed.returncode is not None)
    with contextlib.suppress(ProcessLookupError):
        killed.kill()
    await killed.wait()
    run = await ended(await begun(emulator, *words))
    uncertain = run.err.count(" may have been created and billed, with unknown ids:")
    assert run.status == uncertain
    # Of one that was killed with its intent written, nothing may have arrived.
    created = sent(emulator, CREATE)
    assert 2 - uncertain <= created == len(emulator.tasks) <= 2
    again = await ended(await begun(emulator, *words))
    assert again.status == uncertain
    assert sent(emulator, CREATE) == created


async def test_a_result_is_printed_as_soon_as_it_is_there(songs: Path, tmp_path: Path) -> None:
    async with Emulator(rate_limit=None) as emulator:
        process = await begun(emulator, songs, "--to", tmp_path / "to", "--yes")
        await until(lambda: len(emulator.tasks) == 2)
        emulator.finish(emulator.tasks[0])
        assert "SUCCESS  saved: instrumental, vocal" in await first_line(process)
        process.send_signal(signal.SIGTERM)
        run = await ended(process)
        assert (run.status, run.out) == (130, [])
        assert "2 songs: 1 done, 1 pending" in run.err
