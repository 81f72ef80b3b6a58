"""Finds every link of a record, wherever it is.

Providers put the links of a result in several places and under keys of their own. What was paid for
must not be dropped because a place or a key is not documented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import Any, TypeGuard

from vocalsep_async.providers._spellings import (
    LINKS,
    RESPONSE_SPELLINGS,
    usual_response,
    usual_track,
)

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
_LINK_KEYS = frozenset(LINKS.values())
_DOCUMENTED = _LINK_KEYS | {"originData"}
_OF_A_RECORD = frozenset(
    {
        "taskId",
        "successFlag",
        "type",
        "createTime",
        "completeTime",
        "errorCode",
        "errorMessage",
        "musicId",
        "musicIndex",
        "audioId",
        "callbackUrl",
        "route",
        "raw",
    }
)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_LINK_KEY = re.compile(r"(?:(.*?)(?:_url|Url|URL)|url)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST_NAME = 40
_NO_STEMS = frozenset(
    {
        "audio",
        "callback",
        "call_back",
        "webhook",
        "web_hook",
        "notify",
        "redirect",
        "image",
        "cover",
    }
)
"""Names of links to something else than a stem; a link to audio without a name is a track."""
_OF_THE_REQUEST = frozenset({"input", "song", "source", "source_audio", "upload"})
"""Names of links that a record, outside its result, holds to the song that was sent."""
_NONE = frozenset[str]()


def is_link(value: Any) -> TypeGuard[str]:
    """Whether *value* may be a link; words such as "None", "null" and "undefined" are not."""
    if not isinstance(value, str) or value.isspace():
        return False
    return "://" in value or ("/" in value and "." in value)


def stem_name(key: str) -> str | None:
    """The name of the stem whose link has the key *key*; None if it is no key of a stem."""
    match = _LINK_KEY.fullmatch(key)
    if match is None:
        return None
    # The server chose the key, and the name becomes that of a file.
    name = "_".join(_WORD.findall(match[1] or "")).lower()[:_LONGEST_NAME].strip("_")
    return None if name in _NO_STEMS else name or "track"


def undocumented(place: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The links under keys that are not documented: the key, the name of the stem and the link."""
    for key, link in place.items():
        if isinstance(link, str) and key not in _LINK_KEYS and _WEB.match(link):
            name = stem_name(key)
            if name is not None:
                yield key, name, link


def complete(response: Any, record: Mapping[str, Any]) -> Any:
    """The *response* of *record* with every link that the record holds, each under a key."""
    if _is_as_documented(response, record):
        return response
    usual = usual_response(response) if isinstance(response, dict) else response
    found = links_of(response, record=record)
    if found is None:
        # A text that holds no link, such as "null", is no response.
        return None if isinstance(response, str) else usual
    listed = found.pop("originData")
    completed = dict(usual) if isinstance(usual, dict) else {}
    completed |= {key: link for key, link in found.items() if not is_link(completed.get(key))}
    own = completed.get("originData")
    own = own if isinstance(own, list) else []
    known = {_identity(track) for track in _tracks(own)}
    tracks = [*own, *(track for track in listed if _identity(track) not in known)]
    return {**completed, **_stems_among(listed, found), "originData": tracks}


def _is_as_documented(response: Any, record: Mapping[str, Any]) -> bool:
    """Whether there can be no link but those of the stems: most results are so."""
    return (
        isinstance(response, dict)
        and response.keys() <= _DOCUMENTED
        and record.keys() <= _OF_A_RECORD
        and not response.get("originData")
    )


def _stems_among(tracks: list[Mapping[str, Any]], links: Mapping[str, str]) -> dict[str, str]:
    """The tracks that are no part of a pair and repeat no stem, each under a key for its link."""
    stems: dict[str, str] = {}
    seen = {_bare(link) for link in links.values()}
    for track in map(usual_track, tracks):
        link = track.get("audio_url")
        if not is_link(link) or _bare(link) in seen or any(part in track for part in _PARTS):
            continue
        name = _group_name(track.get("stem_type_group_name"))
        if _key_of(name) not in links:
            seen.add(_bare(link))
            stems[unused(name, stems.keys())] = link
    return {_key_of(name): link for name, link in stems.items()}


def _group_name(group: Any) -> str:
    """The name of the stem that a group, such as "Backing Vocals" or "vocalUrl", stands for."""
    text = group if isinstance(group, str) else ""
    name = stem_name(text) or "_".join(re.findall(r"[a-z0-9]+", text.lower())) or "track"
    return next((stem for stem in (name.removesuffix("s"), f"{name}s") if stem in LINKS), name)


def _key_of(name: str) -> str:
    return LINKS.get(name, f"{name}_url")


def unused(name: str, used: Collection[str]) -> str:
    """*name*, or *name* with the first number that makes it differ from all *used* ones."""
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in used else next(each for each in numbered if each not in used)


def _bare(link: str) -> str:
    return link.partition("?")[0]


def links_of(*results: Any, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """All links of *record*, whose *results* are read first; None if there are none."""
    links: dict[str, str] = {}
    tracks: dict[object, Mapping[str, Any]] = {}
    for place in (*(place for result in results for place in _places(result)), *_places(record)):
        skipped = _OF_THE_REQUEST if place is record else _NONE
        # A paid result is never dropped: a second link for a stem is kept as a track.
        second = (
            {"stem_type_group_name": key, "audio_url": link}
            for key, link in _links_in(place, skipped)
            if links.setdefault(key, link) != link
        )
        for track in (*second, *_tracks_in(place, is_record=place is record)):
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
    content = opened(value)
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
    elif isinstance(content, str) and _WEB.match(content):
        yield [content]


def opened(value: Any) -> Any:
    """What a string of JSON holds; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _links_in(place: Any, skipped: frozenset[str]) -> Iterator[tuple[str, str]]:
    if not isinstance(place, dict):
        return
    usual = usual_response(place)
    for spelling in (usual, place) if usual is not place else (place,):
        for key, link in spelling.items():
            usual_key = RESPONSE_SPELLINGS.get(key, key)
            if usual_key in _LINK_KEYS and is_link(link):
                yield usual_key, link
    yield from ((key, link) for key, name, link in undocumented(usual) if name not in skipped)


def _tracks_in(place: Any, *, is_record: bool) -> Iterator[Mapping[str, Any]]:
    if isinstance(place, list):
        yield from _tracks(place)
        return
    for key in ("origin_data", "originData"):
        items = opened(place.get(key))
        yield from _tracks(items if isinstance(items, list) else [])
    # A result may be one track; a record has its own link to the song under the same key.
    if not is_record:
        yield from _tracks([place])


def _tracks(items: list[Any]) -> Iterator[Mapping[str, Any]]:
    for item in items:
        # A bare text is only a track if it is a link.
        track = {"audio_url": item} if isinstance(item, str) and "://" in item else item
        if isinstance(track, dict):
            pair = {part: track[part] for part in _PARTS if _is_track(track.get(part))}
            if pair or _is_track(track):
                yield pair or track


def _is_track(track: Any) -> bool:
    return isinstance(track, dict) and is_link(usual_track(track).get("audio_url"))
