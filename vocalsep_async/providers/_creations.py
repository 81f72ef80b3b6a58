"""What the answer to a creation proves. Creations are billed, so words prove nothing."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from typing import Any

from vocalsep_async.errors import (
    APIError,
    DecodeError,
    ErrorAction,
    InvalidArgumentError,
    ServerError,
)
from vocalsep_async.models import TaskRef
from vocalsep_async.providers._envelope import code_of, parse_json
from vocalsep_async.providers._records import read_by
from vocalsep_async.providers.base import ErrorRule, Provider

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
    return any(_id_in(provider, place) not in (None, "") for place in _objects_in(content))


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
    task_id = _usable(_id_in(provider, _data_of(_json_of(body))))
    return None if task_id in sent else task_id


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
