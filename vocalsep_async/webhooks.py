"""Webhooks: reads callbacks, checks their signatures, and makes addresses that prove themselves.

All of it is for any web framework: values go in and come out, and nothing is sent::

    event = parse_callback(await request.body())

A callback proves nothing by itself. kie.ai signs the id of the task and the time, not the rest of
the body: after `verify_signature`, poll the task. sunoapi.org signs nothing: give it an address
made by `CallbackUrl`, which no other sender can guess.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from attrs import frozen

from vocalsep_async import _validation
from vocalsep_async._signing import Secrets, SecretText, url_safe
from vocalsep_async._text import TOKEN_LENGTH, TOKEN_PREFIX, has_surrogates, is_visible, printable
from vocalsep_async.errors import (
    CallbackTooLargeError,
    ConfigurationError,
    DecodeError,
    ForgedCallbackError,
    InvalidArgumentError,
    MalformedCallbackError,
    StaleCallbackError,
    UnsignedCallbackError,
)
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.providers import Provider
from vocalsep_async.providers._callbacks import OpenedCallback, open_callback
from vocalsep_async.providers._routes import callback_decoder

MAX_CALLBACK_BYTES = 1 << 20
"""Bytes; the callbacks of the API are a few thousand, and a larger body is not read."""
_MOST_VALUES = 2_000
"""Values in a callback; those of the API have about a hundred. Reading a megabyte of small values
would keep the event loop for seconds."""
Body: TypeAlias = bytes | bytearray | memoryview | str
"""The body of a request, as it was received."""
Headers: TypeAlias = (
    Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str, str] | tuple[bytes, bytes]]
)
"""The headers of a request: a mapping, or pairs as ASGI has them."""
Key: TypeAlias = SecretText | Sequence[SecretText] | Secrets
"""One key or secret, or several while one replaces another."""

_Pairs: TypeAlias = Sequence[tuple[object, object]]

_SIGNATURE = "X-Webhook-Signature"
_TIMESTAMP = "X-Webhook-Timestamp"
_TOLERANCE = 300.0
_TIME = rb"[0-9]{1,12}"
_BASE64 = rb"[A-Za-z0-9+/]{43}="
_TOKEN = re.compile(
    rb"%b([A-Za-z0-9_-]{%d})(?:\.([A-Za-z0-9_-]{1,683}))?" % (TOKEN_PREFIX.encode(), TOKEN_LENGTH)
)
_LONGEST_NAME = 512
"""Bytes of a name in UTF-8."""


@frozen(kw_only=True)
class CallbackEvent:
    """What one callback says.

    Attributes:
        task_id: the task that it is about.
        code: its code; 200 is the end of a task with stems.
        message: the API's words, made printable, cut, and without the queries of links; "" if it
            has none.
        is_final: whether it is about the end of the task; False for a code such as 202.
        task: the record in it. `SeparationTask.raw` is the ``data`` of the callback.
    """

    task_id: str
    code: int
    message: str
    is_final: bool
    task: SeparationTask


@frozen(kw_only=True)
class ReceiverStats:
    """What has become of the callbacks that a receiver got: each has one reason to be counted.

    Attributes:
        received: requests with the method POST. The others are the parts that it splits into.
        woke: it woke waits for its task.
        unawaited: no wait of the receiver's client waited for its task: it came early, and is
            remembered for a while, or late, or to another process than the one that waits.
        repeated: the same as one before; it had no effect.
        unfinished: about a task that has not ended; it had no effect.
        malformed: no callback of this API (400).
        too_large: above the size limit (413).
        unsigned: without a signature, or without a token in its address (401).
        forged: with a signature or a token that is wrong (401).
        stale: signed too long ago, or in the future (401).
        timed_out: its body did not arrive in time (408).
        interrupted: its sender left, or the server ended the request, before the body had arrived.
        unavailable: the client was not open (503).
    """

    received: int = 0
    woke: int = 0
    unawaited: int = 0
    repeated: int = 0
    unfinished: int = 0
    malformed: int = 0
    too_large: int = 0
    unsigned: int = 0
    forged: int = 0
    stale: int = 0
    timed_out: int = 0
    interrupted: int = 0
    unavailable: int = 0


def parse_callback(body: Body, *, provider: Provider | None = None) -> CallbackEvent:
    """Read what the API posted to a callback URL. It may come from anyone: see the module.

    Args:
        body: the body of the request, as it was received.
        provider: whose callback it is; None finds out by its shape, which is one of the built-in
            providers'.

    Raises:
        CallbackTooLargeError: it has more than `MAX_CALLBACK_BYTES`, or more than 2,000 values.
        MalformedCallbackError: it is not a callback of this API: not JSON in UTF-8, an object in it
            has one name twice, it has no code, or it names no task, two, or one whose id cannot be
            polled.
        InvalidArgumentError: *body* is neither bytes nor text, or *provider* no `Provider`.
    """
    if provider is not None and not isinstance(provider, Provider):
        raise InvalidArgumentError(f"provider must be a Provider, not {type(provider).__name__}")
    opened = _opened(body)
    try:
        code, message, task = callback_decoder(provider, opened.data).callback(opened)
    except DecodeError as error:
        problem = str(error)
    else:
        return CallbackEvent(
            task_id=_usable(task.task_id),
            code=code,
            message=message,
            is_final=task.is_final,
            task=task,
        )
    # Raised outside the handler, so that the error there is not chained.
    raise MalformedCallbackError(problem)


def verify_signature(
    headers: Headers,
    body: Body,
    key: Key,
    *,
    tolerance: float | None = _TOLERANCE,
    now: float | None = None,
) -> None:
    """Check the signature of a callback of kie.ai, which is in two headers.

    It proves that kie.ai sent a callback about this task at that time. It does not cover the rest
    of the body: poll the task.

    Args:
        headers: of the request: any mapping, whatever the case of its names, or pairs.
        body: the body of the request, as it was received.
        key: the webhook key of the account, or several while one replaces another.
        tolerance: seconds by which the time of the signature may differ from this machine's, in
            either direction; None for any.
        now: seconds since 1970; None for the clock of this machine.

    Raises:
        UnsignedCallbackError: a header is missing or empty.
        ForgedCallbackError: the signature was made with none of the keys, or a header is there
            twice or is not what it has to be.
        StaleCallbackError: the signature is right, and its time too far away.
        MalformedCallbackError: the body is not a callback that names a task.
        CallbackTooLargeError: as for `parse_callback`.
        ConfigurationError: a key is unusable, such as an empty one.
        InvalidArgumentError: another argument is of a wrong type.
    """
    try:
        keys = Secrets(key, "key")
    finally:
        # Tracebacks may show local variables.
        del key
    tolerance = _validation.timeout(tolerance, "tolerance")
    present = _now() if now is None else _validation.number(now, "now", minimum=float("-inf"))
    pairs = _pairs(headers)
    signature, timestamp = _header(pairs, _SIGNATURE), _header(pairs, _TIMESTAMP)
    if not re.fullmatch(_BASE64, signature):
        raise ForgedCallbackError(
            f"{_SIGNATURE} is not a signature: it has to be 44 characters of Base64"
        )
    if not re.fullmatch(_TIME, timestamp):
        raise ForgedCallbackError(
            f"{_TIMESTAMP} is not a time: it has to be seconds since 1970, in up to 12 digits"
        )
    task_id = _signed_id(body)
    if not keys.have_signed(b"%b.%b" % (task_id.encode(), timestamp), signature, base64.b64encode):
        raise ForgedCallbackError(
            f"the signature of the callback about task {printable(task_id)!r} was made with "
            "another key than yours, or for another task or time"
        )
    _check_age(present - int(timestamp), tolerance)


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _check_age(skew: float, tolerance: float | None) -> None:
    if tolerance is None or abs(skew) <= tolerance:
        return
    shown = round(skew, 3)
    where, why = (
        ("ago", "it was delivered late or again, or the clock here is ahead")
        if skew > 0
        else ("in the future", "the clock here is behind")
    )
    raise StaleCallbackError(
        f"the callback was signed {abs(shown):,.12g} s {where} (difference {shown:+,.12g} s), and "
        f"at most {tolerance:,.12g} s are accepted: {why}",
        skew=skew,
    )


def _header(pairs: _Pairs, name: str) -> bytes:
    values = [value for each, value in pairs if _named(each, name) and value is not None]
    if len(values) > 1:
        raise ForgedCallbackError(f"the callback has the header {name} {len(values)} times")
    value = values[0] if values else ""
    if not isinstance(value, (str, bytes)):
        raise InvalidArgumentError(
            f"the header {name} is {type(value).__name__}, not text or bytes"
        )
    if not value:
        what = "an empty" if values else "no"
        raise UnsignedCallbackError(
            f"the callback has {what} {name} header; kie.ai signs callbacks once a webhook key is "
            "set in its console, and sunoapi.org does not: use CallbackUrl there"
        )
    # What is not ASCII fits no pattern.
    return value if isinstance(value, bytes) else value.encode("ascii", "replace")


def _pairs(headers: Any) -> _Pairs:
    try:
        items = headers.items() if hasattr(headers, "items") else headers
        return [(name, value) for name, value in items]
    except (TypeError, ValueError):
        problem = f"headers must be a mapping or pairs, not {type(headers).__name__}"
    raise InvalidArgumentError(problem)


def _named(name: object, wanted: str) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return isinstance(text, str) and text.lower() == wanted.lower()


def _signed_id(body: Body) -> str:
    """The id that the signature is about."""
    task_id = _opened(body).task_id
    if task_id is None:
        raise MalformedCallbackError("the callback has no task_id, which kie.ai signs")
    return _usable(task_id)


def _opened(body: Body) -> OpenedCallback:
    try:
        opened = open_callback(_bytes(body))
    except DecodeError as error:
        problem = str(error)
    else:
        _check_values(opened.values)
        return opened
    raise MalformedCallbackError(problem)


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        # Each character has one byte or more.
        _check_size(len(body))
        if has_surrogates(body):
            raise MalformedCallbackError("the callback holds a lone surrogate, and is not UTF-8")
        body = body.encode()
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise InvalidArgumentError(
            f"body must be bytes or text, not {type(body).__name__}: pass the body of the request "
            "as it was received, as in await request.body()"
        )
    _check_size(memoryview(body).nbytes)
    content = bytes(body)
    # Before anything is read.
    _check_values(content.count(b","))
    return content


def _check_size(size: int) -> None:
    if size > MAX_CALLBACK_BYTES:
        raise CallbackTooLargeError(
            f"the callback has {size:,} bytes; at most {MAX_CALLBACK_BYTES:,} are read"
        )


def _check_values(number: int) -> None:
    if number > _MOST_VALUES:
        raise CallbackTooLargeError(f"the callback has more than {_MOST_VALUES:,} values")


def _usable(task_id: str) -> str:
    try:
        TaskRef(task_id)
    except InvalidArgumentError as error:
        problem = str(error)
    else:
        # The signature joins id and time with a dot.
        if "." not in task_id:
            return task_id
        problem = "the task id holds a dot, which no id of this API does"
    raise MalformedCallbackError(problem)


class CallbackUrl:
    """Makes callback addresses that no other sender can guess, and checks them.

    The address ends with a token, or has it in its query. It is a secret: anyone who knows it can
    post callbacks.

    Args:
        base: the public address at which the API reaches your service, such as
            ``https://example.com/hooks``, without query and fragment.
        secret: text or bytes that only your service knows, such as
            ``secrets.token_urlsafe(32)``; several while one replaces another: the first makes
            addresses, and all check them.
        field: the name of the field in the query that holds the token; None puts it into the path.

    Raises:
        ConfigurationError: *base* is not such an address, or a secret or *field* is unusable.
    """

    __slots__ = ("_base", "_field", "_secrets")

    def __init__(
        self,
        base: str,
        secret: Key,
        *,
        field: str | None = None,
    ) -> None:
        try:
            self._secrets = Secrets(secret, "secret")
        finally:
            # Tracebacks may show local variables.
            del secret
        self._base = _checked_base(base)
        self._field = _checked_field(field)

    def __repr__(self) -> str:
        return "<CallbackUrl>"

    def url(self, name: str = "") -> str:
        """The address to pass as ``create_task(callback_url=...)``.

        Args:
            name: what `check` returns for this address, such as an order of yours: each has an
                address of its own, which does not show it in plain text. At most 512 bytes.

        Raises:
            InvalidArgumentError: the name is not a string, is too long, or holds a lone surrogate.
        """
        token = self._token(_checked_name(name)).decode()
        return (
            f"{self._base}/{token}"
            if self._field is None
            else f"{self._base}?{self._field}={token}"
        )

    def check(self, url_or_path: str | bytes) -> str:
        """The name that the address of a request was made for; "" for one without.

        Args:
            url_or_path: the whole URL or its path, with the query if that holds the token. Scheme,
                host and what stands before the token do not count: proxies change them.

        Raises:
            UnsignedCallbackError: the address contains no token.
            ForgedCallbackError: the token was made with none of the secrets, or there are two.
            InvalidArgumentError: it is neither text nor bytes.
        """
        found = _TOKEN.fullmatch(_token_in(url_or_path, self._field))
        if found is not None:
            signature, encoded = found.groups(b"")
            name = _name_in(encoded)
            if name is not None and self._secrets.have_signed(name.encode(), signature, url_safe):
                return name
        raise ForgedCallbackError(
            "the token in the address of the callback was made with none of your secrets"
        )

    def _token(self, name: bytes) -> bytes:
        token = TOKEN_PREFIX.encode() + self._secrets.sign(name, url_safe)
        return token + b"." + url_safe(name) if name else token


def _checked_base(base: object) -> str:
    problem = _problem_of(base) if isinstance(base, str) else "must be text"
    if problem is not None:
        # The value is not shown: a mistyped address may hold a password.
        raise ConfigurationError(f"base {problem}, such as https://example.com/hooks")
    return str(base).rstrip("/")


def _problem_of(base: str) -> str | None:
    parts = _parts_of(base)
    if parts is None or " " in base or not is_visible(base):
        return "must be an address that begins with http:// or https://"
    if "@" in parts.netloc:
        return "must contain no user or password, because the token is the secret"
    if "?" in base or "#" in base:
        return "must end before any ? or #"
    return None


def _parts_of(base: str) -> SplitResult | None:
    try:
        parts = urlsplit(base)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_web else None


def _checked_field(field: object) -> str | None:
    if field is None or (isinstance(field, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", field)):
        return field
    raise ConfigurationError("field must be up to 64 letters, digits, hyphens and underscores")


def _checked_name(name: object) -> bytes:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"name must be text, not {type(name).__name__}")
    if has_surrogates(name):
        raise InvalidArgumentError("name holds a lone surrogate")
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME:
        raise InvalidArgumentError(
            f"name has {len(encoded):,} bytes in UTF-8; at most {_LONGEST_NAME} fit an address"
        )
    return encoded


def _token_in(address: object, field: str | None) -> bytes:
    if not isinstance(address, (str, bytes)):
        raise InvalidArgumentError(
            f"the address is {type(address).__name__}, not text or bytes: pass str(request.url)"
        )
    whole = address if isinstance(address, bytes) else address.encode("utf-8", "surrogatepass")
    path, _, query = whole.partition(b"#")[0].partition(b"?")
    if field is None:
        found = [path.rstrip(b"/").rpartition(b"/")[2]]
    else:
        found = [value for name, value in _fields(query) if name == field.encode()]
    tokens = [
        token
        for each in found
        if (token := unquote_to_bytes(each)).startswith(TOKEN_PREFIX.encode())
    ]
    if len(found) > 1:
        raise ForgedCallbackError("the address of the callback holds several tokens")
    if not tokens:
        raise UnsignedCallbackError(
            "the address of the callback contains no token: use the address of CallbackUrl.url(), "
            "and check that no proxy cuts the path"
        )
    return tokens[0]


def _fields(query: bytes) -> Iterator[tuple[bytes, bytes]]:
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        yield unquote_to_bytes(name), value


def _name_in(encoded: bytes) -> str | None:
    try:
        name = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    # One name has one token: decoders ignore the last bits.
    return name if url_safe(name.encode()) == encoded else None
