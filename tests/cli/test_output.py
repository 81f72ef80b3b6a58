"""Results on standard output, messages and progress on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from cli.stats import batch, snapshot
from cli.subprocesses import KEY, first_line, started
from cli.terminal import Terminal
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    DownloadError,
    SeparationTask,
    Stems,
    TaskOutcome,
    TaskStatus,
    TransportError,
    VocalSepError,
)
from vocalsep_async.cli.output import Output, outcome_line, print_error, task_lines, task_to_dict
from vocalsep_async.cli.progress import format_line
from vocalsep_async.emulator import Emulator

Captured = pytest.CaptureFixture[str]

HOSTILE = "[red]x[/] :key: :smile:"
SNAPSHOT = snapshot(batch=batch(pending=1, finished=1, failed=0), slowest=(("an-id", 8.0),))


# Results and messages


def test_a_result_is_one_line_of_standard_output(capsys: Captured) -> None:
    output = Output(is_quiet=True)
    output.result(HOSTILE)
    output.result({"task_id": "ü\u2028\n"})
    out, err = capsys.readouterr()
    assert err == ""
    text, json_line = out.splitlines()
    assert text == HOSTILE
    assert json.loads(json_line) == {"task_id": "ü\u2028\n"}


@pytest.mark.parametrize("is_quiet", [False, True])
def test_messages_go_to_standard_error(capsys: Captured, *, is_quiet: bool) -> None:
    output = Output(is_quiet=is_quiet)
    output.info("message")
    output.warn("warned")
    assert capsys.readouterr() == ("", "warned\n" if is_quiet else "message\nwarned\n")


def test_a_question_is_asked_also_when_quiet_and_waits_on_its_line(capsys: Captured) -> None:
    Output(is_quiet=True).ask(f"{HOSTILE}\x1b[31m? ")
    assert capsys.readouterr() == ("", f"{HOSTILE}\\x1b[31m? ")


def test_names_are_not_parsed_as_markup(capsys: Captured) -> None:
    output = Output(is_quiet=False)
    output.info(HOSTILE)
    output.warn(HOSTILE)
    assert capsys.readouterr().err == f"{HOSTILE}\n{HOSTILE}\n"


TERMINAL_WORDS = {
    "\x1b[2J": r"\x1b[2J",
    "\x1b]8;;https://evil.example\x1b\\text": r"\x1b]8;;https://evil.example\x1b\text",
    "\x1b]52;c;aGk=\x07": r"\x1b]52;c;aGk=\x07",
    "\x9d52;c;aGk=\x9c": r"\x9d52;c;aGk=\x9c",
    "a\rb\x08": r"a\rb\x08",
    "fdp.\u202eexe": r"fdp.\u202eexe",
    "\u2066a\u2069\u200f": r"\u2066a\u2069\u200f",
}


@pytest.mark.parametrize("word, shown", TERMINAL_WORDS.items())
def test_no_output_makes_a_terminal_act(capsys: Captured, word: str, shown: str) -> None:
    output = Output(is_quiet=False)
    output.result(word)
    output.info(word)
    output.warn(f"two\n{word}")
    print_error(word)
    assert capsys.readouterr() == (f"{shown}\n", f"{shown}\ntwo\n{shown}\n{shown}\n")


def test_json_stays_json(capsys: Captured) -> None:
    Output(is_quiet=False).result({"a": "\x1b\u202e"})
    assert json.loads(capsys.readouterr().out) == {"a": "\x1b\u202e"}


def test_a_long_message_is_not_wrapped(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    Output(is_quiet=False).warn("word " * 100)
    assert len(capsys.readouterr().err.splitlines()) == 1


# Files

STRANGE = Path("/out/a b;é#?%\x1b[2J\u202e.html")
STRANGE_URL = "file:///out/a%20b%3B%C3%A9%23%3F%25%1B%5B2J%E2%80%AE.html"


def shown_file(
    monkeypatch: pytest.MonkeyPatch, term: str, path: Path, *, is_quiet: bool = False
) -> str:
    """What a terminal gets that is told where *path* is."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "30")
    screen = OnTerminal()
    monkeypatch.setattr(sys, "stderr", screen)
    Output(is_quiet=is_quiet).file("report", path)
    return screen.getvalue()


def test_a_terminal_gets_a_link_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = shown_file(monkeypatch, "xterm-256color", STRANGE)
    link = re.fullmatch(
        r"report: \x1b]8;[^;]*;(?P<url>[^\x1b]*)\x1b\\(?P<text>[^\x1b]*)\x1b]8;;\x1b\\\n", shown
    )
    assert link is not None, shown
    assert link["url"] == link["text"] == STRANGE_URL


@pytest.mark.parametrize("term", ["dumb", "linux"])
def test_a_terminal_without_links_gets_the_plain_url_of_a_file(
    monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    assert shown_file(monkeypatch, term, STRANGE) == f"report: {STRANGE_URL}\n"


def test_a_relative_file_has_an_absolute_link(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = shown_file(monkeypatch, "dumb", Path("report.html"))
    assert shown == f"report: {(tmp_path / 'report.html').as_uri()}\n"


def test_quiet_hides_where_a_file_is(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    Output(is_quiet=True).file("report", STRANGE)
    assert capsys.readouterr() == ("", "")
    assert shown_file(monkeypatch, "xterm", STRANGE, is_quiet=True) == ""


def test_a_pipe_gets_the_path_of_a_file(capsys: Captured) -> None:
    Output(is_quiet=False).file("report", Path("/out/a b.html"))
    assert capsys.readouterr().err == "report: /out/a b.html\n"


# Progress in virtual time


async def shown_for(seconds: float, output: Output) -> None:
    with anyio.move_on_after(seconds):
        await output.show_progress(lambda: SNAPSHOT)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_a_log_gets_a_progress_line_every_five_seconds(capsys: Captured) -> None:
    await shown_for(4, Output(is_quiet=False))
    assert capsys.readouterr() == ("", "")
    await shown_for(16, Output(is_quiet=False))
    assert capsys.readouterr() == ("", (format_line(SNAPSHOT) + "\n") * 3)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_quiet_hides_progress(capsys: Captured) -> None:
    await shown_for(60, Output(is_quiet=True))
    assert capsys.readouterr() == ("", "")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
@pytest.mark.parametrize(
    "environ",
    [
        {"FORCE_COLOR": "1"},
        {"FORCE_COLOR": "3", "TTY_INTERACTIVE": "1"},
        {"TTY_COMPATIBLE": "1"},
        {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "FORCE_COLOR": "1", "TERM": "xterm"},
        {"CI": "true", "GITHUB_ACTIONS": "true", "FORCE_COLOR": "true"},
    ],
)
async def test_a_pipe_gets_lines_without_escape_sequences_whatever_the_environment(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    await shown_for(6, Output(is_quiet=False))
    assert capsys.readouterr() == ("", format_line(SNAPSHOT) + "\n")


class OnTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> OnTerminal:
    """Connect standard output and standard error to one terminal."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = OnTerminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def screen_of(stream: io.StringIO) -> Terminal:
    screen = Terminal()
    # As the driver of a terminal converts it.
    screen.write(stream.getvalue().replace("\n", "\r\n"))
    return screen


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_a_terminal_shows_progress_below_the_results_and_clears_it_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    output = Output(is_quiet=False)
    async with anyio.create_task_group() as group:
        group.start_soon(output.show_progress, lambda: SNAPSHOT)
        await anyio.sleep(1)
        for result in ("first", HOSTILE, "x" * 200):
            output.result(result)
            await anyio.sleep(1)
        during = screen_of(terminal)
        assert during.lines[:3] == ["first", HOSTILE, "x" * 200]
        assert during.lines[3].startswith("1 of 2 tasks done ")
        assert during.lines[-1] == "  an-id  polled for 8 s"
        assert not during.has_cursor
        group.cancel_scope.cancel()
    output.info("message")
    after = screen_of(terminal)
    assert after.lines == ["first", HOSTILE, "x" * 200, "message"]
    assert after.has_cursor


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
@pytest.mark.parametrize("name, value", [("TERM", "dumb"), ("TTY_INTERACTIVE", "0")])
async def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    await shown_for(6, Output(is_quiet=False))
    assert terminal.getvalue() == format_line(SNAPSHOT) + "\n"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_results_that_are_redirected_do_not_appear_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, elsewhere = on_terminal(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stdout", elsewhere)
    output = Output(is_quiet=False)
    async with anyio.create_task_group() as group:
        group.start_soon(output.show_progress, lambda: SNAPSHOT)
        await anyio.sleep(1)
        output.result("first")
        assert elsewhere.getvalue() == "first\n"
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    assert "1 of 2 tasks done" in terminal.getvalue()
    assert "first" not in terminal.getvalue()
    assert screen_of(terminal).lines == [""]


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


async def start_on_terminal(
    emulator: Emulator, *words: str, **streams: Any
) -> asyncio.subprocess.Process:
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
    """The output of a process to a terminal, until *until* appears or the process ends."""
    text = b""
    with contextlib.suppress(OSError):
        while not until or until.encode() not in text:
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            text += piece
    return text.decode()


@pytest.mark.anyio
async def test_a_terminal_keeps_only_the_results_and_the_last_message(
    emulator: Emulator, pseudo_terminal: tuple[int, int]
) -> None:
    ours, theirs = pseudo_terminal
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=float("inf"))
    process = await start_on_terminal(emulator, "track", done, still, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = await asyncio.to_thread(written_to, ours, "1 of 2 tasks done")
    process.send_signal(signal.SIGINT)
    text += await asyncio.to_thread(written_to, ours)
    assert await process.wait() == 130
    screen = Terminal()
    screen.write(text)
    result, last = screen.lines
    assert result == f"{done}  SUCCESS  ready: instrumental, vocal"
    assert last.startswith("interrupted with 1 task still pending; ")
    assert screen.has_cursor
    assert still in text
    assert KEY not in text


@pytest.mark.anyio
async def test_a_pipe_gets_only_results_while_a_terminal_shows_progress(
    emulator: Emulator, pseudo_terminal: tuple[int, int]
) -> None:
    ours, theirs = pseudo_terminal
    done, still = emulator.add_task(duration=0), emulator.add_task(duration=float("inf"))
    process = await start_on_terminal(
        emulator, "track", done, still, "--json", stdout=asyncio.subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    assert json.loads(await first_line(process))["task_id"] == done
    text = await asyncio.to_thread(written_to, ours, "1 of 2 tasks done")
    emulator.finish(still)
    rest = asyncio.create_task(asyncio.to_thread(written_to, ours))
    out, _ = await process.communicate()
    text += await rest
    assert process.returncode == 0
    assert [json.loads(line)["task_id"] for line in out.splitlines()] == [still]
    screen = Terminal()
    screen.write(text)
    assert len(screen.lines) == 1
    assert screen.lines[0].startswith("2 tasks: 2 succeeded, 0 failed; ")


@pytest.mark.anyio
async def test_output_into_pipes_has_no_escape_sequences(
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


# Tasks and outcomes as lines and as JSON


NAMES = ("vocal", "drums", "bass", "guitar", "keyboard", "synth")
LINKS: dict[str, Any] = {name: f"https://cdn.example/{name}.mp3?sig=1" for name in NAMES}
STEMS = Stems(**LINKS)
DONE = SeparationTask(
    task_id="a",
    status=TaskStatus.SUCCESS,
    stems=STEMS,
    created_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
)
FAILED = SeparationTask(
    task_id="b", status=TaskStatus.CREATE_TASK_FAILED, error_message="[red]no vocals\\x1b"
)
FILES = {name: Path("stems", "a", f"{name}.mp3") for name in NAMES}


def outcome(
    task: SeparationTask | None,
    error: VocalSepError | None = None,
    download_error: DownloadError | None = None,
    files: dict[str, Path] | None = None,
) -> TaskOutcome:
    return TaskOutcome(
        task_id=task.task_id if task else "c",
        status=task.status if task else None,
        task=task,
        error=error,
        polls=3,
        elapsed=12.5,
        files=files or {},
        download_error=download_error,
    )


def test_an_outcome_line_names_four_stems_and_counts_the_others() -> None:
    ready = outcome_line(outcome(DONE))
    assert ready.startswith("a  SUCCESS  ready: ")
    assert ready.endswith(" and 2 more")
    assert sum(name in ready for name in NAMES) == 4


def test_an_outcome_line_distinguishes_saved_from_ready() -> None:
    saved = outcome_line(outcome(DONE, files={"drums": FILES["drums"]}))
    assert saved == "a  SUCCESS  saved: drums"


def test_an_outcome_line_begins_with_the_label_and_the_ends_of_the_id() -> None:
    song = attrs.evolve(outcome(DONE), task_id="5c79be8e" * 4, label="Tin \x1b[31mRoof")
    line = outcome_line(song)
    assert line.startswith(r"Tin \x1b[31mRoof  5c79be8e…be8e  SUCCESS  ready: ")
    assert song.to_dict()["label"] == song.label
    assert outcome_line(attrs.evolve(song, task_id="short-id")).split("  ")[1] == "short-id"


def test_an_outcome_line_has_the_message_of_the_api() -> None:
    assert outcome_line(outcome(FAILED)) == "b  CREATE_TASK_FAILED  [red]no vocals\\x1b"


def test_an_outcome_line_of_a_song_without_a_task_has_its_name_alone() -> None:
    song = attrs.evolve(outcome(None, TransportError("no way")), task_id="", label="Für Elise")
    assert outcome_line(song) == "Für Elise  no task  no way"


def test_an_outcome_line_without_a_record_has_the_error() -> None:
    assert (
        outcome_line(outcome(None, TransportError("no connection")))
        == "c  no status  no connection"
    )


def test_an_outcome_line_has_the_reason_why_stems_are_not_saved() -> None:
    error = DownloadError("the disk is full", task_id="a", stem="vocal")
    assert outcome_line(outcome(DONE, download_error=error)) == "a  SUCCESS  the disk is full"


def test_an_outcome_line_of_a_record_without_links_has_the_reason() -> None:
    empty = SeparationTask(task_id="a", status=TaskStatus.SUCCESS)
    assert outcome_line(outcome(empty)).startswith("a  SUCCESS  ")
    assert "no URL" in outcome_line(outcome(empty))


def test_a_task_as_json_has_whole_links_and_a_reason() -> None:
    assert task_to_dict(DONE) == {
        "task_id": "a",
        "status": "SUCCESS",
        "stems": dict(STEMS),
        "reason": None,
        "created_at": "2026-05-04T03:02:01+00:00",
        "completed_at": None,
    }
    assert task_to_dict(FAILED)["reason"] == FAILED.reason


def test_task_lines_align_the_links() -> None:
    first, *stems = task_lines(DONE)
    assert first == "a  SUCCESS"
    assert len(stems) == len(NAMES)
    assert len({each.index("https://") for each in stems}) == 1


def test_task_lines_of_a_failed_task_have_the_message_of_the_api() -> None:
    assert task_lines(FAILED) == ["b  CREATE_TASK_FAILED  [red]no vocals\\x1b"]
    assert task_lines(SeparationTask(task_id="p", status="PENDING")) == ["p  PENDING"]


@given(st.text(min_size=1), st.text(min_size=1), st.text())
def test_an_outcome_as_json_is_one_line_for_any_text(task_id: str, stem: str, reason: str) -> None:
    task = SeparationTask(task_id=task_id, status=TaskStatus.SUCCESS, error_message=reason)
    shown = json.dumps(
        outcome(task, files={stem: Path("x")}, error=VocalSepError(reason)).to_dict(keep_links=True)
    )
    assert len(shown.splitlines()) == 1
    assert shown.isascii()
    assert json.loads(shown)["task_id"] == task_id
