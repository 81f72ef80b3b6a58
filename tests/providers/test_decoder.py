"""The decoder: every answer of an endpoint becomes a value or a `VocalSepError`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import (
    BROKEN_BODIES,
    CREATED_MS,
    HTML,
    SIGNATURE,
    TASK_ID,
    advanced_done,
    answer,
    body,
    callback,
    envelope,
    error_envelope,
    failed,
    failed_callback,
    kie_done,
    link,
    older_done,
    pending,
    stems_done,
    vocals_done,
    without,
)

from vocalsep_async import errors
from vocalsep_async.errors import APIError, DecodeError, ErrorAction, VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType, TaskRef, TaskStatus
from vocalsep_async.providers import APIKLEY, KIE, KIE_JOBS, SUNOAPI, Provider
from vocalsep_async.providers._callbacks import open_callback
from vocalsep_async.providers._creations import Evidence
from vocalsep_async.providers._decoder import Decoder, age_of

REF = TaskRef(TASK_ID)
CREATED = datetime.fromtimestamp(CREATED_MS / 1000, UTC)


def a_decoder(provider: Provider = SUNOAPI) -> Decoder:
    return Decoder(provider)


def decoded(
    content: bytes,
    *,
    status: int = 200,
    ref: TaskRef = REF,
    headers: Mapping[str, str] | None = None,
    provider: Provider = SUNOAPI,
) -> SeparationTask:
    return a_decoder(provider).task(ref, status, headers or {}, content)


def decoded_callback(content: bytes) -> SeparationTask:
    return a_decoder().callback(open_callback(content)).task


def api_error(content: bytes, **how: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        decoded(content, **how)
    return caught.value


# Records.

VOCALS, SPLIT, ADVANCED = SeparationType
STEMS_AND_TYPES: dict[tuple[str, ...], tuple[SeparationType | None, ...]] = {
    ("vocalUrl", "instrumentalUrl"): (VOCALS, VOCALS, VOCALS, VOCALS),
    ("vocalUrl", "instrumentalUrl", "drumsUrl", "bassUrl", "guitarUrl", "pianoUrl"): (SPLIT,) * 4,
    ("vocalUrl", "instrumentalUrl", "fxUrl"): (SPLIT,) * 4,
    ("vocalUrl", "drumsUrl"): (SPLIT,) * 4,
    ("vocalUrl", "instrumentalUrl", "backingVocalsUrl"): (VOCALS, VOCALS, SPLIT, VOCALS),
    ("vocalUrl", "instrumentalUrl", "harpUrl"): (VOCALS, VOCALS, SPLIT, VOCALS),
    ("vocalUrl", "backingVocalsUrl"): (SPLIT, VOCALS, SPLIT, SPLIT),
    ("vocalUrl", "harpUrl"): (SPLIT, VOCALS, SPLIT, SPLIT),
    ("vocalUrl",): (None, VOCALS, SPLIT, ADVANCED),
    ("drumsUrl", "bassUrl"): (None, SPLIT, SPLIT, ADVANCED),
    ("instrumentalUrl",): (None, VOCALS, SPLIT, ADVANCED),
}


def test_the_decoder_reads_the_record_of_a_task() -> None:
    task = decoded(answer(vocals_done()))
    assert task.task_id == TASK_ID
    assert task.succeeded
    assert task.raw == vocals_done()


@pytest.mark.parametrize("status", [200, 201, 299])
def test_the_decoder_accepts_every_success_status(status: int) -> None:
    assert decoded(answer(pending()), status=status).status is TaskStatus.PENDING


def test_the_decoder_accepts_a_code_written_as_digits() -> None:
    assert decoded(body(envelope(vocals_done(), code="200"))).succeeded


@pytest.mark.parametrize(
    "record, ref_type, type_",
    [
        (vocals_done(), None, SeparationType.SEPARATE_VOCAL),
        (older_done(), None, SeparationType.SEPARATE_VOCAL),
        (stems_done(), None, SeparationType.SPLIT_STEM),
        (kie_done(), None, SeparationType.SPLIT_STEM),
        (advanced_done(), None, SeparationType.SPLIT_STEM_ADVANCED),
        (vocals_done(response={"vocalUrl": link("v")}), None, None),
        (vocals_done(response={"vocalUrl": link("v"), "originUrl": link("o")}), None, None),
        (vocals_done(response={"drumsUrl": link("d"), "bassUrl": link("b")}), None, None),
        (pending(), None, None),
        (pending(), SeparationType.SPLIT_STEM, SeparationType.SPLIT_STEM),
        (vocals_done(), SeparationType.SPLIT_STEM, SeparationType.SEPARATE_VOCAL),
        (vocals_done(type="split_stem"), None, SeparationType.SPLIT_STEM),
        *(
            # Each type that a caller may name, and the one that such stems make of it.
            (vocals_done(response={key: link(key) for key in keys}), ref_type, type_)
            for keys, types in STEMS_AND_TYPES.items()
            for ref_type, type_ in zip((None, *SeparationType), types, strict=True)
        ),
    ],
)
def test_the_type_comes_from_the_record_or_its_stems_or_the_ref(
    record: Any, ref_type: SeparationType | None, type_: SeparationType | None
) -> None:
    assert decoded(answer(record), ref=TaskRef(TASK_ID, type=ref_type)).type is type_


@pytest.mark.parametrize("task_id", ["another-id", TASK_ID.upper(), TASK_ID + " "])
def test_the_decoder_rejects_the_record_of_another_task(task_id: str) -> None:
    with pytest.raises(DecodeError, match="another task") as caught:
        decoded(answer(vocals_done(taskId=task_id)))
    assert task_id not in str(caught.value)


def test_a_record_without_an_id_belongs_to_the_requested_task() -> None:
    assert decoded(answer(without(vocals_done(), ["taskId"]))).task_id == TASK_ID


# Unknown tasks.


@pytest.mark.parametrize("content", [envelope(None), without(envelope(None), ["data"])])
def test_a_success_without_a_record_means_an_unknown_task(content: Any) -> None:
    error = api_error(body(content))
    assert type(error) is errors.TaskNotFoundError
    assert (error.code, error.http_status, error.task_id) == (200, 200, TASK_ID)
    assert error.message == ""
    assert str(error).startswith("task not found: ")
    assert error.action is ErrorAction.RETRY


@pytest.mark.parametrize("status", [200, 422])
def test_a_validation_error_may_mean_an_unknown_task(status: int) -> None:
    error = api_error(body(error_envelope(422, "recordInfo is null")), status=status)
    assert type(error) is errors.TaskNotFoundError
    assert (error.code, error.message) == (422, "recordInfo is null")


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("provider", [SUNOAPI, KIE, APIKLEY, KIE_JOBS], ids=lambda each: each.name)
def test_task_not_found_in_an_envelope_means_an_unknown_task(
    status: int, provider: Provider
) -> None:
    content = body(error_envelope(404, "Task not found"))
    error = api_error(content, status=status, provider=provider)
    assert type(error) is errors.TaskNotFoundError
    assert (error.code, error.message, error.task_id) == (404, "Task not found", TASK_ID)
    assert error.action is ErrorAction.RETRY
    assert type(api_error(body(error_envelope(404, "Not found")))) is errors.NotFoundError


def test_task_not_found_without_an_envelope_is_a_wrong_address() -> None:
    error = api_error(body({"message": "Task not found"}), status=404)
    assert type(error) is errors.NotFoundError


@pytest.mark.parametrize("data", ["", [], {}, 0, False, "text", [1]])
def test_a_success_with_other_data_is_a_decode_error(data: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decoded(answer(data))
    assert caught.value.http_status == 200
    assert caught.value.in_envelope


# Errors of the API.

# An error code in the body takes precedence over the HTTP status; a success code under an error
# status is ignored. Each row: the status, the code in the body, and the code that is reported.
PRECEDENCE = [
    (status, code, code if code != 200 else status)
    for status in (200, 400, 401, 404, 405, 429, 430, 455, 500, 503)
    for code in (200, 400, 401, 404, 405, 429, 430, 455, 500, 503)
    if (status, code) != (200, 200)
]


@pytest.mark.parametrize("status, code, reported", PRECEDENCE)
@pytest.mark.parametrize("provider", [SUNOAPI, KIE], ids=lambda provider: provider.name)
def test_an_error_code_or_status_never_becomes_a_success(
    provider: Provider, status: int, code: int, reported: int
) -> None:
    content = body(envelope(vocals_done(), code=code, msg="no"))
    error = api_error(content, status=status, provider=provider)
    assert (error.code, error.http_status) == (reported, status)
    # An answer that contradicts itself was changed by something in between.
    rule = provider.classify(reported, "no", in_envelope=code != 200)
    assert error.in_envelope is (code != 200)
    assert (type(error), error.action) == (rule.error, rule.action)


@pytest.mark.parametrize(
    "status, content, error_class, action",
    [
        (405, HTML, errors.RateLimitedError, ErrorAction.THROTTLE),
        (405, b"", errors.RateLimitedError, ErrorAction.THROTTLE),
        (405, body({"error": "no"}), errors.RateLimitedError, ErrorAction.THROTTLE),
        (405, body(error_envelope(405)), errors.RateLimitedError, ErrorAction.THROTTLE),
        (429, HTML, errors.RateLimitedError, ErrorAction.THROTTLE),
        (429, body(error_envelope(429)), errors.InsufficientCreditsError, ErrorAction.RAISE),
        (404, HTML, errors.NotFoundError, ErrorAction.RAISE),
        (502, HTML, errors.ServerError, ErrorAction.RETRY),
        (418, b"teapot", APIError, ErrorAction.RAISE),
    ],
)
def test_a_bare_status_differs_from_the_same_code_in_an_envelope(
    status: int, content: bytes, error_class: type, action: ErrorAction
) -> None:
    error = api_error(content, status=status)
    assert (type(error), error.action, error.code) == (error_class, action, status)
    assert error.in_envelope is (b'"code"' in content)
    assert "<" not in str(error)


def test_a_bare_403_or_405_hints_at_the_option_to_check() -> None:
    assert "user_agent" in str(api_error(b"error code: 1010", status=403))
    assert "base_url" in str(api_error(HTML, status=405))


def test_an_api_error_holds_the_retry_after_of_the_server() -> None:
    content = body(error_envelope(430, "too frequent"))
    assert api_error(content, headers={"Retry-After": "7"}).retry_after == 7.0
    assert api_error(content, headers={"Retry-After": "soon"}).retry_after is None
    assert api_error(HTML, status=405, headers={"Retry-After": "7"}).retry_after == 7.0


def test_the_message_of_an_api_error_is_printable_and_shortened() -> None:
    error = api_error(body(error_envelope(500, "\x1b[2J\r\n\ud800" + "x" * 400)))
    assert error.message.startswith(r"\x1b[2J\r\n\ud800x")
    assert error.message.endswith("x…")
    assert str(error).isprintable()


def test_a_message_that_is_not_text_becomes_empty() -> None:
    error = api_error(body(error_envelope(500, None)))
    assert error.message == ""
    assert "None" not in str(error)


# Arbitrary answers.


@pytest.mark.parametrize("content", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
@pytest.mark.parametrize("endpoint", ["task", "created", "credits", "callback"])
def test_a_broken_body_is_a_single_decode_error(endpoint: str, content: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_as(endpoint, 200, content)
    assert caught.value.http_status == (None if endpoint == "callback" else 200)
    assert not caught.value.in_envelope
    assert caught.value.__context__ is None


def decode_as(endpoint: str, status: int, content: bytes) -> Any:
    match endpoint:
        case "task":
            return decoded(content, status=status)
        case "created":
            return a_decoder().created(status, {}, content)
        case "credits":
            return a_decoder().credits(status, {}, content)
        case _:
            return decoded_callback(content)


def decoded_or_error(endpoint: str, status: int, content: bytes) -> Any:
    try:
        return decode_as(endpoint, status, content)
    except VocalSepError as error:
        return error


ENDPOINTS = st.sampled_from(["task", "created", "credits", "callback"])
STATUSES = st.sampled_from([200, 204, 400, 405, 429, 430, 455, 500, 599])
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from([200, 430, TASK_ID, "SUCCESS", "rate limit"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["code", "msg", "data", "taskId", "task_id", "status", "response", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(ENDPOINTS, STATUSES, st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_a_value_or_a_vocalsep_error(
    endpoint: str, status: int, content: bytes
) -> None:
    ended = decoded_or_error(endpoint, status, content)
    if isinstance(ended, VocalSepError):
        assert str(ended).isprintable()
        assert ended.__context__ is None
    else:
        assert endpoint == "callback" or status in (200, 204)
        assert ended != "None"


# Creation and credits.


@pytest.mark.parametrize("data", [{"taskId": TASK_ID}, {"task_id": TASK_ID, "taskId": None}])
def test_the_decoder_reads_the_id_of_a_new_task(data: Any) -> None:
    assert a_decoder().created(200, {}, answer(data)) == TASK_ID


NO_IDS: list[Any] = [None, "", " ", True, ["hush"], {}]


@pytest.mark.parametrize(
    "data",
    [
        *(None, "", [], {}, [None], 7, "success", "QUEUED", "2026-11-30", "20", "5916.25", "a b1"),
        *(["created"], [[]], {"task": {}}, {"taskId": {"url": "https://x.example/?hush"}}),
        *({"taskId": value} for value in NO_IDS),
    ],
)
def test_a_creation_without_an_id_is_a_decode_error(data: Any) -> None:
    with pytest.raises(DecodeError, match=r"no usable task id$") as caught:
        a_decoder().created(201, {}, answer(data))
    assert caught.value.http_status == 201
    assert caught.value.in_envelope
    assert caught.value.__context__ is None
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "held, shown",
    [
        ("new\x1b]8;;1\n", r"new\x1b]8;;1\n"),
        ("\ud800new", r"\ud800new"),
        (" new ", " new "),
        ("n" * 600, "n" * 600),
        (20261130, "20261130"),
        ("https://x.example/new?signature=hush\n", r"https://x.example/new\n"),
    ],
)
def test_an_id_that_cannot_be_used_is_shown_escaped_so_that_it_is_not_lost(
    held: Any, shown: str
) -> None:
    for data in ({"taskId": held}, [{"task_id": held}], {"task": {"taskId": held}}):
        with pytest.raises(DecodeError) as caught:
            a_decoder().created(200, {}, answer(data))
        assert f"It holds '{shown}', which may be the id of a new task" in str(caught.value)


@pytest.mark.parametrize("task_id", [TASK_ID, "5c79be8e-0b1a-4c7d-9a55-1f2e3d4c5b6a", "job_7"])
@pytest.mark.parametrize(
    "holder",
    [
        "{}",
        "[{}]",
        '[{{"taskId": {}}}]',
        '[{{"task_id": {}}}]',
        '{{"data": {{"taskId": {}}}}}',
        '{{"task": {{"taskId": {}}}, "song": null}}',
        '{{"tasks": [{}]}}',
        '[[{{"taskId": {}}}]]',
    ],
)
def test_the_decoder_finds_the_id_of_a_new_task_in_any_shape_of_a_success(
    holder: str, task_id: str
) -> None:
    content = answer(json.loads(holder.format(json.dumps(task_id))))
    assert a_decoder().created(200, {}, content) == task_id
    # What the request held is not the id of what it created.
    with pytest.raises(DecodeError, match=r"no usable task id$"):
        a_decoder().created(200, {}, content, sent=[task_id])


@pytest.mark.parametrize("code", [405, 422, 430, 500])
def test_an_error_with_a_bare_id_is_an_error_that_shows_it_and_proves_nothing(code: int) -> None:
    for data in (TASK_ID, [TASK_ID], {"trace": [TASK_ID]}, {"task": {"taskId": TASK_ID}}):
        content = body(error_envelope(code, "too often") | {"data": data})
        with pytest.raises(errors.APIError) as caught:
            a_decoder().created(200, {}, content)
        assert f"It holds '{TASK_ID}', which may be the id of a new task." in str(caught.value)
        assert caught.value.message == "too often"
        assert a_decoder().evidence(content) is Evidence.NONE
    # A list of objects is as good as one object.
    listed = body(error_envelope(code, "too often") | {"data": [{"taskId": "new"}]})
    assert a_decoder().created(200, {}, listed) == "new"
    for data in ("E422", ["code 17"], {"errors": ["2026-11-30"]}, "limit_20"):
        content = body(error_envelope(code, "no") | {"data": data})
        expected = {422: Evidence.REFUSED, 500: Evidence.NONE}.get(code, Evidence.REPEATABLE)
        assert a_decoder().evidence(content) is expected


def test_the_error_of_a_rejected_creation_names_no_task() -> None:
    with pytest.raises(errors.InvalidParametersError) as caught:
        a_decoder().created(200, {}, body(error_envelope(422, "Record does not exist")))
    assert caught.value.task_id is None
    assert "task" not in str(caught.value)


@pytest.mark.parametrize("data, number", [(100, 100.0), (5916.25, 5916.25), (0, 0.0), ("7", 7.0)])
def test_the_decoder_reads_credits_as_a_float(data: Any, number: float) -> None:
    credits_ = a_decoder().credits(200, {}, answer(data))
    assert credits_ == number
    assert isinstance(credits_, float)


@pytest.mark.parametrize("data", [None, "", "many", True, [], {}, [5], {"credits": 5}, 10**400])
def test_data_that_is_not_a_number_of_credits_is_a_decode_error(data: Any) -> None:
    with pytest.raises(DecodeError, match="no number of credits") as caught:
        a_decoder().credits(200, {}, answer(data))
    assert caught.value.http_status == 200
    assert caught.value.in_envelope


def test_an_error_code_for_credits_raises_the_error_of_that_code() -> None:
    with pytest.raises(errors.AuthenticationError):
        a_decoder().credits(200, {}, body(error_envelope(401)))


# The age of a task.


@pytest.mark.parametrize(
    "record, date, age",
    [
        (pending(), CREATED + timedelta(seconds=42), 42.0),
        (pending(createTime=str(CREATED_MS)), CREATED + timedelta(seconds=42), 42.0),
        (pending(), CREATED - timedelta(seconds=42), 0.0),
        (pending(), None, None),
        (pending(createTime=None), CREATED, None),
        (pending(createTime="2025-12-29 09:20:00"), CREATED, None),
        (pending(createTime="2025-12-29T09:20:00Z"), CREATED, None),
        (pending(createTime=-5), CREATED, None),
    ],
)
@pytest.mark.usefixtures("any_zone")
def test_the_age_of_a_task_is_measured_by_the_clock_of_the_server(
    record: Any, date: datetime | None, age: float | None
) -> None:
    headers = {"Date": format_datetime(date, usegmt=True)} if date else {}
    assert age_of(decoded(answer(record)), headers) == age
    assert age_of(decoded(answer(record)), {"Date": "garbage"}) is None


# Stored records.


def test_a_stored_record_restores_an_equal_task() -> None:
    task = decoded(answer(stems_done()))
    assert a_decoder().restored(TaskRef(TASK_ID, type=task.type), task.raw) == task


@pytest.mark.parametrize(
    "record", [failed("FAILED"), vocals_done(successFlag="success"), failed("3", errorCode="413")]
)
def test_a_stored_record_of_another_vocabulary_restores_an_equal_task(record: Any) -> None:
    task = decoded(answer(record))
    assert task.is_final
    assert a_decoder().restored(REF, task.raw) == task


@pytest.mark.parametrize("record", [pending(), {}, [], None, "SUCCESS"])
def test_a_stored_record_must_be_of_a_task_that_ended(record: Any) -> None:
    with pytest.raises(DecodeError):
        a_decoder().restored(REF, record)


# Callbacks.


@pytest.mark.parametrize("info", ["vocal_removal_info", "vocal_separation_info", "response"])
def test_a_callback_of_either_provider_is_a_success_with_stems(info: str) -> None:
    task = decoded_callback(body(callback(info)))
    assert (task.task_id, task.status) == (TASK_ID, TaskStatus.SUCCESS)
    assert dict(task.stems) == {"vocal": link("vocal"), "instrumental": link("instrumental")}
    assert task.type is SeparationType.SEPARATE_VOCAL
    assert (task.error_code, task.error_message) == (None, None)


def test_an_advanced_callback_has_tracks() -> None:
    pair = {"extract": {"audio_url": link("a")}, "remove": {"audio_url": link("b")}}
    data = {"task_id": TASK_ID, "vocal_separation_info": {"origin_data": [pair]}}
    task = decoded_callback(answer(data))
    assert task.type is SeparationType.SPLIT_STEM_ADVANCED
    assert len(task.origin_tracks) == 2


@pytest.mark.parametrize("code", [400, 451, 500, 531, 0, "501"])
def test_a_callback_with_another_code_is_a_failure(code: Any) -> None:
    task = decoded_callback(body(failed_callback(code)))
    assert task.status is TaskStatus.GENERATE_AUDIO_FAILED
    assert task.error_code == int(code)
    assert task.error_message == "the source could not be fetched"
    assert not task.succeeded


@pytest.mark.parametrize("code", [202, "202", 100, 102, 201, 204, 206, 299])
@pytest.mark.parametrize("fields", [{}, {"status": "SUCCESS"}, {"vocal_removal_info": None}])
def test_a_callback_that_reports_progress_is_no_end(code: Any, fields: Any) -> None:
    data = callback()["data"] | fields
    task = decoded_callback(body(envelope(data, code=code, msg="processing")))
    assert (task.status, task.is_final) == (TaskStatus.PENDING, False)
    assert (task.error_code, task.error_message) == (None, None)


@given(st.integers(-1000, 1000))
def test_a_callback_is_an_end_unless_its_code_reports_progress(code: int) -> None:
    task = decoded_callback(body(callback(code=code)))
    assert task.is_final is not (100 <= code <= 299 and code != 200)
    assert task.succeeded is (code == 200)


def test_the_code_of_a_callback_overrides_the_status_of_its_record() -> None:
    data = callback()["data"] | {"status": "SUCCESS"}
    assert not decoded_callback(body(envelope(data, code=500))).succeeded
    data = callback()["data"] | {"status": "PENDING"}
    assert decoded_callback(answer(data)).succeeded


def test_a_callback_may_have_a_digit_code_and_no_message() -> None:
    assert decoded_callback(body(callback(code="200", msg=None))).succeeded
    assert decoded_callback(body(failed_callback() | {"msg": None})).error_message is None


@pytest.mark.parametrize("code", [None, True, "OK", 200.0, [200]])
def test_a_callback_without_a_code_is_a_decode_error(code: Any) -> None:
    with pytest.raises(DecodeError, match="no code"):
        decoded_callback(body(callback(code=code)))


@pytest.mark.parametrize("data", [None, "", [], {}, "text", {"task_id": [link("x")]}])
def test_a_callback_without_a_record_is_a_decode_error(data: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decoded_callback(body(callback(data=data)))
    assert SIGNATURE not in str(caught.value)
    assert caught.value.http_status is None
