"""Reads the records that are exactly as the API documents them, which nearly all are, in one go.

`_records` copes with all others, and takes twice as long. A documented record means the same to
both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vocalsep_async._text import without_tokens
from vocalsep_async.models import SeparationTask, SeparationType, Stems, TaskStatus
from vocalsep_async.providers._links import link_in
from vocalsep_async.providers._records import implied_type
from vocalsep_async.providers._spellings import LINKS

_STEMS: Mapping[str, str] = {key: name for name, key in LINKS.items()}
"""The name of the stem for each key of a link."""
_EARLIEST_MS, _LATEST_MS = 10**11, 10**14
"""Between these a time is in milliseconds, and one that Python knows."""
_LARGEST_INDEX = 1_000


def documented_task(
    task_id: str,
    record: Any,
    *,
    statuses: Mapping[str, TaskStatus],
    type_: SeparationType | None,
    route: str | None,
) -> SeparationTask | None:
    """The task *task_id* from its *record*; None if that has to be read by `structure_task`.

    Args:
        task_id: the task that was asked for.
        record: the JSON value.
        statuses: what the words for its status mean.
        type_: what the caller knows of the type.
        route: the route it came on; None where ids leave no doubt about it.
    """
    found = _attributes(record) if type(record) is dict else None
    if found is None or found.get("task_id") != task_id:
        return None
    found["status"] = status = statuses.get(found.get("status", ""))
    if status is None:
        return None
    found["type"] = implied_type(record["response"], type_) if "stems" in found else type_
    return SeparationTask(**found, raw=record, route=route)


def _attributes(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The attributes by their names; None if there is anything else in *record*."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if value is None:
            continue
        name, read = _READERS.get(key, _NO_READER)
        attribute = read(value)
        if attribute is None:
            return None
        found[name] = attribute
    return found


# Readers return None for a value that is not as documented.


def _text(value: Any) -> str | None:
    return value if type(value) is str and value.strip() else None


def _masked_text(value: Any) -> str | None:
    text = _text(value)
    return None if text is None else without_tokens(text)


def _index(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _LARGEST_INDEX else None


def _time(value: Any) -> datetime | None:
    is_usual = type(value) is int and _EARLIEST_MS < value < _LATEST_MS
    return datetime.fromtimestamp(value / 1000, UTC) if is_usual else None


def _stems(response: Any) -> Stems | None:
    if type(response) is not dict:
        return None
    links: dict[str, Any] = {}
    for key, value in response.items():
        if value is None or value == "":
            continue
        if key not in _STEMS or link_in(value) != value:
            return None
        links[_STEMS[key]] = value
    return Stems(**links) if links else None


def _nothing(_value: Any) -> None:
    return None


_NO_READER = "", _nothing
_READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "taskId": ("task_id", _text),
    "successFlag": ("status", _text),
    "response": ("stems", _stems),
    "createTime": ("created_at", _time),
    "completeTime": ("completed_at", _time),
    "musicId": ("music_id", _masked_text),
    "musicIndex": ("music_index", _index),
    "audioId": ("audio_id", _masked_text),
    "callbackUrl": ("callback_url", _masked_text),
}
