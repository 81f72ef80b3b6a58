"""kie.ai's jobs: how they are requested, and what the answers mean."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    KIE,
    KIE_JOBS,
    APIError,
    DecodeError,
    ErrorAction,
    InvalidArgumentError,
    InvalidParametersError,
    MaintenanceError,
    NotFoundError,
    RateLimitedError,
    SeparationTask,
    SeparationType,
    ServerError,
    TaskNotFoundError,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.models import STEM_NAMES
from vocalsep_async.providers import Request, provider_for
from vocalsep_async.providers._callbacks import open_callback
from vocalsep_async.providers._decoder import Decoder
from vocalsep_async.providers._routes import Routes
from vocalsep_async.providers._spellings import LINKS

ID = "5c79be8e" * 4
CREATED_MS = 1_760_000_000_000
SOURCE = "https://songs.example/a.mp3?signature=CANARY"
VOCALS, BASS = "https://cdn.example/v.mp3?sig=1", "https://cdn.example/b.mp3?sig=2"
TRACK = {"stem_type_group_name": "Bass", "audio_url": BASS, "duration": 3.5, "id": "t1"}
PARAM = json.dumps(
    {
        "model": "ai-music-api/separate-vocals",
        "callBackUrl": "https://hook.example",
        "input": json.dumps({"audio_url": SOURCE, "type": "split_stem", "audio_id": "track"}),
    }
)


def job(state: str = "success", result: Any = "", **fields: Any) -> dict[str, Any]:
    return {
        "taskId": ID,
        "model": "ai-music-api/separate-vocals",
        "state": state,
        "param": PARAM,
        "resultJson": result,
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "createTime": CREATED_MS,
        "completeTime": None,
    } | fields


def nested_in_data(result: Any, levels: int) -> Any:
    for _ in range(levels):
        result = {"data": result}
    return result


def answer(data: Any, code: int = 200, **fields: Any) -> bytes:
    return json.dumps({"code": code, "msg": "success", "data": data} | fields).encode()


def read(data: Any) -> SeparationTask:
    return Decoder(KIE_JOBS).task(TaskRef(ID), 200, {}, answer(data))


def found(result: Any) -> SeparationTask:
    return read(job("success", json.dumps(result)))


def links_in(task: SeparationTask) -> set[str]:
    return {link for _, link in task.stems} | {track.url for track in task.origin_tracks}


def error_of(code: int, message: str, *, creation: bool = False) -> APIError:
    decoder = Decoder(KIE_JOBS)
    read_one = decoder.created if creation else partial(decoder.task, TaskRef(ID))
    with pytest.raises(APIError) as caught:
        read_one(200, {}, answer(None, code, msg=message))
    return caught.value


# Requests.


def test_a_job_is_polled_at_one_path_for_all_models() -> None:
    request = Request("GET", "/api/v1/jobs/recordInfo", query={"taskId": ID})
    assert KIE_JOBS.poll_request(ID) == request


def test_a_job_is_created_with_its_model_and_input() -> None:
    request = KIE_JOBS.creation_request(
        type=SeparationType.SPLIT_STEM, callback_url="https://hook.example", audio_url=SOURCE
    )
    assert (request.method, request.path) == ("POST", "/api/v1/jobs/createTask")
    assert request.json == {
        "model": "ai-music-api/separate-vocals",
        "callBackUrl": "https://hook.example",
        "input": {"audio_url": SOURCE, "type": "split_stem"},
    }


def test_a_job_may_be_created_without_a_callback_url() -> None:
    request = KIE_JOBS.creation_request(
        type=SeparationType.SPLIT_STEM, callback_url=None, audio_url=SOURCE
    )
    assert request.json is not None
    assert set(request.json) == {"model", "input"}


def test_a_job_is_created_from_a_track_with_the_name_of_a_stem() -> None:
    request = KIE_JOBS.creation_request(
        type=SeparationType.SPLIT_STEM_ADVANCED,
        callback_url="https://hook.example",
        source_task_id="song",
        audio_id="track",
        stem_name="drums",
    )
    assert request.json is not None
    assert request.json["input"] == {
        "task_id": "song",
        "audio_id": "track",
        "type": "split_stem_advanced",
        "stem_name": "drums",
    }


@pytest.mark.parametrize("type_", ["separate_vocal", "split_stem"])
def test_the_name_of_a_stem_is_refused_with_another_type(type_: str) -> None:
    with pytest.raises(InvalidArgumentError, match="split_stem_advanced alone"):
        KIE_JOBS.creation_request(
            type=SeparationType(type_),
            callback_url="https://hook.example",
            audio_url=SOURCE,
            stem_name="drums",
        )


def test_the_credits_are_those_of_the_older_route() -> None:
    assert KIE_JOBS.credits_request() == KIE.credits_request()


def test_the_host_alone_selects_the_older_route() -> None:
    assert provider_for("api.kie.ai") is KIE
    assert Routes(KIE, "api.kie.ai").ref(TaskRef(ID, route="kie_jobs")).route == "kie_jobs"
    assert Routes(KIE_JOBS, "api.kie.ai").ref(TaskRef(ID, route="kie")).route == "kie"
    assert (Routes(KIE).name, Routes(KIE_JOBS).name) == ("kie", "kie_jobs")


# Records.


@pytest.mark.parametrize("state", ["waiting", "queuing", "generating"])
def test_a_job_that_has_not_ended_is_pending(state: str) -> None:
    task = read(job(state))
    assert task.status is TaskStatus.PENDING
    assert task.type is SeparationType.SPLIT_STEM
    assert task.audio_id == "track"
    assert task.created_at == datetime.fromtimestamp(CREATED_MS / 1000, UTC)
    assert task.completed_at is None


def test_a_job_that_has_succeeded_has_stems_and_a_duration() -> None:
    done = job(
        "success",
        json.dumps({"data": {"vocal_url": VOCALS, "bass_url": BASS}}),
        completeTime=CREATED_MS + 83_000,
        costTime=80,
    )
    task = read(done)
    assert task.status is TaskStatus.SUCCESS
    assert task.succeeded
    assert dict(task.stems) == {"vocal": VOCALS, "bass": BASS}
    assert task.duration == 83.0
    assert task.raw == done


@pytest.mark.parametrize("code", ["500", "400", "moderation"])
def test_a_job_that_has_failed_has_its_code_as_text(code: str) -> None:
    task = read(job("fail", failCode=code, failMsg="it broke"))
    assert task.status is TaskStatus.GENERATE_AUDIO_FAILED
    assert (task.error_code, task.error_message) == (code, "it broke")
    assert not task.succeeded


def test_an_unknown_state_is_kept_and_pending() -> None:
    task = read(job("paused"))
    assert task.status == "paused"
    assert not task.is_final


def test_a_record_of_the_older_shape_is_read_too() -> None:
    record = {"taskId": ID, "status": "success", "response": {"vocalUrl": VOCALS}}
    task = read(record)
    assert task.status is TaskStatus.SUCCESS
    assert task.stems.vocal == VOCALS


@pytest.mark.parametrize(
    "result",
    [
        *["", None, "null", "{}", "[]", "not json", "[" * 5_000, 7, "7"],
        *[{"data": 7}, '{"data": [7]}', {"vocal_url": ""}, {"vocal_url": 7}],
        *[{"origin_data": "x"}, {"origin_data": [{}, 7, "x"]}],
        nested_in_data({"vocal_url": VOCALS}, 8),
    ],
)
def test_a_success_without_a_link_is_final_and_keeps_its_record(result: Any) -> None:
    task = read(job("success", result))
    assert task.is_final
    assert not task.succeeded
    assert task.raw["resultJson"] == result
    assert "the record holds no URL" in str(task.reason)


@pytest.mark.parametrize(
    "result",
    [
        {"vocal_url": VOCALS},
        {"vocalUrl": VOCALS},
        {"vocal_removal_info": {"vocal_url": VOCALS}},
        {"data": {"vocal_url": VOCALS}},
        {"data": {"vocal_separation_info": {"vocalUrl": VOCALS}}},
        {"resultObject": {"vocal_url": VOCALS}},
        {"response": {"vocalRemovalInfo": {"vocal_url": VOCALS}}},
        {"data": [{"vocal_url": VOCALS}]},
        {"data": json.dumps({"vocal_url": VOCALS})},
    ],
)
@pytest.mark.parametrize("shape", ["text", "object", "text in text"])
def test_a_stem_is_found_in_every_documented_place(result: Any, shape: str) -> None:
    text = json.dumps(result)
    given = {"text": text, "object": result, "text in text": {"data": text}}[shape]
    assert read(job("success", given)).stems.vocal == VOCALS


@pytest.mark.parametrize(
    "result",
    [
        {"origin_data": [TRACK]},
        {"data": {"originData": [TRACK]}},
        {"data": {"originData": json.dumps([TRACK])}},
        {"resultObject": {"vocal_separation_info": {"origin_data": [TRACK]}}},
        [TRACK],
        {"data": [TRACK]},
    ],
)
def test_a_track_is_found_in_every_documented_place(result: Any) -> None:
    (track,) = found(result).origin_tracks
    assert (track.name, track.url, track.duration, track.id) == ("Bass", BASS, 3.5, "t1")


@pytest.mark.parametrize(
    "fields",
    [
        {"vocal_url": VOCALS},
        {"vocal_removal_info": {"vocal_url": VOCALS}},
        {"vocalSeparationInfo": {"vocalUrl": VOCALS}},
        {"data": {"vocal_url": VOCALS}},
        {"response": {"vocalUrl": VOCALS}},
    ],
)
def test_a_stem_beside_an_empty_result_is_found(fields: Any) -> None:
    assert read(job("success", "", **fields)).stems.vocal == VOCALS


@pytest.mark.parametrize("result", [BASS, json.dumps(BASS), {"resultUrls": BASS}, {"data": BASS}])
def test_a_result_that_is_a_link_is_a_track(result: Any) -> None:
    (track,) = read(job("success", result)).origin_tracks
    assert (track.name, track.url) == (None, BASS)


def test_a_result_with_very_many_links_costs_a_few_comparisons_for_each() -> None:
    compared = 0

    class Link(str):
        """A link that counts how often it is compared."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    links = [Link(f"https://cdn.example/{number}") for number in range(1000)]
    record = KIE_JOBS.read_record(job("success", links))
    assert len(record["response"]["originData"]) == len(links)
    assert compared <= 10 * len(links)


def test_a_track_listed_twice_is_kept_once_and_one_with_another_link_is_kept() -> None:
    pair = {"extract": TRACK, "remove": {"audio_url": VOCALS}}
    odd = {"audio_url": VOCALS, "extract": None, "stem_type_group_name": ["x"]}
    task = found({"data": [TRACK, pair, odd], "origin_data": [pair, TRACK, odd]})
    assert [track.url for track in task.origin_tracks] == [BASS, VOCALS, BASS, VOCALS]


@pytest.mark.parametrize("result", [{"resultUrls": [BASS]}, {"data": {"resultUrls": [BASS]}}])
def test_links_without_a_name_are_tracks_without_a_name(result: Any) -> None:
    task = found(result)
    assert task.succeeded
    assert [(track.name, track.url) for track in task.origin_tracks] == [(None, BASS)]


def test_an_advanced_separation_has_a_pair_of_tracks() -> None:
    pair = {"extract": TRACK, "remove": {"audio_url": VOCALS}}
    half = {"extract": {"audio_url": ""}, "remove": {"audio_url": "https://cdn.example/c.mp3"}}
    task = read(job("success", json.dumps({"data": {"origin_data": [pair, half]}}), param=None))
    assert [track.part for track in task.origin_tracks] == ["extract", "remove", "remove"]
    assert task.type is SeparationType.SPLIT_STEM_ADVANCED


def test_the_first_link_for_a_stem_is_its_link_and_another_one_is_a_track() -> None:
    task = found({"vocal_url": VOCALS, "data": {"vocal_url": BASS, "origin_data": [TRACK, TRACK]}})
    assert task.stems.vocal == VOCALS
    assert [track.name for track in task.origin_tracks] == ["vocalUrl", "Bass"]


LINK = st.integers(0, 999).map("https://cdn.example/{}.mp3".format)
STEMS = st.dictionaries(
    st.sampled_from([*LINKS.values(), *(f"{name}_url" for name in STEM_NAMES)]), LINK, max_size=4
)
ONE_TRACK = st.builds(
    lambda key, link, name: {key: link, "stem_type_group_name": name},
    st.sampled_from(["audio_url", "audioUrl"]),
    LINK,
    st.none() | st.text(max_size=3),
)
PAIR = st.builds(lambda one, other: {"extract": one, "remove": other}, ONE_TRACK, ONE_TRACK)
TRACKS = st.lists(ONE_TRACK | PAIR, max_size=3)
HOLDER = st.builds(
    lambda stems, key, tracks: {**stems, key: tracks},
    STEMS,
    st.sampled_from(["origin_data", "originData"]),
    TRACKS,
)
INFO = st.sampled_from(["vocal_removal_info", "vocal_separation_info"])
PLACE = st.builds(lambda holder, key, info: {**holder, key: info}, HOLDER, INFO, HOLDER) | HOLDER
URLS = st.lists(LINK, max_size=3)
RESULT = (
    st.builds(
        lambda top, places, urls: {**top, **places, "resultUrls": urls},
        PLACE,
        st.dictionaries(
            st.sampled_from(["data", "resultObject", "response"]), PLACE | TRACKS, max_size=3
        ),
        URLS,
    )
    | TRACKS
)


def links_below(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value} if value.startswith("https://") else set()
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(links_below, inside))


@given(RESULT, st.booleans())
def test_every_link_in_a_documented_place_is_a_stem_or_a_track(
    result: Any,
    is_text: bool,  # noqa: FBT001 - drawn
) -> None:
    task = read(job("success", json.dumps(result) if is_text else result))
    assert links_in(task) == links_below(result)
    assert task.succeeded is bool(links_below(result))


FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text() | LINK,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "response", "vocal_url", "originData", "resultUrls", "audio_url", "remove"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON | JSON.map(json.dumps), JSON | JSON.map(json.dumps))
def test_a_successful_job_with_any_result_and_parameters_is_a_final_record(
    result: Any, param: Any
) -> None:
    task = read(job("success", result, param=param))
    assert task.status is TaskStatus.SUCCESS


@pytest.mark.parametrize(
    "param", ["", None, "not json", "[]", "{}", '{"input": 7}', '{"input": "{}"}', {"input": {}}]
)
def test_a_record_without_usable_parameters_is_read(param: Any) -> None:
    task = read(job("waiting", param=param))
    assert task.type is None


def test_the_link_to_the_song_is_in_no_message_and_no_repr(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for state in ("waiting", "success", "fail"):
        task = read(job(state))
        assert "CANARY" not in f"{task!r} {task} {task.reason}"
    with pytest.raises(DecodeError, match="status") as caught:
        read(job() | {"state": [SOURCE]})
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in caplog.text


# Errors.


@pytest.mark.parametrize(
    "code, message",
    [(422, "recordInfo is null"), (404, "Task not found"), (404, "task not FOUND!")],
)
def test_an_unknown_job_is_retried_because_it_may_be_new(code: int, message: str) -> None:
    error = error_of(code, message)
    assert isinstance(error, TaskNotFoundError)
    assert error.action is ErrorAction.RETRY


def test_a_success_without_a_record_is_an_unknown_job() -> None:
    with pytest.raises(TaskNotFoundError):
        read(None)


@pytest.mark.parametrize(
    "code, error, action",
    [
        (400, InvalidParametersError, ErrorAction.RAISE),
        (404, NotFoundError, ErrorAction.RAISE),
        (408, APIError, ErrorAction.RETRY),
        (429, RateLimitedError, ErrorAction.THROTTLE),
        (455, MaintenanceError, ErrorAction.MAINTENANCE),
        (500, ServerError, ErrorAction.RETRY),
        (501, ServerError, ErrorAction.RAISE),
        (505, ServerError, ErrorAction.RAISE),
    ],
)
def test_a_code_of_a_poll_means_what_it_means_on_the_older_route(
    code: int, error: type[APIError], action: ErrorAction
) -> None:
    raised = error_of(code, "no")
    assert (type(raised), raised.action) == (error, action)


@pytest.mark.parametrize("message", ["no", "too many requests", "Record does not exist"])
def test_code_500_of_a_creation_is_a_wrong_parameter_and_never_retried(message: str) -> None:
    error = error_of(500, message, creation=True)
    assert isinstance(error, InvalidParametersError)
    assert error.action is ErrorAction.RAISE
    assert "wrong parameters" in str(error)


def test_an_error_may_name_its_message_in_full() -> None:
    content = json.dumps({"code": 500, "message": "rate limit"}).encode()
    with pytest.raises(RateLimitedError):
        Decoder(KIE_JOBS).task(TaskRef(ID), 200, {}, content)


def test_the_id_of_a_new_job_is_read() -> None:
    assert Decoder(KIE_JOBS).created(200, {}, answer({"taskId": ID, "recordId": ID})) == ID


# Callbacks.


def callback(data: Any, code: int = 200) -> SeparationTask:
    opened = open_callback(answer(data, code, msg="it broke"))
    return Decoder(KIE_JOBS, "kie_jobs").callback(opened).task


def test_a_callback_is_the_record_of_the_job() -> None:
    done = callback(job("success", json.dumps({"vocal_url": VOCALS})))
    assert (done.task_id, done.status, done.route) == (ID, TaskStatus.SUCCESS, "kie_jobs")
    assert done.stems.vocal == VOCALS
    failed = callback(job("fail", None, failCode="500", failMsg="no"), 501)
    assert failed.status is TaskStatus.GENERATE_AUDIO_FAILED
    assert (failed.error_code, failed.error_message) == ("500", "no")


def test_the_callback_of_a_failure_without_a_reason_has_that_of_its_envelope() -> None:
    failed = callback(job("fail", None, failCode=None, failMsg=None), 501)
    assert failed.status is TaskStatus.GENERATE_AUDIO_FAILED
    assert (failed.error_code, failed.error_message) == (501, "it broke")


@pytest.mark.parametrize(
    "code, status",
    [(200, TaskStatus.SUCCESS), (501, TaskStatus.GENERATE_AUDIO_FAILED)],
)
def test_the_code_of_a_callback_without_a_state_decides(code: int, status: TaskStatus) -> None:
    assert callback(job("", None), code).status is status
