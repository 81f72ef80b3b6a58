"""Records as a journal keeps them: small, and without what would let a reader fetch the files."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

_encoded = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=dict).encode


def _run(characters: str) -> str:
    """A pattern for any number of *characters* and of escaped ones, within a string of JSON."""
    return rf"{characters}*+(?:\\.{characters}*+)*+"


# On the text, not on the values: going through all values of a record took longer than a look.
# The text is ASCII; sets that say what is in them are twice as fast as those that say what is not.
_WORD = _run(r"[!#-\[\]-\x7f]")
_WORDS = _run(r"[ !#-\[\]-\x7f]")
_ADDRESS = _run(r"[ !$->@-\[\]-\x7f]")
_LINK = re.compile(rf'("http(?<!\\"http)s?://{_ADDRESS})[?#]{_WORDS}')
"""A string that is a link, which may hold raw blanks, and its query or fragment."""
_NAMED = re.compile(rf'((?:url|Url|URL)":"{_ADDRESS})[?#]{_WORDS}')
"""What is called a link and is written like none, such as one without its scheme."""
_MENTION = re.compile(rf"(://{_ADDRESS})([?#]{_WORDS})")
"""A link within a longer text, and all that follows from its query or fragment on."""
_QUERY = re.compile(rf"[?#]{_WORD}")
"""One, up to the next blank."""
_LEVEL, _WINDOW, _MEMORY = 1, 13, 6
"""As much as a record needs: with zlib's usual quarter of a megabyte, clearing it took longer."""
_LARGEST = 1 << 24
"""Bytes of a record; more than any that was ever read from the API."""


def packed(record: Mapping[str, Any], *, keep_links: bool) -> bytes:
    """*record* as bytes; the queries of its links are left out unless *keep_links*.

    Links may be signed in their query, and who can read that can fetch the file. Without it the
    host refuses the link, and one look at the task gives a fresh one.
    """
    text = _encoded(record)
    if not keep_links:
        text = _without_queries(text)
    press = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY)
    return press.compress(text.encode()) + press.flush()


def without_queries(text: str) -> str:
    """*text* without the queries of the links in it."""
    return str(json.loads(_without_queries(_encoded(text))))


def _without_queries(text: str) -> str:
    for pattern, rest in ((_LINK, r"\1"), (_NAMED, r"\1"), (_MENTION, _without_any)):
        if "?" in text or "#" in text:
            text = pattern.sub(rest, text)
    return text


def _without_any(mention: re.Match[str]) -> str:
    return mention[1] + _QUERY.sub("", mention[2])


def unpacked(content: bytes) -> Any:
    """What `packed` was given.

    Raises:
        ValueError: the content is damaged.
    """
    press = zlib.decompressobj()
    try:
        text = press.decompress(content, _LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not press.eof:
        raise ValueError("a record breaks off")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("a record is too deep") from None
