"""The translation of aiohttp's errors, without a socket."""

from __future__ import annotations

import errno
import ssl
import warnings
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from vocalsep_async import ErrorAction, RequestTimeoutError, TransportError
from vocalsep_async._text import without_queries
from vocalsep_async._transport.failures import translated

SECRET = "CANARY-1f0e"
WHERE = ConnectionKey(f"{SECRET}.example", 443, True, True, URL(f"http://u:{SECRET}@p"), None, None)
SENT = aiohttp.RequestInfo(
    URL(f"https://api.example/?token={SECRET}"),
    "GET",
    CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {SECRET}"})),
    URL("https://api.example/"),
)
RESET = ConnectionResetError(104, "Connection reset by peer")
BAD_CERTIFICATE = ssl.SSLCertVerificationError(1, f"certificate verify failed: {SECRET}")

ARRIVED, NOT_ARRIVED = True, False
WHERE_A_LOGIN_IS = (
    "in the URL of the proxy, write it before the host: user:password@proxy.example.com:8080"
)
TABLE = [
    (aiohttp.ConnectionTimeoutError(SECRET), "no connection in time", NOT_ARRIVED),
    (aiohttp.SocketTimeoutError(SECRET), "no complete answer within 2.5 s", ARRIVED),
    (aiohttp.ServerTimeoutError(SECRET), "no complete answer within 2.5 s", ARRIVED),
    (TimeoutError(), "no complete answer within 2.5 s", ARRIVED),
    (
        aiohttp.ClientConnectorCertificateError(WHERE, BAD_CERTIFICATE),
        "the server's certificate was not accepted",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ServerFingerprintMismatch(b"a", b"b", SECRET, 443),
        "the server's certificate was not accepted",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientConnectorDNSError(WHERE, OSError(-2, "Name or service not known")),
        "the name does not resolve",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientProxyConnectionError(WHERE, ConnectionRefusedError(111, "Refused")),
        "the proxy cannot be reached (Refused)",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientHttpProxyError(SENT, (), status=502, message=SECRET),
        "the proxy answered 502",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientHttpProxyError(SENT, (), status=429, message=SECRET),
        "the proxy answered 429",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientHttpProxyError(SENT, (), status=403, message=SECRET),
        "the proxy answered 403",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientHttpProxyError(SENT, (), status=407, message=SECRET),
        f"the proxy answered 407, so it wants another login; {WHERE_A_LOGIN_IS}",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ClientConnectorError(WHERE, OSError(24, "Too many open files")),
        "no connection (Too many open files)",
        NOT_ARRIVED,
    ),
    (aiohttp.ClientConnectorError(WHERE, OSError()), "no connection", NOT_ARRIVED),
    (
        aiohttp.ClientConnectorSSLError(WHERE, ssl.SSLError(1, "wrong version number")),
        "no connection (wrong version number)",
        NOT_ARRIVED,
    ),
    (
        aiohttp.ServerDisconnectedError(SECRET),
        "the server closed the connection before it answered",
        ARRIVED,
    ),
    (aiohttp.ClientPayloadError(SECRET), "the answer was cut or damaged", ARRIVED),
    (
        aiohttp.ClientResponseError(SENT, (), status=400, message=SECRET),
        "the answer is not HTTP",
        ARRIVED,
    ),
    (
        aiohttp.ClientOSError(104, "Connection reset by peer"),
        "the connection broke (Connection reset by peer)",
        ARRIVED,
    ),
    (
        aiohttp.ClientOSError(errno.ETIMEDOUT, "Connection timed out"),
        "the path is dead: nothing was acknowledged for 8 s",
        ARRIVED,
    ),
    (RESET, "the connection broke (Connection reset by peer)", ARRIVED),
    (aiohttp.ClientConnectionResetError(SECRET), "the connection broke", ARRIVED),
    (OSError(5, "odd\x1b[31m\nwords"), r"the connection broke (odd\x1b[31m\nwords)", ARRIVED),
    (aiohttp.ClientConnectionError(SECRET), "failed (ClientConnectionError)", ARRIVED),
    (aiohttp.InvalidURL(f"http://{SECRET}"), "failed (InvalidURL)", ARRIVED),
]
ONCE = {
    "the server's certificate was not accepted",
    "the proxy answered 403",
    "the proxy answered 407",
}
"""How the messages begin after which no repetition can help."""


@pytest.mark.parametrize(
    "error, message, arrived",
    [pytest.param(*row, id=f"{type(row[0]).__name__}: {row[1][:30]!a}") for row in TABLE],
)
def test_an_error_says_what_happened_and_nothing_of_what_was_sent(
    error: Exception, message: str, *, arrived: bool
) -> None:
    ours = translated(error, "GET /x at api.example", 2.5)
    assert str(ours) == f"GET /x at api.example: {message}"
    assert ours.may_have_arrived is arrived
    is_final = message.startswith(tuple(ONCE))
    assert ours.action is (ErrorAction.RAISE if is_final else ErrorAction.RETRY)
    assert (type(ours) is RequestTimeoutError) is isinstance(error, TimeoutError)
    assert SECRET not in repr(ours) + repr(ours.__dict__)


@pytest.mark.parametrize("error", [row[0] for row in TABLE], ids=lambda error: type(error).__name__)
def test_an_error_is_whole_where_the_secrets_of_links_are_left_out(error: Exception) -> None:
    said = str(translated(error, "GET /x at api.example", 2.5))
    assert without_queries(said) == said


def every_kind_of(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        yield from every_kind_of(kind)


def aiohttp_errors() -> list[type[Exception]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dict.fromkeys(every_kind_of(aiohttp.ClientError))
    return [kind for kind in found if kind.__module__.startswith("aiohttp")]


@pytest.mark.parametrize("kind", aiohttp_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_aiohttp_has_a_message(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    # The attributes that its constructor would set; no message depends on more.
    error.__dict__.update(status=599, _os_error=RESET, _conn_key=WHERE)
    ours = translated(error, "GET /x at api.example", 1.0)
    assert isinstance(ours, TransportError)
    assert str(ours).startswith("GET /x at api.example: ")
