"""What the answer to a creation proves. Creations are billed, so words prove nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vocalsep_async.errors import DecodeError, InvalidArgumentError
from vocalsep_async.models import TaskRef
from vocalsep_async.providers._envelope import parse_json
from vocalsep_async.providers._records import read_by
from vocalsep_async.providers.base import Provider


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
