"""Clocks that jump and loops that stall during waits."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import (
    Backoff,
    Interval,
    RateLimit,
    SeparationTask,
    TaskOutcome,
    TaskRef,
    TaskTimeoutError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def stall(seconds: float) -> None:
    """Let time pass while nothing runs, as in a stopped process or a blocking call."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.jump(seconds)


def most_in_a_window(times: list[float], period: float) -> int:
    return max(sum(1 for other in times if at - period < other <= at) for at in times)


class JumpingClock(datetime):
    """A wall clock that is an hour fast or slow, alternating at each reading."""

    jumps = count()

    @classmethod
    def now(cls, tz: Any = None) -> JumpingClock:
        hour = timedelta(hours=1 if next(cls.jumps) % 2 else -1)
        moment = datetime.now(tz) + hour
        return cls.fromtimestamp(moment.timestamp(), tz)


async def test_a_jumping_wall_clock_moves_no_deadline_and_no_poll(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_polling.target", "_creation", "providers._envelope"):
        monkeypatch.setattr(f"vocalsep_async.{module}.datetime", JumpingClock)
    provider.add("a", math.inf)
    began = anyio.current_time()
    async with make_client() as client:
        ref = TaskRef("a", created_at=datetime.now(UTC))
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task(ref, timeout=100, poll=Interval(10))
    assert anyio.current_time() == pytest.approx(began + 100)
    assert len(provider.times("a")) == 11


async def test_a_resumed_process_sends_no_burst(
    provider: FakeProvider,
) -> None:
    for n in range(60):
        provider.add(f"t{n}", 200)
    provider.limit = (20, 10.0)
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_tasks, [f"t{n}" for n in range(60)])
        for _ in range(5):
            await anyio.sleep(17)
            stall(30)
    assert provider.throttled == 0
    assert most_in_a_window([at for at, _ in provider.polls], 10.0) <= 20


@pytest.mark.parametrize("duration", [30, math.inf])
async def test_a_wait_whose_loop_stood_still_over_its_deadline_polls_once_more(
    provider: FakeProvider, duration: float
) -> None:
    provider.add("a", duration)
    ends: list[object] = []
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            try:
                ends.append((await client.wait_for_task("a", timeout=20)).succeeded)
            except TaskTimeoutError as error:
                ends.append(error)

        group.start_soon(wait)
        await anyio.sleep(5)
        provider.sent.clear()
        stall(1000)
    assert len(provider.sent) == 1
    assert client.stats.in_flight == 0
    if duration == 30:
        assert ends == [True]
    else:
        (error,) = ends
        assert "last seen PENDING" in str(error)


async def test_the_poll_after_a_stall_is_bounded_by_the_request_timeout(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    async with (
        make_client(rate_limit=RateLimit(1, 500.0), request_timeout=7.0) as client,
        anyio.create_task_group() as group,
    ):

        async def wait() -> None:
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("a", timeout=20)
            assert anyio.current_time() == pytest.approx(woken + 7)

        group.start_soon(wait)
        await anyio.sleep(5)
        stall(100)
        woken = anyio.current_time()


async def test_a_batch_whose_loop_stood_still_over_its_deadline_polls_each_task_once_more(
    provider: FakeProvider,
) -> None:
    provider.add("ends meanwhile", 30)
    provider.add("runs on", math.inf)
    ids = ["ends meanwhile", "runs on", *(f"t{number}" for number in range(40))]
    outcomes: dict[str, TaskOutcome] = {}
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            outcomes.update(await client.wait_for_tasks(ids, timeout=20, poll=Interval(3600)))

        group.start_soon(wait)
        await anyio.sleep(10)
        assert {"ends meanwhile", "runs on"} <= set(provider.sent)
        assert "t25" not in provider.sent
        provider.sent.clear()
        stall(1000)
    assert outcomes["ends meanwhile"].succeeded
    assert outcomes["t25"].succeeded
    assert isinstance(outcomes["runs on"].error, TaskTimeoutError)
    assert provider.sent.count("runs on") == 1


async def test_an_answer_from_before_a_stall_is_not_the_last_poll_of_a_batch(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 8
    provider.add("a", 30)
    outcomes: dict[str, TaskOutcome] = {}
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            outcomes.update(await client.wait_for_tasks(["a"], timeout=20, poll=Interval(3600)))

        group.start_soon(wait)
        await anyio.sleep(5)  # the provider has seen the task running, and the answer is under way
        stall(1000)
    assert outcomes["a"].succeeded
    assert outcomes["a"].polls == 2


async def test_a_stall_within_the_deadline_loses_no_result(provider: FakeProvider) -> None:
    provider.add("a", 10)
    results: list[SeparationTask] = []
    async with make_client() as client, anyio.create_task_group() as group:

        async def wait() -> None:
            results.append(await client.wait_for_task("a", timeout=100))

        group.start_soon(wait)
        await anyio.sleep(5)
        stall(60)
    assert [task.succeeded for task in results] == [True]


async def test_a_task_that_runs_for_a_day_is_polled_ever_less_often(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=86_400)
    assert caught.value.polls < 1000
    times = provider.times("a")
    assert times[-2] - times[-3] > 100 * (times[12] - times[11])


async def test_waits_that_begin_together_do_not_poll_in_step(provider: FakeProvider) -> None:
    ids = [f"t{n}" for n in range(100)]
    for task_id in ids:
        provider.add(task_id, 20)
    async with make_client(rate_limit=None) as client:
        await client.wait_for_tasks(ids, poll=Backoff(initial=10, maximum=10))
    second_polls = [provider.times(task_id)[1] for task_id in ids]
    assert len(set(second_polls)) == len(ids)
