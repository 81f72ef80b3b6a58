"""Structuring of records: nothing is coerced, nothing is lost."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import (
    COMPLETED_MS,
    CREATED_MS,
    MUSIC_ID,
    SIGNATURE,
    TASK_ID,
    advanced_done,
    audio_id_done,
    failed,
    kie_done,
    link,
    older_done,
    origin_item,
    pending,
    stems_done,
    vocals_done,
    without,
)

from vocalsep_async.errors import DecodeError
from vocalsep_async.models import STEM_NAMES, OriginTrack, SeparationType, Stems, TaskStatus
from vocalsep_async.providers._records import created_by_epoch, finite, structure_task

CREATED = datetime.fromtimestamp(CREATED_MS / 1000, UTC)
COMPLETED = datetime.fromtimestamp(COMPLETED_MS / 1000, UTC)
NO_LINK: list[Any] = [7, 1.5, True, ["x"], {"url": "x"}, [], {}]
NOT_TEXT: list[Any] = [*NO_LINK, ["https://x"], {"url": "https://x"}]


def stems_in(**response: Any) -> Stems:
    return structure_task(vocals_done(response=response)).stems


def tracks_in(*items: Any) -> tuple[OriginTrack, ...]:
    return structure_task(vocals_done(response={"originData": list(items)})).origin_tracks


def decode_error_of(record: Any) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        structure_task(record, http_status=207)
    assert caught.value.http_status == 207
    return caught.value


# Whole records, one of each kind.


def test_a_pending_record_fills_every_field_it_has() -> None:
    task = structure_task(pending())
    assert (task.task_id, task.status, task.type) == (TASK_ID, TaskStatus.PENDING, None)
    assert isinstance(task.status, TaskStatus)
    assert (task.created_at, task.completed_at, task.duration) == (CREATED, None, None)
    assert (task.music_id, task.music_index, task.audio_id) == (MUSIC_ID, 0, None)
    assert task.callback_url == "https://hooks.example.net/suno"
    assert (task.error_code, task.error_message) == (None, None)
    assert (dict(task.stems), task.origin_tracks) == ({}, ())


def test_a_finished_record_has_its_stems_and_times() -> None:
    task = structure_task(vocals_done())
    expected = {"vocal": link("vocalUrl"), "instrumental": link("instrumentalUrl")}
    assert dict(task.stems) == expected
    assert task.completed_at == COMPLETED
    assert task.duration == 83.0
    assert task.succeeded


def test_an_instrument_record_has_its_stems() -> None:
    assert {name for name, _ in structure_task(stems_done()).stems} == {
        "vocal",
        "drums",
        "bass",
        "fx",
    }


def test_a_record_of_kie_has_a_piano_and_origin_tracks() -> None:
    task = structure_task(kie_done())
    assert set(dict(task.stems)) == {"vocal", "piano", "drums"}
    assert task.origin_tracks[1] == OriginTrack(
        name="Pianourl", url=link("pianoUrl"), id="track-pianoUrl", duration=120.5
    )


def test_a_record_of_the_first_version_has_an_origin_and_times_in_utc() -> None:
    task = structure_task(older_done())
    assert set(dict(task.stems)) == {"origin", "vocal", "instrumental"}
    assert task.created_at == datetime(2025, 12, 29, 9, 20, tzinfo=UTC)
    assert task.duration == 83.0


def test_a_record_may_name_its_source_by_audio_id() -> None:
    task = structure_task(audio_id_done())
    assert (task.audio_id, task.music_index) == ("clip-0002", None)


def test_an_advanced_record_has_pairs_of_tracks() -> None:
    task = structure_task(advanced_done())
    assert [(track.name, track.part) for track in task.origin_tracks] == [
        ("Cello", "extract"),
        ("Rest", "remove"),
    ]
    assert not task.stems
    assert task.succeeded


@pytest.mark.parametrize("status", ["GENERATE_AUDIO_FAILED", "CREATE_TASK_FAILED"])
def test_a_failed_record_gives_its_reason(status: str) -> None:
    task = structure_task(failed(status))
    assert task.status is TaskStatus(status)
    assert (task.error_code, task.error_message) == (500, "the engine gave up")
    assert not task.succeeded


def test_a_failed_record_may_lack_a_reason() -> None:
    task = structure_task(without(failed(), ["errorCode", "errorMessage"]))
    assert (task.error_code, task.error_message) == (None, None)


def test_a_record_with_a_failed_webhook_keeps_its_stems() -> None:
    task = structure_task(vocals_done(successFlag="CALLBACK_EXCEPTION"))
    assert task.succeeded
    assert not structure_task(pending(successFlag="CALLBACK_EXCEPTION")).succeeded


def test_the_raw_record_is_kept_unchanged() -> None:
    record = kie_done(brandNewField={"a": [1, None]}, response={"kazooUrl": link("kazoo")})
    task = structure_task(record)
    assert task.raw == record
    assert task.raw["response"]["kazooUrl"] == link("kazoo")


# Fields that decide the outcome must have the right type.


@pytest.mark.parametrize("record", [None, "", "text", [], [pending()], 7, True])
def test_a_record_must_be_an_object(record: Any) -> None:
    assert "not an object" in str(decode_error_of(record))


@pytest.mark.parametrize("value", [*NOT_TEXT, "", "  "])
def test_a_task_id_must_be_text(value: Any) -> None:
    assert "record.task_id" in str(decode_error_of(pending(taskId=value)))


def test_a_record_without_an_id_gets_that_of_the_requested_task() -> None:
    assert structure_task(pending(taskId=None), taskId="asked").task_id == "asked"
    assert structure_task(pending(), taskId="asked").task_id == TASK_ID
    assert str(decode_error_of(pending(taskId=None))).endswith("is missing @ record.task_id")


@pytest.mark.parametrize(
    "value, status",
    [
        ("SUCCESS", TaskStatus.SUCCESS),
        ("success", "success"),
        ("Success", "Success"),
        (" SUCCESS", " SUCCESS"),
        ("SENSITIVE_WORD_ERROR", "SENSITIVE_WORD_ERROR"),
        (0, "0"),
        (1, "1"),
        (-1, "-1"),
    ],
)
def test_an_unknown_status_is_kept_verbatim(value: Any, status: str) -> None:
    assert structure_task(vocals_done(successFlag=value)).status == status
    assert structure_task(pending(successFlag=value)).status == status


@pytest.mark.parametrize("value", [True, False, 1.0, [], ["SUCCESS"], {"SUCCESS": 1}])
def test_a_status_must_be_text_or_an_integer(value: Any) -> None:
    assert "record.status" in str(decode_error_of(vocals_done(successFlag=value)))


@pytest.mark.parametrize("record", [pending(), failed(), vocals_done()])
@pytest.mark.parametrize("status", [None, "", " "])
def test_a_record_that_names_its_task_and_has_no_status_is_pending(
    record: Any, status: str | None
) -> None:
    for given_ in (record | {"successFlag": status}, without(record, ["successFlag"])):
        assert structure_task(given_).status is TaskStatus.PENDING


@pytest.mark.parametrize("record", [{}, {"id": TASK_ID}, pending(taskId=None, successFlag=None)])
def test_a_record_without_a_status_and_an_id_is_a_decode_error(record: Any) -> None:
    with pytest.raises(DecodeError, match=r"is null, not a status @ record\.status"):
        structure_task(record, taskId=TASK_ID)


@pytest.mark.parametrize("value", NO_LINK)
@pytest.mark.parametrize("key", ["vocalUrl", "pianoUrl", "woodwinds_url"])
def test_a_link_must_be_text(key: str, value: Any) -> None:
    problem = str(decode_error_of(vocals_done(response={key: value})))
    assert "holds no link as" in problem
    assert "@ record.stems" in problem


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_absent_link_is_none(value: Any) -> None:
    stems = stems_in(vocalUrl=value, drumsUrl=link("drums"))
    assert stems.vocal is None
    assert dict(stems) == {"drums": link("drums")}


@pytest.mark.parametrize("response", [None, "", {}, [], " ", "null", "None", "undefined", "text"])
def test_a_success_without_links_has_no_stems(response: Any) -> None:
    task = structure_task(vocals_done(response=response))
    assert dict(task.stems) == {}
    assert not task.succeeded
    assert "None'" not in repr(task)


@pytest.mark.parametrize("response", [["text"], [["x"]], 7, True])
def test_a_response_must_be_an_object(response: Any) -> None:
    assert "record.stems" in str(decode_error_of(vocals_done(response=response)))


def test_a_link_is_kept_unchanged() -> None:
    odd = "https://files.example.net/a b/%2F%3D_Lead Vocal.mp3?sig=a%3D"
    assert stems_in(vocalUrl=odd).vocal == odd


# Descriptive fields of a wrong type become None.


@pytest.mark.parametrize("value", [*NOT_TEXT, "", " ", None])
@pytest.mark.parametrize(
    "key, name",
    [
        ("musicId", "music_id"),
        ("audioId", "audio_id"),
        ("callbackUrl", "callback_url"),
        ("errorMessage", "error_message"),
    ],
)
def test_a_description_of_a_wrong_type_is_none(key: str, name: str, value: Any) -> None:
    task = structure_task(vocals_done(**{key: value}))
    assert getattr(task, name) is None
    assert task.succeeded


@pytest.mark.parametrize("value", ["", "SPLIT_STEM", "split_stem_4", 7, [], {}, True, None])
def test_an_unknown_type_is_replaced_by_that_of_the_stems(value: Any) -> None:
    task = structure_task(vocals_done(type=value))
    assert task.type is SeparationType.SEPARATE_VOCAL
    assert structure_task(pending(type=value)).type is None
    assert task.raw["type"] == value


def test_a_known_type_is_kept() -> None:
    task = structure_task(vocals_done(type="split_stem_advanced"))
    assert task.type is SeparationType.SPLIT_STEM_ADVANCED


@pytest.mark.parametrize(
    "value, index",
    [
        (0, 0),
        (1, 1),
        (1.0, 1),
        ("1", 1),
        (1.5, None),
        ("one", None),
        (True, None),
        ([], None),
        (10**400, None),
        (None, None),
    ],
)
def test_an_index_is_an_integer_or_none(value: Any, index: int | None) -> None:
    assert structure_task(vocals_done(musicIndex=value)).music_index == index


@pytest.mark.parametrize(
    "value, code",
    [
        (500, 500),
        (0, 0),
        ("500", "500"),
        ("E_\x1b", r"E_\x1b"),
        (True, None),
        (1.5, None),
        ([500], None),
        ({}, None),
        ("", None),
        (None, None),
    ],
)
def test_an_error_code_is_an_integer_or_text_or_none(value: Any, code: int | str | None) -> None:
    assert structure_task(failed(errorCode=value)).error_code == code


def test_the_message_of_a_failure_is_printable_and_shortened() -> None:
    task = structure_task(failed(errorMessage="\x1b[31m\r\n\ud800" + "x" * 400))
    assert task.error_message is not None
    assert task.error_message.startswith(r"\x1b[31m\r\n\ud800x")
    assert task.error_message.isprintable()
    assert task.error_message.endswith("x…")


@pytest.mark.parametrize(
    "value, time",
    [
        (CREATED_MS, CREATED),
        (CREATED_MS / 1000, CREATED),
        (float(CREATED_MS), CREATED),
        (str(CREATED_MS), CREATED),
        (str(CREATED_MS // 1000), CREATED),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.250+02:00", datetime(2026, 1, 2, 1, 4, 5, 250_000, tzinfo=UTC)),
        (" 2026-01-02 03:04:05 ", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        # Skipped by the clocks of Newfoundland, repeated there, skipped by the clocks of Israel.
        ("2026-03-08 02:30:00", datetime(2026, 3, 8, 2, 30, tzinfo=UTC)),
        ("2026-11-01 01:30:00", datetime(2026, 11, 1, 1, 30, tzinfo=UTC)),
        ("2026-03-27 02:30:00", datetime(2026, 3, 27, 2, 30, tzinfo=UTC)),
        (0, None),
        (-1, None),
        (-CREATED_MS, None),
        ("-1", None),
        (253_402_300_800_000, None),  # the year 10000
        (1e300, None),
        (10**400, None),
        ("9" * 20, None),
        ("9" * 21, None),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("1９００", None),
        ("yesterday", None),
        ("\ud800", None),
        ("", None),
        (True, None),
        ([CREATED_MS], None),
        ({}, None),
        (None, None),
    ],
)
@pytest.mark.usefixtures("any_zone")
def test_a_time_is_aware_utc_or_none(value: Any, time: datetime | None) -> None:
    task = structure_task(vocals_done(createTime=value))
    assert task.created_at == time
    assert task.created_at is None or task.created_at.tzinfo is UTC
    assert task.succeeded


def test_a_task_completed_before_its_creation_has_no_duration() -> None:
    task = structure_task(vocals_done(completeTime=CREATED_MS - 1))
    assert task.completed_at is not None
    assert task.duration is None


@pytest.mark.parametrize(
    "value, is_epoch",
    [
        (CREATED_MS, True),
        (str(CREATED_MS), True),
        ("2026-01-02 03:04:05", False),
        ("2026-01-02T03:04:05Z", False),
        (-1, False),
        (1e300, False),
        (None, False),
    ],
)
def test_only_an_epoch_counts_as_an_unambiguous_creation_time(
    value: Any, *, is_epoch: bool
) -> None:
    assert created_by_epoch(structure_task(vocals_done(createTime=value))) is is_epoch


@pytest.mark.parametrize(
    "value, number",
    [
        (1, 1.0),
        (1.5, 1.5),
        ("15", 15.0),
        ("1.5", None),
        ("1５", None),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
        (math.inf, None),
        (math.nan, None),
        (10**400, None),
    ],
)
def test_a_number_is_finite_and_may_be_written_as_digits(value: Any, number: float | None) -> None:
    assert finite(value) == number


def test_an_epoch_is_recognised_under_every_spelling_of_its_key() -> None:
    record = without(pending(), ["createTime"]) | {"create_time": CREATED_MS}
    assert created_by_epoch(structure_task(record))
    assert structure_task(record).created_at == CREATED


# Origin tracks.


@pytest.mark.parametrize("data", [None, "", {}, "text", 7, [], [None], ["x"], [[]], [{}]])
def test_a_list_of_tracks_without_tracks_is_empty(data: Any) -> None:
    assert structure_task(vocals_done(response={"originData": data})).origin_tracks == ()


@pytest.mark.parametrize("url", [None, "", "  "])
def test_a_track_without_a_link_is_left_out(url: Any) -> None:
    whole = origin_item("cello")
    assert [track.id for track in tracks_in(origin_item("rest", audio_url=url), whole)] == [
        "track-cello"
    ]
    assert tracks_in(without(whole, ["audio_url"])) == ()


@pytest.mark.parametrize("url", NO_LINK)
def test_the_link_of_a_track_must_be_text(url: Any) -> None:
    problem = decode_error_of(
        vocals_done(response={"originData": [origin_item("cello", audio_url=url)]})
    )
    assert "not a link @ record.origin_tracks" in str(problem)


@pytest.mark.parametrize(
    "changes, track",
    [
        ({}, OriginTrack(name="Cello", url=link("cello"), id="track-cello", duration=61.25)),
        (
            {"stem_type_group_name": ["x"], "id": 7, "duration": -1},
            OriginTrack(url=link("cello")),
        ),
        (
            {"stem_type_group_name": "", "id": "", "duration": "62"},
            OriginTrack(url=link("cello"), duration=62.0),
        ),
        ({"part": "extract", "id": None, "duration": None, "stem_type_group_name": None},
            OriginTrack(url=link("cello"))),
    ],
)  # fmt: skip
def test_a_field_of_a_track_with_a_wrong_type_is_none(
    changes: dict[str, Any], track: OriginTrack
) -> None:
    assert tracks_in(origin_item("cello", **changes)) == (track,)


def test_a_pair_may_lack_one_of_its_tracks() -> None:
    cello = origin_item("cello")
    assert [t.part for t in tracks_in({"extract": cello})] == ["extract"]
    assert [t.part for t in tracks_in({"extract": None, "remove": cello})] == ["remove"]
    assert [t.part for t in tracks_in({"extract": {}, "remove": cello})] == ["remove"]
    assert [t.part for t in tracks_in({"extract": "x"} | cello)] == [None]


def test_pairs_inside_pairs_are_ignored() -> None:
    item: dict[str, Any] = origin_item("cello")
    for _ in range(500):
        item = {"extract": item}
    assert tracks_in(item) == ()


# Spellings.


@pytest.mark.parametrize("info", ["response", "vocal_removal_info", "vocal_separation_info"])
@pytest.mark.parametrize("key", ["vocalUrl", "vocal_url"])
def test_stems_are_found_under_every_spelling(info: str, key: str) -> None:
    record = {"task_id": TASK_ID, "status": "SUCCESS", info: {key: link("vocal")}}
    assert structure_task(record).stems == Stems(vocal=link("vocal"))


@pytest.mark.parametrize("name", STEM_NAMES)
def test_every_stem_is_found_by_its_snake_case_name(name: str) -> None:
    assert dict(stems_in(**{f"{name}_url": link(name)})) == {name: link(name)}


@pytest.mark.parametrize("key", ["callbackUrl", "callBackUrl", "callback_url", "call_back_url"])
def test_a_callback_url_is_found_under_every_spelling(key: str) -> None:
    record = without(pending(), ["callbackUrl"]) | {key: link("hook")}
    assert structure_task(record).callback_url == link("hook")


def test_of_two_spellings_the_one_with_a_value_is_used() -> None:
    assert stems_in(vocalUrl="", vocal_url=link("vocal")).vocal == link("vocal")
    assert stems_in(vocalUrl=None, vocal_url=link("vocal")).vocal == link("vocal")
    assert stems_in(vocal_url=link("vocal"), vocalUrl="").vocal == link("vocal")
    assert stems_in(vocalUrl=link("one"), vocal_url=link("two")).vocal == link("one")
    assert stems_in(vocal_url=link("two"), vocalUrl=link("one")).vocal == link("one")
    task = structure_task(vocals_done(successFlag="", status="CALLBACK_EXCEPTION"))
    assert task.status is TaskStatus.CALLBACK_EXCEPTION


# Messages, and arbitrary records.


@pytest.mark.parametrize(
    "record",
    [
        vocals_done(taskId=[link("secret")]),
        vocals_done(successFlag={link("secret"): 1}),
        vocals_done(response={"vocalUrl": [link("secret")[8:]], "drumsUrl": {"a": link("b")[8:]}}),
        vocals_done(response={"originData": [{"audio_url": {"a": link("secret")[8:]}}]}),
        vocals_done(response=[[link("secret")[8:]]]),
        [link("secret")],
    ],
)
def test_no_decode_error_holds_a_value_of_the_record(record: Any) -> None:
    error = decode_error_of(record)
    assert SIGNATURE not in f"{error!r} {error} {vars(error)}"
    assert "https" not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_decode_error_names_every_wrong_attribute() -> None:
    problem = str(decode_error_of(vocals_done(taskId=7, response={"vocalUrl": 1, "fxUrl": 2})))
    assert "record.task_id" in problem
    assert "no link as vocal, fx @ record.stems" in problem


OTHER_KEYS = (
    "status type audioId vocal_removal_info vocalUrl originData extract remove audio_url "
    "duration stem_type_group_name id new"
)
KEYS = st.sampled_from([*vocals_done(), *OTHER_KEYS.split()])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["SUCCESS", "split_stem", "2026-01-02 03:04:05", link("x")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from([{}, vocals_done()]), st.dictionaries(KEYS, VALUES))
def test_any_json_is_a_record_or_a_decode_error(
    known: dict[str, Any], changes: dict[str, Any]
) -> None:
    record = known | changes
    try:
        task = structure_task(record)
    except DecodeError:
        return
    assert task.raw is record
    links: list[Any] = [*dict(task.stems).values(), *(track.url for track in task.origin_tracks)]
    assert all(isinstance(url, str) for url in links)
    assert "None" not in links
    assert task.duration is None or task.duration >= 0
