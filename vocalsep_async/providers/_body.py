"""Bytes to JSON, with every way that can fail brought to one `DecodeError`."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from vocalsep_async._text import printable
from vocalsep_async.errors import DecodeError

_TAG = rb"\s*(<[!?]?[A-Za-z]{1,20})"


def parse(body: bytes, http_status: int | None = None) -> Any:
    """Parse *body* as one JSON document in UTF-8 (a byte order mark is accepted).

    Raises:
        DecodeError: it is empty, not UTF-8, not JSON, holds NaN, Infinity, or numbers or
            nesting beyond what Python takes. The message shows nothing of it but a first tag.
    """
    try:
        # json.loads(bytes) would guess UTF-16 and UTF-32 too, which this API never sends.
        return _JSON.decode(body.decode("utf-8-sig"))
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
        f"the answer is not JSON ({problem}){_beginning(body)}", http_status=http_status
    )


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


_JSON = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _beginning(body: bytes) -> str:
    tag = re.match(_TAG, body)
    return "" if tag is None else f"; it begins with {tag[1].decode()!r}"
