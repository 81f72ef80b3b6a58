"""Masks what a message repeats of the links in a request, in whatever spelling."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from html import escape
from urllib.parse import quote, unquote, unquote_plus, urlsplit

_SHORTEST_SECRET = 6
"""Characters; shorter ones would be found in ordinary words."""
_LONGEST_READ = 10_000
"""Characters of a message; far fewer are shown, and a megabyte would take a third of a second."""


def without_secrets(message: str, sent: Collection[str]) -> str:
    """*message* without the queries, fragments and passwords of links in the request.

    Args:
        message: the API's words.
        sent: texts of the request.
    """
    secrets = {
        spelling
        for text in sent
        for secret in _secrets_of(text)
        for spelling in _spellings(secret)
        if len(spelling) >= _SHORTEST_SECRET
    }
    if not secrets:
        return message
    # The longest first: a part of it would leave the rest.
    longest_first = sorted(secrets, key=len, reverse=True)
    read = message[:_LONGEST_READ]
    masked = re.sub("|".join(map(re.escape, longest_first)), "…", read, flags=re.IGNORECASE)
    # The beginning of a secret at the cut is not recognised.
    return masked if read == message else masked[: -len(longest_first[0])]


def _secrets_of(text: str) -> Iterator[str]:
    """The parts of a link that may be secret; none of a text that is no link."""
    try:
        link = urlsplit(text)
    except ValueError:
        return
    if link.scheme and link.netloc:
        login = link.netloc.rpartition("@")[0]
        yield from (link.query, link.fragment, login, login.partition(":")[2])
        yield from (pair.partition("=")[2] for pair in link.query.split("&"))


def _spellings(secret: str) -> set[str]:
    spellings = {secret, unquote(secret), unquote_plus(secret)}
    # A link inside the query of another one is encoded once more.
    for _ in range(2):
        spellings |= {quote(each, safe="") for each in spellings}
    return spellings | {escape(each) for each in spellings}
