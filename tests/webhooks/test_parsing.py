"""What `parse_callback` makes of a body."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from payloads import COMPLETED_MS, CREATED_MS, TASK_ID, body, callback, failed_callback, link

from vocalsep_async import (
    KIE,
    KIE_JOBS,
    SUNOAPI,
    CallbackTooLargeError,
    InvalidArgumentError,
    MalformedCallbackError,
    Provider,
    SeparationType,
    TaskStatus,
    WebhookError,
)
from vocalsep_async.providers import COMMON_CODES
from vocalsep_async.webhooks import MAX_CALLBACK_BYTES, parse_callback

STEMS = {"vocal": link("vocal"), "instrumental": link("instrumental")}


def job(state: str, result: Any = "", **changes: Any) -> dict[str, Any]:
    """The record of a job, as kie.ai's newer route posts it."""
    asked = {"task_id": "a", "audio_id": "b", "type": "separate_vocal"}
    param = {"model": "ai-music-api/separate-vocals", "input": json.dumps(asked)}
    return {
        "taskId": TASK_ID,
        "model": "ai-music-api/separate-vocals",
        "state": state,
        "param": json.dumps(param),
        "resultJson": result,
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "createTime": CREATED_MS,
        "completeTime": None,
    } | changes


def posted(data: Any, code: Any = 200, **fields: Any) -> bytes:
    return json.dumps({"code": code, "msg": "done", "data": data} | fields).encode()


def nested(depth: int) -> Any:
    """A record with lists within lists, *depth* of them."""
    inner: Any = []
    for _ in range(depth - 1):
        inner = [inner]
    return {"task_id": TASK_ID, "other": inner}


SPELLINGS = {
    "sunoapi": callback("vocal_removal_info"),
    "kie": callback("vocal_separation_info"),
    "a response": callback("response"),
    "camelCase": {
        "code": 200,
        "msg": "vocal Removal generated.",
        "data": {
            "taskId": TASK_ID,
            "response": {"vocalUrl": link("vocal"), "instrumentalUrl": link("instrumental")},
        },
    },
    "camelCase info": {
        "code": "200",
        "message": "vocal Removal generated.",
        "data": {
            "taskId": TASK_ID,
            "vocalRemovalInfo": {
                "vocalUrl": link("vocal"),
                "instrumentalUrl": link("instrumental"),
            },
        },
    },
}


@pytest.mark.parametrize("provider", [None, SUNOAPI, KIE], ids=lambda each: each and each.name)
@pytest.mark.parametrize("content", SPELLINGS.values(), ids=SPELLINGS)
def test_a_callback_of_either_spelling_is_the_end_of_a_task_with_stems(
    content: Any, provider: Provider | None
) -> None:
    event = parse_callback(body(content), provider=provider)
    assert (event.task_id, event.code, event.is_final) == (TASK_ID, 200, True)
    assert event.message == "vocal Removal generated."
    assert event.task.succeeded
    assert dict(event.task.stems) == STEMS
    assert event.task.raw == content["data"]


def test_a_callback_of_a_job_is_read_by_its_state() -> None:
    result = json.dumps({"vocal_url": link("vocal"), "instrumental_url": link("instrumental")})
    done = parse_callback(posted(job("success", result, completeTime=COMPLETED_MS)))
    assert (done.is_final, done.task.route, dict(done.task.stems)) == (True, "kie_jobs", STEMS)
    assert done.task.type is SeparationType.SEPARATE_VOCAL
    running = parse_callback(posted(job("generating")))
    assert (running.is_final, running.task.status) == (False, TaskStatus.PENDING)
    failed = parse_callback(posted(job("fail", None, failCode="500", failMsg="no"), 501))
    assert (failed.is_final, failed.code) == (True, 501)
    assert (failed.task.error_code, failed.task.error_message) == ("500", "no")


@pytest.mark.parametrize("code", [100, 201, 202, "202", 299])
@pytest.mark.parametrize(
    "data",
    [
        {"task_id": TASK_ID},
        {"task_id": TASK_ID, "status": "SUCCESS"},
        job("success", json.dumps({"vocal_url": link("vocal")})),
        callback()["data"],
    ],
)
def test_a_callback_about_a_task_that_goes_on_is_no_end(code: Any, data: Any) -> None:
    event = parse_callback(posted(data, code))
    assert (event.code, event.is_final) == (int(code), False)
    assert event.task.status is TaskStatus.PENDING


@pytest.mark.parametrize("code", [400, 408, 413, 451, 500, 501, 531])
def test_the_callback_of_a_failure_is_an_end_without_stems(code: int) -> None:
    event = parse_callback(body(failed_callback(code)))
    assert (event.code, event.is_final, event.task.succeeded) == (code, True, False)
    assert event.task.error_code == code
    assert event.message == event.task.error_message == "the source could not be fetched"


@pytest.mark.parametrize("name", ["taskId", "task_id"])
def test_a_failure_without_data_may_name_its_task_beside_it(name: str) -> None:
    event = parse_callback(posted(None, 500, **{name: TASK_ID}))
    assert (event.task_id, event.is_final, event.task.succeeded) == (TASK_ID, True, False)
    assert event.task.status is TaskStatus.GENERATE_AUDIO_FAILED


def test_an_advanced_callback_has_its_pair_of_tracks() -> None:
    pair = {"extract": {"audio_url": link("a")}, "remove": {"audio_url": link("b")}}
    data = {"task_id": TASK_ID, "vocal_separation_info": {"origin_data": [pair]}}
    event = parse_callback(posted(data))
    assert event.task.succeeded
    assert [track.part for track in event.task.origin_tracks] == ["extract", "remove"]


class Reseller(Provider):
    """A provider of a user's, which spells all in a way of its own."""

    def read_callback(
        self, record: Mapping[str, Any], *, code: int, message: str
    ) -> Mapping[str, Any]:
        status = TaskStatus.SUCCESS if code == 200 else TaskStatus.PENDING
        return {"taskId": record["job"], "successFlag": status, "response": record["links"]}


RESELLER = Reseller(name="reseller", codes=COMMON_CODES, credits_path="/")


def test_a_provider_of_a_user_reads_its_callbacks() -> None:
    data = {"job": "a", "links": {"vocalUrl": link("vocal")}}
    event = parse_callback(posted(data), provider=RESELLER)
    assert (event.task_id, event.is_final, event.task.route) == ("a", True, None)
    assert event.task.stems.vocal == link("vocal")


@pytest.mark.parametrize(
    "data, problem",
    [
        ({"job": "a"}, "the provider cannot read it: KeyError"),
        ({"job": "a", "links": None, "task_id": "b"}, "names two tasks"),
        ({"job": "a.1", "links": None}, "holds a dot"),
    ],
)
def test_what_a_provider_of_a_user_cannot_read_is_malformed(data: Any, problem: str) -> None:
    with pytest.raises(MalformedCallbackError, match=problem) as caught:
        parse_callback(posted(data), provider=RESELLER)
    assert caught.value.__context__ is None


def test_what_is_no_provider_is_an_error_of_the_argument() -> None:
    with pytest.raises(InvalidArgumentError, match="provider must be a Provider, not str"):
        parse_callback(body(callback()), provider="kie")  # type: ignore[arg-type]


def test_an_event_survives_a_pickle() -> None:
    event = parse_callback(body(callback()))
    assert pickle.loads(pickle.dumps(event)) == event


def test_the_shape_of_a_callback_shows_its_route_where_one_host_serves_two() -> None:
    assert parse_callback(body(callback())).task.route is None
    assert parse_callback(body(callback()), provider=KIE).task.route == "kie"
    assert parse_callback(posted(job("success")), provider=KIE_JOBS).task.route == "kie_jobs"


MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the callback is not JSON .it is empty."),
    "a page": (b"<html>hush</html>", "the callback is not JSON .*begins with '<html'"),
    "a list": (b"[]", "the callback has no code"),
    "a text": (b'"hush"', "the callback has no code"),
    "no code": (b'{"data": {"task_id": "a"}}', "the callback has no code"),
    "a wrong code": (posted({"task_id": "a"}, True), "the callback has no code"),
    "not UTF-8": (b'{"code": 200, "data": "\xff"}', "it is not UTF-8"),
    "UTF-16": (body(callback()).decode().encode("utf-16"), "it is not UTF-8"),
    "compressed": (b"\x1f\x8b\x08\x00hush", "it is not UTF-8"),
    "NaN": (b'{"code": NaN}', "NaN is not JSON"),
    "Infinity": (b'{"code": 1e999}', "a number is too large"),
    "a huge number": (b'{"code": ' + b"9" * 5_000 + b"}", "limit"),
    "too deep for a parser": (b"[" * 100_000, "it is nested too deeply"),
    "deep": (posted(nested(100)), "nested too deeply"),
    "no data": (posted(None, 500), "the callback names no task: its data is null"),
    "no id": (posted({"vocal_removal_info": None}, 500), "task_?[iI]d"),
    "a list as data": (posted(["hush"]), "the record is list"),
    "a text as data": (posted("hush"), "the record is str"),
    "a number as id": (posted({"task_id": 7}), "the task_id of the callback is int, not text"),
    "a blank id": (posted({"task_id": " "}), "is blank"),
    "an id with a line end": (posted({"task_id": "a\n"}), "whitespace"),
    "an id with a surrogate": (posted({"task_id": "a\ud800"}), "lone surrogate"),
    "an invisible id": (posted({"task_id": "a\u200bb"}), "holds the character"),
    "a long id": (posted({"task_id": "a" * 513}), "513 characters"),
    "an id with a dot": (posted({"task_id": "a.1"}), "holds a dot"),
    "two ids": (posted({"task_id": "a", "taskId": "b"}), "names two tasks"),
    "two ids on two levels": (posted({"task_id": "a"}, taskId="b"), "names two tasks"),
    "a wrong result": (posted({"task_id": "a", "response": {"vocalUrl": 7}}), "does not fit"),
}


@pytest.mark.parametrize("content, problem", MALFORMED.values(), ids=MALFORMED)
def test_a_body_that_is_no_callback_is_malformed(content: bytes, problem: str) -> None:
    with pytest.raises(MalformedCallbackError, match=problem) as caught:
        parse_callback(content)
    assert caught.value.__context__ is None
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        '{"code": 200, "data": {"task_id": "a", "task_id": "b"}}',
        '{"code": 200, "data": {"task_id": "a", "task\\u005fid": "b"}}',
        '{"code": 200, "code": 500, "data": {"task_id": "a"}}',
        '{"code": 200, "data": {"task_id": "a"}, "data": {"task_id": "b"}}',
        '{"code": 200, "data": {"task_id": "a", "response": {"x": 1, "x": 1}}}',
    ],
)
def test_a_callback_with_one_name_twice_is_malformed(content: str) -> None:
    with pytest.raises(MalformedCallbackError, match="an object has a name twice"):
        parse_callback(content)


KINDS = [bytes, bytearray, memoryview, bytes.decode]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_a_body_is_any_bytes_or_text(kind: Any) -> None:
    content = body(callback())
    assert parse_callback(kind(content)) == parse_callback(content)


def test_every_second_byte_of_a_buffer_is_a_body() -> None:
    content = body(callback())
    spaced = bytes(each for byte in content for each in (byte, 0))
    assert parse_callback(memoryview(spaced)[::2]) == parse_callback(content)


@pytest.mark.parametrize("content", [None, {"code": 200}, 7])
def test_what_is_no_body_is_an_error_of_the_argument(content: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"await request.body\(\)"):
        parse_callback(content)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_a_body_of_more_than_the_bound_is_not_read(kind: Any) -> None:
    content = body(callback())
    largest = content + b" " * (MAX_CALLBACK_BYTES - len(content))
    assert parse_callback(kind(largest)) == parse_callback(content)
    with pytest.raises(CallbackTooLargeError, match=r"1,048,577 bytes; at most 1,048,576"):
        parse_callback(kind(largest + b" "))


def test_text_is_measured_in_bytes() -> None:
    with pytest.raises(CallbackTooLargeError):
        parse_callback('"' + "é" * (MAX_CALLBACK_BYTES // 2) + '"')


def test_a_deep_record_is_read_up_to_a_bound() -> None:
    # The callback and its data are two levels more.
    assert parse_callback(posted(nested(97))).task.raw["other"]


def test_a_body_of_more_values_than_any_callback_is_not_read() -> None:
    tracks = [{"audio_url": f"https://files.example/{number}"} for number in range(900)]
    data = {"task_id": TASK_ID, "response": {"origin_data": tracks}}
    assert len(parse_callback(posted(data)).task.origin_tracks) == 900
    with pytest.raises(CallbackTooLargeError, match="more than 2,000 values"):
        parse_callback(posted(data | {"response": {"origin_data": tracks * 3}}))


@pytest.mark.parametrize("comma", ["\\u002c", "\\u002C"])
def test_values_in_text_that_holds_json_are_counted(comma: str) -> None:
    def posted_links(number: int) -> str:
        links = comma.join(f'\\"https://files.example/{each}\\"' for each in range(number))
        record = f'{{"taskId": "a", "state": "success", "resultJson": "[{links}]"}}'
        return f'{{"code": 200, "msg": "", "data": {record}}}'

    assert parse_callback(posted_links(1_900)).task_id == "a"
    with pytest.raises(CallbackTooLargeError, match="more than 2,000 values"):
        parse_callback(posted_links(2_100))


def test_text_with_a_lone_surrogate_is_malformed() -> None:
    with pytest.raises(MalformedCallbackError, match="lone surrogate"):
        parse_callback('{"code": 200, "msg": "\ud800"}')


def test_a_byte_order_mark_is_accepted() -> None:
    assert parse_callback(b"\xef\xbb\xbf" + body(callback())) == parse_callback(body(callback()))


def test_one_except_clause_catches_every_refusal() -> None:
    for content in (b"", b" " * (MAX_CALLBACK_BYTES + 1)):
        with pytest.raises(WebhookError):
            parse_callback(content)
