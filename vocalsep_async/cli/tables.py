"""Lists as spreadsheets write them: a CSV whose first line names its columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import chain

from vocalsep_async._text import printable
from vocalsep_async.cli.text_lines import TextError

DELIMITERS = ",;\t|"
LONGEST_SHOWN = 80
"""Characters of a line or a name that an error shows."""
_SEPARATOR = re.compile("sep=.", re.IGNORECASE)
_MOST_COLUMNS = 20
"""Columns that an error lists."""


def says_something(line: str) -> bool:
    """Whether a line is not blank, nor a comment, nor the delimiter as spreadsheets write it."""
    bare = line.strip("\ufeff \t")
    return bool(bare) and not bare.startswith("#") and _SEPARATOR.fullmatch(bare) is None


def names_in(header: str, delimiter: str) -> list[str]:
    """The names of the columns that *header* has if that is the delimiter."""
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]


def plain(name: str) -> str:
    """What a column is called, without blanks and lines, in lower case."""
    return re.sub(r"[\s_-]", "", name).lower()


def rows(lines: Iterator[str], column: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a CSV that has *column*, each with the number of the line on which it ends.

    A row has its cells by the names of the columns, and by their `plain` names.

    Raises:
        TextError: the lines are no CSV, or it has no such column.
    """
    begin, header = _header_line(lines, column)
    delimiter = _delimiter(header, column)
    # Blanks between a quote and a delimiter are usual, and no part of a strict CSV.
    padding = re.compile(f'(?<=") +(?={re.escape(delimiter)})')
    given = (padding.sub("", f"{line}\n") for line in chain([header], lines))
    # Strict: a quote that is never closed would swallow all rows behind it.
    reader = csv.reader(given, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader)]
        if column not in names:
            raise _no_column(column, names)
        places = {plain(name): place for place, name in reversed(list(enumerate(names)))}
        places |= {name: names.index(name) for name in names}
        for row in reader:
            yield reader.line_num + begin, {name: _cell(row, at) for name, at in places.items()}
    except csv.Error as error:
        raise TextError(
            f"line {reader.line_num + begin} is no line of a CSV: {error}; is a quote not closed?"
        ) from None


def _cell(row: list[str], place: int) -> str:
    # A row may end early where its last cells are empty.
    return "".join(row[place : place + 1]).strip()


def _header_line(lines: Iterator[str], column: str) -> tuple[int, str]:
    """How many lines come before the header of a CSV, and the first line of it.

    Those are blank, comments, or name the delimiter, as spreadsheets write it.
    """
    for number, line in enumerate(lines):
        is_comment = line.startswith("#") and column not in line
        if line.strip() and not is_comment and not _SEPARATOR.fullmatch(line):
            return number, line
    raise TextError("it holds no line with the names of columns")


def _delimiter(header: str, column: str) -> str:
    """The delimiter of a CSV: one with which a column has that name, else the likeliest."""
    found = {each: names_in(header, each) for each in DELIMITERS}
    return max(found, key=lambda each: (column in found[each], len(found[each])))


def _no_column(column: str, names: list[str]) -> TextError:
    known = printable(", ".join(names[:_MOST_COLUMNS]))
    return TextError(f"no column {column[:LONGEST_SHOWN]!r} in its first line, which has: {known}")
