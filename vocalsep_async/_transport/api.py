"""Sends one request to the API and reads its whole answer.

aiohttp repeats a GET by itself when a connection breaks before the answer. The second request
would bypass the rate limiter, so `_OneSend` stops it and leaves the retry to the caller.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from yarl import URL

from vocalsep_async._transport.connections import ApiConnector
from vocalsep_async._transport.deadlines import Deadline
from vocalsep_async._transport.failures import login_refused, translated
from vocalsep_async._transport.proxies import Proxy
from vocalsep_async._transport.secrets import ApiKey
from vocalsep_async._transport.sessions import closer_of, drop
from vocalsep_async._transport.sockets import SentOn
from vocalsep_async._transport.uploads import UploadBody
from vocalsep_async.errors import (
    ClientClosedError,
    ConfigurationError,
    ErrorAction,
    TransportError,
    VocalSepError,
)
from vocalsep_async.policies import LATE_ARRIVAL
from vocalsep_async.providers import Request
from vocalsep_async.providers._envelope import REQUEST_IDS, holds_data

LARGEST_ANSWER = 1 << 20
"""Bytes of one answer after decompression; real answers have some thousand."""
_CONNECT_TIMEOUT = 10.0
_CONNECT_SHARE = 0.9
"""Of the request timeout, so that connecting times out first: then nothing was sent for sure."""
_KEPT = ("Date", "Retry-After", *REQUEST_IDS)
"""Headers that are used, or shown with errors."""
_MAY_STILL_ARRIVE = (
    "The request was given up, but could not be withdrawn: it may still arrive within the next "
    f"{LATE_ARRIVAL:g} s."
)

E = TypeVar("E", bound=VocalSepError)


class Reply(NamedTuple):
    """One answer: the headers that are used, and the body, with the API key masked in both."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests to one API with one key.

    The session is made at the first exchange, and closed with the event loop that runs then. A
    borrowed session is used as it is and never closed.

    Args:
        base_url: scheme, host and perhaps a path prefix.
        key: sent as a bearer token.
        request_timeout: seconds for one exchange, connecting and the whole body included.
        user_agent: value of the User-Agent header.
        session: a session to borrow; None to make one.
        trace_configs: tracing of the session that is made.
        proxy: the HTTP proxy; None for none. aiohttp never reads the environment's: it would take
            logins from a netrc file, too.
        tls: the context for TLS connections; None for that of the session.
        address: the option that *base_url* comes from, for messages.

    Attributes:
        host: of the API.
        loop: the event loop of the borrowed session; None without one.

    Raises:
        ConfigurationError: *session* is no aiohttp session.
    """

    def __init__(
        self,
        base_url: URL,
        key: ApiKey,
        *,
        request_timeout: float,
        user_agent: str,
        session: aiohttp.ClientSession | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        proxy: Proxy | None = None,
        tls: ssl.SSLContext | None = None,
        address: str = "base_url",
    ) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise ConfigurationError(
                f"session must be an aiohttp.ClientSession, not {type(session).__name__}"
            )
        self._base_url = str(base_url).rstrip("/")
        self.host = base_url.host
        self._address = address
        self._key = key
        self._request_timeout = request_timeout
        connect_timeout = _CONNECT_SHARE * request_timeout
        self._connect_timeout = min(_CONNECT_TIMEOUT, connect_timeout)
        self._defaults: dict[str, Any] = {
            "timeout": aiohttp.ClientTimeout(
                # asyncio times the whole exchange, in `_until_closed`: aiohttp's own timer
                # swallows a cancellation in the same iteration of the event loop.
                total=None,
                connect=connect_timeout,
                sock_connect=self._connect_timeout,
                ceil_threshold=math.inf,
            ),
            "headers": {
                hdrs.USER_AGENT: user_agent,
                hdrs.ACCEPT: "application/json",
                # One provider requires it on every request, even without a body.
                hdrs.CONTENT_TYPE: "application/json",
            },
            "raise_for_status": False,
            "auto_decompress": True,
        }
        # A session made here has the defaults; a borrowed one gets them with each request.
        self._arguments: dict[str, Any] = {} if session is None else self._defaults
        self._trace_configs = list(trace_configs)
        if tls is not None:
            self._arguments |= {"ssl": tls}
        self._proxy_login = None if proxy is None else proxy.login
        if proxy is not None:
            self._arguments |= proxy.arguments
        # Through a tunnel, and from what else is in between, the status proves nothing.
        self._asks_a_proxy = proxy is not None and base_url.scheme == "http"
        self._borrowed = session is not None
        self._session = session
        self._closer: AsyncIterator[None] | None = None
        self.loop = None if session is None else session._loop  # noqa: SLF001
        self._under_way: set[asyncio.Task[Any]] = set()
        self._one_ended = asyncio.Event()
        self._closed = False

    @property
    def needs_closing(self) -> bool:
        """Whether a session made here is still open."""
        return self._session is not None and not self._borrowed and not self._session.closed

    def bind(self) -> aiohttp.ClientSession:
        """Return the session, made now if there is none.

        Raises:
            ClientClosedError: the transport or the borrowed session was closed.
        """
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        if self._session is None or self._session.closed:
            if self._borrowed:
                raise ClientClosedError("the borrowed session is closed")
            self._session = self._make_session()
            self._closer = closer_of(self._session)
        return self._session

    def _make_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=ApiConnector(patience=self._connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=self._trace_configs,
            **self._defaults,
        )

    def distrust_connections(self) -> None:
        """Send the requests that follow on new connections, unless the session is borrowed."""
        connector = None if self._session is None else self._session.connector
        if isinstance(connector, ApiConnector):
            connector.distrust()

    async def exchange(self, request: Request, body: UploadBody | None = None) -> Reply:
        """Send *request* once and read the whole answer.

        Args:
            request: what is sent.
            body: a body that is sent as it is read, with a patience of its own in place of the
                request timeout.

        Raises:
            TransportError: no usable answer came; redirects are not followed.
            RequestTimeoutError: the exchange took longer than the request timeout.
            ClientClosedError: the client was closed, before or meanwhile.
            Exception: what reading *body* raised.
        """
        session = self.bind()
        name = f"{request.method} {request.path} at {self.host}"
        outcome: Reply | Exception = await self._until_closed(session, request, name, body)
        if body is not None and not isinstance(outcome, ClientClosedError):
            outcome = body.failure or outcome
        if isinstance(outcome, Reply):
            return outcome
        # Raised outside every handler and away from the frames that hold the answer, so that
        # tracebacks show neither: aiohttp's errors hold the request's headers, answers hold links.
        raise outcome

    async def _until_closed(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        name: str,
        body: UploadBody | None,
    ) -> Reply | VocalSepError:
        # Never None: aiohttp works only within a task.
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._under_way.add(task)
        sending = _OneSend(self._key, self._proxy_login)
        try:
            with Deadline(task, self._request_timeout) as deadline:
                if body is not None:
                    body.begin(deadline)
                return await self._send(session, request, name, sending, body)
        except (aiohttp.ClientError, OSError) as error:
            if not session.closed:
                failure = self._translated(error, name, body)
                if sending.is_unanswered:
                    self.distrust_connections()
                return sending.noted(failure) if isinstance(error, TimeoutError) else failure
        except asyncio.CancelledError:
            if not self._ended_by_closing(session, task):
                raise
        finally:
            if body is not None:
                body.end()
            self._under_way.discard(task)
            self._one_ended.set()
        return sending.noted(
            ClientClosedError(
                "the client, or the session it borrowed, was closed while a request was under way",
                may_have_arrived=True,
            )
        )

    def _translated(self, error: Exception, name: str, body: UploadBody | None) -> TransportError:
        # aiohttp's own timeouts, which are for the connection, have classes of their own.
        if body is not None and type(error) is TimeoutError:
            return body.stalled(name)
        return translated(error, name, self._request_timeout)

    def _ended_by_closing(self, session: aiohttp.ClientSession, task: asyncio.Task[Any]) -> bool:
        """Whether a cancellation came from closing; any other cancellation passes through."""
        if self._closed:
            # Zero left: only `aclose` cancelled, not the caller too.
            return task.uncancel() == 0
        # aiohttp raises CancelledError in a request that waits for a connection when the session
        # is closed, without cancelling its task.
        return session.closed and not task.cancelling()

    async def _send(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        name: str,
        sending: _OneSend,
        upload: UploadBody | None,
    ) -> Reply | TransportError:
        async with session.request(
            request.method,
            self._url(request),
            data=upload,
            json=request.json,
            allow_redirects=False,
            **self._arguments_of(request),
            # This argument replaces a borrowed session's own middlewares, so they are repeated.
            middlewares=(*session._middlewares, sending),  # noqa: SLF001
        ) as response:
            error = self._not_from_api(response.status, name)
            # Only a creation is worth the wait for its body: it may hold the id of a billed task.
            if error is not None and request.method != "POST":
                return error
            try:
                body = await _read(response)
            except asyncio.CancelledError:
                await _give_up(response)
                raise
            sent_on = _connection_of(response)
            if sent_on is not None and upload is not None and not upload.is_complete:
                # Nothing may follow on the connection, nor wait in it for a server that reads no
                # more.
                sent_on.abort()
            if body is None:
                return TransportError(f"{name}: the answer is larger than {LARGEST_ANSWER:,} bytes")
            if error is not None and not holds_data(body):
                return error
            headers = {
                name: self._key.redact_text(response.headers[name])
                for name in _KEPT
                if name in response.headers
            }
            return Reply(response.status, headers, self._key.redact(body))

    def _not_from_api(self, status: int, name: str) -> TransportError | None:
        """The error for a status that the API itself never sends; None for the others."""
        if 300 <= status <= 399:
            return TransportError(
                f"{name}: redirected ({status}), which is not followed; check {self._address}",
                action=ErrorAction.RAISE,
            )
        if status == 407:
            return login_refused(name, may_have_arrived=not self._asks_a_proxy)
        return None

    def _arguments_of(self, request: Request) -> dict[str, Any]:
        if not request.headers:
            return self._arguments
        # Merged here, because a borrowed session's headers are an argument already.
        return self._arguments | {"headers": {**self._defaults["headers"], **request.headers}}

    def _url(self, request: Request) -> URL:
        # Quoted here because yarl would leave some characters of an id unquoted.
        pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in request.query.items())
        address = self._base_url + request.path
        return URL(f"{address}?{pairs}" if pairs else address, encoded=True)

    def abandon(self) -> None:
        """Drop the session, made here, whose event loop was closed."""
        if self._session is not None:
            drop(self._session)

    async def aclose(self) -> None:
        """End the exchanges under way and close the session, unless it is borrowed.

        May be called again.
        """
        if not self._closed:
            self._closed = True
            for task in self._under_way:
                task.cancel()
        # Before the session is closed, which would let the kernel send what was given up.
        # The exchange whose tracing hook closes the client cannot end before this call does.
        while self._under_way - {asyncio.current_task()}:
            self._one_ended.clear()
            await self._one_ended.wait()
        if self._session is not None and not self._borrowed:
            await self._session.close()


class _OneSend:
    """A client middleware that adds the key, lets the request through once, and may cut it off."""

    # The key is added here and nowhere else: a header set by a middleware is not among the
    # arguments that tracebacks show, and does not collide with credentials from a netrc file.

    def __init__(self, key: ApiKey, proxy_login: Mapping[str, str] | None) -> None:
        self._key = key
        self._proxy_login = proxy_login
        self._failure: Exception | None = None
        self._sent_on: SentOn | None = None
        self._is_discarded = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._failure is not None:
            raise self._failure
        request.headers[hdrs.AUTHORIZATION] = self._key.authorization()
        if self._proxy_login is not None and not request.is_ssl():
            request.headers.update(self._proxy_login)
        # Replaced, because aiohttp does not say which connection it takes for a request, and a
        # borrowed session has a connector of its own.
        request.send = partial(self._send_on, request.send)  # type: ignore[method-assign]
        try:
            response = await handler(request)
        except (aiohttp.ClientError, OSError) as error:
            self._failure = error
            raise
        except asyncio.CancelledError as cancelled:
            # As in this package's errors: a request that was cut while connecting used no slot.
            cancelled.may_have_arrived = self._sent_on is not None  # type: ignore[attr-defined]
            if self._sent_on is not None:
                is_aborted = await self._sent_on.aborted()
                # A proxy may have the request already.
                self._is_discarded = is_aborted and request.proxy is None
            raise
        finally:
            del request.send
        # An answer has begun, so that nothing of the request is left to send.
        self._sent_on = None
        return response

    async def _send_on(
        self,
        send: Callable[[Connection], Awaitable[aiohttp.ClientResponse]],
        connection: Connection,
    ) -> aiohttp.ClientResponse:
        if connection.transport is not None:
            self._sent_on = SentOn(connection.transport)
        return await send(connection)

    @property
    def is_unanswered(self) -> bool:
        """Whether the request was sent, perhaps in part, and no answer has begun."""
        return self._sent_on is not None

    def noted(self, error: E) -> E:
        """Return *error*, for which the request was given up, with a note if it needs one."""
        if self.is_unanswered and not self._is_discarded:
            error.add_note(_MAY_STILL_ARRIVE)
        return error


async def _give_up(response: aiohttp.ClientResponse) -> None:
    sent_on = _connection_of(response)
    if sent_on is not None:
        await sent_on.aborted()


def _connection_of(response: aiohttp.ClientResponse) -> SentOn | None:
    """The connection of a request whose answer has begun; None if it was given back or closed."""
    connection = response.connection
    if connection is None or connection.transport is None:
        return None
    return SentOn(connection.transport)


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The whole body; None if it is larger than `LARGEST_ANSWER`."""
    # Not `response.read()`, which accepts a body of any size.
    chunks, size = [], 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > LARGEST_ANSWER:
            response.close()
            return None
        chunks.append(chunk)
    return b"".join(chunks)
