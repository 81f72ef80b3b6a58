"""Text, figures, file links and colours of the page."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path, PurePath
from urllib.parse import quote
from zlib import crc32

from vocalsep_async._text import short_url, without_queries

_UNKNOWN = "–"
_MAX_LENGTH = 300
# They reverse the text around them, and could make it say something else.
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
# In the order of the colours in the style sheet.
_STEMS_WITH_COLOUR = (
    "vocal",
    "instrumental",
    "backing_vocals",
    "drums",
    "bass",
    "guitar",
    "piano",
    "keyboard",
    "percussion",
    "strings",
    "synth",
    "fx",
    "brass",
    "woodwinds",
    "origin",
)


def visible(text: str) -> str:
    """*text* on one line, with invisible characters escaped."""
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    category = unicodedata.category(character)
    if character.isspace() or category in {"Zl", "Zp"}:
        return " "
    if category in {"Cc", "Cs"} or character in _DIRECTION_MARKS:
        return character.encode("unicode_escape").decode("ascii")
    return character


def short(text: str) -> str:
    """The first 300 characters of *text*."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def without_links(text: str) -> str:
    """*text* with each link cut to its host and file name: links of stems are signed."""
    return without_queries(_URL.sub(lambda match: short_url(match[0]), text))


def format_seconds(value: float | None) -> str:
    """A duration such as ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``; – for None."""
    if value is None:
        return _UNKNOWN
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole, 60, "min", "s")
    if whole < 86_400:
        return _two_units(whole // 60, 60, "h", "min")
    return _two_units(whole // 3600, 24, "d", "h")


def _two_units(value: int, base: int, large: str, small: str) -> str:
    quotient, rest = divmod(value, base)
    return f"{quotient} {large} {rest} {small}" if rest else f"{quotient} {large}"


def clock(value: float) -> str:
    """A time on an axis, in seconds from the start: ``0:00``, ``12:30``, ``1:05:00``."""
    sign = "−" if value < 0 else ""
    minutes, rest = divmod(round(abs(value)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{rest:02}" if hours else f"{sign}{minutes}:{rest:02}"


def date_and_time(at: datetime | None) -> str:
    """A moment in UTC; – for None."""
    return _UNKNOWN if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def file_link(file: Path, folder: Path) -> str:
    """The link to *file* for a page in *folder*.

    Relative, so that both can be moved together; absolute if they are on different drives.
    """
    try:
        # Of the paths as text, as a browser resolves them: symbolic links are not followed.
        relative = os.path.relpath(file, folder)
    except ValueError:
        return file.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in PurePath(relative).parts)


def colour_index(stem: str) -> int:
    """The number of the stem's colour in the style sheet, the same in every report."""
    if stem in _STEMS_WITH_COLOUR:
        return _STEMS_WITH_COLOUR.index(stem)
    # Unknown names share the colours of the others; the last one, grey, is the original's.
    return crc32(stem.encode(errors="replace")) % 14
