"""Waits of one client at the same time, and what they share, in virtual time."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, is_idle, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    AuthenticationError,
    Interval,
    PollContext,
    RateLimitedError,
    RetryPolicy,
    SeparationTask,
    SeparationType,
    TaskRef,
    TaskTimeoutError,
)
from vocalsep_async._limiting import RateLimitState
from vocalsep_async._polling.waiter import Waiter
from vocalsep_async._transport.api import Reply
from vocalsep_async.providers import Request

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_waits_for_one_task_share_its_polls(provider: FakeProvider) -> None:
    provider.add("a", 20)
    results: list[SeparationTask] = []

    async def wait() -> None:
        results.append(await client.wait_for_task("a", poll=Interval(5)))

    async with make_client() as client, anyio.create_task_group() as group:
        for _ in range(7):
            group.start_soon(wait)
    assert len(results) == 7
    assert len(provider.times("a")) == 5


@pytest.mark.own_limiter
async def test_a_wait_that_begins_later_polls_immediately(provider: FakeProvider) -> None:
    provider.add("a", 12)
    began = anyio.current_time()
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(lambda: client.wait_for_task("a", poll=Interval(30)))
        await anyio.sleep(15)
        await client.wait_for_task("a", poll=Interval(30))
        assert anyio.current_time() == pytest.approx(began + 15.1)


async def test_a_cancelled_wait_leaves_the_other_wait_running(provider: FakeProvider) -> None:
    provider.add("a", 20)
    async with make_client() as client, anyio.create_task_group() as group:

        async def impatient() -> None:
            with anyio.move_on_after(6):
                await client.wait_for_task("a", poll=Interval(2))

        group.start_soon(impatient)
        assert (await client.wait_for_task("a", poll=Interval(5))).succeeded


async def test_waits_with_their_own_deadlines_share_a_task(provider: FakeProvider) -> None:
    provider.add("a", 20)
    async with make_client() as client, anyio.create_task_group() as group:

        async def impatient() -> None:
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("a", timeout=7)

        group.start_soon(impatient)
        assert (await client.wait_for_task("a", timeout=60)).succeeded


async def test_one_error_in_many_waits_is_a_copy_for_each(provider: FakeProvider) -> None:
    provider.script("a", envelope(401, "no"))
    caught: list[Exception] = []

    async def wait() -> None:
        try:
            await client.wait_for_task("a")
        except AuthenticationError as error:
            caught.append(error)

    async with make_client() as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
    assert len({id(error) for error in caught}) == 3
    assert {str(error) for error in caught} == {str(caught[0])}


async def test_nothing_runs_after_the_last_wait(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    async with make_client() as client:
        with anyio.move_on_after(3):
            await client.wait_for_task("a")
        assert is_idle()
        assert client.stats.in_flight == 0
        provider.add("b", 5)
        assert (await client.wait_for_task("b")).succeeded
        assert is_idle()


async def test_a_wait_that_a_pause_outlasts_says_when_it_saw_what(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    provider.round_trip = 4
    began = anyio.current_time()
    retry = RetryPolicy(attempts=1)
    async with make_client(retry=retry) as client, anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(TaskTimeoutError) as caught:
                await client.wait_for_task("a", timeout=60)
            assert anyio.current_time() == pytest.approx(began + 60)
            assert caught.value.task is not None
            assert "after 60.0 s and 1 poll: last seen PENDING 60.0 s ago." in str(caught.value)

        group.start_soon(wait)
        await anyio.sleep(1)
        provider.round_trip = 0.1
        provider.script("b", envelope(430, "too often", Retry_After="120"))
        with pytest.raises(RateLimitedError):
            await client.get_task("b")


async def test_a_pause_loses_no_answer_under_way(provider: FakeProvider) -> None:
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:

        async def throttled_meanwhile() -> None:
            await anyio.sleep(1)
            provider.round_trip = 0.1
            provider.script("b", envelope(430, "too often", Retry_After="120"))
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("b", timeout=60)

        group.start_soon(throttled_meanwhile)
        assert (await client.wait_for_task("a", timeout=60)).succeeded


async def test_a_wait_that_begins_in_a_pause_beyond_its_deadline_lasts_until_it(
    provider: FakeProvider,
) -> None:
    provider.script("a", envelope(430, "too often", Retry_After="120"))
    async with make_client(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RateLimitedError):
            await client.get_task("a")
        began = anyio.current_time()
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("b", timeout=60)
    assert anyio.current_time() == pytest.approx(began + 60)
    assert caught.value.polls == 0
    assert isinstance(caught.value.last_error, RateLimitedError)
    assert "The client is paused: code 430: too often" in str(caught.value)


async def test_a_pause_from_another_request_is_the_last_error_of_a_wait_that_it_outlasts(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    began = anyio.current_time()
    retry = RetryPolicy(attempts=1)
    async with make_client(retry=retry) as client, anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(TaskTimeoutError) as caught:
                await client.wait_for_task("a", timeout=60, poll=Interval(20))
            assert anyio.current_time() == pytest.approx(began + 60)
            assert isinstance(caught.value.last_error, RateLimitedError)

        group.start_soon(wait)
        await anyio.sleep(5)
        provider.script("b", envelope(430, "too often", Retry_After="120"))
        with pytest.raises(RateLimitedError):
            await client.get_task("b")


async def test_the_type_known_to_a_second_wait_counts_for_both(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a"), record("a", "GENERATE_AUDIO_FAILED"))
    types: list[SeparationType | None] = []
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            types.append((await client.wait_for_task("a")).type)

        group.start_soon(wait)
        await anyio.sleep(1)
        created = datetime.now(UTC)
        await client.wait_for_task(TaskRef("a", type=SeparationType.SPLIT_STEM, created_at=created))
    assert types == [SeparationType.SPLIT_STEM]


async def test_a_wait_without_on_update_keeps_no_pending_records(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    client = make_client()
    wait = Waiter(Interval(1))
    async with client, client._engine.poller.subscription(TaskRef("a"), wait):
        await anyio.sleep(100)
        assert len(provider.polls) > 50
        assert wait._unread is None


async def test_a_second_wait_begins_though_a_failed_one_is_still_busy(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(state: RateLimitState, now: float) -> float:
        raise LookupError("the rate limiter is broken")

    async with make_client() as client, anyio.create_task_group() as group:

        async def busy(task: SeparationTask) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(RateLimitState, "wait", broken)
                await anyio.sleep(5)
            await anyio.sleep(20)

        async def fails() -> None:
            with pytest.raises(LookupError):
                await client.wait_for_task("a", poll=Interval(2), on_update=busy)

        provider.add("a", 100)
        group.start_soon(fails)
        await anyio.sleep(10)
        assert (await client.wait_for_task("b", timeout=30)).succeeded


async def test_a_failing_policy_ends_no_other_wait(provider: FakeProvider) -> None:
    class Broken:
        def delay(self, context: PollContext) -> float:
            raise LookupError("no idea")

    provider.add("a", 10)
    async with make_client() as client, anyio.create_task_group() as group:

        async def fails() -> None:
            with pytest.raises(LookupError):
                await client.wait_for_task("a", poll=Broken())

        group.start_soon(fails)
        assert (await client.wait_for_task("a", poll=Interval(2))).succeeded


async def test_a_new_wait_does_not_delay_the_last_poll_of_another(
    provider: FakeProvider,
) -> None:
    provider.add("a", 9.3)
    async with make_client() as client, anyio.create_task_group() as group:

        async def joins_late() -> None:
            await anyio.sleep(9.55)
            await client.wait_for_task("a", timeout=30, poll=Interval(5))

        group.start_soon(joins_late)
        assert (await client.wait_for_task("a", timeout=10, poll=Interval(9.2))).succeeded


async def test_a_poll_that_is_cancelled_during_a_wait_is_sent_again(provider: FakeProvider) -> None:
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:

        async def vandal() -> None:
            await anyio.sleep(1)
            polls = [task for task in asyncio.all_tasks() if "vocalsep poll a" in task.get_name()]
            polls[0].cancel()

        group.start_soon(vandal)
        assert (await client.wait_for_task("a", timeout=60)).succeeded
        assert client.stats.in_flight == 0


async def test_polls_run_outside_the_context_of_callers(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ContextVar("request", default="none")
    seen: list[str] = []
    exchange = provider.exchange

    async def seeing(sent: Request) -> Reply:
        seen.append(request.get())
        return await exchange(sent)

    monkeypatch.setattr(provider, "exchange", seeing)
    request.set("the caller")
    async with make_client() as client:
        await client.wait_for_task("a")
    assert seen == ["none"]


async def test_a_poll_under_way_takes_no_final_record_of_another_call_away(
    provider: FakeProvider,
) -> None:
    async def slow(_task: SeparationTask) -> None:
        await anyio.sleep(20)

    provider.round_trip = 4.0
    provider.every_answer = record
    async with make_client() as client, anyio.create_task_group() as group:
        results: list[SeparationTask] = []

        async def wait() -> None:
            results.append(
                await client.wait_for_task("a", timeout=100, poll=Interval(3), on_update=slow)
            )

        group.start_soon(wait)
        await anyio.sleep(7.5)
        assert provider.in_flight == 1
        provider.round_trip = 0.1
        provider.script("a", lambda: record("a", "GENERATE_AUDIO_FAILED"))
        assert (await client.get_task("a")).is_final
    assert [task.is_final for task in results] == [True]


async def test_a_wait_goes_on_after_something_cancelled_the_poll_loop(
    provider: FakeProvider,
) -> None:
    provider.add("a", 20)
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(lambda: client.wait_for_task("a", timeout=100))
        await anyio.sleep(1)
        (loop,) = (task for task in asyncio.all_tasks() if task.get_name() == "vocalsep poll loop")
        loop.cancel()
    assert len(provider.times("a")) > 1
    assert is_idle()
