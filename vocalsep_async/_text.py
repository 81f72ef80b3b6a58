"""Text made safe to print: what came from elsewhere, links and numbers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LONGEST = 300
LONGEST_MESSAGE = 4_000
"""Characters of a server's words that are judged and shown: searching a megabyte takes a second."""


def printable(text: str, longest: int = _LONGEST) -> str:
    """Escape what a terminal or a log would act on (controls, lone surrogates), and cut."""
    # Cut first, so that no escape is cut in half.
    shown = text[:longest]
    if not shown.isprintable():
        shown = "".join(map(_shown, shown))
    return shown if len(text) <= longest else shown + "…"


def printable_lines(text: str) -> str:
    """Escape what a terminal would act on, but the ends of lines; nothing is cut."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def counted(number: int, noun: str) -> str:
    """``1 task``, ``12 tasks``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def short_url(url: str | None) -> str:
    """Host and last part of the path: enough to recognise a link, too little to use one.

    Links of this API are signed: every reader of a query in a log could fetch the file.
    """
    if url is None:
        return "None"
    try:
        # urlsplit raises for brackets in the host that hold no IPv6 address.
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "<unreadable link>"
    return printable(f"<{host}/…/{parts.path.rpartition('/')[2]}>")


def bare_url(url: str) -> str:
    """*url* without query and fragment, where signatures stand; "" if it cannot be read."""
    try:
        return urlsplit(url)._replace(query="", fragment="").geturl()
    except ValueError:
        return ""


def without_queries(text: str) -> str:
    """The beginning of *text*, without queries and fragments from its first link on."""
    before, mark, rest = text[:LONGEST_MESSAGE].partition("://")
    # Where a link ends is not known, because it may hold raw blanks.
    return before + mark + re.sub(r"[?#]\S*", "", rest)
