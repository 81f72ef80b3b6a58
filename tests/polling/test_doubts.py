"""Ends that one record does not prove: waits and calls poll again, for a bounded time."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from batch.journals import WallClock
from fakes import FakeProvider, finished, make_client, record
from hypothesis import given
from hypothesis import strategies as st
from listening import Recorder, check
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import (
    Interval,
    PollDone,
    PollPending,
    SeparationTask,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
)
from vocalsep_async._polling import doubts
from vocalsep_async._polling.doubts import Doubts
from vocalsep_async._polling.target import PollTarget, Verdict
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.instrumentation import PollFinished, TaskFinished, WaitFinished
from vocalsep_async.policies import MISSING_LINKS_PATIENCE, MISSING_STATUS_PATIENCE
from vocalsep_async.providers import KIE_JOBS, SUNOAPI
from vocalsep_async.providers._routes import Routes

pytestmark = pytest.mark.anyio

RARELY = Interval(1000)
ENDED = 1_700_000_060_000
LINKS = {"vocalUrl": "https://cdn.example/v.mp3"}
WITHOUT_LINKS: dict[str, dict[str, Any]] = {
    "null": {"response": None},
    "missing": {},
    "empty": {"response": {}},
    "null links": {"response": {"vocalUrl": None, "originData": None}},
    "words": {"response": {"vocalUrl": "null", "instrumentalUrl": "", "originData": []}},
    "no error": {"response": None, "errorCode": 200, "errorMessage": "success"},
    "a webhook": {"response": None, "successFlag": "CALLBACK_EXCEPTION"},
}


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def empty(task_id: str = "a", **fields: Any) -> Any:
    """A success whose links have not come."""
    status = fields.pop("successFlag", "SUCCESS")
    return record(task_id, status, completeTime=ENDED, **fields)


def unsaid(task_id: str = "a", **fields: Any) -> Any:
    """The record of an end without a status."""
    return record(task_id, successFlag=None, completeTime=ENDED, **fields)


# Waits


@pytest.mark.own_limiter
@pytest.mark.parametrize("fields", WITHOUT_LINKS.values(), ids=WITHOUT_LINKS)
async def test_a_wait_goes_on_until_the_links_of_a_success_come(
    provider: FakeProvider, fields: Any
) -> None:
    provider.script("a", record("a"), *[empty(**fields)] * 4, finished("a"))
    events, seen = Recorder(), []
    async with make_client(on_event=events) as client:
        task = await client.wait_for_task(
            "a", poll=Interval(3), timeout=None, on_update=lambda task: seen.append(task.succeeded)
        )
    assert task.succeeded
    assert seen == [False] * 5 + [True]
    gaps = [b - a for a, b in zip(provider.times("a")[1:], provider.times("a")[2:], strict=False)]
    # Growing gaps, and never later than the policy wants.
    assert gaps == pytest.approx([1.1, 1.2, 2.4, 3.0], abs=0.11)
    check(events)
    assert events.the(TaskFinished).polls == 6
    # The events say what was seen, and that it was not the end.
    last, *before = reversed(events.of(PollFinished))
    assert last.next_poll_in is None
    assert all(event.next_poll_in is not None for event in before)


@pytest.mark.own_limiter
async def test_a_wait_returns_a_success_without_links_once_its_patience_is_spent(
    provider: FakeProvider,
) -> None:
    provider.every_answer = empty
    events = Recorder(PollFinished, TaskFinished, WaitFinished)
    async with make_client(on_event=events, poll=RARELY) as client:
        began = anyio.current_time()
        task = await client.wait_for_task("a", timeout=None)
        waited = anyio.current_time() - began
    assert (task.status, task.is_final, task.succeeded) == (TaskStatus.SUCCESS, True, False)
    assert "holds no URL" in (task.reason or "")
    assert MISSING_LINKS_PATIENCE < waited < MISSING_LINKS_PATIENCE + 1
    assert 6 <= len(provider.polls) <= 9
    assert events.the(TaskFinished).status == "SUCCESS"
    assert events.the(WaitFinished).error is None


async def test_a_wait_after_the_patience_is_spent_polls_once(provider: FakeProvider) -> None:
    provider.every_answer = empty
    async with make_client() as client:
        await client.wait_for_task("a")
        polls = len(provider.polls)
        assert not (await client.wait_for_task("a")).succeeded
        assert len(provider.polls) == polls + 1
        provider.ends_all()
        assert (await client.wait_for_task("a")).succeeded


@pytest.mark.own_limiter
@pytest.mark.parametrize("seconds", [0, 5])
async def test_a_deadline_before_the_links_returns_the_success_that_was_seen(
    provider: FakeProvider, seconds: float
) -> None:
    provider.every_answer = empty
    async with make_client() as client:
        began = anyio.current_time()
        task = await client.wait_for_task("a", timeout=seconds)
        assert anyio.current_time() - began <= seconds + provider.round_trip
    assert (task.status, task.succeeded) == (TaskStatus.SUCCESS, False)


@pytest.mark.parametrize(
    "ending",
    [
        finished("a"),
        record("a", "SUCCESS", response={"originData": [{"audio_url": LINKS["vocalUrl"]}]}),
        record("a", "SUCCESS", response=LINKS | {"drumsUrl": None, "instrumentalUrl": None}),
        record("a", "SUCCESS", response=None, errorCode=500),
        record("a", "CALLBACK_EXCEPTION", response=None, errorCode="531"),
        record("a", "CALLBACK_EXCEPTION", response=LINKS),
        record("a", "GENERATE_AUDIO_FAILED"),
        record("a", "CREATE_TASK_FAILED", errorCode=0),
        record("a", "FAILED", completeTime=ENDED, errorCode=500),
    ],
)
async def test_every_other_end_is_known_at_once(provider: FakeProvider, ending: Any) -> None:
    provider.script("a", ending)
    async with make_client() as client:
        await client.wait_for_task("a")
    assert len(provider.polls) == 1


async def test_a_doubt_that_was_cleared_does_not_shorten_the_next_one(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[empty()] * 4, record("a"), *[empty()] * 5, finished("a"))
    async with make_client(poll=Interval(15), rate_limit=None) as client:
        assert (await client.wait_for_task("a", timeout=None)).succeeded


@pytest.mark.parametrize("doubted_for", [None, 0.0, 3.0])
async def test_a_record_in_doubt_does_not_count_as_one_of_a_running_task(
    doubted_for: float | None,
) -> None:
    now = anyio.current_time()
    target = PollTarget(TaskRef("a"), HazardTable(), now)
    target.learn_age(100.0, now)
    target.on_sent(now)
    target.on_record(Verdict(a_task(), has_ended=False, doubted_for=doubted_for))
    target.on_running()
    assert target.running_at == pytest.approx(100.0 if doubted_for is None else 0.0)


# Records without a status


@pytest.mark.parametrize(
    "fields, status, succeeded",
    [
        ({"response": LINKS}, TaskStatus.SUCCESS, True),
        ({"response": LINKS, "errorCode": 500}, TaskStatus.SUCCESS, True),
        ({"errorCode": 500}, TaskStatus.GENERATE_AUDIO_FAILED, False),
    ],
)
async def test_a_wait_ends_when_a_second_record_without_a_status_shows_the_end(
    provider: FakeProvider, fields: Any, status: TaskStatus, *, succeeded: bool
) -> None:
    provider.every_answer = lambda task_id: unsaid(task_id, **fields)
    events, seen = Recorder(TaskFinished, PollFinished), []
    async with make_client(on_event=events, poll=RARELY) as client:
        task = await client.wait_for_task(
            "a", timeout=None, on_update=lambda task: seen.append(task.status)
        )
    assert (task.status, task.is_final, task.succeeded) == (status, True, succeeded)
    assert seen == [TaskStatus.PENDING, status]
    assert [event.status for event in events.of(PollFinished)] == seen
    assert events.the(TaskFinished).status is status
    first, second = provider.times("a")
    assert second - first >= MISSING_STATUS_PATIENCE


async def test_a_wait_believes_a_status_that_comes_after_all(provider: FakeProvider) -> None:
    provider.script("a", unsaid(response=LINKS), record("a", "GENERATE_AUDIO_FAILED"))
    async with make_client() as client:
        task = await client.wait_for_task("a")
    assert task.status is TaskStatus.GENERATE_AUDIO_FAILED


@pytest.mark.parametrize(
    "running",
    [
        record("a", completeTime=ENDED, response=LINKS),
        record("a", completeTime=ENDED, errorCode=413),
        unsaid(),
        unsaid(errorCode="0"),
        record("a", successFlag=None, response=LINKS),
        record("a", "QUEUED"),
        record("a", "PROCESSING", completeTime=0, response=LINKS),
    ],
)
async def test_a_record_that_says_pending_or_shows_no_end_is_pending_for_ever(
    provider: FakeProvider, running: Any
) -> None:
    provider.every_answer = lambda _: running
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("a", timeout=300)


# Other calls


async def test_get_task_returns_what_it_sees_and_ends_waits_once_there_is_no_doubt(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a"))
    async with make_client(poll=RARELY) as client:
        wait = asyncio.create_task(client.wait_for_task("a", timeout=None))
        await anyio.sleep(1)
        provider.every_answer = lambda task_id: unsaid(task_id, response=LINKS)
        first = await client.get_task("a")
        assert (first.status, first.is_final, len(first.stems)) == (TaskStatus.PENDING, False, 1)
        assert not wait.done()
        await anyio.sleep(1)
        second = await client.get_task("a")
        assert (second.status, second.succeeded) == (TaskStatus.SUCCESS, True)
        assert await wait == second


async def test_get_task_returns_a_success_without_links_and_ends_no_wait(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a"))
    async with make_client(poll=RARELY) as client:
        wait = asyncio.create_task(client.wait_for_task("a", timeout=None))
        await anyio.sleep(1)
        provider.script("a", empty())
        task = await client.get_task("a")
        assert (task.status, task.is_final, task.succeeded) == (TaskStatus.SUCCESS, True, False)
        await anyio.sleep(10)
        assert not wait.done()
        provider.ends_all()
        assert await client.get_task("a") == await wait


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr("vocalsep_async._polling.stateless.time", SimpleNamespace(time=clock.time))
    return clock


async def poll_once(provider: FakeProvider, state: Any) -> PollDone | PollPending:
    """One poll in a process of its own."""
    provider.reopen()
    async with make_client(poll=RARELY) as client:
        return await client.poll_once("a", state=json.loads(json.dumps(state)))


@pytest.mark.usefixtures("wall")
async def test_the_state_of_poll_once_carries_the_patience_across_processes(
    provider: FakeProvider,
) -> None:
    provider.every_answer = empty
    began, state = anyio.current_time(), None
    while isinstance(answer := await poll_once(provider, state), PollPending):
        assert answer.status is TaskStatus.SUCCESS
        assert 0 <= answer.delay < MISSING_LINKS_PATIENCE
        state = answer.state
        await anyio.sleep(answer.delay)
    assert not answer.task.succeeded
    assert MISSING_LINKS_PATIENCE <= anyio.current_time() - began < MISSING_LINKS_PATIENCE + 3
    assert 6 <= len(provider.polls) <= 9


@pytest.mark.usefixtures("wall")
async def test_poll_once_confirms_an_end_without_a_status_in_another_process(
    provider: FakeProvider,
) -> None:
    provider.every_answer = lambda task_id: unsaid(task_id, response=LINKS)
    first = await poll_once(provider, None)
    assert isinstance(first, PollPending)
    assert (first.status, first.delay) == (TaskStatus.PENDING, MISSING_STATUS_PATIENCE)
    await anyio.sleep(first.delay)
    second = await poll_once(provider, first.state)
    assert isinstance(second, PollDone)
    assert second.task.status is TaskStatus.SUCCESS


async def test_poll_once_begins_a_patience_anew_where_the_clock_was_set_back(
    provider: FakeProvider, wall: WallClock
) -> None:
    provider.every_answer = empty
    first = await poll_once(provider, None)
    wall.ahead -= 3600
    assert isinstance(first, PollPending)
    second = await poll_once(provider, first.state)
    assert isinstance(second, PollPending)
    assert second.state["doubted"] == pytest.approx(wall.time())


# The judge


def a_task(identity: str = "a", **fields: Any) -> SeparationTask:
    return SeparationTask(task_id=identity, status=TaskStatus.SUCCESS, **fields)


async def test_doubts_are_remembered_for_a_bounded_number_of_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubts, "_REMEMBERED", 3)
    judge = Doubts(Routes(SUNOAPI)).judge
    for name in "abcd":
        judge(a_task(name))
    await anyio.sleep(MISSING_LINKS_PATIENCE)
    assert [judge(a_task(name)).has_ended for name in "dcb"] == [True, True, True]
    assert not judge(a_task("a")).has_ended


async def test_doubts_tell_tasks_with_one_id_on_two_routes_apart() -> None:
    judge = Doubts(Routes(KIE_JOBS, "api.kie.ai")).judge
    judge(a_task(route="kie"))
    await anyio.sleep(MISSING_LINKS_PATIENCE)
    assert not judge(a_task(route="kie_jobs")).has_ended
    assert judge(a_task(route="kie")).has_ended


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30))
def test_a_doubt_ends_with_the_first_record_after_its_patience(gaps: list[float]) -> None:
    async def run() -> None:
        judge, loop = Doubts(Routes(SUNOAPI)).judge, asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        began = loop.time()
        for gap in [0.0, *gaps]:
            loop.jump(gap)
            verdict = judge(a_task())
            age = loop.time() - began
            assert verdict.has_ended is (age >= MISSING_LINKS_PATIENCE)
            assert verdict.doubted_for == age
            if not verdict.has_ended:
                assert verdict.poll_at is not None
                # Soon, and at the very end of the patience at the latest.
                assert 0 < verdict.poll_at - loop.time() <= max(1.0, age)
                assert verdict.poll_at <= began + MISSING_LINKS_PATIENCE + 1e-6

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
