"""kie.ai's newer route, on which the tasks of all models are called jobs.

Its record of a finished separation is not published. So every link is read that is in one of the
places documented for other models or for the older route.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from vocalsep_async.errors import InvalidArgumentError, InvalidParametersError
from vocalsep_async.models import SeparationType, TaskStatus
from vocalsep_async.providers._spellings import LINKS, usual_record, usual_track
from vocalsep_async.providers.base import ErrorRule, Provider, Request
from vocalsep_async.providers.kie import KIE

_MODEL = "ai-music-api/separate-vocals"
_INSIDE = (
    "vocal_removal_info",
    "vocal_separation_info",
    "vocalRemovalInfo",
    "vocalSeparationInfo",
    "data",
    "resultObject",
    "response",
    "resultUrls",
)
"""Keys under which a result may hold its links, in the order of reading."""
_DEEPEST = 4
"""Levels of a result that are read."""
_PARTS = ("extract", "remove")


class KieJobs(Provider):
    """The provider behind `KIE_JOBS`."""

    def creation_request(
        self,
        *,
        type: SeparationType | None,  # noqa: A002 - the API's word
        callback_url: str,
        source_task_id: str | None = None,
        audio_id: str | None = None,
        audio_url: str | None = None,
        stem_name: str | None = None,
    ) -> Request:
        """The request that creates a job.

        Raises:
            InvalidArgumentError: a stem name with another type than split_stem_advanced.
        """
        if stem_name is not None and type is not SeparationType.SPLIT_STEM_ADVANCED:
            raise InvalidArgumentError("stem_name is for the type split_stem_advanced alone")
        asked = {
            "task_id": source_task_id,
            "audio_id": audio_id,
            "audio_url": audio_url,
            "type": type,
            "stem_name": stem_name,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        body = {"model": _MODEL, "callBackUrl": callback_url, "input": given}
        return Request("POST", self.creation_path, json=body)

    def read_record(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The record of a job in the usual spelling."""
        usual = usual_record(record)
        return {
            **_asked_for(record.get("param")),
            **usual,
            "successFlag": record.get("state") or usual.get("successFlag"),
            "response": _response(record),
            "errorCode": record.get("failCode"),
            "errorMessage": record.get("failMsg"),
        }

    def read_callback(
        self, record: Mapping[str, Any], *, code: int, message: str
    ) -> Mapping[str, Any]:
        """The record in a callback, which brings a status of its own."""
        if record.get("state"):
            return self.read_record(record)
        return super().read_callback(record, code=code, message=message)


def _asked_for(param: Any) -> dict[str, Any]:
    """What a record says of its creation; the link to the song is left where it is."""
    request = _opened(param)
    song = _opened(request.get("input")) if isinstance(request, dict) else None
    if not isinstance(song, dict):
        return {}
    return {"type": song.get("type"), "audioId": song.get("audio_id")}


def _response(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """All links of a record; None if there are none."""
    links: dict[str, str] = {}
    tracks: dict[object, Mapping[str, Any]] = {}
    for place in (*_places(record.get("resultJson")), *_places(record)):
        # A paid result is never dropped: a second link for a stem is kept as a track.
        second = (
            {"stem_type_group_name": key, "audio_url": link}
            for key, link in _links_in(place)
            if links.setdefault(key, link) != link
        )
        for track in (*second, *_tracks_in(place)):
            tracks.setdefault(_identity(track), track)
    return {**links, "originData": list(tracks.values())} if links or tracks else None


def _identity(track: Mapping[str, Any]) -> object:
    """The key of a track: its names and links, because comparing whole tracks is too slow."""
    parts = [track[part] for part in _PARTS if _is_track(track.get(part))] or [track]
    return tuple(
        (
            name if isinstance(name := part.get("stem_type_group_name"), str) else "",
            part["audio_url"],
        )
        for part in map(usual_track, parts)
    )


def _places(value: Any, depth: int = 0) -> Iterator[Any]:
    """Every object and list of a result that may hold links."""
    content = _opened(value)
    if depth == _DEEPEST:
        return
    if isinstance(content, list):
        yield content
        for item in content:
            yield from _places(item, depth + 1)
    elif isinstance(content, dict):
        yield content
        for key in _INSIDE:
            yield from _places(content.get(key), depth + 1)
    elif isinstance(content, str) and content.startswith(("http://", "https://")):
        yield [content]


def _opened(value: Any) -> Any:
    """What a string of JSON holds; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _links_in(place: Any) -> Iterator[tuple[str, str]]:
    if isinstance(place, dict):
        for name, key in LINKS.items():
            spellings = (place.get(f"{name}_url"), place.get(key))
            yield from ((key, link) for link in spellings if _is_link(link))


def _tracks_in(place: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(place, list):
        yield from _tracks(place)
        return
    for key in ("origin_data", "originData"):
        items = _opened(place.get(key))
        yield from _tracks(items if isinstance(items, list) else [])


def _tracks(items: list[Any]) -> Iterator[Mapping[str, Any]]:
    for item in items:
        # A bare text is only a track if it is a link.
        track = {"audio_url": item} if isinstance(item, str) and "://" in item else item
        if isinstance(track, dict):
            pair = {part: track[part] for part in _PARTS if _is_track(track.get(part))}
            if pair or _is_track(track):
                yield pair or track


def _is_track(track: Any) -> bool:
    return isinstance(track, dict) and _is_link(usual_track(track).get("audio_url"))


def _is_link(link: Any) -> TypeGuard[str]:
    return isinstance(link, str) and bool(link.strip())


KIE_JOBS = KieJobs(
    name="kie_jobs",
    codes=KIE.codes,
    creation_codes={
        500: ErrorRule(
            InvalidParametersError,
            hint="This route answers wrong parameters with code 500, and its own failures, too.",
        )
    },
    statuses={
        "waiting": TaskStatus.PENDING,
        "queuing": TaskStatus.PENDING,
        "generating": TaskStatus.PENDING,
        "success": TaskStatus.SUCCESS,
        "fail": TaskStatus.GENERATE_AUDIO_FAILED,
    },
    poll_path="/api/v1/jobs/recordInfo",
    creation_path="/api/v1/jobs/createTask",
    credits_path=KIE.credits_path,
    hosts=KIE.hosts,
)
"""kie.ai's jobs, by its documentation of November 2026; never tried against the live service."""
