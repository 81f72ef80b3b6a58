"""The direct reader of documented records against the one that reads all of them."""

from __future__ import annotations

import itertools
from typing import Any

import payloads
import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import SeparationTask, SeparationType
from vocalsep_async.providers._documented import documented_task
from vocalsep_async.providers._records import USUAL_STATUSES, structure_task

_LINKS = [
    "https://cdn.example/a.mp3",
    "http://cdn.example/b.mp3?Signature=hush&Expires=1",
    " https://cdn.example/blank.mp3",
    "https://cdn.example/blank.mp3\n",
    "https://cdn.example/a blank.mp3",
    "HTTPS://CDN.EXAMPLE/C.MP3",
    "cdn.example/without-scheme.mp3",
    "https://",
    "/only/a/path.mp3",
    '["https://cdn.example/in-json.mp3"]',
    'https://cdn.example/{"odd"}.mp3',
    "null",
    "",
    " ",
    None,
    0,
    True,
    ["https://cdn.example/in-a-list.mp3"],
]
_TRACK = {"stem_type_group_name": "Vocals", "audio_url": "https://cdn.example/track.mp3"}
_IN_A_RESPONSE: dict[str, list[Any]] = {
    **dict.fromkeys([*payloads.stems_of(), "pianoUrl"], _LINKS),
    **dict.fromkeys(["harpUrl", "harp", "vocal_url", "id", "stems"], _LINKS),
    "originData": [None, "", [], {}, [_TRACK], [{"extract": _TRACK, "remove": _TRACK}]],
}
_TIMES: list[Any] = [
    *(None, 1_753_782_854_123, 1_753_782_937_000, 1_753_782_854, 10**11, 10**11 + 1, 10**14 - 1),
    *(0, -1, 1, True, 10**14, 10**30, 1.753782854e12, "1753782854000", "2025-07-29 09:54:14"),
    *("soon", float("inf"), [], {}),
]
_ANY = [
    *(None, "text", " text ", "", " ", "https://a.example/x", 3, 0, 999, 1_000, 10**30, -1),
    *(True, 1.0, [], {}, ["https://a.example/x"], {"vocalUrl": "https://a.example/x"}),
]
_IN_A_RECORD: dict[str, list[Any]] = {
    "taskId": [payloads.TASK_ID, "another", "", None, 7],
    "successFlag": [*USUAL_STATUSES, "NEW_WORD", "", " ", None, 200, True, []],
    "createTime": _TIMES,
    "completeTime": _TIMES,
    **dict.fromkeys(["response", "musicId", "musicIndex", "audioId", "callbackUrl"], _ANY),
    **dict.fromkeys(["errorCode", "errorMessage", "type", "route", "raw"], _ANY),
    **dict.fromkeys(["task_id", "status", "stems", "vocalUrl", "audio_url", "result"], _ANY),
}
_RECORDS = [payloads.pending(), payloads.vocals_done(), payloads.stems_done()]


def _changes(places: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from([*places]), st.none(), max_size=3).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(places[name]) for name in names})
    )


def _directly(record: Any, type_: SeparationType | None = None) -> SeparationTask | None:
    return documented_task(
        payloads.TASK_ID, record, statuses=USUAL_STATUSES, type_=type_, route="kie"
    )


def _values(task: SeparationTask) -> list[tuple[str, type, object]]:
    found = ((each.name, getattr(task, each.name)) for each in fields(SeparationTask))
    return [(name, type(value), value) for name, value in found]


def _assert_alike(record: dict[str, Any], type_: SeparationType | None = None) -> None:
    """Read by both; what is not as documented is left to one of them."""
    task = _directly(record, type_)
    if task is not None:
        other = structure_task(record, route="kie", type_=type_, taskId=payloads.TASK_ID)
        assert _values(task) == _values(other)


@pytest.mark.parametrize("name", _IN_A_RECORD)
def test_the_direct_reader_reads_alike_whatever_one_field_holds(name: str) -> None:
    for record, value in itertools.product(_RECORDS, _IN_A_RECORD[name]):
        _assert_alike(record | {name: value})


@pytest.mark.parametrize("name", _IN_A_RESPONSE)
def test_the_direct_reader_reads_alike_whatever_one_link_is(name: str) -> None:
    for record, value in itertools.product(_RECORDS, _IN_A_RESPONSE[name]):
        _assert_alike(record | {"response": (record["response"] or {}) | {name: value}})


@given(
    st.sampled_from(_RECORDS),
    _changes(_IN_A_RECORD),
    st.none() | _changes(_IN_A_RESPONSE),
    st.sampled_from([None, *SeparationType]),
)
def test_the_direct_reader_reads_alike_whatever_several_fields_hold(
    record: dict[str, Any],
    changes: dict[str, Any],
    response: dict[str, Any] | None,
    type_: SeparationType | None,
) -> None:
    links = {} if response is None else {"response": (record["response"] or {}) | response}
    _assert_alike(record | links | changes, type_)


@pytest.mark.parametrize(
    "record",
    [
        payloads.pending(),
        payloads.pending(parentMusicId=None),
        payloads.vocals_done(),
        payloads.vocals_done(response=payloads.stems_of("vocalUrl", "drumsUrl")),
        payloads.vocals_done(response=payloads.stems_of("vocalUrl", absent="")),
        payloads.vocals_done(
            response=payloads.stems_of("vocalUrl") | {"id": None, "originData": None}
        ),
        payloads.vocals_done(successFlag="CALLBACK_EXCEPTION"),
    ],
)
def test_the_direct_reader_reads_what_the_api_documents(record: dict[str, Any]) -> None:
    assert _directly(record) is not None
