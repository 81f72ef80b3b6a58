"""Each task of a batch has its own deadline, counted from when it was added."""

from __future__ import annotations

import asyncio
import logging
import math

import anyio
import pytest
from batch.tracking import (
    NEVER,
    add_all,
    is_clean,
    numbered,
    outcomes_of,
    slowly,
    tracked,
    tracker_of,
)
from fakes import FakeProvider, envelope, make_client, record

from vocalsep_async import (
    Interval,
    NotFoundError,
    RateLimit,
    RateLimitedError,
    ServerError,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
)
from vocalsep_async._batch.groups import ArrivalGroup, Kind

pytestmark = pytest.mark.anyio


async def test_a_timeout_error_names_the_last_status(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    began = anyio.current_time()
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=30, poll=Interval(10))
        assert anyio.current_time() == pytest.approx(began + 30)
    assert isinstance(outcome.error, TaskTimeoutError)
    assert outcome.status is TaskStatus.PENDING
    assert outcome.task is None
    assert outcome.elapsed == pytest.approx(30)
    assert outcome.polls == outcome.error.polls == len(provider.polls)
    assert f"after 30.0 s and {outcome.polls} polls: last seen PENDING" in str(outcome.error)


async def test_the_timeout_error_of_a_task_that_was_never_polled_says_so(
    provider: FakeProvider,
) -> None:
    async with make_client(rate_limit=RateLimit(1, 1000)) as client:
        await client.get_task("first")
        (outcome,) = await tracked(client, ["a"], timeout=30)
    assert (outcome.status, outcome.polls) == (None, 0)
    assert "no poll has succeeded yet" in str(outcome.error)


async def test_a_timeout_error_has_the_last_error(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 99)
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=30)
    assert isinstance(outcome.error, TaskTimeoutError)
    assert isinstance(outcome.error.last_error, ServerError)


async def test_a_task_added_after_its_group_expired_has_a_deadline_too(
    provider: FakeProvider,
) -> None:
    ids = numbered(50)
    add_all(provider, ids, NEVER)
    async with make_client() as client, client.track(slowly(ids, 0.001), timeout=0.003) as batch:
        with anyio.fail_after(10):
            assert (await outcomes_of(batch)).keys() == set(ids)


async def test_a_deadline_cancels_a_poll_and_leaves_nothing_behind(provider: FakeProvider) -> None:
    provider.round_trip = 1000
    began = anyio.current_time()
    async with make_client() as client:
        async with client.track(["a"], timeout=7) as batch:
            outcome = await anext(batch)
            assert anyio.current_time() == pytest.approx(began + 7)
        assert outcome.polls == 1
        assert provider.in_flight == 0
        assert client.stats.in_flight == 0


async def test_polls_end_at_the_deadline_without_a_consumer(provider: FakeProvider) -> None:
    ids = numbered(5)
    add_all(provider, ids, NEVER)
    async with make_client() as client, client.track(ids, timeout=30) as batch:
        await anyio.sleep(31)
        polls = len(provider.polls)
        await anyio.sleep(1000)
        assert len(provider.polls) == polls
        assert batch.stats.finished == 5
        outcomes = await outcomes_of(batch)
    assert [outcome.elapsed for outcome in outcomes.values()] == pytest.approx([30] * 5)


async def test_an_added_task_has_its_own_deadline(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b", "c"], NEVER)
    began = anyio.current_time()
    ends: dict[str, float] = {}
    async with make_client() as client, client.track(["a"], timeout=30, keep_open=True) as batch:

        async def add() -> None:
            await anyio.sleep(10)
            batch.add("b")
            await anyio.sleep(25)
            batch.add("c")
            batch.close()

        async with anyio.create_task_group() as group:
            group.start_soon(add)
            async for outcome in batch:
                ends[outcome.task_id] = anyio.current_time() - began
                assert outcome.elapsed == pytest.approx(30)
    assert ends == pytest.approx({"a": 30, "b": 40, "c": 65})


async def test_adding_a_task_does_not_delay_tasks_that_expire(
    provider: FakeProvider,
) -> None:
    ids = numbered(2000)
    add_all(provider, [*ids, "new"], NEVER)
    began = anyio.current_time()
    async with make_client() as client, client.track(ids, timeout=30) as batch:
        await anext(batch)
        batch.add("new")
        for _ in ids[1:]:
            await anext(batch)
        assert anyio.current_time() == pytest.approx(began + 30, abs=0.1)
        assert batch.pending_ids() == ("new",)


async def test_adding_a_pending_task_again_does_not_extend_its_deadline(
    provider: FakeProvider,
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client, client.track(["a"], timeout=30) as batch:
        await anyio.sleep(20)
        batch.add("a")
        assert (await anext(batch)).elapsed == pytest.approx(30)


async def test_a_task_that_is_tracked_again_gets_a_new_deadline(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    began = anyio.current_time()
    async with make_client() as client, client.track(["a"], timeout=30) as batch:
        await anext(batch)
        batch.add("a")
        assert (await anext(batch)).elapsed == pytest.approx(30)
    assert anyio.current_time() == pytest.approx(began + 60)


async def test_the_timeout_of_an_id_counts_from_when_it_was_read(provider: FakeProvider) -> None:
    ids = numbered(5)
    add_all(provider, ids, NEVER)
    began = anyio.current_time()
    ends: list[float] = []
    async with make_client() as client, client.track(slowly(ids, 10), timeout=25) as batch:
        async for _ in batch:
            ends.append(anyio.current_time() - began)  # noqa: PERF401 - a moment each
    assert ends == pytest.approx([25, 35, 45, 55, 65])


async def test_a_task_that_ends_before_its_deadline_succeeds(provider: FakeProvider) -> None:
    add_all(provider, numbered(5), 20)
    async with make_client() as client:
        outcomes = await tracked(client, numbered(5), timeout=60)
        assert client._engine.poller._targets == {}
    assert all(outcome.succeeded for outcome in outcomes)


async def test_the_last_poll_is_made_just_before_the_deadline(provider: FakeProvider) -> None:
    provider.add("a", 29)
    began = anyio.current_time()
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=30, poll=Interval(20))
    assert outcome.succeeded
    assert 29 < provider.times("a")[-1] - began < 30


async def test_without_a_timeout_a_task_never_expires(provider: FakeProvider) -> None:
    provider.add("a", 200_000)
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"])
        (again,) = await tracked(client, ["a"], timeout=math.inf)
    assert outcome.succeeded
    assert again.succeeded


async def test_a_pause_does_not_move_a_deadline(
    provider: FakeProvider,
) -> None:
    provider.script("a", envelope(430, "too often", Retry_After="200"))
    add_all(provider, ["b"], NEVER)
    began = anyio.current_time()
    async with make_client() as client:
        outcomes = await tracked(client, ["a", "b"], timeout=60)
    assert anyio.current_time() <= began + 60
    assert all(isinstance(outcome.error, TaskTimeoutError) for outcome in outcomes)


# Timeout zero


async def test_timeout_zero_polls_each_task_once(provider: FakeProvider) -> None:
    ids = numbered(50)
    add_all(provider, ids[:30], NEVER)
    provider.script(ids[40], envelope(404, "no"))
    provider.script(ids[41], envelope(500, "broken"))
    provider.limit = (20, 10.0)
    async with make_client() as client:
        outcomes = {each.task_id: each for each in await tracked(client, ids, timeout=0)}
        assert client.stats.requests == 50
    assert [outcome.polls for outcome in outcomes.values()] == [1] * 50
    assert all(isinstance(outcomes[each].error, TaskTimeoutError) for each in ids[:30])
    assert isinstance(outcomes[ids[40]].error, NotFoundError)
    cut = outcomes[ids[41]].error
    assert isinstance(cut, TaskTimeoutError)
    assert isinstance(cut.last_error, ServerError)
    assert sum(outcome.succeeded for outcome in outcomes.values()) == 18


async def test_timeout_zero_counts_a_throttled_poll(provider: FakeProvider) -> None:
    provider.script("a", envelope(430, "too often"))
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], timeout=0)
    assert isinstance(outcome.error, TaskTimeoutError)
    assert isinstance(outcome.error.last_error, RateLimitedError)
    assert len(provider.times("a")) == 1


async def test_timeout_zero_polls_a_task_that_others_polled_before(
    provider: FakeProvider,
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client, client.track(["a"], poll=Interval(50)):
        await anyio.sleep(60)
        (outcome,) = await tracked(client, ["a"], timeout=0)
    assert outcome.polls == 1
    assert len(provider.polls) == 3


async def test_timeout_zero_polls_an_added_task_once_too(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b"], NEVER)
    async with make_client() as client, client.track(["a"], timeout=0) as batch:
        await anext(batch)
        await anyio.sleep(60)
        batch.add("b")
        outcome = await anext(batch)
        assert (outcome.task_id, outcome.polls) == ("b", 1)
    assert len(provider.polls) == 2


# Never polled


async def test_tasks_that_were_never_polled_expire_at_their_deadline(
    provider: FakeProvider,
) -> None:
    ids = numbered(200)
    add_all(provider, ids, NEVER)
    began = anyio.current_time()
    async with make_client() as client, client.track(ids, timeout=20) as batch:
        outcomes = await outcomes_of(batch)
        assert anyio.current_time() == pytest.approx(began + 20)
        assert batch.stats.failed == 200
        assert tracker_of(batch).never_polled == 0
    assert len(outcomes) == 200
    assert {outcome.status for outcome in outcomes.values()} == {None, TaskStatus.PENDING}


async def test_expired_tasks_in_the_backlog_are_settled_without_a_poll(
    provider: FakeProvider,
) -> None:
    ids = numbered(200)
    before = asyncio.all_tasks()
    async with make_client() as client:
        async with client.track(ids, timeout=20) as batch:
            await anyio.sleep(1000)
            assert len(provider.polls) <= 50
            outcomes = await outcomes_of(batch)
        assert is_clean(client, before)
    assert sorted(outcomes) == sorted(ids)
    assert 40 <= sum(outcome.succeeded for outcome in outcomes.values()) <= 50


# The warning


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_batch_too_large_for_its_timeout_logs_one_warning_with_the_arithmetic(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_client() as client, client.track(numbered(1000), timeout=60) as batch:
        await anyio.sleep(1)
        for task_id in numbered(500, "more"):
            batch.add(task_id)
    (text,) = warnings_in(caplog)
    assert text.startswith("1000 tasks cannot be polled within their timeout")
    assert "1000 / 2 requests per s = 500 s, and the timeout is 60 s" in text


async def test_a_batch_that_grows_too_large_for_its_timeout_logs_a_warning(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    add_all(provider, numbered(100), NEVER)
    async with make_client() as client, client.track(timeout=20, keep_open=True) as batch:
        for task_id in numbered(40):
            batch.add(task_id)
        assert warnings_in(caplog) == []
        for task_id in numbered(60, "more"):
            batch.add(task_id)
        assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize(
    "number, seconds, limit",
    [
        (100, 60.0, RateLimit(20, 10.0)),
        (1000, None, RateLimit(20, 10.0)),
        (1000, 0, RateLimit(20, 10.0)),
        (1000, 60.0, None),
    ],
)
async def test_a_batch_with_enough_time_logs_no_warning(
    provider: FakeProvider,
    caplog: pytest.LogCaptureFixture,
    number: int,
    seconds: float | None,
    limit: RateLimit | None,
) -> None:
    provider.every_answer = record
    async with (
        make_client(rate_limit=limit) as client,
        client.track(numbered(number), timeout=seconds),
    ):
        await anyio.sleep(1)
    assert warnings_in(caplog) == []


async def test_a_task_whose_deadline_passed_before_it_was_added_gets_one_poll(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["late", "later"], NEVER)
    provider.script("later", envelope(500, "down"))
    async with make_client() as client, client.track(keep_open=True, timeout=10) as batch:
        for task_id in ("late", "later"):
            tracker_of(batch).add(TaskRef(task_id), age=1000)
        outcomes = {(outcome := await anext(batch)).task_id: outcome for _ in range(2)}
    assert all(isinstance(outcome.error, TaskTimeoutError) for outcome in outcomes.values())
    assert sorted(provider.sent) == ["late", "later"]
    assert "last seen PENDING" in str(outcomes["late"].error)
    assert "The last poll failed: code 500: down" in str(outcomes["later"].error)


async def test_a_task_that_is_about_to_be_settled_is_not_polled(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(keep_open=True, timeout=10) as batch:
        tracker = tracker_of(batch)
        group = ArrivalGroup(tracker, Kind(), anyio.current_time() - 10)
        assert tracker._admit("late", group) is None
