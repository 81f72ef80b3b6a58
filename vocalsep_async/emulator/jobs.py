"""kie.ai's jobs: how requests create them, and how the API prints them.

How it prints the links of a finished separation is published nowhere. They are printed here as
other models of the route print theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vocalsep_async.emulator import records
from vocalsep_async.emulator.records import Link
from vocalsep_async.emulator.responses import compact
from vocalsep_async.emulator.tasks import Clock, Task
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType

MODEL = "ai-music-api/separate-vocals"
_NAMES = {"taskId": "task_id", "audioId": "audio_id", "audioUrl": "audio_url"} | {
    "type": "type",
    "stemName": "stem_name",
}
"""The names of parameters on the older route, and on this one."""


def as_older(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a creation under the names that they have on the older route.

    Raises:
        InvalidArgumentError: the body is not one of this route; the text says why.
    """
    if body.get("model") != MODEL:
        raise InvalidArgumentError(f"model is not {MODEL}.")
    given = body.get("input")
    if not isinstance(given, dict):
        raise InvalidArgumentError("input is not an object.")
    is_advanced = given.get("type") == SeparationType.SPLIT_STEM_ADVANCED
    if "stem_name" in given and not (given["stem_name"] and is_advanced):
        raise InvalidArgumentError("stem_name is for split_stem_advanced, and not empty.")
    named = {older: given[name] for older, name in _NAMES.items() if name in given}
    return named | {"callBackUrl": body.get("callBackUrl")}


def param(body: Mapping[str, Any]) -> str:
    """The creation as a record repeats it: JSON in which the input is JSON of its own."""
    return compact({**body, "input": compact(body["input"])})


def record(task: Task, now: float, clock: Clock, link: Link) -> dict[str, Any]:
    """Return the ``data`` of recordInfo for *task* at the monotonic time *now*."""
    state = "waiting" if now - task.created_at < task.ends_at - now else "generating"
    data = _unfinished(task, state, clock)
    ending = task.ended(now)
    if ending is not None:
        data |= {
            "state": "success" if ending.has_stems else "fail",
            "resultJson": _result(task, link) if ending.has_stems else "",
            "failCode": None if ending.code is None else str(ending.code),
            "failMsg": ending.message,
            "costTime": round(task.ends_at - task.created_at),
            "completeTime": clock.milliseconds(task.ends_at),
        }
    return data


def callback(task: Task, clock: Clock, link: Link, *, has_data: bool = True) -> dict[str, Any]:
    """Return the body of the callback that reports the end of *task*.

    Args:
        task: the task.
        clock: prints the times.
        link: returns the links.
        has_data: whether a failure names its task; one without has no data at all.
    """
    data = record(task, task.ends_at, clock, link)
    if task.ending.has_stems:
        return {"code": 200, "msg": "The job has succeeded.", "data": data}
    data |= {"resultJson": None}
    return {"code": 501, "msg": "The job has failed.", "data": data if has_data else None}


def progress(task: Task, clock: Clock) -> dict[str, Any]:
    """Return the body of a callback that comes before the end of *task*."""
    data = _unfinished(task, "generating", clock)
    return {"code": 202, "msg": "The job is in progress.", "data": data}


def _unfinished(task: Task, state: str, clock: Clock) -> dict[str, Any]:
    return {
        "taskId": task.task_id,
        "model": MODEL,
        "state": state,
        "param": task.param or param({"model": MODEL, "input": {"type": task.type}}),
        "resultJson": "",
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "completeTime": None,
        "createTime": clock.milliseconds(task.created_at),
    }


def _result(task: Task, link: Link) -> str:
    links = {f"{stem}_url": link(task, mix) for stem, mix in task.mixes.items()}
    return compact({"data": {**links, "origin_data": records.origin_data(task, link)}})
