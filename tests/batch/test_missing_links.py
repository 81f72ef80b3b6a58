"""Batches wait for links that come after a success; what does not come is no final outcome."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import cut_off, known_in, run
from batch.tracking import numbered, tracked
from fakes import FakeProvider, finished, make_client, record
from listening import Recorder

from vocalsep_async import (
    Interval,
    TaskFailedError,
    TaskOutcome,
    TaskStatus,
    TaskTimeoutError,
)
from vocalsep_async.instrumentation import TaskFinished
from vocalsep_async.policies import MISSING_LINKS_PATIENCE

pytestmark = pytest.mark.anyio

ENDED = 1_700_000_060_000
REJECTED = "Uploaded audio matches existing work of art"


def empty(task_id: str = "a") -> Any:
    """A success whose links have not come."""
    return record(task_id, "SUCCESS", completeTime=ENDED, response=None)


def rejected(task_id: str = "a") -> Any:
    """A running task whose record has an error already."""
    return record(task_id, errorCode=413, errorMessage=REJECTED)


def error_of(outcome: TaskOutcome) -> TaskFailedError:
    assert outcome.task is None
    assert not outcome.succeeded
    assert isinstance(outcome.error, TaskFailedError)
    assert outcome.reason == str(outcome.error)
    return outcome.error


async def test_a_batch_polls_a_success_again_until_its_links_come(provider: FakeProvider) -> None:
    for task_id in numbered(3):
        provider.script(task_id, *[empty(task_id)] * 3, finished(task_id))
    events = Recorder(TaskFinished)
    async with make_client(on_event=events) as client:
        outcomes = await tracked(client, numbered(3))
    assert all(outcome.succeeded and outcome.error is None for outcome in outcomes)
    assert [outcome.polls for outcome in outcomes] == [4, 4, 4]
    assert len(events) == 3


@pytest.mark.own_limiter
async def test_an_outcome_says_that_no_link_came(provider: FakeProvider) -> None:
    provider.every_answer = empty
    async with make_client() as client, client.track(["a"]) as batch:
        began = anyio.current_time()
        outcome = await anext(batch)
        waited = anyio.current_time() - began
        assert (batch.stats.succeeded, batch.stats.failed) == (0, 1)
    error = error_of(outcome)
    assert outcome.status is TaskStatus.SUCCESS
    assert MISSING_LINKS_PATIENCE < waited < MISSING_LINKS_PATIENCE + 1
    assert str(error) == (
        "task 'a' ended with status SUCCESS, but no link to a stem came within 60 s; "
        "poll it again later"
    )
    assert (error.task.status, error.task.raw["completeTime"]) == (TaskStatus.SUCCESS, ENDED)
    with pytest.raises(TaskFailedError, match="within 60 s"):
        outcome.result()
    assert str(pickle.loads(pickle.dumps(outcome)).error) == str(error)


@pytest.mark.parametrize("seconds, words", [(0, "is in its record"), (20, "came within 20 s")])
async def test_a_deadline_before_the_links_says_how_long_they_were_waited_for(
    provider: FakeProvider, seconds: float, words: str
) -> None:
    provider.every_answer = empty
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=seconds)
    assert error_of(outcome).task.status is TaskStatus.SUCCESS
    with pytest.raises(TaskFailedError, match=f"no link to a stem {words}; poll it again later"):
        outcome.result()


# Journals


async def test_a_later_run_finds_the_links_that_had_not_come(
    provider: FakeProvider, path: Path
) -> None:
    provider.every_answer = empty
    error_of((await run(provider, ["a"], journal=path))["a"])
    provider.sent.clear()
    provider.ends_all()
    assert (await run(provider, ["a"], journal=path))["a"].succeeded
    assert provider.sent == ["a"]
    provider.sent.clear()
    assert (await run(provider, ["a"], journal=path))["a"].succeeded
    assert provider.sent == []


@pytest.mark.parametrize("given", [["a"], []])
@pytest.mark.parametrize("seconds", [None, 10])
async def test_each_later_run_polls_a_success_without_links_once(
    provider: FakeProvider, path: Path, given: list[str], seconds: float | None
) -> None:
    provider.every_answer = empty
    error_of((await run(provider, ["a"], journal=path, timeout=seconds))["a"])
    known = (await known_in(path))["a"]
    assert (known.status, known.has_ended) == (TaskStatus.SUCCESS, False)
    for polls in (1, 2):
        provider.sent.clear()
        outcome = (await run(provider, given, journal=path, timeout=seconds))["a"]
        assert str(error_of(outcome)) == (
            "task 'a' ended with status SUCCESS, but no link to a stem is in its record; "
            "poll it again later"
        )
        assert provider.sent == ["a"]
        assert outcome.polls == known.polls + polls


async def test_a_run_that_was_cut_off_meanwhile_waits_for_the_links_anew(
    provider: FakeProvider, path: Path
) -> None:
    provider.script("a", *[empty()] * 6, finished("a"))
    assert await cut_off(provider, ["a"], journal=path, after=5) == []
    outcome = (await run(provider, ["a"], journal=path))["a"]
    assert outcome.succeeded
    assert len(provider.sent) == 7


async def test_an_end_without_a_status_is_restored_from_the_journal(
    provider: FakeProvider, path: Path
) -> None:
    links = {"vocalUrl": "https://cdn.example/v.mp3"}
    provider.every_answer = lambda task_id: record(
        task_id, successFlag=None, completeTime=ENDED, response=links
    )
    first = await run(provider, ["a"], journal=path)
    provider.sent.clear()
    second = await run(provider, ["a"], journal=path)
    assert first["a"].status is second["a"].status is TaskStatus.SUCCESS
    assert second["a"].task == first["a"].task
    assert provider.sent == []


# The error of a running task


async def test_a_timeout_shows_the_error_in_the_record_of_a_running_task(
    provider: FakeProvider,
) -> None:
    provider.every_answer = rejected
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=30, poll=Interval(10))
        with pytest.raises(TaskTimeoutError) as single:
            await client.wait_for_task("a", timeout=30, poll=Interval(10))
    error = outcome.error
    assert isinstance(error, TaskTimeoutError)
    for said in (error, single.value):
        assert f" s ago with the error 413: {REJECTED}. Wait again" in str(said)
        assert said.task is not None
        assert said.task.error_code == 413


@pytest.mark.parametrize("fields", [{}, {"errorCode": 0}, {"errorCode": "200"}, {"errorCode": ""}])
async def test_a_timeout_shows_no_error_where_the_record_has_none(
    provider: FakeProvider, fields: Any
) -> None:
    provider.every_answer = lambda task_id: record(task_id, **fields)
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=30)
    assert "with the error" not in str(outcome.error)


async def test_a_timeout_in_a_later_run_shows_the_error_in_the_record_too(
    provider: FakeProvider, path: Path
) -> None:
    provider.every_answer = rejected
    await cut_off(provider, ["a"], journal=path, after=10, timeout=40)
    outcome = (await run(provider, ["a"], journal=path, timeout=40))["a"]
    assert isinstance(outcome.error, TaskTimeoutError)
    assert "those of earlier runs included" in str(outcome.error)
    assert f"last seen PENDING with the error 413: {REJECTED}. Wait again" in str(outcome.error)
    assert outcome.error.task is not None
