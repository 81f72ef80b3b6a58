"""Ids from arguments, a file, and standard input as they come."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cli.inside import call, throttled
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import InvalidArgumentError
from vocalsep_async.cli import ids
from vocalsep_async.cli.ids import Ids
from vocalsep_async.emulator import Emulator

COMMANDS = pytest.mark.parametrize("command", ["track", "download"])


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


def nobody_is_warned(text: str) -> None:
    pytest.fail(text)


def at_once(*given: str, file: Path | None = None) -> list[str]:
    """The ids of a command line that does not read on."""
    found = Ids(given, file, nobody_is_warned).all()
    assert isinstance(found, list)
    return found


# Arguments and files


def test_arguments_are_ids_as_they_were_given() -> None:
    assert at_once("a", " b ", "ü") == ["a", " b ", "ü"]


def test_without_ids_there_are_none() -> None:
    assert not Ids((), None, nobody_is_warned)
    assert Ids(("a",), None, nobody_is_warned)
    assert Ids(("-",), None, nobody_is_warned)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_file_holds_one_id_a_line_and_blank_ones(tmp_path: Path, start: str, end: str) -> None:
    file = tmp_path / "ids.txt"
    lines = ["a", "", "  b\t", " \t ", "ü", "c"]
    file.write_bytes((start + end.join(lines)).encode())
    assert at_once("first", file=file) == ["first", "a", "b", "ü", "c"]


def test_a_hundred_thousand_lines_are_as_many_ids(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    names = [f"id-{number}" for number in range(100_000)]
    file.write_text("\n".join(names))
    assert at_once(file=file) == names


@COMMANDS
@pytest.mark.parametrize(
    "content, hint",
    [
        (b"", "holds no ids"),
        (b"\n \r\n\t\n", "holds no ids"),
        (b"\xef\xbb\xbf", "holds no ids"),
        (b"a\nb c\n", "line 2: 'b c' is more than one word"),
        ("a\nb\u2028c\n".encode(), "line 2: 'b\\u2028c' is more than one word"),
        (b"a\n\nb\tc\n", "line 3: 'b\\tc' is more than one word"),
        (b"\x89PNG\r\n\x1a\n\xff\xd8", "is no text"),
        (b"a" * 513, "line 1: the task id has 513 characters"),
    ],
)
def test_a_file_that_is_no_list_is_refused_before_any_request(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str, content: bytes, hint: str
) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes(content)
    to = ("--to", tmp_path / "stems")
    throttled(call(vocalsep_emulator, command, "good", "--file", file, *to), str(file), hint)
    assert vocalsep_emulator.requests == ()
    assert list(tmp_path.iterdir()) == [file]


@COMMANDS
def test_a_file_that_is_not_there_is_said_so(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    words = (command, "--file", tmp_path / "none", "--to", tmp_path / "stems")
    throttled(call(vocalsep_emulator, *words), "none: No such file or directory")


@COMMANDS
def test_a_folder_is_no_file_of_ids(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    words = (command, "--file", tmp_path, "--to", tmp_path / "stems")
    throttled(call(vocalsep_emulator, *words), f"{tmp_path}: Is a directory")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize("given", ["", " ", "two words", "a\nb", "a" * 513, "a\ud800"])
@pytest.mark.parametrize("command", ["wait", "track"])
def test_an_argument_that_is_no_id_is_refused_before_any_request(
    vocalsep_emulator: Emulator, command: str, given: str
) -> None:
    throttled(call(vocalsep_emulator, command, "good", given), "the arguments: ")
    assert vocalsep_emulator.requests == ()


@COMMANDS
def test_no_ids_at_all_is_said_so_with_what_could_be_given(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    result = call(vocalsep_emulator, command, "--to", tmp_path)
    throttled(result, "give ids of tasks, --file, - to read standard input")
    assert ("--journal" in result.stderr) is (command == "track")


# Standard input


def lines_of(*pieces: bytes) -> list[str]:
    """What is made of a stream that comes in these pieces."""
    lines = ids._Lines()
    return [line for piece in (*pieces, b"") for line in lines.fed(piece)]


streams = st.one_of(
    st.binary(max_size=60),
    st.text(st.sampled_from("aü€𝄞\n\r\t \ufeff\x85\u2028"), max_size=40).map(str.encode),
)


@given(streams, st.data())
def test_wherever_a_stream_is_cut_the_ids_are_the_same(stream: bytes, data: st.DataObject) -> None:
    places = data.draw(st.sets(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(places), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert lines_of(*filter(None, pieces)) == lines_of(*filter(None, [stream]))


@given(streams)
def test_byte_by_byte_the_ids_are_the_same(stream: bytes) -> None:
    assert lines_of(*(bytes([byte]) for byte in stream)) == lines_of(*filter(None, [stream]))


@given(st.lists(st.text(st.sampled_from("aZ09-_ü𝄞"), min_size=1), min_size=1))
def test_a_stream_gives_the_ids_that_a_file_gives(names: list[str]) -> None:
    stream = ("\ufeff" + "\r\n\r\n".join(names)).encode()
    assert lines_of(stream) == names


def test_a_line_is_complete_with_its_end() -> None:
    lines = ids._Lines()
    assert list(lines.fed(b"a\nb")) == ["a"]
    assert list(lines.fed(b"c\n")) == ["bc"]
    assert list(lines.fed(b"d")) == []
    assert list(lines.fed(b"")) == ["d"]


def fed(monkeypatch: pytest.MonkeyPatch, *pieces: bytes) -> None:
    """Have these pieces come from standard input."""

    async def chunks(descriptor: int) -> AsyncIterator[bytes]:
        assert descriptor == 0
        for piece in (*pieces, b""):
            yield piece

    monkeypatch.setattr(ids, "_chunks", chunks)


@pytest.mark.anyio
async def test_arguments_and_the_file_come_before_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fed(monkeypatch, b"c\n\nd")
    file = tmp_path / "ids.txt"
    file.write_text("b\n")
    found = Ids(("-", "a", "-"), file, nobody_is_warned).all()
    assert not isinstance(found, list)
    assert [each async for each in found] == ["a", "b", "c", "d"]


@pytest.mark.anyio
async def test_a_line_that_is_no_id_is_warned_about_and_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[str] = []
    fed(monkeypatch, b"a\ntwo words\n" + b"x" * 513 + b"\nb\n")
    given = Ids(("-",), None, warned.append)
    before, found = given.has_bad_lines, given.all()
    assert not isinstance(found, list)
    assert [each async for each in found] == ["a", "b"]
    assert (before, given.has_bad_lines) == (False, True)
    assert len(warned) == 2
    assert warned[0].startswith("left out: standard input: 'two words' is more than one word")
    assert "513" in warned[1]


@pytest.mark.anyio
async def test_good_lines_are_no_bad_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    fed(monkeypatch, b"a\r\n\r\n")
    given = Ids(("-",), None, nobody_is_warned)
    found = given.all()
    assert not isinstance(found, list)
    assert [each async for each in found] == ["a"]
    assert not given.has_bad_lines


def test_a_standard_input_that_is_closed_is_said_so_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidArgumentError, match="standard input is closed"):
        Ids(("-",), None, nobody_is_warned)
    assert at_once("a") == ["a"]


# The thread that reads


def readers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "vocalsep-stdin"]


@pytest.mark.anyio
async def test_a_pipe_is_read_as_it_is_written() -> None:
    reading, writing = os.pipe()
    try:
        async with aclosing(ids._chunks(reading)) as chunks:  # type: ignore[type-var]
            for piece in (b"a", b"b\nc"):
                os.write(writing, piece)
                assert await anext(chunks) == piece
            os.close(writing)
            assert [each async for each in chunks] == [b""]
    finally:
        os.close(reading)


@pytest.mark.anyio
async def test_what_cannot_be_read_is_raised_where_it_is_waited_for(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            [each async for each in ids._chunks(folder)]
    finally:
        os.close(folder)


def test_a_thread_whose_loop_has_gone_ends_without_a_word() -> None:
    reading, writing = os.pipe()

    async def listen() -> None:
        async with aclosing(ids._chunks(reading)) as chunks:  # type: ignore[type-var]
            os.write(writing, b"a")
            assert await anext(chunks) == b"a"

    try:
        asyncio.run(listen())
        (thread,) = readers()
        # As when somebody types a line more after Ctrl-C.
        os.write(writing, b"b")
        thread.join(60)
        assert not thread.is_alive()
    finally:
        os.close(writing)
        os.close(reading)


@pytest.mark.anyio
async def test_a_thread_that_nobody_listens_to_any_more_ends() -> None:
    reading, writing = os.pipe()
    try:
        async with aclosing(ids._chunks(reading)) as chunks:  # type: ignore[type-var]
            os.write(writing, b"a")
            await anext(chunks)
        (thread,) = readers()
        os.write(writing, b"b")
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()
    finally:
        os.close(writing)
        with suppress(OSError):
            os.close(reading)
