"""How records are spelt: camelCase in answers, snake_case in callbacks, other names elsewhere.

Every spelling that was documented or seen is brought to one, that of sunoapi.org's answers, which
`_records` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vocalsep_async.models import STEM_NAMES


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.title, rest))


def _spellings(names: Iterable[str], **others: str) -> Mapping[str, str]:
    """From every other spelling of *names* to the one in an answer."""
    return {name: _camel(name) for name in names if name != _camel(name)} | others


LINKS: Mapping[str, str] = {name: f"{_camel(name)}Url" for name in STEM_NAMES}
"""The key of each stem's link."""

_RECORD = _spellings(
    (
        "task_id",
        "success_flag",
        "create_time",
        "complete_time",
        "music_id",
        "music_index",
        "audio_id",
        "callback_url",
        "error_code",
        "error_message",
    ),
    status="successFlag",
    callBackUrl="callbackUrl",
    call_back_url="callbackUrl",
)
RESPONSE_SPELLINGS = _spellings((*(f"{name}_url" for name in STEM_NAMES), "origin_data"))
"""From other spellings of the keys in a response to the usual ones."""
TRACK_LINKS = frozenset({"audio_url", "audioUrl", "url", "link", "href", "src"})
"""Spellings of the key of a track's link."""
_TRACK = dict.fromkeys(TRACK_LINKS - {"audio_url"}, "audio_url") | dict.fromkeys(
    ("stemTypeGroupName", "stem_name", "stemName", "name", "stem", "instrument", "label", "type"),
    "stem_type_group_name",
)


def usual_record(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """*record* in the usual spelling, but for what its response holds."""
    return _respelled(record, _RECORD)


def usual_response(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """The links and tracks of a record in the usual spelling."""
    return _respelled(response, RESPONSE_SPELLINGS)


def usual_track(track: Mapping[str, Any]) -> Mapping[str, Any]:
    """One track in the usual spelling."""
    return _respelled(track, _TRACK)


def _respelled(record: Mapping[str, Any], spellings: Mapping[str, str]) -> Mapping[str, Any]:
    """*record* in the usual spelling; of two spellings, the one that holds something."""
    # Most records are in the usual spelling, and need no copy.
    if spellings.keys().isdisjoint(record):
        return record
    respelled: dict[str, Any] = {}
    for name, value in record.items():
        usual = spellings.get(name, name)
        if not _holds_something(respelled.get(usual)) or (
            usual == name and _holds_something(value)
        ):
            respelled[usual] = value
    return respelled


def _holds_something(value: Any) -> bool:
    return value is not None and value != ""
