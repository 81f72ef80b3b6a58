"""Records as a journal keeps them: small, and without what would let a reader fetch the files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_LARGEST = 1 << 24
"""Bytes of a record; more than any that was ever read from the API."""


def packed(record: Mapping[str, Any], *, keep_links: bool) -> bytes:
    """*record* as bytes; the queries of its links are left out unless *keep_links*.

    Links may be signed in their query, and who can read that can fetch the file. Without it the
    host refuses the link, and one look at the task gives a fresh one.
    """
    kept = record if keep_links else _without_queries(record)
    return zlib.compress(json.dumps(kept, separators=(",", ":")).encode())


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


def _without_queries(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_queries(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_queries(each) for each in value]
    return _without_query(value) if isinstance(value, str) else value


def _without_query(text: str) -> str:
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "<unreadable link>"
    # A callback's address may hold a secret in its user or path, too, but that one is the user's.
    return parts._replace(query="", fragment="").geturl()
