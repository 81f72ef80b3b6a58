"""What the answer to a creation proves. Creations are billed, so words prove nothing."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from typing import Any

from vocalsep_async._text import printable, without_queries
from vocalsep_async.errors import (
    APIError,
    DecodeError,
    ErrorAction,
    InvalidArgumentError,
    ServerError,
)
from vocalsep_async.models import TaskRef
from vocalsep_async.providers._echoes import without_secrets
from vocalsep_async.providers._envelope import code_of, parse_json
from vocalsep_async.providers._records import read_by
from vocalsep_async.providers.base import ErrorRule, Provider

_BARE_ID = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]|[0-9]{8})[A-Za-z0-9_-]{1,512}")
"""A text in a success that looks like an id: no plain word, no short number, no date."""
_LONG_ID = re.compile(r"(?=.*[0-9])[A-Za-z0-9_-]{16,512}")
"""A text in an error that looks like an id, and not like a word or a code."""
_DEEPEST = 5
"""Levels of an answer in which an id is looked for."""
_LONGEST_SHOWN = 1_000
"""Characters of an id that cannot be used; a longer text is none."""
_STILL_AT_WORK = frozenset({408, 409, 425, 499})
"""Timeout, conflict, too early, gave up waiting: they tell of a request that may be carried out."""


class Evidence(enum.Enum):
    """What is known about a task whose creation brought no id."""

    NONE = "none"
    """It may have been created."""
    REFUSED = "refused"
    """It was not created."""
    REPEATABLE = "repeatable"
    """It was not created, and the same request may be sent again."""


def evidence_in(provider: Provider, body: bytes) -> Evidence:
    """What an answer proves about the task that it was to create.

    Only a code of the provider's own, in an envelope without an id, proves that there is none: a
    bare status may come from something between, which need not know what the API has done.
    """
    content = _json_of(body)
    code = code_of(content)
    # The code 200 without an id, whatever the HTTP status: a success that cannot be read.
    if code is None or code == 200 or _holds_id(provider, content):
        return Evidence.NONE
    # By the code alone: the message may be about anything, the song included.
    rule = provider.classify(code, "", in_envelope=True, is_creation=True)
    if rule.action is ErrorAction.THROTTLE:
        return Evidence.REPEATABLE
    return Evidence.REFUSED if _is_refusal(code, rule) else Evidence.NONE


def _is_refusal(code: int, rule: ErrorRule) -> bool:
    # A code without a meaning of its own has the class of all errors.
    if rule.error is APIError or issubclass(rule.error, ServerError) or code in _STILL_AT_WORK:
        return False
    # A provider may answer wrong parameters with 500, the code of a failure in the middle.
    is_final = rule.action is ErrorAction.RAISE and not 500 <= code <= 599
    return is_final or rule.action is ErrorAction.MAINTENANCE


def _holds_id(provider: Provider, content: dict[str, Any]) -> bool:
    # Also where no id is read, and one that cannot be used: it may be the id of the task.
    if any(_id_in(provider, place) not in (None, "") for place in _objects_in(content)):
        return True
    bare = _ids_in(provider, content.get("data"), _LONG_ID)
    return next(bare, None) is not None


def _objects_in(content: Any) -> Iterator[dict[str, Any]]:
    """Each object of an answer, at any depth."""
    left = [content]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left += each.values()
        elif isinstance(each, list):
            left += each


def id_of_created(provider: Provider, body: bytes, sent: Collection[str]) -> str | None:
    """The id of the task that an answer is about, whatever its code; None if it holds none.

    Args:
        provider: knows where the id stands.
        body: the answer.
        sent: texts of the request, which an answer may repeat: the id of the song is no task.
    """
    content = _json_of(body)
    data = _data_of(content)
    # Elsewhere in a success, too. In an error that may be the id of anything.
    is_success = code_of(content) == 200
    found = _ids_in(provider, data, _BARE_ID) if is_success else _named_ids_in(provider, data)
    usable = (task_id for each in found if (task_id := _usable(each)) is not None)
    return next((task_id for task_id in usable if task_id not in sent), None)


def unread_id(provider: Provider, body: bytes, sent: Collection[str]) -> str | None:
    """What in an answer may be the id of a task, although it is not read as one; printable."""
    content = _json_of(body)
    found = _ids_in(provider, [_data_of(content), content], _LONG_ID)
    texts = (str(each) for each in found if type(each) in (str, int) and each not in sent)
    short = (text for text in texts if text.strip() and len(text) <= _LONGEST_SHOWN)
    shown = (without_queries(without_secrets(text, sent)) for text in short)
    return next((printable(text, _LONGEST_SHOWN) for text in shown), None)


def _named_ids_in(provider: Provider, data: Any) -> Iterator[Any]:
    """The id of *data*, and those of the objects in a list."""
    for each in data if isinstance(data, list) else [data]:
        task_id = _id_in(provider, each)
        if task_id not in (None, ""):
            yield task_id


def _ids_in(provider: Provider, value: Any, bare: re.Pattern[str], depth: int = 0) -> Iterator[Any]:
    """What may be the id of a task in *value*: named ones, and the texts that *bare* matches."""
    if isinstance(value, str) and bare.fullmatch(value):
        yield value
    elif isinstance(value, (dict, list)) and depth < _DEEPEST:
        if isinstance(value, dict):
            yield from _named_ids_in(provider, value)
            value = [each for each in value.values() if isinstance(each, (dict, list))]
        for each in value:
            yield from _ids_in(provider, each, bare, depth + 1)


def _json_of(body: bytes) -> Any:
    try:
        return parse_json(body)
    except DecodeError:
        return None


def _data_of(content: Any) -> Any:
    return content.get("data") if isinstance(content, dict) else None


def _id_in(provider: Provider, data: Any) -> Any:
    if not isinstance(data, dict):
        return None
    try:
        return read_by(provider.read_task_id, data, None)
    except DecodeError:
        return None


def _usable(task_id: Any) -> str | None:
    try:
        return TaskRef(task_id).task_id
    except InvalidArgumentError:
        return None
