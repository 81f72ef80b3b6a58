"""Secrets that only the server may see: the API key and a proxy's login."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import NoReturn

from aiohttp import hdrs
from yarl import URL

from vocalsep_async.errors import ConfigurationError

_SHOWN = b"<API key>"
_SHORTEST_SECRET = 8
"""Characters; a shorter key is no real one, and masking it would damage ordinary words."""


class ApiKey:
    """An API key that cannot be read from an attribute, copied, pickled or dumped.

    Args:
        key: the key, or another `ApiKey`, for callers that must not hold the key itself.

    Raises:
        ConfigurationError: the key is empty, or has a character that an HTTP header cannot hold;
            the message does not show the key.
    """

    # Mangled names and no __dict__, so that vars() shows nothing.
    __slots__ = ("__escaped", "__key")

    def __init__(self, key: object) -> None:
        problem = None if isinstance(key, ApiKey) else _problem(key)
        if problem is None:
            self.__key: str = key.__key if isinstance(key, ApiKey) else str(key)  # noqa: SLF001
            self.__escaped = re.compile(b"".join(map(_spelled, self.__key)))
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

    def redact(self, body: bytes) -> bytes:
        """Mask the key in an answer, even where JSON escapes its characters."""
        if len(self.__key) < _SHORTEST_SECRET:
            return body
        # A plain replacement is much faster, and few answers have escapes.
        if b"\\" in body:
            return self.__escaped.sub(_SHOWN, body)
        return body.replace(self.__key.encode(), _SHOWN)

    def authorization(self) -> str:
        """The value of the Authorization header."""
        return _MaskedHeader(f"Bearer {self.__key}")


def _spelled(character: str) -> bytes:
    """A pattern for *character* in every spelling that a JSON string allows."""
    plain = re.escape(character)
    return rf"(?:\\u(?i:{ord(character):04x})|\\?{plain})".encode()


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
