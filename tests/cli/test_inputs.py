"""Task ids from arguments, a file, and standard input."""

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
from cli.in_process import assert_error, call
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import InvalidArgumentError, TaskRef
from vocalsep_async.cli import inputs
from vocalsep_async.cli.inputs import TaskIds
from vocalsep_async.cli.text_lines import LineBuffer, read_chunks
from vocalsep_async.emulator import Emulator

COMMANDS = pytest.mark.parametrize("command", ["track", "download"])


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": None, "speed": 1000}


def fail_on_warning(text: str) -> None:
    pytest.fail(text)


def list_of_ids(*given: str, file: Path | None = None) -> list[str | TaskRef]:
    """The tasks of a command line that does not read standard input."""
    found = TaskIds(given, file, fail_on_warning).all()
    assert isinstance(found, list)
    return found


# Arguments and files


def test_arguments_are_ids_unchanged() -> None:
    assert list_of_ids("a", "b%20", "ü") == ["a", "b%20", "ü"]


def test_task_ids_are_false_without_any_source() -> None:
    assert not TaskIds((), None, fail_on_warning)
    assert TaskIds(("a",), None, fail_on_warning)
    assert TaskIds(("-",), None, fail_on_warning)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_file_holds_one_id_per_line_and_blank_lines_are_ignored(
    tmp_path: Path, start: str, end: str
) -> None:
    file = tmp_path / "ids.txt"
    lines = ["a", "", "  b\t", " \t ", "ü", "c"]
    file.write_bytes((start + end.join(lines)).encode())
    assert list_of_ids("first", file=file) == ["first", "a", "b", "ü", "c"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8"])
def test_a_file_may_be_in_any_encoding_that_a_byte_order_mark_names(
    tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes("\ufeff# made by Out-File\r\na\r\nü\r\n".encode(encoding))
    assert list_of_ids(file=file) == ["a", "ü"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_an_encoding_with_two_or_four_bytes_needs_no_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes("ab\r\nü\r\n".encode(encoding))
    assert list_of_ids(file=file) == ["ab", "ü"]


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_may_end_as_unicode_has_it(tmp_path: Path, end: str) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes(f"a{end}b{end}\nc".encode())
    assert list_of_ids(file=file) == ["a", "b", "c"]


LINES = {
    "# a comment": None,
    "  #": None,
    "a # a song": "a",
    "a\t#": "a",
    "a#b": "a#b",
    '"a"': "a",
    "'a'": "a",
    "“a”": "a",
    '" a " ': "a",
    '"a",': "a",
    "‘a’": "a",
    "„a“;": "a",
    "`a`": "a",
    "\fa": "a",
    "a ,": "a",
    '""': None,
    '"': '"',
    "\"a'": "\"a'",
    "\ufeffa": "a",
    "\u00a0a\u00a0": "a",
}


@pytest.mark.parametrize("line, task_id", LINES.items())
def test_an_id_is_found_on_a_line_as_people_write_it(
    tmp_path: Path, line: str, task_id: str | None
) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes(f"first\n{line}\nlast".encode())
    assert list_of_ids(file=file) == ["first", *filter(None, [task_id]), "last"]


CSVS = {
    "id,title\na,One\nb,Two\n": ["a", "b"],
    "title;id\nOne;a\n": ["a"],
    "title\tid\nOne\ta\n": ["a"],
    "title|id\nOne|a\n": ["a"],
    "id\na\n\nb\n": ["a", "b"],
    '\ufeff"title" , id\r\n"One, ""two""", a\r\n"two\nlines",b\r\n': ["a", "b"],
    "title,id\nno id\nOne,a\nempty,\n": ["a"],
    "sep=;\r\ntitle;id\r\nOne;a\r\n": ["a"],
    "# made by hand\n\ntitle,id\nOne #1,a\n": ["a"],
    "#,id\n1,a\n": ["a"],
    '"the\ntitle",id\nOne,a\n': ["a"],
}


@pytest.mark.parametrize("text, ids", CSVS.items())
def test_a_column_of_a_csv_holds_ids(tmp_path: Path, text: str, ids: list[str]) -> None:
    file = tmp_path / "ids.csv"
    file.write_text(text, "utf-8", newline="")
    found = TaskIds((), file, fail_on_warning, column="id").all()
    assert found == ids


SONGS = [
    TaskRef("a", label="Für Elise", type="split_stem"),
    TaskRef("b", label='AC/DC, "T.N.T." #1'),
    "c",
    TaskRef("d", type="separate_vocal"),
]
LISTS = {
    "csv": 'id,type,label\na,split_stem,Für Elise\nb,,"AC/DC, ""T.N.T."" #1"\nc\n'
    ",,nothing yet\nd,separate_vocal, \n",
    "csv of a spreadsheet": "\ufeffsep=;\r\nLabel; Task ID ;Type\r\nFür Elise;a;split_stem\r\n"
    '"AC/DC, ""T.N.T."" #1";b\r\n;c\r\n;d;separate_vocal\r\n',
    "tabs": "label\ttask_id\ttype\nFür Elise\ta\tsplit_stem\n"
    '"AC/DC, ""T.N.T."" #1"\tb\t\n\tc\n\td\tseparate_vocal\n',
    "json lines": '{"id": "a", "label": "F\\u00fcr Elise", "type": "split_stem", "polls": 3}\n\n'
    '{"task_id": "b", "label": "AC/DC, \\"T.N.T.\\" #1", "type": null}\n'
    'c\n {"task_id": "d", "type": "separate_vocal", "label": ""}\n',
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_a_list_may_have_labels_and_types(tmp_path: Path, text: str) -> None:
    file = tmp_path / "songs"
    file.write_text(text, "utf-8", newline="")
    assert list_of_ids(file=file) == SONGS


def test_a_column_of_ids_that_is_named_has_labels_and_types_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "songs.csv"
    file.write_text("Number,job,LABEL,type\n1,a,Für Elise,split_stem\n2,b\n", "utf-8")
    found = TaskIds((), file, fail_on_warning, column="job").all()
    assert found == [SONGS[0], "b"]


@COMMANDS
@pytest.mark.parametrize(
    "text, hint",
    [
        ("id,title\na,One\n", "no column 'task' in its first line, which has: id, title"),
        ("\n# ids\n", "it holds no line with the names of columns"),
        ('title,task\n"One,a\nTwo,b\n', "is no line of a CSV: unexpected end of data; is a quote"),
        ("task\n", "contains no ids"),
        ("task\nb c\n", "line 2: 'b c' is not one id"),
        ('title,task\n"two\nlines",b c\n', "line 3: 'b c' is not one id"),
        ('task\n"' + "a\n" * 70_000, "is no line of a CSV"),
    ],
)
def test_a_csv_without_valid_ids_is_refused_before_any_request(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str, text: str, hint: str
) -> None:
    file = tmp_path / "ids.csv"
    file.write_text(text)
    words = (command, "--file", file, "--column", "task", "--to", tmp_path / "stems")
    assert_error(call(vocalsep_emulator, *words), str(file), hint)
    assert vocalsep_emulator.requests == ()


@COMMANDS
def test_a_column_without_a_file_is_refused(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    words = (command, "a", "--column", "id", "--to", tmp_path / "stems")
    assert_error(call(vocalsep_emulator, *words), "--column names a column of a CSV: add --file")


def test_a_file_may_hold_a_hundred_thousand_ids(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    names = [f"id-{number}" for number in range(100_000)]
    file.write_text("\n".join(names))
    assert list_of_ids(file=file) == names


@COMMANDS
@pytest.mark.parametrize(
    "content, hint",
    [
        (b"", "contains no ids"),
        (b"\n \r\n\t\n", "contains no ids"),
        (b"\xef\xbb\xbf", "contains no ids"),
        (b"a\nb c\n", "line 2: 'b c' is not one id"),
        (b'["a",\n"b"]\n', "line 1: '[\"a\"' is no id: write the ids alone, one per line"),
        (b'{"task_id":"a"\n', "without the JSON or the link around them"),
        (b'{"task_id":7}\n', "without the JSON or the link around them"),
        (b'{"task_id":"a b"}\n', "line 1: 'a b' is not one id"),
        (b'{"task_id":"a","label":7}\n', "line 1: label must be a string or None, not int"),
        (b'{"task_id":"a","label":"b\\u0007"}\n', "line 1: label holds the character '\\x07'"),
        (b'{"task_id":"a","type":"karaoke"}\n', "line 1: unknown separation type 'karaoke'"),
        (b"id,label\na," + b"x" * 256, "line 2: label has 256 characters; at most 255 are kept"),
        (b"\n# mine\nid,type\na,vocals\n", "line 4: unknown separation type 'vocals'"),
        (
            b"id,label\na,One\nb,Two\na,Three\n",
            "line 4: task 'a' has the label 'Three' here, and 'One' before",
        ),
        (b"id,label\n", "contains no ids"),
        (b"song,label\na,One\n", "line 1: 'song,label' is not one id: write one id per line, or"),
        (b"https://api.example/record-info?taskId=a\n", "is no id"),
        (b"Task ID\na\n", "its first line is the name of a column: add --column 'Task ID'"),
        (b"task_id\na\n", "its first line is the name of a column: add --column 'task_id'"),
        (b"caf\xe9\n", "save it as UTF-8"),
        (b"a\n\nb\tc\n", "line 3: 'b\\tc' is not one id"),
        (b"\x89PNG\r\n\x1a\n\xff\xd8", "is not a text file"),
        (b"id,title\na,One\n", "line 1: 'id,title' is not one id: write one id per line, or name"),
        (b"a\x00\n", "line 1: the task id holds the character '\\x00'"),
        (b"a\n" + b"b" * 65_537, "a line has more than 65,536 characters"),
        (b"a" * 513, "line 1: the task id has 513 characters"),
    ],
)
def test_a_file_without_valid_ids_is_refused_before_any_request(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str, content: bytes, hint: str
) -> None:
    file = tmp_path / "ids.txt"
    file.write_bytes(content)
    to = ("--to", tmp_path / "stems")
    assert_error(call(vocalsep_emulator, command, "good", "--file", file, *to), str(file), hint)
    assert vocalsep_emulator.requests == ()
    assert list(tmp_path.iterdir()) == [file]


@COMMANDS
def test_a_missing_file_is_reported(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    words = (command, "--file", tmp_path / "none", "--to", tmp_path / "stems")
    assert_error(call(vocalsep_emulator, *words), "none: No such file or directory")


@COMMANDS
def test_a_folder_is_refused_as_a_file_of_ids(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    words = (command, "--file", tmp_path, "--to", tmp_path / "stems")
    assert_error(call(vocalsep_emulator, *words), f"{tmp_path}: Is a directory")
    assert vocalsep_emulator.requests == ()


@pytest.mark.parametrize(
    "given", ["", " ", "two words", "a\nb", "a\n", " a", "a\x00", "a" * 513, "a\ud800"]
)
@pytest.mark.parametrize("command", ["wait", "track"])
def test_an_invalid_argument_is_refused_before_any_request(
    vocalsep_emulator: Emulator, command: str, given: str
) -> None:
    assert_error(call(vocalsep_emulator, command, "good", given), "argument: ")
    assert vocalsep_emulator.requests == ()


@COMMANDS
def test_missing_ids_are_reported_with_the_alternatives(
    vocalsep_emulator: Emulator, tmp_path: Path, command: str
) -> None:
    result = call(vocalsep_emulator, command, "--to", tmp_path)
    assert_error(result, "no task ids: give ids, --file, - for standard input")
    assert ("--journal" in result.stderr) is (command == "track")


# Standard input


def lines_of(*pieces: bytes) -> list[str]:
    """The lines with an id of a stream that arrives in these pieces."""
    lines = LineBuffer()
    bare = (inputs._bare(line) for piece in (*pieces, b"") for line in lines.feed(piece))
    return list(filter(None, bare))


streams = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda text, encoding: text.encode(encoding),
        st.text(st.sampled_from("aü€𝄞\n\r\t \ufeff\x85\u2028#,\"'"), max_size=40),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    ),
)


@given(streams, st.data())
def test_the_ids_of_a_stream_do_not_depend_on_its_chunks(
    stream: bytes, data: st.DataObject
) -> None:
    places = data.draw(st.sets(st.integers(0, len(stream)), max_size=10))
    edges = [0, *sorted(places), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert lines_of(*filter(None, pieces)) == lines_of(*filter(None, [stream]))


@given(streams)
def test_the_ids_of_a_stream_read_byte_by_byte_are_the_same(stream: bytes) -> None:
    assert lines_of(*(bytes([byte]) for byte in stream)) == lines_of(*filter(None, [stream]))


@given(st.lists(st.text(st.sampled_from("aZ09-_ü𝄞"), min_size=1), min_size=1))
def test_a_stream_gives_the_same_ids_as_a_file(names: list[str]) -> None:
    stream = ("\ufeff" + "\r\n\r\n".join(names)).encode()
    assert lines_of(stream) == names


def test_a_line_is_complete_at_its_line_end() -> None:
    lines = LineBuffer()
    assert list(lines.feed(b"a\nb")) == ["a"]
    assert list(lines.feed(b"c\n")) == ["bc"]
    assert list(lines.feed(b"d")) == []
    assert list(lines.feed(b"")) == ["d"]


def test_the_mark_of_an_encoding_may_arrive_in_pieces_and_an_id_need_not_wait() -> None:
    lines = LineBuffer()
    assert [*lines.feed(b"\xff"), *lines.feed(b"\xfea\0\n"), *lines.feed(b"\0")] == ["a"]
    assert list(LineBuffer().feed(b"a\n")) == ["a"]


def stdin_delivers(monkeypatch: pytest.MonkeyPatch, *pieces: bytes) -> None:
    """Deliver these pieces as standard input."""

    async def chunks(descriptor: int) -> AsyncIterator[bytes]:
        assert descriptor == 0
        for piece in (*pieces, b""):
            yield piece

    monkeypatch.setattr(inputs, "read_chunks", chunks)


@pytest.mark.anyio
async def test_arguments_and_the_file_come_before_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stdin_delivers(monkeypatch, b"c\n\nd")
    file = tmp_path / "ids.txt"
    file.write_text("b\n")
    found = TaskIds(("-", "a", "-"), file, fail_on_warning).all()
    assert not isinstance(found, list)
    assert [each async for each in found] == ["a", "b", "c", "d"]


@pytest.mark.anyio
async def test_ids_may_be_tasks_whose_callbacks_are_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text("id,label\nb,Für Elise\n")
    listed = TaskIds(("a",), file, fail_on_warning).with_callbacks()
    stdin_delivers(monkeypatch, b"c\n")
    streamed = TaskIds(("-", "a"), None, fail_on_warning).with_callbacks()
    assert isinstance(listed, list)
    assert not isinstance(streamed, list)
    found = [*listed, *[each async for each in streamed]]
    assert [each.task_id for each in found] == ["a", "b", "a", "c"]
    assert [each.label for each in found] == [None, "Für Elise", None, None]
    assert all(each.expects_callback for each in found)


@pytest.mark.anyio
async def test_an_invalid_line_is_skipped_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warned: list[str] = []
    stdin_delivers(monkeypatch, b"a\ntwo words\n" + b"x" * 513 + b"\nb\n")
    given = TaskIds(("-",), None, warned.append)
    before, found = given.skipped_lines, given.all()
    assert not isinstance(found, list)
    assert [each async for each in found] == ["a", "b"]
    assert (before, given.skipped_lines) == (False, True)
    assert len(warned) == 2
    assert warned[0].startswith("line skipped: standard input: 'two words' is not one id")
    assert "513" in warned[1]


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1_000, 65_536])
async def test_a_line_without_an_end_is_one_error_after_the_ids_before_it(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    stdin_delivers(monkeypatch, b"a\n" + b"x" * size, *[b"x" * size] * 1_000)
    found = TaskIds(("-",), None, fail_on_warning).all()
    assert not isinstance(found, list)
    assert await anext(found) == "a"
    with pytest.raises(InvalidArgumentError, match=r"^standard input: a line has more than 65,536"):
        await anext(found)


@pytest.mark.anyio
async def test_standard_input_may_bring_objects_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b'{"task_id": "a", "label": "Song"}\n{"task_id": "b", "label": "x\\ny"}\n{"id": "c"}\n'
    stdin_delivers(monkeypatch, lines)
    warned: list[str] = []
    given = TaskIds(("-",), None, warned.append)
    found = given.all()
    assert not isinstance(found, list)
    assert [each async for each in found] == [TaskRef("a", label="Song"), "c"]
    assert len(warned) == 1
    assert "label holds the character" in warned[0]


@pytest.mark.anyio
async def test_valid_lines_are_not_counted_as_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_delivers(monkeypatch, b"a\r\n\r\n")
    given = TaskIds(("-",), None, fail_on_warning)
    found = given.all()
    assert not isinstance(found, list)
    assert [each async for each in found] == ["a"]
    assert not given.skipped_lines


def test_a_closed_standard_input_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidArgumentError, match="standard input is closed"):
        TaskIds(("-",), None, fail_on_warning)
    assert list_of_ids("a") == ["a"]


# The reader thread


def reader_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "vocalsep-stdin"}


@pytest.mark.anyio
async def test_a_pipe_is_read_as_it_is_written() -> None:
    reading, writing = os.pipe()
    try:
        async with aclosing(read_chunks(reading)) as chunks:  # type: ignore[type-var]
            for piece in (b"a", b"b\nc"):
                os.write(writing, piece)
                assert await anext(chunks) == piece
            os.close(writing)
            assert [each async for each in chunks] == [b""]
    finally:
        os.close(reading)


@pytest.mark.anyio
async def test_a_read_error_is_raised_in_the_consumer(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            [each async for each in read_chunks(folder)]
    finally:
        os.close(folder)


def test_the_reader_thread_ends_silently_after_its_event_loop() -> None:
    # Threads of earlier tests may still be about to end.
    earlier = reader_threads()
    reading, writing = os.pipe()

    async def listen() -> None:
        async with aclosing(read_chunks(reading)) as chunks:  # type: ignore[type-var]
            os.write(writing, b"a")
            assert await anext(chunks) == b"a"

    try:
        asyncio.run(listen())
        (thread,) = reader_threads() - earlier
        # Like a line that is typed after Ctrl-C.
        os.write(writing, b"b")
        thread.join(60)
        assert not thread.is_alive()
    finally:
        os.close(writing)
        os.close(reading)


@pytest.mark.anyio
async def test_the_reader_thread_ends_after_its_receiver() -> None:
    # Threads of earlier tests may still be about to end.
    earlier = reader_threads()
    reading, writing = os.pipe()
    try:
        async with aclosing(read_chunks(reading)) as chunks:  # type: ignore[type-var]
            os.write(writing, b"a")
            await anext(chunks)
        (thread,) = reader_threads() - earlier
        os.write(writing, b"b")
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()
    finally:
        os.close(writing)
        with suppress(OSError):
            os.close(reading)
