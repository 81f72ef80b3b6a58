"""Deadlines that pass while nothing can be seen: no timeout is reported as if it had been seen."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from batch.tracking import numbered, tracked
from fakes import FakeProvider, envelope, finished, make_client, record
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import (
    Interval,
    MaintenanceError,
    RateLimit,
    RateLimitedError,
    SeparationTask,
    ServerError,
    TaskOutcome,
    TaskTimeoutError,
    VocalSepClient,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def stall(seconds: float) -> None:
    """Let time pass while nothing runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.jump(seconds)


async def timed_out(client: VocalSepClient, task_id: str, **options: Any) -> TaskTimeoutError:
    with pytest.raises(TaskTimeoutError) as caught:
        await client.wait_for_task(task_id, **options)
    return caught.value


# The loop stands still


@pytest.mark.parametrize("blocked", [2.0, 5.0, 600.0])
async def test_a_callback_that_blocks_the_loop_over_the_deadline_costs_no_result(
    provider: FakeProvider, blocked: float
) -> None:
    provider.add("a", 12)
    seen: list[str] = []

    def block(task: SeparationTask) -> None:
        seen.append(task.status)
        if len(seen) == 2:
            stall(blocked)

    async with make_client() as client:
        waits = client.wait_for_task("a", timeout=11.5, poll=Interval(10), on_update=block)
        assert (await waits).succeeded


@pytest.mark.parametrize("begins, lasts", [(19.0, 1.9), (19.4, 0.7), (19.45, 0.6), (18.0, 2.001)])
async def test_a_stall_that_swallows_the_last_poll_before_a_deadline_gives_it_back(
    provider: FakeProvider, begins: float, lasts: float
) -> None:
    provider.add("a", 19.2)
    results: list[SeparationTask] = []
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            results.append(await client.wait_for_task("a", timeout=20, poll=Interval(18)))

        group.start_soon(wait)
        await anyio.sleep(begins)
        stall(lasts)
    assert [task.succeeded for task in results] == [True]
    assert len(provider.times("a")) == 3 - (begins == 18.0)


async def test_a_slow_callback_that_is_cut_by_the_deadline_costs_no_final_record(
    provider: FakeProvider,
) -> None:
    provider.add("a", 12)

    async def slow(_task: SeparationTask) -> None:
        await anyio.sleep(500)

    async with make_client() as client:
        waits = client.wait_for_task("a", timeout=20, poll=Interval(5), on_update=slow)
        assert (await waits).succeeded


# Pauses

PAUSES = {
    "maintenance": (envelope(455, "closed"), MaintenanceError),
    "throttling": (envelope(430, "too often", Retry_After="40"), RateLimitedError),
}
every_pause = pytest.mark.parametrize("what", PAUSES)


@every_pause
async def test_all_that_time_out_in_a_pause_name_its_cause(
    provider: FakeProvider, what: str
) -> None:
    answer, kind = PAUSES[what]
    provider.script("first", answer)
    outcomes: list[TaskOutcome] = []
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "first")
        await anyio.sleep(1)
        began = anyio.current_time()

        async def track() -> None:
            async with client.track(["a"], timeout=20, keep_open=True) as batch:
                await anyio.sleep(5)
                batch.add("b")
                batch.close()
                outcomes.extend([outcome async for outcome in batch])

        async def wait() -> None:
            error = await timed_out(client, "c", timeout=15)
            assert anyio.current_time() == pytest.approx(began + 15)
            assert isinstance(error.last_error, kind)
            assert error.polls == 0
            assert "no poll has succeeded yet" in str(error)

        group.start_soon(track)
        group.start_soon(wait)
    assert [outcome.elapsed for outcome in outcomes] == pytest.approx([20, 20])
    for outcome in outcomes:
        assert isinstance(outcome.error, TaskTimeoutError)
        assert isinstance(outcome.error.last_error, kind)
        assert "no poll has succeeded yet" in str(outcome.error)


@every_pause
async def test_a_timeout_of_zero_in_a_pause_still_gets_its_poll(
    provider: FakeProvider, what: str
) -> None:
    provider.script("first", PAUSES[what][0])
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "first")
        await anyio.sleep(1)
        provider.add("running", math.inf)
        assert (await client.wait_for_task("a", timeout=0)).succeeded
        error = await timed_out(client, "running", timeout=0)
        (outcome,) = await tracked(client, ["b"], timeout=0)
    assert error.polls == 1
    assert "last seen PENDING" in str(error)
    assert outcome.succeeded


# Failures and full queues


async def test_a_deadline_in_a_back_off_is_preceded_by_a_poll(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 5)
    provider.script("b", *[envelope(500, "broken")] * 5)
    began = anyio.current_time()
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=15)).succeeded
        (outcome,) = await tracked(client, ["b"], timeout=15)
        assert outcome.succeeded
    assert provider.times("a")[-1] - began < 15


async def test_waits_that_the_rate_limit_never_served_say_so(provider: FakeProvider) -> None:
    provider.every_answer = record
    errors: dict[str, TaskTimeoutError] = {}
    async with (
        make_client(rate_limit=RateLimit(2, 10.0)) as client,
        anyio.create_task_group() as group,
    ):

        async def wait(task_id: str) -> None:
            errors[task_id] = await timed_out(client, task_id, timeout=20)

        for task_id in numbered(30):
            group.start_soon(wait, task_id)
    for task_id, error in errors.items():
        polls = len(provider.times(task_id))
        assert error.polls == polls
        assert ("last seen PENDING" if polls else "no poll has succeeded yet") in str(error)
    assert sum(error.polls for error in errors.values()) == len(provider.polls)


async def test_a_poll_that_the_deadline_cuts_has_seen_nothing(provider: FakeProvider) -> None:
    provider.script("a", record("a"), finished("a"))
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            error = await timed_out(client, "a", timeout=30, poll=Interval(1000))
            assert error.polls == len(provider.sent)
            assert "last seen PENDING." in str(error)  # without a time, which is not known

        group.start_soon(wait)
        await anyio.sleep(5)
        provider.round_trip = 600
        assert client.notify("a")


async def test_the_cause_of_a_timeout_is_the_failure_of_the_last_poll(
    provider: FakeProvider,
) -> None:
    provider.script("a", record("a"), *[envelope(500, "broken")] * 99)
    async with make_client() as client:
        error = await timed_out(client, "a", timeout=60)
        (outcome,) = await tracked(client, ["a"], timeout=60)
    assert isinstance(error.last_error, ServerError)
    assert isinstance(outcome.error, TaskTimeoutError)
    assert isinstance(outcome.error.last_error, ServerError)
