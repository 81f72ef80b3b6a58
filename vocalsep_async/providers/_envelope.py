"""``{"code": …, "msg": …, "data": …}``: which code counts, and what the server asked us to wait.

A code in the body counts before the HTTP status, because most errors travel under HTTP 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from vocalsep_async.errors import DecodeError
from vocalsep_async.providers import _body as _body

LONGEST_RETRY_AFTER = 300.0
"""Seconds; a server that asks for more is asked again after this."""

_SECONDS = r"[0-9]{1,20}(\.[0-9]{1,20})?"
_DIGITS = r"[0-9]{1,9}"
_LARGEST_CODE = 999_999_999


class Envelope(NamedTuple):
    """One answer, opened.

    Attributes:
        code: the code that counts.
        message: the API's words as they came; "" if there are none.
        data: the payload; None if there is none.
        genuine: whether the answer was an envelope at all. Without one, *code* is the HTTP
            status.
    """

    code: int
    message: str
    data: Any
    genuine: bool


def open_envelope(status: int, body: bytes) -> Envelope:
    """Open the answer that came with HTTP *status*.

    Raises:
        DecodeError: HTTP said it is fine, but it is no envelope.
    """
    fine = 200 <= status <= 299
    try:
        content = _body.parse(body, status)
    except DecodeError:
        if fine:
            raise
        content = None
    code = code_of(content)
    if code is None:
        if fine:
            raise DecodeError("the answer has no usable code", http_status=status)
        return Envelope(status, message_of(content), None, genuine=False)
    counts = code if code != 200 or fine else status
    return Envelope(counts, message_of(content), content.get("data"), genuine=True)


def code_of(content: Any) -> int | None:
    """The code of an answer or a callback: a whole number or digits; None if it has none."""
    code = content.get("code") if isinstance(content, dict) else None
    if isinstance(code, str) and re.fullmatch(_DIGITS, code):
        return int(code)
    usable = isinstance(code, int) and not isinstance(code, bool) and abs(code) <= _LARGEST_CODE
    return code if usable else None


def message_of(content: Any) -> str:
    """The words of an answer or a callback; "" if it has none."""
    message = content.get("msg") if isinstance(content, dict) else None
    return message if isinstance(message, str) else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait: 0 to 300; None if it did not, or not readably.

    A date is measured from the answer's own Date where there is one, so that a wrong clock on
    this side does not matter.
    """
    value = headers.get("Retry-After", "").strip()
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
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
