"""Translates aiohttp's errors into errors of this package.

Of their messages only the operating system's reason is kept: the rest may hold headers, URLs with
queries, and any bytes that the server sent.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp

from vocalsep_async._text import printable
from vocalsep_async.errors import ErrorAction, RequestTimeoutError, TransportError
from vocalsep_async.policies import DEAD_PATH_PATIENCE

_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a certificate whose authority is not among those that are trusted."""
_AUTHORITY_ADVICE = (
    "if your network inspects TLS, trust its authority: "
    "ssl=ssl.create_default_context(cafile='ca.pem') on the client"
)
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def translated(error: Exception, exchange: str, timeout: float) -> TransportError:
    """Translate *error*.

    Args:
        error: what aiohttp or asyncio raised.
        exchange: what failed, such as "GET /path at host".
        timeout: the request timeout in seconds, for the message.
    """
    for kind, translate in _TRANSLATIONS:
        if isinstance(error, kind):
            return translate(error, exchange, timeout)
    return TransportError(f"{exchange}: failed ({type(error).__name__})")


# Nothing was sent where `may_have_arrived` is False: a billed request may be repeated then.
def _connection_timed_out(_error: Any, exchange: str, _timeout: float) -> TransportError:
    return RequestTimeoutError(f"{exchange}: no connection in time", may_have_arrived=False)


def _answer_timed_out(_error: Any, exchange: str, timeout: float) -> TransportError:
    return RequestTimeoutError(f"{exchange}: no complete answer within {timeout:g} s")


def _bad_certificate(error: Any, exchange: str, _timeout: float) -> TransportError:
    why = getattr(error, "certificate_error", None)
    reason = getattr(why, "verify_message", "")
    reason = f" ({printable(reason)})" if reason else ""
    is_unknown = getattr(why, "verify_code", None) in _UNKNOWN_AUTHORITY
    advice = f"; {_AUTHORITY_ADVICE}" if is_unknown else ""
    return TransportError(
        f"{exchange}: the server's certificate was not accepted{reason}{advice}",
        may_have_arrived=False,
        action=ErrorAction.RAISE,
    )


def _no_such_name(_error: Any, exchange: str, _timeout: float) -> TransportError:
    return TransportError(f"{exchange}: the name does not resolve", may_have_arrived=False)


def _no_proxy(error: Any, exchange: str, _timeout: float) -> TransportError:
    return TransportError(
        f"{exchange}: the proxy cannot be reached{_reason(error.os_error)}", may_have_arrived=False
    )


def _refused_by_proxy(error: Any, exchange: str, _timeout: float) -> TransportError:
    if error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return login_refused(exchange)
    # A gateway that is overloaded, or has no way to the host for now, may have one later.
    is_passing = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status in _PASSING
    return TransportError(
        f"{exchange}: the proxy answered {error.status}",
        may_have_arrived=False,
        action=ErrorAction.RETRY if is_passing else ErrorAction.RAISE,
    )


def login_refused(exchange: str, *, may_have_arrived: bool = False) -> TransportError:
    """The error for a proxy that does not accept the client's login."""
    # Without a scheme, because the login of a URL is left out wherever an error is printed.
    return TransportError(
        f"{exchange}: the proxy answered 407, so it wants another login; in the URL of the proxy, "
        "write it before the host: user:password@proxy.example.com:8080",
        may_have_arrived=may_have_arrived,
        action=ErrorAction.RAISE,
    )


def _no_connection(error: Any, exchange: str, _timeout: float) -> TransportError:
    return TransportError(
        f"{exchange}: no connection{_reason(error.os_error)}", may_have_arrived=False
    )


# From here on the request had been sent, and may have been carried out.
def _disconnected(_error: Any, exchange: str, _timeout: float) -> TransportError:
    return TransportError(f"{exchange}: the server closed the connection before it answered")


def _truncated(_error: Any, exchange: str, _timeout: float) -> TransportError:
    return TransportError(f"{exchange}: the answer was cut or damaged")


def _not_http(_error: Any, exchange: str, _timeout: float) -> TransportError:
    return TransportError(f"{exchange}: the answer is not HTTP")


def _broken(error: Any, exchange: str, _timeout: float) -> TransportError:
    # The system's verdict about a connection that was made, not a timeout of this package.
    if error.errno == errno.ETIMEDOUT:
        return TransportError(
            f"{exchange}: the path is dead: nothing was acknowledged for {DEAD_PATH_PATIENCE:g} s"
        )
    return TransportError(f"{exchange}: the connection broke{_reason(error)}")


def _reason(error: OSError) -> str:
    return f" ({printable(error.strerror)})" if error.strerror else ""


# The first match counts, so that subclasses come before their base classes.
_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[Any, str, float], TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, _connection_timed_out),
    (TimeoutError, _answer_timed_out),
    (aiohttp.ClientConnectorCertificateError, _bad_certificate),
    (aiohttp.ServerFingerprintMismatch, _bad_certificate),
    (aiohttp.ClientConnectorDNSError, _no_such_name),
    (aiohttp.ClientProxyConnectionError, _no_proxy),
    (aiohttp.ClientHttpProxyError, _refused_by_proxy),
    (aiohttp.ClientConnectorError, _no_connection),
    (aiohttp.ServerDisconnectedError, _disconnected),
    (aiohttp.ClientPayloadError, _truncated),
    (aiohttp.ClientResponseError, _not_http),
    (OSError, _broken),
)
