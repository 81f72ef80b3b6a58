"""Ends of tasks under a status that is not documented: what the record shows decides."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import (
    COMPLETED_MS,
    TASK_ID,
    answer,
    failed,
    link,
    origin_item,
    pending,
    vocals_done,
    without,
)

from vocalsep_async.models import SeparationTask, TaskRef, TaskStatus
from vocalsep_async.providers import APIKLEY, KIE, KIE_JOBS, SUNOAPI, Provider
from vocalsep_async.providers._decoder import Decoder
from vocalsep_async.providers._records import structure_task

UNKNOWN_WORDS: list[Any] = ["FAILED", "SENSITIVE_WORD_ERROR", "TIMEOUT", 3, "success", 1, "DONE"]
PAIR = {"originData": [{"extract": origin_item("cello"), "remove": origin_item("rest")}]}


@pytest.mark.parametrize("word", UNKNOWN_WORDS)
@pytest.mark.parametrize("code", [413, "413", 500, -1, 1, "moderation"])
def test_a_record_with_a_completion_time_and_an_error_code_has_failed(word: Any, code: Any) -> None:
    task = structure_task(failed(successFlag=word, errorCode=code))
    assert (task.status, task.is_final, task.succeeded) == (str(word), True, False)
    assert (task.reason or "").endswith(
        f"ended with status {word} (code {code}): the engine gave up"
    )


@pytest.mark.parametrize("word", UNKNOWN_WORDS)
@pytest.mark.parametrize("code", [None, 0, 200, "0", "200", "", 500])
@pytest.mark.parametrize("response", [{"vocalUrl": link("v")}, PAIR])
def test_a_record_with_a_completion_time_and_links_has_succeeded(
    word: Any, code: Any, response: Any
) -> None:
    # An error code beside links is that of a webhook: what was paid for is there.
    task = structure_task(vocals_done(successFlag=word, errorCode=code, response=response))
    assert (task.status, task.is_final, task.succeeded) == (str(word), True, True)


def test_the_link_to_the_song_is_no_result_of_a_task_with_an_error_code() -> None:
    song = {"originUrl": link("song")}
    task = structure_task(failed(successFlag="FAILED", response=song))
    assert (task.is_final, task.succeeded) == (True, False)


@pytest.mark.parametrize("word", UNKNOWN_WORDS)
@pytest.mark.parametrize(
    "record",
    [
        pending(errorCode=413),
        pending(response={"vocalUrl": link("v")}),
        vocals_done(response=None),
        vocals_done(response=None, errorCode=0),
        vocals_done(completeTime=0),
        failed(completeTime=-1),
        failed(completeTime="soon"),
    ],
)
def test_a_record_that_lacks_the_time_or_both_code_and_links_is_pending(
    word: Any, record: Any
) -> None:
    task = structure_task(record | {"successFlag": word})
    assert (task.is_final, task.succeeded) == (False, False)


@given(
    st.sampled_from([*TaskStatus, "FAILED", "success", "3"]),
    st.sampled_from([None, 0, 200, "200", 500, "413", "words"]),
    st.sampled_from([None, COMPLETED_MS, "2026-01-02 03:04:05"]),
    st.sampled_from([None, {"vocalUrl": link("v")}, PAIR]),
)
def test_a_documented_status_decides_and_another_one_leaves_it_to_the_evidence(
    word: str, code: Any, time: Any, response: Any
) -> None:
    task = structure_task(
        pending(successFlag=word, errorCode=code, completeTime=time, response=response)
    )
    is_error = code not in (None, 0, 200, "200")
    if word in set(TaskStatus):
        assert task.is_final is (word != "PENDING")
    else:
        assert task.is_final is (time is not None and (is_error or response is not None))
    assert not task.succeeded or (task.is_final and response is not None)
    assert task.status == word


# In each provider's spelling.

TIMES: list[Any] = [
    COMPLETED_MS,
    str(COMPLETED_MS),
    COMPLETED_MS // 1000,
    float(COMPLETED_MS),
    "2025-12-29T09:21:23Z",
    "2025-12-29T17:21:23+08:00",
    "2025-12-29 09:21:23",
]
NO_TIMES: list[Any] = [
    *(None, 0, "0", -1, "-1", "", " ", "null", "soon", False, [], {}),
    *("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00"),
]
ERRORS: list[Any] = [413, "413", " 500 ", 500.0, -1, "moderation"]
NO_ERRORS: list[Any] = [None, 0, 200, "0", "200", "", " ", 0.0, 200.0, "null", "None", False, []]
SHOWN = {" 500 ": "500", 500.0: 500}


def camel(word: Any, time: Any, code: Any, link_: str | None) -> dict[str, Any]:
    links = None if link_ is None else {"vocalUrl": link_}
    end = {"successFlag": word, "completeTime": time, "errorCode": code, "response": links}
    return pending(**end)


def snake(word: Any, time: Any, code: Any, link_: str | None) -> dict[str, Any]:
    links = None if link_ is None else {"vocal_url": link_}
    end = {"success_flag": word, "complete_time": time, "error_code": code}
    return {"task_id": TASK_ID, "vocal_removal_info": links} | end


def by_status(word: Any, time: Any, code: Any, link_: str | None) -> dict[str, Any]:
    record = camel(word, time, code, link_)
    return without(record, ["successFlag"]) | {"status": word}


def job(word: Any, time: Any, code: Any, link_: str | None) -> dict[str, Any]:
    result = "" if link_ is None else json.dumps({"resultUrls": [link_]})
    end = {"state": word, "completeTime": time, "failCode": code, "resultJson": result}
    return {"taskId": TASK_ID, **end}


def old_job(word: Any, time: Any, code: Any, link_: str | None) -> dict[str, Any]:
    return without(job(word, time, None, link_), ["failCode"]) | {"errorCode": code}


SPELLINGS = [
    (SUNOAPI, camel),
    (KIE, snake),
    (APIKLEY, by_status),
    (KIE_JOBS, job),
    (KIE_JOBS, old_job),
]
in_each_spelling = pytest.mark.parametrize("provider, spelt", SPELLINGS)


def read(provider: Provider, record: dict[str, Any]) -> SeparationTask:
    return Decoder(provider).task(TaskRef(TASK_ID), 200, {}, answer(record))


@in_each_spelling
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("word", ["FAILED", 3, "COMPLETED", "queued up"])
def test_an_end_is_seen_in_each_spelling_of_time_code_and_links(
    provider: Provider, spelt: Any, time: Any, word: Any
) -> None:
    for code in ERRORS:
        task = read(provider, spelt(word, time, code, None))
        shown = SHOWN.get(code, code)
        assert (task.status, task.error_code) == (str(word), shown)
        assert (task.is_final, task.succeeded) == (True, False)
    for code in NO_ERRORS:
        task = read(provider, spelt(word, time, code, link("v")))
        assert (task.is_final, task.succeeded) == (True, True)
        assert not read(provider, spelt(word, time, code, None)).is_final


@in_each_spelling
@pytest.mark.parametrize("time", NO_TIMES)
@pytest.mark.parametrize("word", ["QUEUED", "PROCESSING", 2, "FAILED"])
def test_a_word_without_a_completion_time_is_pending_in_each_spelling(
    provider: Provider, spelt: Any, time: Any, word: Any
) -> None:
    for code in (*ERRORS, *NO_ERRORS):
        task = read(provider, spelt(word, time, code, link("v")))
        assert task.completed_at is None
        assert (task.is_final, task.succeeded) == (False, False)


@in_each_spelling
def test_the_providers_own_word_for_pending_is_pending_whatever_else_the_record_has(
    provider: Provider, spelt: Any
) -> None:
    word = "generating" if provider is KIE_JOBS else "PENDING"
    for code in (413, None):
        task = read(provider, spelt(word, COMPLETED_MS, code, link("v")))
        assert (task.status, task.is_final) == (TaskStatus.PENDING, False)
        assert task.error_code == code


@in_each_spelling
@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_second_look_at_a_record_without_a_status_finds_its_end(
    provider: Provider, spelt: Any, blank: Any
) -> None:
    ref, decoder = TaskRef(TASK_ID), Decoder(provider)
    for code, link_, status in (
        (None, link("v"), TaskStatus.SUCCESS),
        (500, None, TaskStatus.GENERATE_AUDIO_FAILED),
        (None, None, TaskStatus.PENDING),
    ):
        record = spelt(blank, COMPLETED_MS, code, link_)
        assert read(provider, record).status is TaskStatus.PENDING
        assert decoder.ended(ref, record).status is status
