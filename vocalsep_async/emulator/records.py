"""How the API prints a task: as the record of record-info, and as the body of a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vocalsep_async.emulator import audio
from vocalsep_async.emulator.profiles import ProviderProfile
from vocalsep_async.emulator.tasks import Clock, Task
from vocalsep_async.models import TaskStatus

Link = Callable[[Task, str], str]
"""Returns the URL of one mix of a task."""

_CAMEL_STEMS = ("instrumental", "vocal", *(track for track in audio.TRACKS if track != "vocal"))


def record(
    task: Task, now: float, clock: Clock, profile: ProviderProfile, link: Link
) -> dict[str, Any]:
    """Return the ``data`` of record-info for *task* at the monotonic time *now*."""
    data: dict[str, Any] = {
        "taskId": task.task_id,
        "musicId": task.music_id,
        "callbackUrl": task.callback_url,
        "musicIndex": 0,
        "completeTime": None,
        "response": None,
        "successFlag": str(TaskStatus.PENDING),
        "createTime": clock.milliseconds(task.created_at),
        "errorCode": None,
        "errorMessage": None,
    }
    ending = task.ended(now)
    if ending is not None:
        data |= {
            "completeTime": clock.milliseconds(task.ends_at),
            "response": _response(task, profile, link) if ending.has_stems else None,
            "successFlag": str(ending.status),
            "errorCode": ending.code,
            "errorMessage": ending.message,
        }
    return data


def callback(
    task: Task, profile: ProviderProfile, link: Link, *, has_data: bool = True
) -> dict[str, Any]:
    """Return the body of the callback that reports the end of *task*.

    Args:
        task: the task.
        profile: how the provider spells it.
        link: returns the links.
        has_data: whether a failure names its task; one without has no data at all.
    """
    if task.ending.has_stems:
        return _callback_body(200, "The stems are ready.", task, profile, _info(task, link))
    code, message = task.ending.posted or (task.ending.code, task.ending.message)
    body = _callback_body(code, message, task, profile, None)
    return body if has_data else {**body, "data": None}


def progress(task: Task, profile: ProviderProfile) -> dict[str, Any]:
    """Return the body of a callback that comes before the end of *task*."""
    return _callback_body(202, "The separation is in progress.", task, profile, None)


def _callback_body(
    code: int | None,
    message: str | None,
    task: Task,
    profile: ProviderProfile,
    info: dict[str, Any] | None,
) -> dict[str, Any]:
    data = {"task_id": task.task_id, profile.callback_key: info}
    return {"code": code, "msg": message, "data": data}


def _info(task: Task, link: Link) -> dict[str, Any]:
    if not task.mixes:
        return {"origin_data": origin_data(task, link)}
    return {
        "origin_url": "",
        **{f"{stem}_url": link(task, mix) for stem, mix in task.mixes.items()},
    }


def _response(task: Task, profile: ProviderProfile, link: Link) -> dict[str, Any]:
    urls = {stem: link(task, mix) for stem, mix in task.mixes.items()}
    return {
        "id": None,
        **dict.fromkeys(profile.url_keys),
        "originData": origin_data(task, link),
        **{_camel(f"{stem}_url"): urls.get(stem) for stem in _CAMEL_STEMS},
    }


def origin_data(task: Task, link: Link) -> list[dict[str, Any]]:
    """Return the tracks of *task*, in pairs for a split_stem_advanced."""
    if task.mixes:
        return [_track(task, mix, link) for mix in task.mixes.values()]
    return [{part: _track(task, mix, link) for part, mix in task.pair.items()}]


def _track(task: Task, mix: str, link: Link) -> dict[str, Any]:
    track = task.track(mix)
    return {
        "duration": audio.SECONDS,
        "audio_url": link(task, mix),
        "stem_type_group_name": track.group,
        "id": track.track_id,
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
