"""Finds every link of a record, wherever it is.

Providers put the links of a result in several places and under keys of their own. What was paid for
must not be dropped because a place or a key is not documented.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from vocalsep_async.providers._links import (
    DOCUMENTED,
    LINK_KEYS,
    FreeNames,
    group_name,
    is_of_several,
    is_other,
    is_other_key,
    key_of,
    link_in,
    own_name,
    stem_name,
    undocumented,
    web_link_in,
)
from vocalsep_async.providers._spellings import (
    LINKS,
    RESPONSE_SPELLINGS,
    TRACK_LINKS,
    usual_response,
    usual_track,
)

_IN_A_RECORD = (
    "vocal_removal_info",
    "vocal_separation_info",
    "vocalRemovalInfo",
    "vocalSeparationInfo",
    "data",
    "resultObject",
    "response",
    "resultUrls",
    "resultJson",
    "result",
    "results",
    "output",
    "stems",
    "tracks",
)
"""Keys under which a record may hold its result, in the order of reading. Elsewhere it repeats the
request, whose links are the caller's."""
_BY_NAME = frozenset({"stems", "tracks", "urls", "links", "files", "audios"})
"""Keys of objects that have the names of stems as keys."""
_DEEPEST = 8
"""Levels of a result that are read."""
_MOST_PLACES = 20_000
"""Objects and lists of a result that are read; a documented one has fewer than thirty."""
_PARTS = ("extract", "remove")
_PARTS_SET = frozenset(_PARTS)
_JSON = frozenset('{["')
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
_OF_THE_REQUEST = frozenset({"song"})
"""Names of links that a record, outside its result, holds to the song that was sent."""
_NO_LINK = frozenset({type(None), str})
"""Types of the values in a result but for its tracks: a link is text."""

Track = Mapping[str, Any]


def complete(response: Any, record: Mapping[str, Any]) -> Any:
    """The *response* of *record* with every link that the record holds, each under a key."""
    if _is_as_documented(response, record):
        listed = response.get("originData")
        return {**response, **_stems_among(listed, response)} if listed else response
    usual = usual_response(response) if isinstance(response, dict) else response
    found = links_of(response, record=record)
    if found is None:
        # A text that holds no link, such as "null", is no response.
        return None if isinstance(response, str) else _without_tracks(usual)
    listed = found["originData"]
    return found | _stems_among(listed, found)


def _without_tracks(response: Any) -> Any:
    """*response* without the link of the one track that it is, if that is none of a stem."""
    if not isinstance(response, dict):
        return response
    return {key: value for key, value in response.items() if key not in TRACK_LINKS}


def _is_as_documented(response: Any, record: Mapping[str, Any]) -> bool:
    """Whether there can be no link but those of stems and tracks: most results are so."""
    return (
        isinstance(response, dict)
        and response.keys() <= DOCUMENTED
        and record.keys() <= _OF_A_RECORD
        and (
            _has_usual_tracks(response)
            if response.get("originData")
            else _are_plain(response.values())
        )
    )


def _are_plain(values: Collection[Any]) -> bool:
    """Whether the values are links or absent, and none of them is text that holds JSON."""
    if not _NO_LINK.issuperset(map(type, values)):
        return False
    text = "".join(filter(None, values))
    return not any(mark in text for mark in _JSON)


def _has_usual_tracks(response: Mapping[str, Any]) -> bool:
    tracks = response.get("originData")
    others = [value for key, value in response.items() if key != "originData"]
    return (
        isinstance(tracks, list)
        and _are_plain(others)
        and all(isinstance(track, dict) and _is_usual(track) for track in tracks)
    )


def _is_usual(track: Track) -> bool:
    are_objects = all(isinstance(track.get(part, track), dict) for part in _PARTS)
    return are_objects and all(type(part.get("audio_url")) is str for part in _parts_of(track))


def _parts_of(track: Track) -> list[Track]:
    """The two tracks of an advanced pair, or the track itself."""
    return [track[part] for part in _PARTS if isinstance(track.get(part), dict)] or [track]


def _stems_among(tracks: Iterable[Track], links: Mapping[str, Any]) -> dict[str, str]:
    """The tracks that are no part of a pair and repeat no stem, each under a key for its link."""
    stems: dict[str, str] = {}
    seen = {_bare(link) for link in links.values() if isinstance(link, str)}
    names = FreeNames()
    for track in map(usual_track, tracks):
        link = link_in(track.get("audio_url"))
        if link is None or _bare(link) in seen or not _PARTS_SET.isdisjoint(track):
            continue
        name = group_name(track.get("stem_type_group_name"))
        if link_in(links.get(key_of(name))) is None:
            seen.add(_bare(link))
            stems[key_of(names.take(name))] = link
    return stems


def _bare(link: str) -> str:
    return link.strip().partition("?")[0]


def links_of(*results: Any, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """All links of *record*, whose *results* are read first; None if there are none."""
    links: dict[str, str] = {}
    tracks: dict[object, Track] = {}
    for place, key in _places_in(results, record):
        # A paid result is never dropped: a second link for a stem is kept as a track.
        second = (
            {"stem_type_group_name": link_key, "audio_url": link}
            for link_key, link in _links_in(place, key, is_record=place is record)
            if links.setdefault(link_key, link) != link
        )
        for track in (*second, *_tracks_in(place, key, is_record=place is record)):
            tracks.setdefault(_identity(track), track)
    return {**links, "originData": list(tracks.values())} if links or tracks else None


def _identity(track: Track) -> object:
    """The key of a track: its names and links, because comparing whole tracks is too slow."""
    return tuple(
        (
            name if isinstance(name := part.get("stem_type_group_name"), str) else "",
            link_in(part.get("audio_url")),
        )
        for part in map(usual_track, _parts_of(track))
    )


def _places_in(results: tuple[Any, ...], record: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """What may hold links, with its key, first in *results*: objects, lists, and JSON of links."""
    below = [(value, key) for key in _IN_A_RECORD if (value := record.get(key))]
    inside = [*((each, "") for each in results), *below]
    read = (place for value, key in inside for place in _places(value, key))
    yield from islice(read, _MOST_PLACES)
    yield record, ""


def _places(value: Any, key: str, depth: int = 0) -> Iterator[tuple[Any, str]]:
    if depth == _DEEPEST:
        return
    content = opened(value)
    if isinstance(content, (dict, list)) or web_link_in(content):
        yield content, key
    for item, inner in _inside(content, key):
        yield from _places(item, inner, depth + 1)


def _inside(content: Any, key: str) -> Iterator[tuple[Any, str]]:
    """What may hold links in *content*, with the key of each."""
    if isinstance(content, list):
        # What is in a list is no part of a pair, which is an object.
        of_each = "" if key in _PARTS_SET else key
        yield from ((item, of_each) for item in content if _may_hold_links(item))
    elif isinstance(content, dict):
        for inner, item in content.items():
            is_result = isinstance(item, str) and (inner in _IN_A_RECORD or is_of_several(inner))
            may_hold = is_result or _may_hold_links(item)
            if may_hold and not is_other_key(inner):
                yield item, inner


def _may_hold_links(value: Any) -> bool:
    return isinstance(value, (dict, list)) or _is_json(value)


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip()[:1] in _JSON


def opened(value: Any) -> Any:
    """What a string holds that is an object, a list or a string of JSON; others as they are."""
    # More than once, because some text is written as JSON twice.
    while _is_json(value):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            break
    return value


def _links_in(place: Any, own_key: str, *, is_record: bool) -> Iterator[tuple[str, str]]:
    if not isinstance(place, dict):
        return
    usual = usual_response(place)
    for spelling in (usual, place) if usual is not place else (place,):
        for key, value in spelling.items():
            usual_key = RESPONSE_SPELLINGS.get(key, key)
            if usual_key in LINK_KEYS and (link := link_in(value)):
                yield usual_key, link
    of_track = None if is_record else link_in(usual_track(place).get("audio_url"))
    for key, name, link in undocumented(usual):
        # A track is read with its name, and a record may hold the song that was sent.
        is_of_track = key in TRACK_LINKS and link == of_track
        if not is_of_track and not (is_record and name in _OF_THE_REQUEST):
            yield key, link
    if not is_record:
        yield from _links_by_name(place, own_key)


def _links_by_name(place: Mapping[str, Any], own_key: str) -> Iterator[tuple[str, str]]:
    """Links under the names of stems themselves, and all those of what is about one stem."""
    about = own_name(own_key)
    for key, value in place.items():
        if not isinstance(value, str) or key in TRACK_LINKS or stem_name(key) is not None:
            continue
        if (link := web_link_in(value)) is not None:
            name = group_name(key)
            if name in LINKS or (own_key in _BY_NAME and not is_other(name)):
                yield key_of(name), link
            elif about is not None and not is_other(name):
                yield key_of(about), link


def _tracks_in(place: Any, key: str, *, is_record: bool) -> Iterator[Track]:
    if isinstance(place, list):
        yield from _tracks(place, own_name(key))
        return
    place = _linked(place)
    for each in ("origin_data", "originData"):
        items = opened(place.get(each))
        yield from _tracks(items if isinstance(items, list) else [], None)
    # A result may be one track; a record has its own link to the song under the same key.
    if is_record:
        return
    # A part of a pair is read with that pair.
    if key in _PARTS_SET and _is_track(place):
        yield from _pair_in(place)
    else:
        yield from _tracks([place], own_name(key))


def _tracks(items: list[Any], name: str | None) -> Iterator[Track]:
    """The tracks among *items*, in the usual spelling; without a name of its own each is *name*."""
    for track in map(_linked, items):
        if isinstance(track, dict):
            yield from _pair_in(track)
        if _is_track(track):
            usual = {key: each for key, each in usual_track(track).items() if key not in _PARTS_SET}
            named = usual.get("stem_type_group_name") or name is None
            yield usual if named else {**usual, "stem_type_group_name": name}


def _pair_in(track: Track) -> Iterator[Track]:
    """The pair of tracks that *track* is, if it is one."""
    parts = ((part, _linked(opened(track.get(part)))) for part in _PARTS)
    if pair := {part: inner for part, inner in parts if _is_track(inner)}:
        yield pair


def _linked(item: Any) -> Any:
    """*item*; as a track if it is a bare link."""
    return {"audio_url": item} if web_link_in(item) else item


def _is_track(track: Any) -> bool:
    if not isinstance(track, dict):
        return False
    usual = usual_track(track)
    # An object such as {"type": "image", "url": …} names what it links to.
    name = usual.get("stem_type_group_name")
    is_other_link = isinstance(name, str) and is_other(name.lower())
    return link_in(usual.get("audio_url")) is not None and not is_other_link
