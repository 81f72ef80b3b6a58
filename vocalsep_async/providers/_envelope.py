"""The envelope of every answer: ``{"code": …, "msg": …, "data": …}``.

Bytes become JSON, JSON becomes the payload with its code, and headers say how long to wait. A code
in the body counts before the HTTP status, because most errors travel under HTTP 200.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

from vocalsep_async._text import LONGEST_MESSAGE, printable
from vocalsep_async.errors import APIError, DecodeError

CHECK_BASE_URL = "if no call ever worked, check base_url"
"""The advice about an answer that is not one of the API."""
LONGEST_RETRY_AFTER = 300.0
"""Seconds; a longer pause that a server asks for is cut to this."""

REQUEST_IDS = ("CF-Ray", "X-Request-Id", "X-Correlation-Id", "X-Trace-Id", "X-Amzn-Trace-Id")
"""Headers by which the provider, or what is in front of it, finds a request in its logs."""
_LONGEST_HEADER = 200
"""Characters."""

_SECONDS = r"[0-9]{1,20}(\.[0-9]{1,20})?"
_DIGITS = r"[0-9]{1,9}"
_LARGEST_CODE = 999_999_999
_TAG = rb"\s*(<[!?]?[A-Za-z]{1,20})"


T = TypeVar("T")
Decode = Callable[[int, Mapping[str, str], bytes], T]
"""Makes a value of the status, the headers and the body of an answer."""


def decoded(decode: Decode[T], status: int, headers: Mapping[str, str], body: bytes) -> T:
    """What *decode* makes of an answer; its errors get the headers by which that is found in logs.

    Raises:
        APIError: as *decode* does.
        DecodeError: as *decode* does.
    """
    try:
        return decode(status, headers, body)
    except (APIError, DecodeError) as error:
        error.response_headers = {
            name.lower(): printable(value, _LONGEST_HEADER) for name, value in headers.items()
        }
        raise


class Envelope(NamedTuple):
    """One opened answer.

    Attributes:
        code: the code that counts.
        message: the beginning of the API's words as they came; "" if there are none.
        data: the payload; None if there is none.
        genuine: whether the answer was an envelope. Without one, *code* is the HTTP
            status.
    """

    code: int
    message: str
    data: Any
    genuine: bool


def open_envelope(status: int, body: bytes, advice: str = CHECK_BASE_URL) -> Envelope:
    """Open the answer that came with HTTP *status*.

    Args:
        status: the HTTP status.
        body: the answer.
        advice: about an answer that is none of the API.

    Raises:
        DecodeError: the HTTP status says success, but the body is no envelope.
    """
    is_success = 200 <= status <= 299
    content: Any = None
    problem = "the answer has no usable code"
    try:
        content = parse_json(body, status)
    except DecodeError as error:
        problem = str(error)
    code = code_of(content)
    if code is None and is_success:
        raise DecodeError(f"{problem}; {advice}", http_status=status)
    # A code of 200 under an HTTP error is no success: the status counts then, and came from
    # something in between.
    if code is None or (code == 200 and not is_success):
        return Envelope(status, message_of(content), None, genuine=False)
    return Envelope(code, message_of(content), content.get("data"), genuine=True)


def code_of(content: Any) -> int | None:
    """The code of an answer or a callback: a whole number or digits; None if it has none."""
    code = content.get("code") if isinstance(content, dict) else None
    # Digits only: int() accepts blanks, signs and underscores too.
    if isinstance(code, str) and re.fullmatch(_DIGITS, code):
        return int(code)
    # bool is a subclass of int, but `true` is no code.
    usable = isinstance(code, int) and not isinstance(code, bool) and abs(code) <= _LARGEST_CODE
    return code if usable else None


def holds_data(body: bytes) -> bool:
    """Whether an answer is an envelope with a payload, whatever its HTTP status."""
    try:
        content = parse_json(body)
    except DecodeError:
        return False
    return code_of(content) is not None and bool(content.get("data"))


def message_of(content: Any) -> str:
    """The beginning of the message of an answer or a callback; "" if it has none."""
    if not isinstance(content, dict):
        return ""
    # Some routes write the whole word.
    message = content.get("msg") or content.get("message")
    return message[:LONGEST_MESSAGE] if isinstance(message, str) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks the client to wait, from 0 to 300; None if it does not.

    A date is measured from the answer's own Date where there is one, so that a wrong clock on
    this side does not matter.
    """
    value = headers.get("Retry-After", "").strip()
    # Digits only: float() accepts nan, infinity and underscores too.
    if re.fullmatch(_SECONDS, value):
        return min(float(value), LONGEST_RETRY_AFTER)
    until = http_date(value)
    if until is None:
        return None
    since = http_date(headers.get("Date", "")) or datetime.now(UTC)
    return min(max((until - since).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def http_date(value: str) -> datetime | None:
    """Read a date as HTTP writes it, as aware UTC; None if it is not one."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # The zone -0000 gives a time without a zone, which is UTC all the same.
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def parse_json(
    body: bytes,
    http_status: int | None = None,
    *,
    subject: str = "the answer",
    unique_names: bool = False,
) -> Any:
    """Parse *body* as one JSON document in UTF-8 (a byte order mark is accepted).

    Args:
        body: the bytes.
        http_status: of the error.
        subject: what the message calls it.
        unique_names: whether an object may not have one name twice: the last value would count
            here, and the first one perhaps elsewhere.

    Raises:
        DecodeError: it is empty, not UTF-8, not JSON, holds NaN, Infinity, or numbers or
            nesting beyond what Python takes. The message shows nothing of it but a first tag.
    """
    try:
        # json.loads(bytes) would guess UTF-16 and UTF-32 too, which this API never sends.
        decoder = _STRICT_JSON if unique_names else _JSON
        return decoder.decode(body.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = printable(str(error), 80)
    if not body.strip():
        problem = "it is empty"
    # Raised outside the handler: the parser's error holds the whole body, links included.
    raise DecodeError(
        f"{subject} is not JSON ({problem}){_beginning(body)}", http_status=http_status
    )


# The json module accepts NaN and Infinity, and reads 1e999 as infinity.
def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("an object has a name twice")
    return names


_JSON = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_STRICT_JSON = json.JSONDecoder(
    parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique
)


def _beginning(body: bytes) -> str:
    # The name of the tag is enough to recognise a gateway's page, and holds nothing private.
    tag = re.match(_TAG, body)
    return "" if tag is None else f"; it begins with {tag[1].decode()!r}"
