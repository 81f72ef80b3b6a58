"""`Receiver`: what becomes of a callback, whichever framework received it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from contextvars import Context
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio

from vocalsep_async import _arguments, _validation
from vocalsep_async._signing import Secrets
from vocalsep_async._text import counted
from vocalsep_async.client import VocalSepClient
from vocalsep_async.errors import (
    CallbackTooLargeError,
    ConfigurationError,
    ForgedCallbackError,
    InvalidArgumentError,
    MalformedCallbackError,
    StaleCallbackError,
    UnsignedCallbackError,
    WebhookError,
)
from vocalsep_async.models import TaskStatus
from vocalsep_async.policies import CALLBACK_BODY_PATIENCE, REFUSED_CALLBACK_GAP
from vocalsep_async.providers._built_in import BUILT_IN
from vocalsep_async.webhooks import (
    MAX_CALLBACK_BYTES,
    CallbackEvent,
    CallbackUrl,
    ReceiverStats,
    parse_callback,
    verify_signature,
)

_logger = logging.getLogger("vocalsep_async.callbacks")

_REMEMBERED = 10_000
"""Callbacks that are known again when they are repeated; more than a day of most accounts."""
_ADVICE = (
    "open it in the lifespan of the application, as in 'async with client' (in aiohttp, in "
    "cleanup_ctx), and in each process; a TestClient runs the lifespan only in a 'with' block"
)
_MIDDLEWARE = "if a middleware reads bodies, it has to pass them on"

Headers = Iterable[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """What is answered to a request.

    Attributes:
        status: the HTTP status.
        text: the body, for those who look for what is wrong.
        allow: the header ``Allow``; None for none.
        closes: whether the connection is of no more use, because the rest of the body is missing.
    """

    status: int
    text: str
    allow: str | None = None
    closes: bool = False


class InterruptedBodyError(Exception):
    """The request ended, or broke the rules of HTTP, before its body had arrived."""

    def __init__(self) -> None:
        super().__init__("the request ended before its body had arrived")


class _LateBodyError(Exception):
    """The body did not arrive in time."""


_REFUSALS: dict[type[Exception], tuple[str, int]] = {
    MalformedCallbackError: ("malformed", 400),
    CallbackTooLargeError: ("too_large", 413),
    UnsignedCallbackError: ("unsigned", 401),
    StaleCallbackError: ("stale", 401),
    ForgedCallbackError: ("forged", 401),
    _LateBodyError: ("timed_out", 408),
    InterruptedBodyError: ("interrupted", 400),
    ConfigurationError: ("unavailable", 503),
}
"""Why a callback is refused: the counter of the statistics, and the status."""


class Receiver:
    """Receives the callbacks of one client; the frameworks' receivers are made from it."""

    def __init__(
        self,
        client: VocalSepClient,
        address: CallbackUrl | str | None = None,
        *,
        keys: str | bytes | Sequence[str | bytes] | None = None,
        unverified: bool = False,
        trust_callbacks: bool = False,
        tolerance: float | None = 300.0,
        max_bytes: int = MAX_CALLBACK_BYTES,
        body_timeout: float = CALLBACK_BODY_PATIENCE,
    ) -> None:
        """Make a receiver; give a secret address, or the keys of signatures, or both.

        Args:
            client: whose waits the callbacks wake. It is opened and closed by the application.
            address: where the receiver is reached from outside. A `CallbackUrl` is a secret
                address: only requests to addresses that it made are accepted. A string is told
                to the API and proves nothing. None if `url` is not needed.
            keys: the account's key for signatures of callbacks (kie.ai); several while one is
                replaced by another. None checks no signatures.
            unverified: True accepts callbacks from anyone, who can then cause polls; for receivers
                with neither a secret address nor a key.
            trust_callbacks: whether the record in a callback ends the waits for its task, without
                a poll. It takes a secret address: a signature does not cover the record.
            tolerance: seconds, from 0, by which the time of a signature may differ from the clock
                of this machine, in both directions. None accepts any time.
            max_bytes: how large a body may be, from 1 to 1 MiB.
            body_timeout: seconds in which the body must have arrived, above 0.

        Raises:
            ConfigurationError: an argument is unusable, or nothing says how callbacks are verified.
        """
        # First, because tracebacks may show the receiver.
        self._tally = Tally()
        self._seen = Repeats()
        self._warnings = Warnings()
        try:
            self._keys = None if keys is None else Secrets(keys, "keys")
        finally:
            del keys  # tracebacks may show local variables
        with _arguments.setting_up():
            _arguments.instance(client, "client", VocalSepClient)
            _arguments.instance(address, "address", (CallbackUrl, str, type(None)))
            if isinstance(address, str):
                _arguments.callback_address(address, "address")
            _arguments.instance(unverified, "unverified", bool)
            _arguments.instance(trust_callbacks, "trust_callbacks", bool)
            self._tolerance = _validation.timeout(tolerance, "tolerance")
            self._max_bytes = _validation.at_least_one(max_bytes, "max_bytes")
            self._body_timeout = _validation.number(
                body_timeout, "body_timeout", minimum=0.0, above=True
            )
        self._secret_address = address if isinstance(address, CallbackUrl) else None
        _check_verification(
            is_verified=self._secret_address is not None or self._keys is not None,
            unverified=unverified,
            needs_secret=trust_callbacks and self._secret_address is None,
        )
        if max_bytes > MAX_CALLBACK_BYTES:
            raise ConfigurationError(
                f"max_bytes must be at most {MAX_CALLBACK_BYTES}, far more than a callback has, "
                f"not {max_bytes}"
            )
        provider = client._setup.provider  # noqa: SLF001 - the client's parts, within the package
        # The built-in ones are told apart by shape: one host may serve several of them.
        self._provider = None if provider in BUILT_IN else provider
        self._client = client
        self._address = address
        self._trusts = trust_callbacks
        client._receivers.add(self)  # noqa: SLF001 - create_task asks them for their addresses

    def __repr__(self) -> str:
        stats = self.stats
        callbacks = counted(stats.received, "callback")
        return f"<{type(self).__name__}: {callbacks} received, {stats.woke} woke waits>"

    @property
    def stats(self) -> ReceiverStats:
        """What has become of the callbacks so far; may be read anywhere."""
        return ReceiverStats(**self._tally.counts())

    def url(self, name: str = "") -> str:
        """The address to pass to `VocalSepClient.create_task` as *callback_url*.

        Args:
            name: makes an address of its own for each name, such as the number of an order; for
                receivers with a `CallbackUrl`. "" for the one without a name.

        Raises:
            ConfigurationError: the receiver was made without an address.
            InvalidArgumentError: the receiver's address takes no names, or not this one.
        """
        if self._address is None:
            raise ConfigurationError(
                "the receiver does not know its address: pass it as its second argument, as in "
                'CallbackUrl("https://example.com/callbacks", secret)'
            )
        if isinstance(self._address, CallbackUrl):
            return self._address.url(name)
        if name:
            raise InvalidArgumentError("only addresses that CallbackUrl makes have names")
        return self._address

    def is_address(self, url: str) -> bool:
        """Whether callbacks to *url* reach this receiver."""
        if self._address is None:
            return False
        asked, own = _place(url), _place(self.url())
        if self._secret_address is None:
            return asked == own
        try:
            self._secret_address.check(url)
        except WebhookError:
            return False
        # Another service may have the same secret.
        return asked[:2] == own[:2]

    async def _respond(
        self, method: str, target: str, headers: Headers, chunks: AsyncGenerator[bytes]
    ) -> Answer:
        """Receive a request; the answer does not wait for what follows from it.

        Args:
            method: the HTTP method.
            target: path and query as they were sent, percent-encoded.
            headers: names and values.
            chunks: the body; it raises `InterruptedBodyError` where the sender leaves.
        """
        if method != "POST":
            return Answer(405, "callbacks are sent with POST", allow="POST")
        self._tally.add("received")
        try:
            async with aclosing(chunks):
                await self._receive(target, [*headers], chunks)
        except tuple(_REFUSALS) as error:
            return self._refused(error)
        except BaseException:
            # The server cancelled the request, or a middleware raised an error of its own.
            self._tally.add("interrupted")
            raise
        return Answer(200, "ok")

    def _refused(self, error: Exception) -> Answer:
        counter, status = next(each for kind, each in _REFUSALS.items() if isinstance(error, kind))
        self._tally.add(counter)
        advice = f"; {_ADVICE}" if status == 503 else ""
        text = f"{error}{advice}"
        level = logging.WARNING if self._warnings.is_due(counter) else logging.DEBUG
        _logger.log(level, "a callback was refused with %d: %s", status, text)
        return Answer(status, text, closes=status == 408)

    async def _receive(self, target: str, headers: Headers, chunks: AsyncGenerator[bytes]) -> None:
        loop = self._client._engines.reachable()  # noqa: SLF001 - for any thread
        if self._secret_address is not None:
            self._secret_address.check(target)
        body = await self._body(headers, chunks)
        if self._keys is not None:
            verify_signature(headers, body, self._keys, tolerance=self._tolerance)
        event = parse_callback(body, provider=self._provider)
        # A status that is not known may be an end: the poll shows it.
        if event.task.status == TaskStatus.PENDING:
            self._tally.add("unfinished")
        elif body in self._seen:
            self._tally.add("repeated")
        else:
            self._pass_on(event, loop)
            # Not before: what was refused will come again.
            self._seen.add(body)

    async def _body(self, headers: Headers, chunks: AsyncGenerator[bytes]) -> bytes:
        # The senders of this API compress nothing, and what is small may become large.
        if not {*_values(headers, b"content-encoding")} <= {b"", b"identity"}:
            raise MalformedCallbackError("the body has a content encoding, and must have none")
        declared = _length(headers)
        if declared > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        with anyio.move_on_after(self._body_timeout) as patience:
            async for chunk in chunks:
                if len(body) + len(chunk) > self._max_bytes:
                    raise self._too_large()
                body += chunk
        if patience.cancelled_caught:
            raise _LateBodyError(
                f"the body did not arrive within {self._body_timeout:g} s; {_MIDDLEWARE}"
            )
        if not body or len(body) < declared:
            raise MalformedCallbackError(
                f"{len(body)} bytes of a body arrived, of {declared} that were announced; "
                f"{_MIDDLEWARE}"
            )
        return bytes(body)

    def _too_large(self) -> CallbackTooLargeError:
        return CallbackTooLargeError(f"the body has more than {self._max_bytes} bytes")

    def _pass_on(self, event: CallbackEvent, loop: asyncio.AbstractEventLoop) -> None:
        # What the client does from now on is no part of the request: not of its trace, either.
        context = Context()
        if _running_loop() is loop:
            context.run(self._notify, event)
            return
        try:
            loop.call_soon_threadsafe(self._notify, event, context=context)
        except RuntimeError as error:
            raise ConfigurationError("the event loop of the client was closed") from error

    def _notify(self, event: CallbackEvent) -> None:
        record = event.task if self._trusts else None
        try:
            has_woken = self._client.notify(event.task_id, record=record)
        except Exception:
            # The sender is not to blame, and would only send the same again.
            _logger.exception("the callback for task %s was taken, and woke no wait", event.task_id)
            has_woken = False
        self._tally.add("woke" if has_woken else "unawaited")


def _check_verification(*, is_verified: bool, unverified: bool, needs_secret: bool) -> None:
    if is_verified and unverified:
        raise ConfigurationError("unverified=True contradicts a secret address or keys")
    if needs_secret:
        raise ConfigurationError(
            "trust_callbacks=True needs a secret address, made with CallbackUrl: signatures do not "
            "cover the record of a callback"
        )
    if not (is_verified or unverified):
        raise ConfigurationError(
            "nothing says how callbacks are verified: pass a secret address, as in "
            'CallbackUrl("https://example.com/callbacks", secret), or the keys= of the signatures '
            "(kie.ai), or unverified=True to accept callbacks from anyone"
        )


class Tally:
    """Counts in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, counter: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[counter] += 1

    def counts(self) -> dict[str, int]:
        """All counters that are not 0, of one moment."""
        with self._lock:
            return dict(self._counts)


class Repeats:
    """Knows the last callbacks again, by their bodies.

    Not by their tasks: an early or forged callback would hide the true one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, body: bytes) -> bool:
        return _digest(body) in self._digests

    def add(self, body: bytes) -> None:
        """Remember *body*."""
        with self._lock:
            self._digests[_digest(body)] = None
            if len(self._digests) > _REMEMBERED:
                self._digests.popitem(last=False)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


class Warnings:
    """Lets one warning of each kind through in a while."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def is_due(self, kind: str) -> bool:
        """Whether a warning of this kind may be written now."""
        now = anyio.current_time()
        if now < self._last.get(kind, -REFUSED_CALLBACK_GAP) + REFUSED_CALLBACK_GAP:
            return False
        self._last[kind] = now
        return True


def _values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of a header in lower case, which may have been sent several times."""
    return [value.strip().lower() for each, value in headers if each.lower() == name]


def _length(headers: Headers) -> int:
    """The announced length of the body; 0 if there is none."""
    values = _values(headers, b"content-length")
    # Servers refuse several that differ, and what is no number.
    return max((int(each) for each in values if each.isdigit() and len(each) < 20), default=0)


def _place(url: str) -> tuple[str, str, str]:
    """Scheme, host and path of an address, as far as they decide where it leads."""
    try:
        parts = urlsplit(url)
    except ValueError:  # of brackets that hold no IPv6 address
        return "", "", ""
    return parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # not every server runs in asyncio
        return None
