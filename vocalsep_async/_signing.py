"""Secrets that sign callbacks, for checks in constant time; never shown."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

from vocalsep_async._text import has_surrogates
from vocalsep_async.errors import ConfigurationError

SecretText: TypeAlias = str | bytes
"""One secret; text is used as its UTF-8."""
Encode: TypeAlias = Callable[[bytes], bytes]


class Secrets:
    """Secrets of which the first signs and all check, so that they can be changed without a gap.

    Args:
        given: one secret, a sequence of them, or another `Secrets`.
        name: what messages call it.

    Raises:
        ConfigurationError: there is none, or one of them is unusable: empty, blank, not text or
            bytes, or text with blanks around it. The message shows none of them.
    """

    # Mangled names and no __dict__, so that vars() shows nothing.
    __slots__ = ("__secrets",)

    def __init__(self, given: object, name: str) -> None:
        problem = None if isinstance(given, Secrets) else _problem(given, name)
        if isinstance(given, Secrets):
            self.__secrets: tuple[bytes, ...] = given.__secrets  # noqa: SLF001
        elif problem is None:
            self.__secrets = tuple(map(_encoded, _each(given)))
        # Tracebacks may show local variables.
        del given
        if problem is not None:
            raise ConfigurationError(problem)

    def __repr__(self) -> str:
        return "<secrets>"

    def __len__(self) -> int:
        return len(self.__secrets)

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled or copied; make them in each process")

    # Since Python 3.11, object's own method would return the slots.
    def __getstate__(self) -> NoReturn:
        self.__reduce__()

    def sign(self, message: bytes, encode: Encode) -> bytes:
        """The HMAC-SHA256 of *message* by the first secret."""
        return _signature(self.__secrets[0], message, encode)

    def have_signed(self, message: bytes, signature: bytes, encode: Encode) -> bool:
        """Whether *signature* is that of *message*, by one of the secrets.

        Encoded signatures are compared: decoders of Base64 skip what does not belong there.
        """
        # All of them: the time it takes shows neither which secret fits nor where one differs.
        fits = [
            hmac.compare_digest(_signature(secret, message, encode), signature)
            for secret in self.__secrets
        ]
        return any(fits)


def url_safe(digest: bytes) -> bytes:
    """*digest* in the Base64 of links, without padding."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def _signature(secret: bytes, message: bytes, encode: Encode) -> bytes:
    return encode(hmac.digest(secret, message, "sha256"))


def _are_several(given: object) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, (str, bytes, bytearray))


def _each(given: Any) -> Sequence[object]:
    return given if _are_several(given) else [given]


def _encoded(secret: object) -> bytes:
    return secret if isinstance(secret, bytes) else str(secret).encode()


def _problem(given: object, name: str) -> str | None:
    if not _are_several(given):
        return None if (wrong := _wrong(given)) is None else f"{name} is {wrong}"
    if not given:
        return f"{name} is an empty list: nothing could be checked"
    return next(
        (
            f"number {number} of {name} is {wrong}"
            for number, each in enumerate(_each(given), 1)
            if (wrong := _wrong(each)) is not None
        ),
        None,
    )


def _wrong(secret: object) -> str | None:
    if secret is None:
        return "None: is the environment variable set?"
    if not isinstance(secret, (str, bytes)):
        return f"{type(secret).__name__}, not text or bytes"
    if not secret.strip():
        return "empty: anyone could sign with it"
    if isinstance(secret, str) and secret != secret.strip():
        return "text with leading or trailing whitespace: strip it"
    if isinstance(secret, str) and has_surrogates(secret):
        return "text with a lone surrogate, which has no bytes"
    return None
