"""The question, and what counts as an answer."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator

import anyio
import pytest

from vocalsep_async.cli.output import Output
from vocalsep_async.cli.songs import question
from vocalsep_async.cli.songs.question import agrees, can_ask

pytestmark = pytest.mark.anyio
Captured = pytest.CaptureFixture[str]


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize("stdin", [True, False, None])
@pytest.mark.parametrize("stderr", [True, False, None])
def test_a_person_can_be_asked_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, *, stdin: bool | None, stderr: bool | None
) -> None:
    for name, is_terminal in (("stdin", stdin), ("stderr", stderr)):
        stream = None if is_terminal is None else Stream(is_terminal=is_terminal)
        monkeypatch.setattr(sys, name, stream)
    assert can_ask() is (stdin is stderr is True)


def typed(monkeypatch: pytest.MonkeyPatch, *chunks: bytes) -> None:
    async def read_chunks(descriptor: int) -> AsyncIterator[bytes]:
        assert descriptor == 0
        for chunk in chunks:
            yield chunk

    monkeypatch.setattr(question, "read_chunks", read_chunks)


@pytest.mark.parametrize("chunks", [(b"y\n",), (b" Yes \n",), (b"y", b"es", b"\nmore")])
async def test_yes_is_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, chunks: tuple[bytes, ...]
) -> None:
    typed(monkeypatch, *chunks)
    assert await agrees("sure?", Output(is_quiet=True)) is (chunks[-1] != b"\nmore")
    assert capsys.readouterr().err.startswith("sure? [y/N] ")


@pytest.mark.parametrize("answer", [b"\n", b"no\n", b"yes please\n", b"\xff\n", b"ye\n"])
async def test_anything_else_is_no(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, answer: bytes
) -> None:
    typed(monkeypatch, answer)
    assert await agrees("sure?", Output(is_quiet=False)) is False
    # The terminal itself shows the end of the line.
    assert capsys.readouterr().err == "sure? [y/N] "


@pytest.mark.parametrize("chunks", [(b"",), (b"y", b"")])
async def test_an_answer_that_was_not_finished_is_no(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, chunks: tuple[bytes, ...]
) -> None:
    typed(monkeypatch, *chunks)
    assert await agrees("sure?", Output(is_quiet=False)) is False
    assert capsys.readouterr().err == "sure? [y/N] \n"


async def test_a_question_that_is_given_up_leaves_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    async def read_chunks(_descriptor: int) -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b""

    monkeypatch.setattr(question, "read_chunks", read_chunks)
    with anyio.move_on_after(0.01) as scope:
        await agrees("sure?", Output(is_quiet=False))
    assert scope.cancelled_caught
    assert capsys.readouterr().err == "sure? [y/N] \n"
