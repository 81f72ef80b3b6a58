"""Fetches files from any host: without the key, without cookies, from public addresses only.

Bodies are not decompressed, because a truncated compressed body could pass for a whole one.
Redirects are followed here instead of by aiohttp, so that each hop is checked.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import hdrs
from yarl import URL

from vocalsep_async._text import printable
from vocalsep_async._transport.addresses import AddressRules, NotPublicError
from vocalsep_async._transport.failures import translated
from vocalsep_async._transport.proxies import Proxies, Proxy
from vocalsep_async._transport.sessions import closer_of, drop
from vocalsep_async._transport.sockets import noticing, plain_socket
from vocalsep_async.errors import ClientClosedError, ErrorAction, TransportError
from vocalsep_async.providers._envelope import retry_after

_CONNECT_TIMEOUT = 10.0
_READ_AHEAD = 1 << 18
"""Bytes that a connection may buffer."""
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PUBLIC_ONLY = AddressRules()
_PLAIN = frozenset({None, "", "identity", "chunked"})
"""Codings that leave the bytes of the file unchanged."""
_ILLEGAL = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
"""Characters that a URL cannot hold."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)


class FileReply:
    """The answer of a file host, whose body is not read yet.

    Attributes:
        status: the HTTP status, which is no redirect.
        start: the position in the file of the body's first byte; -1 if the host did not say.
        size: bytes of the whole file; None if not stated.
        is_delimited: whether the end of the body differs from a connection that was cut.
        content_type: as the host states it, without parameters; None if it does not.
        encoding: how the body is encoded; None if it is not.
        validator: the entity tag or date to send in ``If-Range`` for further parts of this file;
            None if nothing identifies it.
        retry_after: seconds that the host asks the client to wait; None if it does not.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        name: str,
        timeout: float,
        was_closed: Callable[[], bool],
    ) -> None:
        headers = response.headers
        self._response = response
        # None if the whole body has come already.
        connection = response.connection
        self._protocol = None if connection is None else connection.protocol
        self._was_closed = was_closed
        self._name = name
        self._timeout = timeout
        self.status = response.status
        self.start, self.size = _extent(response.status, headers)
        transfer = _word(headers, hdrs.TRANSFER_ENCODING)
        self.is_delimited = transfer == "chunked" or (
            transfer is None and hdrs.CONTENT_LENGTH in headers
        )
        self.content_type = _word(headers, hdrs.CONTENT_TYPE)
        stated = (each.strip().lower() for each in headers.getall(hdrs.CONTENT_ENCODING, ()))
        codings = {transfer, *stated} - _PLAIN
        self.encoding = next(iter(codings), None)
        self.validator = _validator(headers)
        self.retry_after = retry_after(headers)

    async def read(self) -> bytes:
        """The next bytes of the body; none at its end.

        Raises:
            TransportError: the body was cut, or nothing arrived before the timeout.
            ClientClosedError: the client was closed meanwhile.
        """
        failure: TransportError | ClientClosedError
        try:
            # aiohttp's own timer restarts with every byte, even with those outside the body.
            async with asyncio.timeout(self._timeout):
                data = await self._response.content.readany()
            # A body that `aclose` cuts may end as a complete one does.
            if data or not self._was_closed():
                return data
            failure = _closed()
        except (aiohttp.ClientError, OSError) as error:
            failure = (
                _closed()
                if self._was_closed()
                else translated(self._cause_of(error), self._name, self._timeout)
            )
        # Raised outside the handler: aiohttp's error, which holds the link, is not chained.
        raise failure

    def _cause_of(self, error: Exception) -> Exception:
        """What broke the connection, where aiohttp only says that the body was cut."""
        # Not its truth, which is whether anything waits in it.
        broken = None if self._protocol is None else self._protocol.exception()
        return broken if isinstance(broken, OSError) else error


class FileTransport:
    """Fetches files with sessions of its own.

    A session is made at the first request, and closed with the event loop that runs then.

    Args:
        api: the API's own address, whose host and port need not be public.
        user_agent: value of the User-Agent header.
        read_timeout: seconds without a byte after which a request fails.
        rules: which addresses and ports may be dialled; None for all of them.
        proxies: the proxies for each hop. A proxy resolves names itself, so only addresses that
            are written in links are checked where there is one.
        tls: the context for TLS connections; None for the default one.
    """

    def __init__(
        self,
        api: URL,
        *,
        user_agent: str,
        read_timeout: float,
        rules: AddressRules | None = _PUBLIC_ONLY,
        proxies: Proxies | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._trusted_origin = api.origin()
        self._rules = rules
        self._user_agent = user_agent
        self._read_timeout = read_timeout
        self._proxies = proxies or Proxies()
        self._tls: dict[str, Any] = {} if tls is None else {"ssl": tls}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        """One that dials public addresses only (True), and one that dials any: those of proxies and
        of trusted URLs."""
        self._closers: dict[bool, AsyncIterator[None]] = {}
        self._open: set[aiohttp.ClientResponse] = set()
        self._closed = False

    @property
    def needs_closing(self) -> bool:
        """Whether a session is open."""
        return any(not session.closed for session in self._sessions.values())

    @asynccontextmanager
    async def get(self, link: str, headers: Mapping[str, str]) -> AsyncIterator[FileReply]:
        """Request the file at *link*, following redirects.

        Args:
            link: the URL of the file.
            headers: sent to each hop, such as ``Range`` and ``If-Range``.

        Raises:
            TransportError: no answer came, or the address of a hop is not allowed; `action` says
                whether a retry could succeed.
            ClientClosedError: the client was closed, before or meanwhile.
        """
        response, name = await self._follow(_url(link), headers)
        self._open.add(response)
        try:
            yield FileReply(response, name, self._read_timeout, lambda: self._closed)
        finally:
            self._open.discard(response)
            # Closed, not released: reading the rest of a file to keep its connection costs more.
            response.close()

    async def _follow(
        self, url: URL, headers: Mapping[str, str]
    ) -> tuple[aiohttp.ClientResponse, str]:
        first = url
        for _ in range(1 + _MAX_REDIRECTS):
            response = await self._send(url, headers)
            if response.status not in _REDIRECTS:
                return response, _named(url)
            response.close()
            url = _next_hop(url, response.headers.get(hdrs.LOCATION), _named(first))
        raise TransportError(
            f"{_named(first)}: more than {_MAX_REDIRECTS} redirects", action=ErrorAction.RAISE
        )

    async def _send(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        name = _named(url)
        proxy = self._proxies.for_url(url)
        rules = None if url.origin() == self._trusted_origin else self._rules
        if rules is not None:
            # A trailing dot does not change what a name means; every URL here has a port.
            host, port = (url.host or "").rstrip("."), url.port or 0
            why = rules.objection_to_host(host, port, is_resolved_here=proxy is None)
            if why is not None:
                raise _refused(name, why)
        # Two sessions, because the check of addresses belongs to the connector of a session. The
        # proxy is the user's choice and may have any address.
        session = self._session(is_guarded=rules is not None and proxy is None)
        try:
            # For the headers, too: aiohttp's own timer restarts with every byte.
            async with asyncio.timeout(_CONNECT_TIMEOUT + self._read_timeout):
                return await session.get(
                    url,
                    headers={**headers, **_login_for(url, proxy)},
                    allow_redirects=False,
                    **({} if proxy is None else proxy.arguments),
                    **self._tls,
                )
        except (aiohttp.ClientError, OSError) as error:
            failure = _closed() if session.closed else _failure(error, name, self._read_timeout)
        raise failure

    def _session(self, *, is_guarded: bool) -> aiohttp.ClientSession:
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        session = self._sessions.get(is_guarded)
        if session is None or session.closed:
            session = self._sessions[is_guarded] = self._make_session(is_guarded=is_guarded)
            self._closers[is_guarded] = closer_of(session)
        return session

    def _make_session(self, *, is_guarded: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # Callers limit how many files are fetched simultaneously.
                limit=0,
                socket_factory=noticing(
                    self._rules.socket if is_guarded and self._rules else plain_socket
                ),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={hdrs.USER_AGENT: self._user_agent, hdrs.ACCEPT_ENCODING: "identity"},
            auto_decompress=False,
            read_bufsize=_READ_AHEAD,
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=_CONNECT_TIMEOUT,
                sock_connect=_CONNECT_TIMEOUT,
                sock_read=self._read_timeout,
                # aiohttp would round longer timeouts up to whole seconds.
                ceil_threshold=math.inf,
            ),
        )

    def abandon(self) -> None:
        """Drop the sessions, whose event loop was closed."""
        for session in self._sessions.values():
            drop(session)

    async def aclose(self) -> None:
        """Close the responses under way and the sessions; may be called again."""
        self._closed = True
        # Closing a session does not wake a pending read on one of its connections.
        for response in self._open:
            response.close()
        for session in self._sessions.values():
            await session.close()


def _word(headers: Mapping[str, str], name: str) -> str | None:
    """A header in lower case without its parameters; None if it is missing or empty."""
    return headers.get(name, "").partition(";")[0].strip().lower() or None


def _closed() -> ClientClosedError:
    return ClientClosedError("the client was closed while a file was fetched")


def _extent(status: int, headers: Mapping[str, str]) -> tuple[int, int | None]:
    """The position of the body in the file (-1 if unknown), and the size of the file."""
    if status == 206:
        found = _CONTENT_RANGE.fullmatch(headers.get(hdrs.CONTENT_RANGE, "").strip())
        if found is None:
            return -1, None
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = headers.get(hdrs.CONTENT_LENGTH)
    return 0, None if length is None else int(length)


def _validator(headers: Mapping[str, str]) -> str | None:
    """The strong entity tag, or else the date of the last change."""
    tag = headers.get(hdrs.ETAG)
    # A weak tag (W/) does not promise equal bytes, and parts of a file need those.
    if tag is not None and not tag.startswith('"'):
        return None
    validator = tag or headers.get(hdrs.LAST_MODIFIED, "")
    # It is sent back, so a value that a header cannot hold is useless.
    return validator if validator and validator.isascii() and validator.isprintable() else None


def _url(link: str) -> URL:
    try:
        # Unchanged: other escapes would invalidate a signed link.
        url = _as_written(link)
        is_usable = url.scheme in _DEFAULT_PORTS and bool(url.host) and url.port is not None
        is_usable = is_usable and url.user is None and url.password is None
        (url.raw_host or "").encode("idna")
    except (ValueError, IndexError):
        is_usable = False
    if not is_usable:
        raise TransportError("the link is not an http(s) URL", action=ErrorAction.RAISE)
    return url


def _as_written(link: str) -> URL:
    """Parse *link*, quoting only characters that a URL cannot hold; the host may be Unicode."""
    parts = urlsplit(link)
    host = URL(f"//{parts.netloc}").raw_authority if parts.netloc else ""
    rest = parts._replace(scheme="", netloc="", fragment="").geturl()
    quoted = _ILLEGAL.sub(lambda found: quote(found[0], safe=""), rest)
    scheme = f"{parts.scheme}:" if parts.scheme else ""
    # `encoded`, because yarl would quote the rest in its own way.
    return URL(f"{scheme}//{host}{quoted}" if host else f"{scheme}{quoted}", encoded=True)


def _next_hop(url: URL, location: str | None, name: str) -> URL:
    if not location:
        raise TransportError(f"{name}: a redirect without a target", action=ErrorAction.RAISE)
    try:
        target = str(url.join(_as_written(location)))
    except ValueError:
        target = ""
    # An empty target fails here, with the message for a link that is no URL.
    hop = _url(target)
    if url.scheme == "https" and hop.scheme != "https":
        raise _refused(name, "redirected from https to http")
    return hop


def _failure(
    error: aiohttp.ClientError | OSError, name: str, timeout: float
) -> TransportError | ClientClosedError:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, NotPublicError
    ):
        return _refused(name, error.os_error.why)
    return translated(error, name, timeout)


def _refused(name: str, why: str) -> TransportError:
    return TransportError(f"{name}: {why}", may_have_arrived=False, action=ErrorAction.RAISE)


def _named(url: URL) -> str:
    # The host only: path and query of a link may be signed, and must not get into logs.
    return f"GET at {printable(url.host or '')}"


def _login_for(url: URL, proxy: Proxy | None) -> Mapping[str, str]:
    """The proxy's login if the request goes to the proxy itself instead of into a tunnel."""
    return proxy.login or {} if proxy is not None and url.scheme == "http" else {}
