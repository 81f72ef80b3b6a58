"""Tasks from arguments, a file, and standard input as it arrives."""

from __future__ import annotations

import asyncio
import codecs
import csv
import io
import json
import os
import re
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import aclosing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from anyio.abc import ObjectSendStream
from attrs import evolve

from vocalsep_async import InvalidArgumentError, TaskRef
from vocalsep_async._text import printable

_CHUNK_SIZE = 65536
_LONGEST_LINE = 65536
"""Characters; a longer line is no id, and what has no line ends at all would fill the memory."""
_STANDARD_INPUT = "-"
# The mark of UTF-32 begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_DETECTED = 4
"""Bytes that tell encodings without a mark apart: ids are ASCII."""
_LONGEST_SHOWN = 80
"""Characters of a line that an error shows."""
_QUOTES = ('""', "''", "“”", "‘’", "„“", "«»", "``")
_DELIMITERS = ",;\t|"
_HEADERS = frozenset({"id", "ids", "task", "tasks", "taskid", "taskids"})
"""What a column of ids is called, without blanks and lines, in lower case."""
_LABEL, _TYPE = "label", "type"
"""What columns and fields of JSON are called that say more about a task."""
_NO_ID = re.compile(r"[\[\]{}<>]|://")
"""What JSON, HTML and links hold, and ids do not."""
_SEPARATOR = re.compile("sep=.", re.IGNORECASE)
_MOST_COLUMNS = 20
"""Columns that an error lists."""
# What sending to the event loop raises once the command has ended.
_RECEIVER_GONE = (
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    CancelledError,
    RuntimeError,
)


class _Entry(NamedTuple):
    """What a line or a row says about one task; the id is empty where there is none."""

    task_id: str
    label: str | None = None
    type: Any = None


class TaskIds:
    """The tasks that a command line names: their ids, or refs where a label or a type is given.

    Args:
        arguments: the positional arguments; ``-`` stands for standard input.
        file: a file with one id per line, objects of JSON on lines of their own, or a CSV; None for
            none.
        column: the column of *file*, a CSV with a header, that holds the ids; None if it is no CSV,
            or one with a column of ids and one of labels or types, as they are usually called.
        warn: called with a message for each line of standard input that is no id. Such lines are
            skipped, because the ids before them are being tracked already.

    Attributes:
        skipped_lines: whether a line of standard input was skipped.

    Raises:
        InvalidArgumentError: an argument or a line of the file is no id, the file holds no ids or
            has no such column, or standard input is closed.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        file: Path | None,
        warn: Callable[[str], None],
        *,
        column: str | None = None,
    ) -> None:
        self._ids: list[str | TaskRef] = [
            _checked(each, "argument") for each in arguments if each != _STANDARD_INPUT
        ]
        if file is not None:
            self._ids += _read_file(file, column)
        elif column is not None:
            raise InvalidArgumentError("--column names a column of a CSV: add --file")
        self._reads_stdin = _STANDARD_INPUT in arguments
        # Its descriptor may belong to a socket by the time it is read.
        if self._reads_stdin and sys.stdin is None:
            raise InvalidArgumentError("standard input is closed: no ids can be read from it")
        self._warn = warn
        self.skipped_lines: bool = False

    def __bool__(self) -> bool:
        return bool(self._ids) or self._reads_stdin

    def all(self) -> list[str | TaskRef] | AsyncIterator[str | TaskRef]:
        """All tasks: a list, or an iterator that yields them as standard input delivers them."""
        return self._with_stdin() if self._reads_stdin else self._ids

    def with_callbacks(self) -> list[TaskRef] | AsyncIterator[TaskRef]:
        """The same, as tasks whose callbacks are expected."""
        return self._refs() if self._reads_stdin else list(map(_with_callback, self._ids))

    async def _refs(self) -> AsyncIterator[TaskRef]:
        async with aclosing(self._with_stdin()) as tasks:
            async for each in tasks:
                yield _with_callback(each)

    async def _with_stdin(self) -> AsyncGenerator[str | TaskRef]:
        for each in self._ids:
            yield each
        buffer = _LineBuffer()
        try:
            async for chunk in _read_chunks(0):
                for line in chain.from_iterable(map(_parted, buffer.feed(chunk))):
                    task = self._task_or_warning(line)
                    if task is not None:
                        yield task
        except _TextError as error:
            raise InvalidArgumentError(f"standard input: {error}") from None

    def _task_or_warning(self, line: str) -> str | TaskRef | None:
        try:
            return _task(_entry(line), "standard input")
        except InvalidArgumentError as error:
            self.skipped_lines = True
            self._warn(f"line skipped: {error}")
        return None


def _with_callback(task: str | TaskRef) -> TaskRef:
    ref = TaskRef(task) if isinstance(task, str) else task
    return evolve(ref, expects_callback=True)


def _read_file(file: Path, column: str | None) -> Iterator[str | TaskRef]:
    is_empty = True
    labels: dict[str, str] = {}
    try:
        with file.open("rb") as opened:
            lines = _lines_of(opened)
            entries = _rows(lines, column.strip()) if column else _numbered(lines)
            for number, entry in entries:
                _check_no_header(entry.task_id, file, is_first=is_empty)
                if task := _task(entry, f"{file}, line {number}"):
                    is_empty = False
                    _check_label(entry, labels, f"{file}, line {number}")
                    yield task
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{file} is not a text file: {error.reason}; save it as UTF-8"
        ) from None
    except _TextError as error:
        raise InvalidArgumentError(f"{file}: {error}") from None
    if is_empty:
        raise InvalidArgumentError(f"{file} contains no ids: write one id per line")


def _check_label(entry: _Entry, labels: dict[str, str], source: str) -> None:
    if not entry.label:
        return
    known = labels.setdefault(entry.task_id, entry.label)
    if known != entry.label:
        raise InvalidArgumentError(
            f"{source}: task {printable(entry.task_id)!r} has the label {printable(entry.label)!r} "
            f"here, and {printable(known)!r} before: give it one"
        )


def _check_no_header(task_id: str, file: Path, *, is_first: bool) -> None:
    if is_first and _is_header(task_id):
        raise InvalidArgumentError(
            f"{file}: its first line is the name of a column: add --column {task_id!r}"
        )


def _numbered(lines: Iterator[str]) -> Iterator[tuple[int, _Entry]]:
    numbered = enumerate(lines, 1)
    first, line = next((each for each in numbered if _says_something(each[1])), (1, ""))
    column = _column_of_ids(line)
    if column is not None:
        for number, entry in _rows(chain([line], lines), column):
            yield first - 1 + number, entry
        return
    for number, each in chain([(first, line)], numbered):
        for part in _parted(each):
            yield number, _entry(part)


def _says_something(line: str) -> bool:
    """Whether a line is not blank, nor a comment, nor the delimiter as spreadsheets write it."""
    bare = line.strip("\ufeff \t")
    return bool(bare) and not bare.startswith("#") and _SEPARATOR.fullmatch(bare) is None


def _column_of_ids(header: str) -> str | None:
    """The name of the column of ids if *header* begins a CSV with labels or types, too."""
    for delimiter in _DELIMITERS:
        names = _names_in(header.lstrip("\ufeff"), delimiter)
        if {_LABEL, _TYPE}.isdisjoint(map(_plain, names)):
            continue
        if (column := next(filter(_is_header, names), None)) is not None:
            return column
    return None


def _names_in(header: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _is_header(name: str) -> bool:
    return _plain(name) in _HEADERS


def _entry(line: str) -> _Entry:
    """What a line says that is an id, or an object of JSON."""
    text = line.strip("\ufeff \t")
    if text.startswith("{"):
        # Anything else that begins so is refused as an id.
        with suppress(ValueError, RecursionError):
            content = json.loads(text)
            task_id = content.get("task_id", content.get("id"))
            if isinstance(task_id, str):
                return _Entry(task_id, content.get(_LABEL) or None, content.get(_TYPE) or None)
    return _Entry(_bare(line))


def _task(entry: _Entry, source: str) -> str | TaskRef | None:
    """The task of an entry; None if it has no id."""
    if not entry.task_id:
        return None
    task_id = _checked(entry.task_id, source)
    if entry.label is None and entry.type is None:
        return task_id
    try:
        return TaskRef(task_id, label=entry.label, type=entry.type)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: {error}") from None


def _parted(line: str) -> list[str]:
    """The lines in *line*, which some programs end with a character of Unicode's."""
    return line.splitlines() or [""]


def _lines_of(opened: io.BufferedReader) -> Iterator[str]:
    buffer = _LineBuffer("strict")
    chunk = b"?"
    while chunk:
        chunk = opened.read(_CHUNK_SIZE)
        yield from buffer.feed(chunk)


def _rows(lines: Iterator[str], column: str) -> Iterator[tuple[int, _Entry]]:
    """The tasks of a CSV, each with the number of the line on which its row ends."""
    begin, header = _header_line(lines, column)
    delimiter = _delimiter(header, column)
    # Blanks between a quote and a delimiter are usual, and no part of a strict CSV.
    padding = re.compile(f'(?<=") +(?={re.escape(delimiter)})')
    given = (padding.sub("", f"{line}\n") for line in chain([header], lines))
    # Strict: a quote that is never closed would swallow all rows behind it.
    rows = csv.reader(given, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(rows)]
        if column not in names:
            raise _no_column(column, names)
        known = [_plain(name) for name in names]
        places = [known.index(name) if name in known else None for name in (_LABEL, _TYPE)]
        for row in rows:
            label, type_ = (_cell(row, place) or None for place in places)
            task_id = _bare(_cell(row, names.index(column)))
            yield rows.line_num + begin, _Entry(task_id, label, type_)
    except csv.Error as error:
        raise _TextError(
            f"line {rows.line_num + begin} is no line of a CSV: {error}; is a quote not closed?"
        ) from None


def _cell(row: list[str], place: int | None) -> str:
    # A row may end early where its last cells are empty.
    return "" if place is None else "".join(row[place : place + 1]).strip()


def _header_line(lines: Iterator[str], column: str) -> tuple[int, str]:
    """How many lines come before the header of a CSV, and the first line of it.

    Those are blank, comments, or name the delimiter, as spreadsheets write it.
    """
    for number, line in enumerate(lines):
        is_comment = line.startswith("#") and column not in line
        if line.strip() and not is_comment and not _SEPARATOR.fullmatch(line):
            return number, line
    raise _TextError("it holds no line with the names of columns")


def _delimiter(header: str, column: str) -> str:
    """The delimiter of a CSV: one with which a column has that name, else the likeliest."""
    found = {each: _names_in(header, each) for each in _DELIMITERS}
    return max(found, key=lambda each: (column in found[each], len(found[each])))


def _no_column(column: str, names: list[str]) -> _TextError:
    known = printable(", ".join(names[:_MOST_COLUMNS]))
    return _TextError(
        f"no column {column[:_LONGEST_SHOWN]!r} in its first line, which has: {known}"
    )


class _TextError(InvalidArgumentError):
    """A text whose lines cannot be told apart, or are no CSV."""


def _bare(line: str) -> str:
    """What a line holds besides blanks, a comment, a comma at its end, and quotes."""
    # Marks stand within a text where files were joined.
    bare = re.sub(r"(^|\s)#.*", "", line.replace("\ufeff", "")).strip().rstrip(",; ")
    is_quoted = len(bare) > 1 and bare[0] + bare[-1] in _QUOTES
    return bare[1:-1].strip() if is_quoted else bare


def _checked(task_id: str, source: str) -> str:
    # The API's ids contain no blanks and commas; a line with one is a list of two ids, or no list
    # of ids.
    if len(re.split(r"[\s,;]+", task_id.strip())) > 1:
        raise InvalidArgumentError(
            f"{source}: {task_id[:_LONGEST_SHOWN]!r} is not one id: write one id per "
            "line, or name a column of a CSV with --column"
        )
    try:
        ref = TaskRef(task_id)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: {error}") from None
    if _NO_ID.search(task_id):
        raise InvalidArgumentError(
            f"{source}: {task_id[:_LONGEST_SHOWN]!r} is no id: write the ids alone, one per line, "
            "without the JSON or the link around them"
        )
    return ref.task_id


class _LineBuffer:
    """Assembles lines from the chunks of a stream, in the encoding that its first bytes mark.

    Args:
        errors: what to do with bytes that are no text, as for ``bytes.decode``.
    """

    # By default a wrong byte spoils its own line only: the ids before it are being tracked already.
    def __init__(self, errors: str = "replace") -> None:
        self._errors = errors
        self._decoder: io.IncrementalNewlineDecoder | None = None
        self._beginning = b""
        self._incomplete: list[str] = []
        self._length = 0
        """Characters of the incomplete line."""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that *chunk* completes; an empty chunk is the end.

        Raises:
            InvalidArgumentError: a line is too long; those before it were yielded.
            UnicodeDecodeError: the bytes are no text, with ``errors="strict"``.
        """
        *lines, rest = self._decode(chunk).split("\n")
        for line in lines:
            self._append(line)
            yield self._take()
        self._append(rest)
        if not chunk:
            yield self._take()

    def _append(self, part: str) -> None:
        self._incomplete.append(part)
        self._length += len(part)
        if self._length > _LONGEST_LINE:
            raise _TextError(
                f"a line has more than {_LONGEST_LINE:,} characters: write one id per line"
            )

    def _take(self) -> str:
        line = "".join(self._incomplete)
        self._incomplete, self._length = [], 0
        return line

    def _decode(self, chunk: bytes) -> str:
        is_end = not chunk
        if self._decoder is None:
            chunk = self._beginning = self._beginning + chunk
            if not is_end and _may_be_part_of_mark(chunk):
                return ""
            self._decoder, chunk = self._start(chunk)
        return self._decoder.decode(chunk, final=is_end)

    def _start(self, beginning: bytes) -> tuple[io.IncrementalNewlineDecoder, bytes]:
        marks = (mark for mark in _BYTE_ORDER_MARKS if beginning.startswith(mark))
        mark = next(marks, b"")
        encoding = _BYTE_ORDER_MARKS[mark] if mark else _unmarked_encoding(beginning)
        decoder = codecs.getincrementaldecoder(encoding)(self._errors)
        return io.IncrementalNewlineDecoder(decoder, translate=True), beginning[len(mark) :]


def _may_be_part_of_mark(beginning: bytes) -> bool:
    """Whether a text cannot be read yet: what marks its encoding may arrive in pieces."""
    is_part = any(mark.startswith(beginning) and mark != beginning for mark in _BYTE_ORDER_MARKS)
    # One byte is no line; with a zero it is not UTF-8.
    return is_part or len(beginning) < (_DETECTED if b"\0" in beginning else 2)


def _unmarked_encoding(beginning: bytes) -> str:
    """The encoding of a text without a mark, by the zero bytes around its first characters."""
    zeros = tuple(byte == 0 for byte in beginning[:_DETECTED])
    return _ZEROS.get(zeros, "utf-8")


async def _read_chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Read until the end of the stream; the last chunk is empty."""
    # A daemon thread and not a pool's: a read that waits for a person to type cannot be
    # cancelled, and a pool would wait for it when the process ends. The stream holds one chunk, so
    # that a fast producer waits for the batch.
    send, receive = anyio.create_memory_object_stream[bytes | OSError](1)
    reader = partial(_read_in_thread, descriptor, asyncio.get_running_loop(), send)
    threading.Thread(target=reader, name="vocalsep-stdin", daemon=True).start()
    async with receive, send:
        async for chunk in receive:
            if isinstance(chunk, OSError):
                raise chunk
            yield chunk
            if not chunk:
                return


def _read_in_thread(
    descriptor: int, loop: asyncio.AbstractEventLoop, send: ObjectSendStream[bytes | OSError]
) -> None:
    chunk: bytes | OSError = b"?"
    with suppress(*_RECEIVER_GONE):
        while chunk and not isinstance(chunk, OSError):
            chunk = _read(descriptor)
            _run_in_loop(send.send(chunk), loop)


def _read(descriptor: int) -> bytes | OSError:
    try:
        return os.read(descriptor, _CHUNK_SIZE)
    except OSError as error:
        return OSError(error.errno, error.strerror, "standard input")


def _run_in_loop(sending: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    try:
        future = asyncio.run_coroutine_threadsafe(sending, loop)
    except RuntimeError:  # the loop has been closed
        # A coroutine that was never awaited would warn.
        sending.close()
        raise
    future.result()
