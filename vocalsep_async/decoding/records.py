"""A payload to a `SeparationTask`.

The API spells its keys in several ways: camelCase in answers, snake_case in callbacks, other
names in other dialects. A record is first brought to the models' own names (`_SPELLINGS`) and
then structured by one private cattrs converter whose hooks never coerce: what decides about the
result (id, status, links) is held to its type, what only describes it becomes None when unusable,
because a strange time must not cost anybody a paid result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override

from vocalsep_async._text import printable
from vocalsep_async.errors import DecodeError
from vocalsep_async.models import (
    STEM_NAMES,
    OriginTrack,
    SeparationTask,
    SeparationType,
    Stems,
    TaskStatus,
)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.title, rest))


def _spelled(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for snake in names for name in (_camel(snake), snake)))


_Spellings = Mapping[str, tuple[str, ...]]

# The first spelling that holds something wins; "" and null both mean nothing.
_RECORD: _Spellings = {
    "task_id": _spelled("task_id"),
    "status": _spelled("success_flag", "status"),
    "type": _spelled("type"),
    "stems": _spelled("response", "vocal_removal_info", "vocal_separation_info"),
    "created_at": _spelled("create_time"),
    "completed_at": _spelled("complete_time"),
    "music_id": _spelled("music_id"),
    "music_index": _spelled("music_index"),
    "audio_id": _spelled("audio_id"),
    "callback_url": _spelled("callback_url", "call_back_url"),
    "error_code": _spelled("error_code"),
    "error_message": _spelled("error_message"),
}
_STEMS: _Spellings = {name: _spelled(f"{name}_url") for name in STEM_NAMES}
_TRACK: _Spellings = {
    "name": _spelled("stem_type_group_name", "stem_name"),
    "url": _spelled("audio_url"),
    "id": _spelled("id"),
    "duration": _spelled("duration"),
}
_ORIGIN_DATA = _spelled("origin_data")
_PARTS = ("extract", "remove")


def structure_task(
    record: Any,
    *,
    http_status: int | None = None,
    redact: Callable[[str], str] = str,
    **known: Any,
) -> SeparationTask:
    """Structure one record as received.

    Args:
        record: the JSON value.
        http_status: the HTTP status it came with; None for a callback.
        redact: takes the API key out of the words about a failure.
        known: attributes that the caller knows where the record does not say them.

    Raises:
        DecodeError: it is not a record; the message names the attribute, never its value.
    """
    if not isinstance(record, dict):
        raise DecodeError(f"the record is {_kind(record)}, not an object", http_status=http_status)
    named = known | _named(record, _RECORD)
    response = named.get("stems") or None
    named |= {"stems": response, "origin_tracks": response, "raw": record}
    if isinstance(named.get("error_message"), str):
        named["error_message"] = redact(named["error_message"])
    try:
        return _CONVERTER.structure(named, SeparationTask)
    except BaseValidationError as error:
        problem = "; ".join(transform_error(error, "record", _problem))
    # Raised outside the handler: the validation error holds the record, links included.
    raise DecodeError(f"the record does not fit: {printable(problem)}", http_status=http_status)


def _problem(error: BaseException, _type: Any) -> str:
    return "is missing" if isinstance(error, KeyError) else str(error)


def created_by_epoch(task: SeparationTask) -> bool:
    """Whether the creation time came as an epoch, which has no doubt about its zone."""
    value = _first(task.raw, _RECORD["created_at"])
    return task.created_at is not None and finite(value) is not None


def _named(record: Mapping[str, Any], spellings: _Spellings) -> dict[str, Any]:
    found = ((name, _first(record, ways)) for name, ways in spellings.items())
    return {name: value for name, value in found if value is not None}


def _first(record: Mapping[str, Any], ways: tuple[str, ...]) -> Any:
    given = [record[way] for way in ways if record.get(way) is not None]
    return next((value for value in given if value != ""), given[0] if given else None)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


# Hooks. Strict ones raise, lenient ones return None.

# Tables, because Python 3.11 cannot ask an enum whether it has a value.
_STATUSES = {status.value: status for status in TaskStatus}
_TYPES = {type_.value: type_ for type_ in SeparationType}


def _text(value: Any, _type: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(f"is {_kind(value)}, not text" if not isinstance(value, str) else "is blank")


def _link(value: Any, _type: Any) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    raise ValueError(f"is {_kind(value)}, not a link")


def _status(value: Any, _type: Any) -> TaskStatus | str:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        word = str(value)
        return _STATUSES.get(word, word)
    raise ValueError(f"is {_kind(value)}, not a status")


def _open_type(value: Any, _type: Any) -> SeparationType | None:
    return _TYPES.get(value) if isinstance(value, str) else None


def _optional_text(value: Any, _type: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _optional_message(value: Any, _type: Any) -> str | None:
    text = _optional_text(value, None)
    return None if text is None else printable(text)


def _optional_index(value: Any, _type: Any) -> int | None:
    number = finite(value)
    return int(number) if number is not None and number == int(number) else None


def _optional_code(value: Any, _type: Any) -> int | str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _optional_message(value, None)


def _optional_seconds(value: Any, _type: Any) -> float | None:
    number = finite(value)
    return number if number is not None and number >= 0 else None


def _optional_time(value: Any, _type: Any) -> datetime | None:
    number = finite(value)
    try:
        if number is not None:
            # 0 and -1 are other ways to say "not yet".
            return datetime.fromtimestamp(_epoch_seconds(number), UTC) if number > 0 else None
        if isinstance(value, str):
            return _as_utc(datetime.fromisoformat(value.strip()))
    except (ValueError, OverflowError, OSError):
        pass  # not a time; the raw record keeps it
    return None


_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)


def finite(value: Any) -> float | None:
    """A finite number, also one written as digits; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


# Later than this as seconds would be the year 5138, so it is milliseconds.
_LATEST_SECONDS = 1e11


def _epoch_seconds(number: float) -> float:
    return number / 1000 if number > _LATEST_SECONDS else number


def _as_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _make_converter() -> Converter:
    converter = Converter()

    def using(hook: Any) -> Any:
        return override(struct_hook=hook)

    structure_stems = make_dict_structure_fn(
        Stems, converter, **{name: using(_link) for name in STEM_NAMES}
    )
    structure_track = make_dict_structure_fn(
        OriginTrack,
        converter,
        name=using(_optional_text),
        url=using(_text),
        id=using(_optional_text),
        duration=using(_optional_seconds),
        part=using(lambda value, _: value),
    )

    def stems(response: Any, _type: Any) -> Stems:
        if response is None:
            return Stems()
        if not isinstance(response, dict):
            raise TypeError(f"is {_kind(response)}, not an object")
        return structure_stems(_named(response, _STEMS), Stems)

    def origin_tracks(response: Any, _type: Any) -> tuple[OriginTrack, ...]:
        tracks = _tracks(response)
        return tuple(structure_track(track, OriginTrack) for track in tracks)

    structure = make_dict_structure_fn(
        SeparationTask,
        converter,
        task_id=using(_text),
        status=using(_status),
        type=using(_open_type),
        stems=using(stems),
        created_at=using(_optional_time),
        completed_at=using(_optional_time),
        music_id=using(_optional_text),
        music_index=using(_optional_index),
        audio_id=using(_optional_text),
        callback_url=using(_optional_text),
        error_code=using(_optional_code),
        error_message=using(_optional_message),
        origin_tracks=using(origin_tracks),
        raw=using(lambda value, _: value),
    )
    converter.register_structure_hook(SeparationTask, structure)
    return converter


def _tracks(response: Any) -> Iterator[dict[str, Any]]:
    """Every track of ``originData``: plain ones, or the two parts of each advanced pair."""
    data = _first(response, _ORIGIN_DATA) if isinstance(response, dict) else None
    for item in data if isinstance(data, list) else ():
        yield from _parts(item)


def _parts(item: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(item, dict):
        return
    pair: list[tuple[str | None, Any]] = [
        (part, item[part]) for part in _PARTS if isinstance(item.get(part), dict)
    ]
    for part, track in pair or [(None, item)]:
        named = _named(track, _TRACK)
        if _link(named.get("url", ""), None) is not None:
            yield named | {"part": part}


_CONVERTER = _make_converter()
