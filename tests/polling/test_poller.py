"""The poller and its loop, where the tests of the client do not reach them."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, finished, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    Interval,
    PollContext,
    RateLimit,
    SeparationType,
    TaskRef,
    TaskTimeoutError,
    TransportError,
)
from vocalsep_async._limiting import RateLimitState
from vocalsep_async._polling import learner
from vocalsep_async._polling.waiter import Waiter
from vocalsep_async._transport.api import Reply

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_wait_that_begins_during_a_poll_shares_it(provider: FakeProvider) -> None:
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(1)
        outcomes = await client.wait_for_tasks(["a"])
    assert outcomes["a"].polls == 1
    assert len(provider.polls) == 1


async def test_a_slot_that_no_poll_needs_is_released(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    provider.add("b", math.inf)
    async with make_client(rate_limit=RateLimit(1, 50.0)) as client:
        await client.get_task("first")
        async with anyio.create_task_group() as group:

            async def gives_up_while_it_queues() -> None:
                with pytest.raises(TaskTimeoutError):
                    await client.wait_for_task("a", timeout=20)

            async def needs_no_poll_at_first() -> None:
                with pytest.raises(TaskTimeoutError):
                    await client.wait_for_task("b", timeout=300, poll=Interval(200))

            group.start_soon(needs_no_poll_at_first)
            await anyio.sleep(60)
            group.start_soon(gives_up_while_it_queues)
            await anyio.sleep(100)
            assert client.stats.requests == 2
            assert client.stats.in_flight == 0


async def test_an_error_of_the_rate_limiter_reaches_the_waiters(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(state: RateLimitState, now: float) -> float:
        raise LookupError("the rate limiter is broken")

    async with make_client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(RateLimitState, "wait", broken)
            with pytest.raises(LookupError, match="the rate limiter is broken"):
                await client.wait_for_task("a")
        assert (await client.wait_for_task("a")).succeeded


async def test_the_learner_remembers_a_limited_number_of_finished_tasks(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_REMEMBERED", 2)
    async with make_client(rate_limit=None) as client:
        for task_id in ("a", "b", "c", "c", "a"):
            await client.get_task(task_id)
        assert client.durations.view(None).completions == 4


async def test_an_impossible_age_is_ignored(provider: FakeProvider) -> None:
    answer = record("a", createTime=1_000_000_000_000)
    provider.script("a", answer._replace(headers={"Date": "Fri, 15 Jan 2027 08:00:30 GMT"}))
    provider.script("a", finished("a"))
    async with make_client() as client:
        await client.wait_for_task("a", poll=Interval(3))
        assert client.durations.view(None).completions == 1


async def test_other_code_runs_while_many_keys_are_computed_again(provider: FakeProvider) -> None:
    turns: list[int] = [0]

    class Counting:
        def delay(self, context: PollContext) -> float:
            if turns[-1] == 0:
                asyncio.get_running_loop().call_soon(turns.append, 0)
            turns[-1] += 1
            return 5.0

    provider.every_answer = record
    ids = [f"t{n}" for n in range(3_000)]
    async with (
        make_client(rate_limit=RateLimit(100, 1.0)) as client,
        client.track(ids, poll=Counting()),
    ):
        await anyio.sleep(60)
    assert sum(turns) > len(ids)
    assert max(turns) < 1_000


async def test_a_type_that_comes_during_a_poll_applies_to_its_record(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED"))
    provider.round_trip = 4
    async with make_client() as client, client.track(["a"]) as batch:
        await anyio.sleep(1)
        batch.add(TaskRef("a", type=SeparationType.SPLIT_STEM))
        (outcome,) = [outcome async for outcome in batch]
    assert outcome.task is not None
    assert outcome.task.type is SeparationType.SPLIT_STEM
    assert len(provider.polls) == 1


async def test_an_error_of_a_cancelled_poll_is_dropped(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hung_up(_request: object) -> Reply:
        try:
            await anyio.sleep(math.inf)
        except asyncio.CancelledError:
            raise TransportError("cut") from None
        raise AssertionError

    async with make_client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(provider, "exchange", hung_up)
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("a", timeout=5)
        assert client._engine.poller._targets == {}
        assert client.stats.in_flight == 0
        assert (await client.wait_for_task("a")).succeeded


async def test_a_waiter_that_has_ended_causes_no_poll(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    async with make_client() as client:
        wait = Waiter(Interval(5))
        async with client._engine.poller.subscription(TaskRef("a"), wait):
            await anyio.sleep(1)
            wait.on_error(client._engine.poller._targets["a"], LookupError())
            await anyio.sleep(20)
        assert len(provider.polls) == 1


async def test_a_poll_that_is_cancelled_from_outside_is_sent_again(provider: FakeProvider) -> None:
    provider.add("a", 20)
    provider.round_trip = 5
    async with make_client() as client:
        waiting = asyncio.create_task(client.wait_for_task("a"))
        await anyio.sleep(2)
        (poll,) = (task for task in asyncio.all_tasks() if task.get_name() == "vocalsep poll a")
        poll.cancel()
        assert (await waiting).succeeded
