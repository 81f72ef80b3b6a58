"""Words and figures of the page. What is shown here can be read, whatever it came from."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

from vocalsep_async._text import short_url

_ABSENT = "–"
_LONGEST = 300
# They turn the text around them, and so can make it say something else.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINK = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)


def visible(text: str) -> str:
    """*text* on one line, escaped where a character has no picture."""
    return "".join(map(_seen, text))


def short(text: str) -> str:
    """*text*, cut where it is longer than anybody reads."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _seen(character: str) -> str:
    kind = unicodedata.category(character)
    if character.isspace() or kind in {"Zl", "Zp"}:
        return " "
    if kind in {"Cc", "Cs"} or character in _TURNING:
        return character.encode("unicode_escape").decode("ascii")
    return character


def without_links(text: str) -> str:
    """*text* with what a link holds of secrets left out: the links of stems are signed."""
    return _LINK.sub(lambda link: short_url(link[0]), text)


def seconds(value: float | None) -> str:
    """A span as a person says it: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value is None:
        return _ABSENT
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole, 60, "min", "s")
    if whole < 86_400:
        return _two(whole // 60, 60, "h", "min")
    return _two(whole // 3600, 24, "d", "h")


def _two(value: int, base: int, large: str, small: str) -> str:
    over, rest = divmod(value, base)
    return f"{over} {large} {rest} {small}" if rest else f"{over} {large}"


def clock(value: float) -> str:
    """A place on a time axis, counted from the start: ``0:00``, ``12:30``, ``1:05:00``."""
    sign = "−" if value < 0 else ""
    minutes, rest = divmod(round(abs(value)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{rest:02}" if hours else f"{sign}{minutes}:{rest:02}"


def moment(at: datetime | None) -> str:
    """The time of day in UTC, and the day."""
    return _ABSENT if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
