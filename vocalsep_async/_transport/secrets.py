"""Secrets that only the server may see: the API key and a proxy's login."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import NoReturn

from aiohttp import hdrs
from yarl import URL

from vocalsep_async.errors import ConfigurationError

_SHOWN = b"<API key>"
_SHORTEST_SECRET = 8
"""Characters; a shorter key is no real one, and masking it would damage ordinary words."""
_HASH_KEY = secrets.token_bytes(32)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
"""From Base64 to the spelling of it that links use."""


class ApiKey:
    """An API key that cannot be read from an attribute, copied, pickled or dumped.

    Args:
        key: the key, or another `ApiKey`, for callers that must not hold the key itself.

    Raises:
        ConfigurationError: the key is empty, or has a character that an HTTP header cannot hold;
            the message does not show the key.
    """

    # Mangled names and no __dict__, so that vars() shows nothing.
    __slots__ = ("__encoded", "__escaped", "__escapes", "__key", "__longest")

    def __init__(self, key: object) -> None:
        problem = None if isinstance(key, ApiKey) else _problem(key)
        if problem is None:
            self.__key: str = key.__key if isinstance(key, ApiKey) else str(key)  # noqa: SLF001
            self.__escaped: re.Pattern[bytes] | None = None
            self.__escapes = _percent_escapes(self.__key)
            self.__encoded = _in_base64(self.__key)
            self.__longest = max(
                re.findall(r"\w+", self.__key.lower()), key=len, default=""
            ).encode()
        # Tracebacks may show local variables.
        del key
        if problem is not None:
            raise ConfigurationError(problem)

    def __repr__(self) -> str:
        return _SHOWN.decode()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled or copied; make a client in each process")

    # Since Python 3.11, object's own method would return the slots.
    def __getstate__(self) -> NoReturn:
        self.__reduce__()

    def digest(self) -> bytes:
        """A keyed hash of the key, which means nothing outside this process."""
        return hashlib.blake2b(self.__key.encode(), key=_HASH_KEY).digest()

    def redact(self, body: bytes) -> bytes:
        """Mask the key in an answer, also in upper or lower case, escaped, and in Base64."""
        if len(self.__key) < _SHORTEST_SECRET:
            return body
        # Searching for the pattern takes thirty times as long, and few answers can match it.
        if self.__may_escape(body) or self.__longest in body.lower():
            body = self.__pattern().sub(_SHOWN, body)
        for encoded in self.__encoded:
            body = body.replace(encoded, _SHOWN)
        return body

    def __may_escape(self, body: bytes) -> bool:
        if b"\\" in body or b"&#" in body:
            return True
        return b"%" in body and self.__escapes.search(body) is not None

    def __pattern(self) -> re.Pattern[bytes]:
        # Made when it is needed: that takes some milliseconds.
        if self.__escaped is None:
            self.__escaped = re.compile(b"".join(map(_spelled, self.__key)), re.IGNORECASE)
        return self.__escaped

    def redact_text(self, text: str) -> str:
        """Mask the key in the value of a header."""
        # No spelling of the key is shorter than the key, and most values are.
        if len(text) < len(self.__key) and text.isascii():
            return text
        return self.redact(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def authorization(self) -> str:
        """The value of the Authorization header."""
        return _MaskedHeader(f"Bearer {self.__key}")


def _spelled(character: str) -> bytes:
    """A pattern for *character* in every spelling of JSON, of links and of HTML."""
    code = ord(character)
    return (
        rf"(?:\\{{1,8}}u00{code:02x}|%(?:25){{0,8}}{code:02x}|&#0{{0,8}}{code};|&#x0{{0,8}}{code:x};"
        rf"|\\{{0,8}}{re.escape(character)})"
    ).encode()


def _percent_escapes(key: str) -> re.Pattern[bytes]:
    """A pattern for what is escaped of a part of a word, which links hold as it is."""
    in_words = {f"{ord(each):02x}" for each in key if each.isalnum() or each == "_"}
    codes = "|".join(sorted(in_words)) or "(?!)"
    return re.compile(f"%(?:25){{0,8}}(?:{codes})".encode(), re.IGNORECASE)


def _in_base64(key: str) -> tuple[bytes, ...]:
    """The key in Base64 at each of the three offsets, without what depends on its neighbours."""
    encoded = []
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + key.encode()).rstrip(b"=")
        whole = (offset + len(key)) * 8 // 6
        encoded.append(text[(0, 2, 3)[offset] : whole])
    return tuple({*encoded, *(each.translate(_URL_SAFE) for each in encoded)})


def _problem(key: object) -> str | None:
    if not isinstance(key, str) or not key:
        return "api_key must be a non-empty string"
    if not (key.isascii() and key.isprintable()) or " " in key:
        return (
            "api_key holds a space, a line break or another character that no key has; "
            "was it read from a file without .strip()?"
        )
    return None


def proxy_login(proxy: URL) -> Mapping[str, str] | None:
    """The header with the login of *proxy*; None if its URL has no user and password."""
    if proxy.raw_user is None and proxy.raw_password is None:
        return None
    login = base64.b64encode(f"{proxy.user or ''}:{proxy.password or ''}".encode()).decode()
    return {hdrs.PROXY_AUTHORIZATION: _MaskedHeader(f"Basic {login}")}


class _MaskedHeader(str):
    """A header value whose repr is masked, as tracebacks and tracing hooks show values."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{self.partition(' ')[0]} <masked>'"
