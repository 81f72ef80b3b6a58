"""Turns a payload into a `SeparationTask`.

A record is first brought to the usual spelling by its provider and then structured by one private
cattrs converter whose hooks never coerce: what decides about the result (id, status, links) is held
to its type, what only describes it becomes None when unusable, because an odd time must not cost a
paid result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override

from vocalsep_async._text import printable, without_queries, without_tokens
from vocalsep_async.errors import DecodeError
from vocalsep_async.models import (
    STEM_NAMES,
    OriginTrack,
    SeparationTask,
    SeparationType,
    Stems,
    TaskStatus,
)
from vocalsep_async.providers._links import FreeNames, link_in, undocumented
from vocalsep_async.providers._results import complete
from vocalsep_async.providers._spellings import LINKS, usual_record, usual_track

T = TypeVar("T")

_INSTRUMENTS = tuple(
    LINKS[name]
    for name in STEM_NAMES
    if name not in ("origin", "instrumental", "vocal", "backing_vocals")
)
_VOCAL_TYPES = frozenset({SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM})
# A table, because Python 3.11 cannot ask an enum whether it has a value.
USUAL_STATUSES: Mapping[str, TaskStatus] = {status.value: status for status in TaskStatus}
"""The usual words for a status, each with what it means."""


def structure_task(
    record: Any,
    *,
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = usual_record,
    statuses: Mapping[str, TaskStatus] = USUAL_STATUSES,
    http_status: int | None = None,
    route: str | None = None,
    type_: SeparationType | None = None,
    blank_status: TaskStatus | str = TaskStatus.PENDING,
    **known: Any,
) -> SeparationTask:
    """Structure one record as received.

    Args:
        record: the JSON value.
        read: brings it to the usual spelling.
        statuses: what the words for its status mean; any other word is kept as it is.
        http_status: the HTTP status it came with; None for a callback.
        route: the route it came on; None where ids leave no doubt about it.
        type_: what the caller knows of the type, for where the record leaves it open.
        blank_status: the status of a record that names its task and has none.
        known: what the caller knows, in the usual spelling, for where it says nothing.

    Raises:
        DecodeError: it is not a record; the message names the attribute, never its value.
    """
    if not isinstance(record, dict):
        raise unreadable(f"the record is {_kind(record)}, not an object", http_status)
    # Without nulls, which would hide what the caller knows.
    usual = read_by(lambda received: _without_nulls(read(received)), record, http_status)
    given = {**known, **usual, "route": route, "raw": record}
    status = _meaning(given.get("successFlag"), statuses)
    # An object that lacks its id, too, may be anything.
    if not isinstance(status, TaskStatus) and _is_blank(status) and "taskId" in usual:
        status = blank_status
    given["successFlag"] = status
    response = given.pop("response", None)
    # Most records are of pending tasks, and hold no link but the caller's own.
    if response or status is not TaskStatus.PENDING:
        response = complete(response, given)
    if response:
        given["response"] = response
        type_ = implied_type(response, type_)
    given["type"] = _type(given.get("type")) or type_
    try:
        return _structure(detailed=False)(given, SeparationTask)
    except (KeyError, TypeError, ValueError):
        # Structured once more, in detail: the converter that explains is too slow for every
        # answer.
        problem = _problem_of(given)
    # Raised outside the handler: the error there may hold a part of the record.
    raise unreadable(f"the record does not fit: {problem}", http_status)


def read_by(read: Callable[[Any], T], content: Any, http_status: int | None) -> T:
    """What a provider's method *read* makes of *content*.

    Raises:
        DecodeError: the method, perhaps a user's, was not written for such content.
    """
    try:
        return read(content)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        problem = f"the provider cannot read it: {type(error).__name__}"
    # Raised outside the handler: the error there may hold a part of the content.
    raise unreadable(problem, http_status)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and (not value or value.isspace()))


def _meaning(status: Any, statuses: Mapping[str, TaskStatus]) -> Any:
    if isinstance(status, TaskStatus) or not isinstance(status, (str, int)):
        return status
    return statuses.get(str(status), status)


def unreadable(problem: str, http_status: int | None) -> DecodeError:
    """The error of an answer whose envelope could be opened, but not what it holds."""
    return DecodeError(problem, http_status=http_status, in_envelope=True)


def _problem_of(given: Mapping[str, Any]) -> str:
    problems = []
    try:
        _structure(detailed=True)(given, SeparationTask)
    except BaseValidationError as error:
        problems = transform_error(error, "record", _worded)
    return printable("; ".join(problems))


def _worded(error: BaseException, _type: Any) -> str:
    return "is missing" if isinstance(error, KeyError) else str(error)


def created_by_epoch(task: SeparationTask) -> bool:
    """Whether the creation time came as an epoch, which has no doubt about its zone."""
    return task.created_at is not None and _is_epoch(task, "createTime")


def certain_duration(task: SeparationTask) -> float | None:
    """Seconds the task took; None if that is not known or hangs on a guessed zone."""
    # Two times without a zone are apart by the true duration, whichever zone they are in.
    alike = _is_epoch(task, "createTime") == _is_epoch(task, "completeTime")
    return task.duration if alike else None


def _is_epoch(task: SeparationTask, key: str) -> bool:
    return finite(usual_record(task.raw).get(key)) is not None


def _without_nulls(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def implied_type(response: Any, said: SeparationType | None) -> SeparationType | None:
    """The type by the stems; where they leave it open, *said*, which is the caller's."""
    if not isinstance(response, dict):
        return said
    if link_in(response.get("vocalUrl")):
        return _type_with_vocals(response, said)
    # Only a split_stem_advanced lists its tracks in pairs.
    in_pairs = any(part is not None for part, _ in _tracks(response))
    if in_pairs:
        return SeparationType.SPLIT_STEM_ADVANCED
    is_impossible = said is SeparationType.SEPARATE_VOCAL and _has_instruments(response)
    return SeparationType.SPLIT_STEM if is_impossible else said


def _has_instruments(response: Mapping[str, Any]) -> bool:
    return any(value and link_in(value) for value in map(response.get, _INSTRUMENTS))


def _type_with_vocals(
    response: Mapping[str, Any], said: SeparationType | None
) -> SeparationType | None:
    # Some versions give an instrumental beside the instruments, so that these decide.
    if _has_instruments(response):
        return SeparationType.SPLIT_STEM
    has_instrumental = link_in(response.get("instrumentalUrl"))
    has_more = link_in(response.get(LINKS["backing_vocals"])) or any(undocumented(response))
    if has_more and said in _VOCAL_TYPES:
        return said
    if has_instrumental:
        return SeparationType.SEPARATE_VOCAL
    return SeparationType.SPLIT_STEM if has_more else said


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


# Hooks. Strict ones raise, lenient ones return None.

_TYPES = {type_.value: type_ for type_ in SeparationType}


def _text(value: Any, _type: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(f"is {_kind(value)}, not text" if not isinstance(value, str) else "is blank")


def _link(value: Any, _type: Any) -> str | None:
    if value is None or isinstance(value, str):
        return link_in(value)
    raise ValueError(f"is {_kind(value)}, not a link")


def _status(value: Any, _type: Any) -> TaskStatus | str:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return value if isinstance(value, TaskStatus) else without_tokens(str(value))
    raise ValueError(f"is {_kind(value)}, not a status")


def _type(value: Any) -> SeparationType | None:
    return _TYPES.get(value) if isinstance(value, str) else None


def _optional_text(value: Any, _type: Any) -> str | None:
    return without_tokens(value) if isinstance(value, str) and value.strip() else None


def _optional_message(value: Any, _type: Any) -> str | None:
    text = _optional_text(value, None)
    return None if text is None else printable(without_queries(text))


def _optional_index(value: Any, _type: Any) -> int | None:
    number = finite(value)
    return int(number) if number is not None and number == int(number) else None


_NO_WORDS = frozenset({"null", "none", "undefined", "nan"})
"""Words that stand for an absent value."""


def _optional_code(value: Any, _type: Any) -> int | str | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    code = _optional_message(value, None)
    return None if code is None or code.strip().lower() in _NO_WORDS else code.strip()


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
            time = _as_utc(datetime.fromisoformat(value.strip()))
            # Before the epoch are the zeros of other systems.
            return time if time.timestamp() > 0 else None
    except (ValueError, OverflowError, OSError):
        pass  # not a time; the raw record keeps it
    return None


_DIGITS = r"[0-9]{1,20}"


def finite(value: Any) -> float | None:
    """A finite number, also one written as digits; None for anything else."""
    if isinstance(value, str):
        # Digits only: float() accepts blanks, nan and underscores too.
        return float(value) if re.fullmatch(_DIGITS, value) else None
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


@cache
def _structure(*, detailed: bool) -> Callable[[Mapping[str, Any], Any], SeparationTask]:
    # Made at the first answer: cattrs generates code, which would slow the import down.
    converter = Converter(detailed_validation=detailed)

    def named(key: str, hook: Any) -> Any:
        return override(rename=key, struct_hook=hook)

    structure_track = make_dict_structure_fn(
        OriginTrack,
        converter,
        name=named("stem_type_group_name", _optional_text),
        url=named("audio_url", _text),
        id=named("id", _optional_text),
        duration=named("duration", _optional_seconds),
        part=named("part", _as_it_is),
    )

    # A track without a link is left out; a link of a wrong type is an error, as for stems.
    def origin_tracks(response: Any, _type: Any) -> tuple[OriginTrack, ...]:
        if not isinstance(response, dict) or not response.get("originData"):
            return ()
        return tuple(
            structure_track({**track, "audio_url": link, "part": part}, OriginTrack)
            for part, track in _tracks(response)
            if (link := _link(track.get("audio_url", ""), None)) is not None
        )

    return make_dict_structure_fn(
        SeparationTask,
        converter,
        task_id=named("taskId", _text),
        status=named("successFlag", _status),
        type=named("type", _as_it_is),
        stems=named("response", _stems),
        created_at=named("createTime", _optional_time),
        completed_at=named("completeTime", _optional_time),
        music_id=named("musicId", _optional_text),
        music_index=named("musicIndex", _optional_index),
        audio_id=named("audioId", _optional_text),
        callback_url=named("callbackUrl", _optional_text),
        error_code=named("errorCode", _optional_code),
        error_message=named("errorMessage", _optional_message),
        origin_tracks=named("response", origin_tracks),
        raw=named("raw", _as_it_is),
        route=named("route", _as_it_is),
    )


_NO_STEMS = Stems()


def _stems(response: Any, _type: Any) -> Stems:
    if not isinstance(response, dict):
        raise TypeError(f"is {_kind(response)}, not an object")
    links, wrong = {}, []
    for name, key in LINKS.items():
        value = response.get(key)
        if value is None or value == "":
            continue
        if (link := link_in(value)) is not None:
            links[name] = link
        elif not isinstance(value, str):
            wrong.append(name)
    if wrong:
        raise TypeError(f"holds no link as {', '.join(wrong)}")
    others = _others(response, links)
    return Stems(**links, others=others)


def _others(response: Mapping[str, Any], links: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The stems under keys that are not documented, but for those that repeat *links*."""
    found = list(undocumented(response))
    if not found:
        return ()
    seen, others, names = set(links.values()), [], FreeNames(links)
    for _, name, link in found:
        if link in seen:
            continue
        seen.add(link)
        if name in LINKS and name not in links:
            links[name] = link
            names.take(name)
        else:
            others.append((names.take(name), link))
    return tuple(others)


def _as_it_is(value: Any, _type: Any) -> Any:
    return value


_PARTS = ("extract", "remove")


def _tracks(response: Any) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Every track of ``originData``, with its part if it is one of an advanced pair."""
    data = response.get("originData") if isinstance(response, dict) else None
    for item in data if isinstance(data, list) else ():
        if isinstance(item, dict):
            yield from ((part, usual_track(track)) for part, track in _parts(item))


def _parts(item: Mapping[str, Any]) -> Iterable[tuple[str | None, Mapping[str, Any]]]:
    pair = {part: item[part] for part in _PARTS if isinstance(item.get(part), dict)}
    return pair.items() if pair else ((None, item),)
