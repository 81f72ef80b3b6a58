"""Ends of tasks under a status that is not documented: what the record shows decides."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import COMPLETED_MS, failed, link, origin_item, pending, vocals_done

from vocalsep_async.models import TaskStatus
from vocalsep_async.providers._records import structure_task

UNKNOWN_WORDS: list[Any] = ["FAILED", "SENSITIVE_WORD_ERROR", "TIMEOUT", 3, "success", 1, "DONE"]
PAIR = {"originData": [{"extract": origin_item("cello"), "remove": origin_item("rest")}]}


@pytest.mark.parametrize("word", UNKNOWN_WORDS)
@pytest.mark.parametrize("code", [413, "413", 500, -1, 1, "moderation"])
def test_a_record_with_a_completion_time_and_an_error_code_has_failed(word: Any, code: Any) -> None:
    task = structure_task(failed(successFlag=word, errorCode=code))
    assert (task.status, task.is_final, task.succeeded) == (str(word), True, False)
    assert (task.reason or "").endswith(f"ended as {word} (code {code}): the engine gave up")


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
