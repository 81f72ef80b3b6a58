"""Opens what the API posts to a callback URL: ``{"code": …, "msg": …, "data": …}``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from vocalsep_async.errors import DecodeError
from vocalsep_async.models import SeparationTask
from vocalsep_async.providers._envelope import code_of, message_of, parse_json
from vocalsep_async.providers._results import opened

_ID_NAMES = ("task_id", "taskId")
_DEEPEST = 100
"""Levels of a callback; those of the API have six. Python reads more than it can copy or write."""


class OpenedCallback(NamedTuple):
    """The parts of one callback.

    Attributes:
        code: its code.
        message: the beginning of the API's words as they came; "" if there are none.
        data: the record; None if there is none.
        task_id: the id under a documented name, in the record or beside it; None if there is none.
        values: how many values it has, with those in text that holds JSON.
    """

    code: int
    message: str
    data: Any
    task_id: str | None
    values: int


class Callback(NamedTuple):
    """What a provider makes of an opened callback."""

    code: int
    message: str
    task: SeparationTask


def open_callback(body: bytes) -> OpenedCallback:
    """Open a callback.

    Raises:
        DecodeError: it is not JSON in UTF-8, it is nested too deeply, an object in it has a name
            twice, it has no code, or it names two tasks. The message shows nothing of it.
    """
    content = parse_json(body, subject="the callback", unique_names=True)
    values = _count(content)
    code = code_of(content)
    if code is None:
        raise DecodeError("the callback has no code")
    data = content.get("data")
    return OpenedCallback(code, message_of(content), data, _task_id_in(content, data), values)


def _count(content: Any) -> int:
    level, values = [content], 1
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return values
        values += len(level)
    raise DecodeError("the callback is nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    # Records are read so, too: text in them may hold as much as the rest.
    value = opened(value)
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _task_id_in(*places: Any) -> str | None:
    # What is signed is the id alone. If two names held two ids, one of them could be the signed
    # one, and the other the one that is read.
    found = {
        value
        for place in places
        if isinstance(place, dict)
        for name in _ID_NAMES
        if (value := _text(place.get(name), name)) is not None
    }
    if len(found) > 1:
        raise DecodeError("the callback names two tasks")
    return next(iter(found), None)


def _text(value: Any, name: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DecodeError(f"the {name} of the callback is {type(value).__name__}, not text")
    return value
