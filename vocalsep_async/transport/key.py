"""A key that shows itself to nobody but the server."""

from __future__ import annotations

from typing import NoReturn

from vocalsep_async.errors import ConfigurationError

_SHOWN = "<API key>"
_SHORTEST_SECRET = 8
"""A key below this length is nobody's secret, and its letters stand in ordinary words."""


class ApiKey:
    """An API key: it has no readable attribute, and is not copied, pickled or dumped.

    Raises:
        ConfigurationError: it is empty, or holds what cannot stand in an HTTP header; the message
            does not show it.
    """

    __slots__ = ("__key",)

    def __init__(self, key: object) -> None:
        if not isinstance(key, str) or not key:
            raise ConfigurationError("api_key must be a non-empty string")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigurationError(
                "api_key holds a space, a line break or another character that no key has; "
                "was it read from a file without .strip()?"
            )
        self.__key = key

    def __repr__(self) -> str:
        return _SHOWN

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled or copied; make a client in each process")

    def redact(self, text: str) -> str:
        """Take the key out of *text*."""
        return text.replace(self.__key, _SHOWN) if len(self.__key) >= _SHORTEST_SECRET else text

    def authorization(self) -> str:
        """The value of the Authorization header."""
        return _MaskedHeader(f"Bearer {self.__key}")


class _MaskedHeader(str):
    """A header value whose repr is masked: that is how tracebacks and tracing hooks show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'Bearer {_SHOWN}'"
