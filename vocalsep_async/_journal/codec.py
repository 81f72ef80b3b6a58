"""Packing of task records for a journal: compressed JSON without the queries of links."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vocalsep_async._text import without_tokens


def _run(characters: str) -> str:
    """A pattern for any number of *characters* and of escapes, inside a string of JSON."""
    return rf"{characters}*+(?:\\.{characters}*+)*+"


# The patterns work on the JSON text: walking through all values of a record took longer than a
# poll. The text is ASCII, and positive character sets match twice as fast as negated ones.
_WORD = _run(r"[!#-\[\]-\x7f]")
_WORDS = _run(r"[ !#-\[\]-\x7f]")
_ADDRESS = _run(r"[ !$->@-\[\]-\x7f]")
_LINK = re.compile(rf'("http(?<!\\"http)s?://{_ADDRESS})[?#]{_WORDS}')
"""A string that is a link, which may contain raw blanks, with its query or fragment."""
_NAMED = re.compile(rf'((?:url|Url|URL)":"{_ADDRESS})[?#]{_WORDS}')
"""The value of a field named as a link but not written as one, such as one without a scheme."""
_STRING = re.compile(rf'"{_WORDS}"')
_LINK_WITHIN = re.compile(r":(?:\\\\)*+/(?:\\\\)*+/")
"""Where a link begins in a longer text; its slashes may be escaped."""
_QUERY = re.compile(rf"[?#]{_WORD}")
"""One query or fragment, up to the next blank."""
_ENCODED = re.compile(rf"%(?:25)*+3f(?=[\w.%-]{{1,80}}?(?:=|%(?:25)*+3d)){_WORD}", re.IGNORECASE)
"""A query that was encoded together with its link."""
_DEEPEST = 50
"""Levels of a record in which strings of JSON are recognised."""
_LEVEL = 1
"""zlib's fastest: records are short, and higher levels save a few bytes of each."""
_LARGEST = 1 << 24
"""Bytes of an unpacked record; the client reads no larger response. Guards against zip bombs."""


def packed(record: Mapping[str, Any], *, keep_links: bool) -> bytes:
    """Compress *record*; the queries of its links are left out unless *keep_links*.

    A link may carry its signature in its query, and every reader of the query could fetch the
    file. Without the query the host rejects the link, and one poll of the task gives a fresh one.
    The tokens of callback addresses are masked in any case.
    """
    text = _encoded(record)
    if not keep_links:
        # A compact quote and brace: a string that holds JSON of its own.
        nests = '"{' in text or '"[' in text
        text = _encoded(_cleaned(record)) if nests else _without_queries(text)
    return zlib.compress(without_tokens(text).encode(), _LEVEL)


def _cleaned(value: Any, name: str = "", depth: int = 0) -> Any:
    """*value* without the queries of links, also of those in strings that hold JSON.

    The patterns would cut such a string at its first query, and with it all that follows.
    """
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {key: _cleaned(each, key, depth + 1) for key, each in value.items()}
    if depth < _DEEPEST and isinstance(value, list):
        return [_cleaned(each, "", depth + 1) for each in value]
    if isinstance(value, str) and (content := _json_in(value)) is not None:
        # Python reads JSON that is nested more deeply than it can compare or write it.
        with suppress(RecursionError):
            cleaned = _cleaned(content, "", depth + 1)
            return value if cleaned == content else _encoded(cleaned)
    (without,) = json.loads(_without_queries(_encoded({name: value}))).values()
    return without


def _json_in(text: str) -> Any:
    """The object or list in a string of JSON; None if it holds none."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def without_queries(text: str) -> str:
    """*text* without the queries of the links in it."""
    return str(json.loads(_without_queries(_encoded(text))))


def _encoded(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=dict)


def _without_queries(text: str) -> str:
    for pattern, replacement in ((_LINK, r"\1"), (_NAMED, r"\1"), (_STRING, _without_any)):
        # A quick test: few records have any left after the first pattern.
        if "?" in text or "#" in text:
            text = pattern.sub(replacement, text)
    return _ENCODED.sub("", text) if "%" in text else text


def _without_any(string: re.Match[str]) -> str:
    """A string without any query from its first link on, where one with blanks may end."""
    text = string[0]
    link = _LINK_WITHIN.search(text)
    return text if link is None else text[: link.end()] + _QUERY.sub("", text[link.end() :])


def unpacked(content: bytes) -> Any:
    """The record that `packed` was given.

    Raises:
        ValueError: the content is damaged.
    """
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(content, _LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not decompressor.eof:
        raise ValueError("a record is truncated or too large")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("a record is nested too deeply") from None
