"""The loop over all waits, where the client's own tests do not reach it."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, finished, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Every, RateLimit, TaskTimeoutError
from vocalsep_async.polling import learning

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_wait_that_joins_during_a_look_shares_it(provider: FakeProvider) -> None:
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(1)
        outcomes = await client.wait_for_tasks(["a"])
    assert outcomes["a"].polls == 1
    assert len(provider.looks) == 1


async def test_a_start_that_nobody_needs_any_more_is_given_back(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    provider.add("b", math.inf)
    async with make_client(rate_limit=RateLimit(1, 50.0)) as client:
        await client.get_task("first")
        async with anyio.create_task_group() as group:

            async def gives_up_while_it_queues() -> None:
                with pytest.raises(TaskTimeoutError):
                    await client.wait_for_task("a", timeout=20)

            async def needs_no_look_at_first() -> None:
                with pytest.raises(TaskTimeoutError):
                    await client.wait_for_task("b", timeout=300, poll=Every(200))

            group.start_soon(needs_no_look_at_first)
            await anyio.sleep(60)
            group.start_soon(gives_up_while_it_queues)
            await anyio.sleep(100)
            assert client.stats.requests == 2
            assert client.stats.in_flight == 0


async def test_if_the_budget_fails_whoever_waits_gets_its_error(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: float) -> float:
        raise LookupError("the budget is gone")

    async with make_client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(client._pacer, "wait", broken)
            with pytest.raises(LookupError, match="the budget is gone"):
                await client.wait_for_task("a")
        assert (await client.wait_for_task("a")).succeeded


async def test_only_so_many_finished_tasks_are_remembered(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "_REMEMBERED", 2)
    async with make_client(rate_limit=None) as client:
        for task_id in ("a", "b", "c", "c", "a"):
            await client.get_task(task_id)
        assert client.durations.model(None).completions == 4


async def test_an_absurd_age_is_not_believed(provider: FakeProvider) -> None:
    answer = record("a", createTime=1_000_000_000_000)
    provider.script("a", answer._replace(headers={"Date": "Fri, 15 Jan 2027 08:00:30 GMT"}))
    provider.script("a", finished("a"))
    async with make_client() as client:
        await client.wait_for_task("a", poll=Every(3))
        assert client.durations.model(None).completions == 1
