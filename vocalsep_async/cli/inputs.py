"""Tasks from arguments, a file, and standard input as it arrives."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from attrs import evolve

from vocalsep_async import InvalidArgumentError, TaskRef
from vocalsep_async._text import printable
from vocalsep_async.cli.tables import (
    DELIMITERS,
    LONGEST_SHOWN,
    names_in,
    plain,
    rows,
    says_something,
)
from vocalsep_async.cli.text_lines import LineBuffer, TextError, lines_of, parted, read_chunks

_STANDARD_INPUT = "-"
_QUOTES = ('""', "''", "“”", "‘’", "„“", "«»", "``")
_HEADERS = frozenset({"id", "ids", "task", "tasks", "taskid", "taskids"})
"""What a column of ids is called, by its plain name."""
_LABEL, _TYPE = "label", "type"
"""What columns and fields of JSON are called that say more about a task."""
_NO_ID = re.compile(r"[\[\]{}<>]|://")
"""What JSON, HTML and links hold, and ids do not."""


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
        buffer = LineBuffer()
        try:
            async for chunk in read_chunks(0):
                for line in chain.from_iterable(map(parted, buffer.feed(chunk))):
                    task = self._task_or_warning(line)
                    if task is not None:
                        yield task
        except TextError as error:
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
            lines = lines_of(opened)
            entries = _tasks(lines, column.strip()) if column else _numbered(lines)
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
    except TextError as error:
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
    first, line = next((each for each in numbered if says_something(each[1])), (1, ""))
    column = _column_of_ids(line)
    if column is not None:
        for number, entry in _tasks(chain([line], lines), column):
            yield first - 1 + number, entry
        return
    for number, each in chain([(first, line)], numbered):
        for part in parted(each):
            yield number, _entry(part)


def _column_of_ids(header: str) -> str | None:
    """The name of the column of ids if *header* begins a CSV with labels or types, too."""
    for delimiter in DELIMITERS:
        names = names_in(header.lstrip("\ufeff"), delimiter)
        if {_LABEL, _TYPE}.isdisjoint(map(plain, names)):
            continue
        if (column := next(filter(_is_header, names), None)) is not None:
            return column
    return None


def _is_header(name: str) -> bool:
    return plain(name) in _HEADERS


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


def _tasks(lines: Iterator[str], column: str) -> Iterator[tuple[int, _Entry]]:
    """The tasks of a CSV, each with the number of the line on which its row ends."""
    for number, cells in rows(lines, column):
        label, type_ = (cells.get(name) or None for name in (_LABEL, _TYPE))
        yield number, _Entry(_bare(cells[column]), label, type_)


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
            f"{source}: {task_id[:LONGEST_SHOWN]!r} is not one id: write one id per "
            "line, or name a column of a CSV with --column"
        )
    try:
        ref = TaskRef(task_id)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: {error}") from None
    if _NO_ID.search(task_id):
        raise InvalidArgumentError(
            f"{source}: {task_id[:LONGEST_SHOWN]!r} is no id: write the ids alone, one per line, "
            "without the JSON or the link around them"
        )
    return ref.task_id
