"""Text made safe to print: what came from elsewhere, links without their secrets, and numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

_LONGEST = 300
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
) | {chr(code) for code in (*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0))}
"""Letters and marks that Python calls printable, and that show nothing: texts can hide in them."""
_MOST_MARKS = 8
"""Marks upon one letter, which no language exceeds; hundreds would cover the lines around it."""
LONGEST_MESSAGE = 4_000
"""Characters of a server's words that are judged and shown: searching a megabyte takes a second."""


def printable(text: str, longest: int = _LONGEST) -> str:
    """Escape what a terminal or a log would act on (controls, lone surrogates), and cut."""
    # Cut first, so that no escape is cut in half.
    shown = text[:longest]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(_shown(shown))
    return shown if len(text) <= longest else shown + "…"


def is_visible(text: str) -> bool:
    """Whether each character of *text* is printable, and shows."""
    return text.isprintable() and (text.isascii() or _INVISIBLE.isdisjoint(text))


def has_surrogates(text: str) -> bool:
    """Whether *text* holds a lone surrogate, which no encoding has."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def printable_lines(text: str) -> str:
    """Escape what a terminal would act on, but the ends of lines; nothing is cut."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))


def _shown(text: str) -> Iterator[str]:
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if is_visible(character) and marks <= _MOST_MARKS:
            yield character
        else:
            yield character.encode("unicode_escape").decode("ascii")


def shortened(text: str, ends: tuple[int, int] = (8, 4)) -> str:
    """*text* without its middle, where that makes it shorter: ids differ at both ends."""
    first, last = ends
    return text if len(text) <= first + last + 1 else f"{text[:first]}…{text[-last:]}"


def counted(number: int, noun: str) -> str:
    """``1 task``, ``12 tasks``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# Callback addresses are secrets, wherever a provider repeats them. Their tokens have a form of
# their own, so that no list of addresses is needed to mask them.

TOKEN_PREFIX = "cb_"  # noqa: S105 - no secret
"""The beginning of the token in a callback address made by `CallbackUrl`."""
TOKEN_LENGTH = 43
"""Characters of the signature in a token."""
_IN_TOKEN = "[A-Za-z0-9_-]"  # noqa: S105 - no secret
_PART_BEGINS = rf"(?:(?<!{_IN_TOKEN})|(?<=2[Ff])|(?<=3[Dd]))"
"""At the beginning of a part of a link, also where its slash or equals sign is escaped. Elsewhere
the letters stand by chance: they are possible within a signature."""
_TOKEN = re.compile(
    rf"{_PART_BEGINS}{TOKEN_PREFIX}{_IN_TOKEN}{{{TOKEN_LENGTH}}}(?:\.{_IN_TOKEN}+)?(?!{_IN_TOKEN})"
)
_BEGUN_TOKEN = re.compile(rf"{_PART_BEGINS}{TOKEN_PREFIX}{_IN_TOKEN}{{16,}}(?:\.{_IN_TOKEN}+)?")
"""A token that may have been cut."""


def without_tokens(text: str) -> str:
    """*text* with the tokens of callback addresses masked, and all else as it is."""
    # A quick test: most texts hold none.
    return _TOKEN.sub(f"{TOKEN_PREFIX}…", text) if TOKEN_PREFIX in text else text


# Links of this API are signed: every reader of a query in a log could fetch the file.

_ESCAPED = re.compile(
    r"%(?:25){0,8}([2-7][0-9a-f])"
    r"|&\#x0{0,8}([2-7][0-9a-f]);"
    r"|\\{1,8}u00([2-7][0-9a-f])"
    r"|&\#0{0,8}(3[3-9]|[4-9]\d|1[01]\d|12[0-6]);"
    r"|\\{1,8}([/\"'])"
    r"|&(amp|quest|num|equals|sol|commat|quot|apos|lt|gt);",
    re.IGNORECASE,
)
"""A character as links, HTML and JSON escape it, blanks excepted."""
_NAMES = {
    "amp": "&",
    "apos": "'",
    "commat": "@",
    "equals": "=",
    "gt": ">",
    "lt": "<",
    "num": "#",
    "quest": "?",
    "quot": '"',
    "sol": "/",
}
_MOST_ESCAPES = 8
"""How often a character may be escaped, once within the other."""
_LOGIN = re.compile(r"(//)[^\s/?#@]{1,300}@")
_PAIR = r"[\w.%\[\]-]{1,80}?="
_FROM_QUERY = re.compile(rf"[?\#]|;{_PAIR}")
_FROM_PAIR = re.compile(rf"[?\#;]{_PAIR}")
_LATER_PAIR = re.compile(rf"&{_PAIR}")
_NAMED = r"(?:sig|token|secret|passw|pwd|credential|auth|key|policy|hmac|expire|session)[\w-]{0,40}"
_SECRET = re.compile(rf"{_NAMED}(?:=|[\"']:[\"'])|<[\w:-]{{0,40}}{_NAMED}>", re.IGNORECASE)
"""A parameter, a field of JSON or an element of XML that is named as a secret, to its value."""
_SIGNATURE = re.compile(r"(?=.*(?:[\d/+=&%]|[a-z][A-Z])).{6,}", re.DOTALL)
"""A word that may be a part of a signature: a plus sign in it may have become a blank."""


def short_url(url: str | None) -> str:
    """Host and last part of the path: enough to recognise a link, too little to use one."""
    if url is None:
        return "None"
    try:
        # urlsplit raises for brackets in the host that hold no IPv6 address.
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "<unreadable link>"
    return printable(f"<{host}/…/{unsigned_path(parts.path.rpartition('/')[2])}>")


class MaskedLink(str):
    """A link whose repr is masked, as tracebacks may show the values of local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return short_url(self)


def bare_url(url: str) -> str:
    """*url* without login, query and fragment, nor what else may sign it; "" if unreadable."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return bare._replace(path=unsigned_path(bare.path)).geturl()


def unsigned_path(path: str) -> str:
    """The path of a link without what signs it."""
    read = unescaped(path)
    left = without_tokens(_unsigned(read))
    return path if left == read else left


def without_queries(text: str) -> str:
    """The beginning of *text* without the secrets of links.

    From the first link on, queries and fragments are left out; before it, what looks like the
    query of a link; everywhere, the value of what is named as a secret, and the token of a callback
    address. What is escaped is judged, and shown where something had to be left out, as it reads.
    """
    text = text[:LONGEST_MESSAGE]
    read = unescaped(text)
    left = "".join(_without_secrets(re.split(r"(\s+)", read)))
    left = _BEGUN_TOKEN.sub(f"{TOKEN_PREFIX}…", left)
    return text if left == read else left


def unescaped(text: str) -> str:
    """*text* without what links, HTML and JSON escape in it, also several times."""
    for _ in range(_MOST_ESCAPES):
        text, number = _ESCAPED.subn(_character, text)
        if not number:
            break
    return text


def _character(escape: re.Match[str]) -> str:
    *hexadecimals, decimal, plain, name = escape.groups()
    if name or plain:
        return plain or _NAMES[name.lower()]
    return chr(int(decimal) if decimal else int(next(filter(None, hexadecimals)), 16))


def _without_secrets(words: Iterable[str]) -> Iterator[str]:
    # Where a link ends is not known, because it may hold raw blanks.
    after_link = in_query = False
    for word in words:
        if not word or word.isspace():
            yield word
            continue
        is_link = "//" in word
        if in_query and not is_link and _SIGNATURE.fullmatch(word):
            continue
        after_link = after_link or is_link
        left = _word_without_secrets(_LOGIN.sub(r"\1", word), after_link=after_link)
        in_query = len(left) < len(word)
        yield left


def _word_without_secrets(word: str, *, after_link: bool) -> str:
    query = (_FROM_QUERY if after_link else _FROM_PAIR).search(word)
    if query is not None:
        word = word[: query.start()] + _closing(word[query.start() :])
    elif _LATER_PAIR.search(word):
        # The rest of a query whose beginning was cut off.
        return ""
    return _unsigned(word)


def _closing(query: str) -> str:
    """The quotes and brackets behind a query."""
    return query[len(query.rstrip("\"'>)]}")) :]


def _unsigned(text: str) -> str:
    """A word or a path without parameters and without the value of a secret."""
    parameters = _FROM_PAIR.search(text)
    if parameters is not None:
        text = text[: parameters.start()]
    secret = _SECRET.search(text)
    return text if secret is None else f"{text[: secret.end()]}…"
