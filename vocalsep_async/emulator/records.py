"""What a task is, and how the API prints it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from vocalsep_async.emulator import song
from vocalsep_async.emulator.clock import Clock
from vocalsep_async.emulator.dialect import Dialect
from vocalsep_async.models import SeparationType, TaskStatus

Link = Callable[["Task", str], str]
"""Gives the URL of one mix of a task."""

_CAMEL_STEMS = ("instrumental", "vocal", *(track for track in song.TRACKS if track != "vocal"))


@frozen
class Ending:
    """How a task ends.

    Attributes:
        status: any but PENDING.
        code: of a failure; None if it has stems.
        message: of a failure; None if it has stems.
    """

    status: TaskStatus
    code: int | None = None
    message: str | None = None

    @property
    def has_stems(self) -> bool:
        """Whether there is anything to download."""
        return self.code is None


@define(kw_only=True, eq=False)
class Task:
    """One separation.

    Attributes:
        task_id: any string.
        type: what is made.
        created_at: monotonic seconds.
        ends_at: monotonic seconds; ``math.inf`` for never.
        ending: how it will end, decided beforehand.
        stem_name: the instrument that a split_stem_advanced takes out; None if not said.
        music_id: the source; None if not said.
        callback_url: where to tell of the end; None if nowhere.
    """

    task_id: str
    type: SeparationType
    created_at: float
    ends_at: float
    ending: Ending
    stem_name: str | None = None
    music_id: str | None = None
    callback_url: str | None = None

    def has_ended(self, now: float) -> bool:
        """Return whether it is over at the monotonic time *now*."""
        return now >= self.ends_at

    def callback_failed(self) -> None:
        """Note that nobody took the callback; a failure stays a failure."""
        if self.ending.status is TaskStatus.SUCCESS:
            self.ending = Ending(TaskStatus.CALLBACK_EXCEPTION)

    @property
    def mixes(self) -> dict[str, str]:
        """The mix behind each stem; nothing for split_stem_advanced, see `pair`."""
        if self.type is SeparationType.SEPARATE_VOCAL:
            return {"vocal": "vocals", "instrumental": "instrumental"}
        if self.type is SeparationType.SPLIT_STEM:
            return {track: track for track in song.TRACKS}
        return {}

    @property
    def pair(self) -> dict[str, str]:
        """The mixes of a split_stem_advanced: the instrument, and the rest."""
        track = song.track_named(self.stem_name)
        if track is None:
            return {"extract": "silence", "remove": "original"}
        return {"extract": track, "remove": f"without_{track}"}


def record(task: Task, now: float, clock: Clock, dialect: Dialect, link: Link) -> dict[str, Any]:
    """Return the ``data`` of record-info for *task* as it stands at *now*."""
    ended = task.has_ended(now)
    ending = task.ending if ended else Ending(TaskStatus.PENDING)
    return {
        "taskId": task.task_id,
        "musicId": task.music_id,
        "callbackUrl": task.callback_url,
        "musicIndex": 0,
        "completeTime": clock.milliseconds(task.ends_at) if ended else None,
        "response": _response(task, dialect, link) if ended and ending.has_stems else None,
        "successFlag": str(ending.status),
        "createTime": clock.milliseconds(task.created_at),
        "errorCode": ending.code,
        "errorMessage": ending.message,
    }


def callback(task: Task, dialect: Dialect, link: Link) -> dict[str, Any]:
    """Return what is posted when *task* has ended."""
    info: dict[str, Any] | None = None
    if task.ending.has_stems:
        info = {"origin_url": ""}
        info |= {f"{stem}_url": link(task, mix) for stem, mix in task.mixes.items()}
        if not task.mixes:
            info = {"origin_data": _origin_data(task, link)}
    return {
        "code": task.ending.code or 200,
        "msg": task.ending.message or "The stems are ready.",
        "data": {"task_id": task.task_id, dialect.callback_key: info},
    }


def _response(task: Task, dialect: Dialect, link: Link) -> dict[str, Any]:
    urls = {stem: link(task, mix) for stem, mix in task.mixes.items()}
    return {
        "id": None,
        **dict.fromkeys(dialect.url_keys),
        "originData": _origin_data(task, link),
        **{_camel(f"{stem}_url"): urls.get(stem) for stem in _CAMEL_STEMS},
    }


def _origin_data(task: Task, link: Link) -> list[dict[str, Any]]:
    if task.mixes:
        return [_track(task, mix, link) for mix in task.mixes.values()]
    return [{part: _track(task, mix, link) for part, mix in task.pair.items()}]


def _track(task: Task, mix: str, link: Link) -> dict[str, Any]:
    named = f"{task.task_id}/{mix}".encode("utf-8", "surrogatepass")
    return {
        "duration": song.SECONDS,
        "audio_url": link(task, mix),
        "stem_type_group_name": mix.replace("_", " ").title(),
        "id": str(uuid.UUID(bytes=hashlib.sha256(named).digest()[:16])),
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
