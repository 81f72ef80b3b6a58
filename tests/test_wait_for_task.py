"""Waiting for one task, in virtual time."""

from __future__ import annotations

import asyncio
import math
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, finished, is_idle, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    AuthenticationError,
    Backoff,
    Interval,
    InvalidArgumentError,
    PollContext,
    RateLimit,
    RequestTimeoutError,
    RetryPolicy,
    SeparationTask,
    SeparationType,
    ServerError,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
    VocalSepError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_wait_returns_the_final_record(provider: FakeProvider) -> None:
    provider.add("a", 60)
    async with make_client() as client:
        task = await client.wait_for_task("a")
    assert task.succeeded
    assert dict(task.stems) == {
        "vocal": "https://cdn.example/v.mp3",
        "instrumental": "https://cdn.example/i.mp3",
    }


@pytest.mark.own_limiter
async def test_the_first_poll_is_immediate(provider: FakeProvider) -> None:
    began = anyio.current_time()
    async with make_client() as client:
        await client.wait_for_task("a")
    assert provider.times("a") == [pytest.approx(began + provider.round_trip / 2)]


@pytest.mark.own_limiter
async def test_interval_polls_at_even_gaps(provider: FakeProvider) -> None:
    provider.add("a", 22)
    async with make_client(rate_limit=None) as client:
        await client.wait_for_task("a", poll=Interval(5))
    times = provider.times("a")
    assert [b - a for a, b in pairwise(times)] == pytest.approx([5.0] * 5)


@pytest.mark.own_limiter
async def test_backoff_grows_between_polls(provider: FakeProvider) -> None:
    provider.add("a", 100)
    async with make_client(poll=Backoff(jitter=0)) as client:
        await client.wait_for_task("a")
    times = provider.times("a")
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == pytest.approx([2, 3, 4.5, 6.75, 10.125, 15.1875, 22.78125, 30, 30])


async def test_the_adaptive_policy_learns_from_each_finished_task(provider: FakeProvider) -> None:
    async with make_client(rate_limit=None) as client:
        for n in range(40):
            provider.script(f"t{n}", finished(f"t{n}", seconds=60))
            await client.wait_for_task(TaskRef(f"t{n}", type=SeparationType.SEPARATE_VOCAL))
        provider.add("late", 60)
        ref = TaskRef("late", type=SeparationType.SEPARATE_VOCAL, created_at=datetime.now(UTC))
        await client.wait_for_task(ref)
    assert client.durations.view(SeparationType.SEPARATE_VOCAL).completions == 41
    began, *rest = (at - provider.times("late")[0] for at in provider.times("late"))
    assert began == 0
    assert sum(1 for at in rest if at < 45) <= 3  # nothing ends that early
    assert 60 <= rest[-1] < 63


async def test_a_task_is_learned_from_once(provider: FakeProvider) -> None:
    async with make_client() as client:
        for _ in range(3):
            await client.wait_for_task("a")
            await client.get_task("a")
        assert client.durations.view(None).completions == 1


async def test_the_age_comes_from_the_answer_where_the_caller_does_not_know_it(
    provider: FakeProvider,
) -> None:
    seen: list[float] = []

    class Recording:
        def delay(self, context: PollContext) -> float:
            seen.append(context.age)
            return 10.0

    pending = record("a", createTime=1_800_000_000_000)
    young = pending._replace(headers={"Date": "Fri, 15 Jan 2027 08:00:30 GMT"})
    provider.script("a", young, pending)
    async with make_client() as client:
        await client.wait_for_task("a", poll=Recording())
    assert seen == [pytest.approx(30, abs=0.2), pytest.approx(40, abs=0.2)]


async def test_the_callers_creation_time_gives_the_age(provider: FakeProvider) -> None:
    seen: list[float] = []

    class Recording:
        def delay(self, context: PollContext) -> float:
            seen.append(context.age)
            return 5.0

    provider.script("a", record("a"))
    created = datetime.now(UTC) - timedelta(seconds=50)
    async with make_client() as client:
        await client.wait_for_task(TaskRef("a", created_at=created), poll=Recording())
    assert seen == [pytest.approx(50, abs=5)]


async def test_a_wait_ends_at_its_deadline(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    began = anyio.current_time()
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=30)
    assert anyio.current_time() == pytest.approx(began + 30)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.task is not None
    assert caught.value.task.status is TaskStatus.PENDING
    assert caught.value.polls == len(provider.times("a"))
    assert caught.value.task_id == "a"
    assert caught.value.last_error is None


async def test_the_last_poll_comes_just_before_the_deadline(provider: FakeProvider) -> None:
    provider.add("a", 29)
    began = anyio.current_time()
    async with make_client() as client:
        task = await client.wait_for_task("a", timeout=30, poll=Interval(20))
    assert task.succeeded
    assert 29 < provider.times("a")[-1] - began < 30


async def test_the_deadline_cuts_a_request_in_flight(provider: FakeProvider) -> None:
    provider.round_trip = 100
    began = anyio.current_time()
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("a", timeout=7)
        assert anyio.current_time() == pytest.approx(began + 7)
        assert provider.in_flight == 0


async def test_the_deadline_includes_queueing_for_the_rate_limit(provider: FakeProvider) -> None:
    async with make_client(rate_limit=RateLimit(1, 100)) as client:
        await client.get_task("first")
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=7)
        assert caught.value.polls == 0
        assert caught.value.task is None


async def test_a_wait_without_a_timeout_has_no_end(provider: FakeProvider) -> None:
    provider.add("a", 20_000)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=None)).succeeded


async def test_a_wait_with_an_infinite_timeout_has_no_end(provider: FakeProvider) -> None:
    provider.add("a", 10_000)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=math.inf)).succeeded


async def test_timeout_zero_polls_exactly_once(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=0)
    assert len(provider.times("a")) == 1
    assert caught.value.polls == 1


async def test_timeout_zero_returns_a_finished_task(provider: FakeProvider) -> None:
    updates: list[SeparationTask] = []

    async def on_update(task: SeparationTask) -> None:
        await anyio.sleep(1)
        updates.append(task)

    async with make_client() as client:
        task = await client.wait_for_task("a", timeout=0, on_update=on_update)
    assert updates == [task]


async def test_timeout_zero_queues_for_the_rate_limit(provider: FakeProvider) -> None:
    began = anyio.current_time()
    async with make_client(rate_limit=RateLimit(1, 50)) as client:
        await client.get_task("first")
        await client.wait_for_task("a", timeout=0)
    assert anyio.current_time() > began + 50


async def test_timeout_zero_reports_the_error_of_the_poll(provider: FakeProvider) -> None:
    provider.script("a", envelope(500, "broken"))
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=0)
    assert isinstance(caught.value.last_error, ServerError)
    assert len(provider.times("a")) == 1


async def test_timeout_zero_raises_a_permanent_error(provider: FakeProvider) -> None:
    provider.script("a", envelope(401, "no"))
    async with make_client() as client:
        with pytest.raises(AuthenticationError):
            await client.wait_for_task("a", timeout=0)


async def test_the_callers_own_timeout_passes_through(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    async with make_client() as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(5):
                await client.wait_for_task("a", timeout=50)
    assert not isinstance(caught.value, TaskTimeoutError)
    assert is_idle()


@pytest.mark.parametrize("unusable", [-1, math.nan, -math.inf, "10", True])
async def test_an_unusable_timeout_is_refused(provider: FakeProvider, unusable: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="timeout"):
            await client.wait_for_task("a", timeout=unusable)
    assert provider.polls == []


async def test_on_update_is_called_after_each_poll(provider: FakeProvider) -> None:
    provider.add("a", 10)
    seen: list[str] = []
    async with make_client() as client:
        await client.wait_for_task("a", poll=Interval(4), on_update=lambda t: seen.append(t.status))
    assert seen == ["PENDING", "PENDING", "PENDING", "SUCCESS"]


@pytest.mark.own_limiter
async def test_an_async_on_update_delays_no_poll(provider: FakeProvider) -> None:
    provider.add("a", 10)

    async def slow(task: SeparationTask) -> None:
        await anyio.sleep(3)

    async with make_client() as client:
        await client.wait_for_task("a", poll=Interval(4), on_update=slow)
    times = provider.times("a")
    assert [b - a for a, b in pairwise(times)] == pytest.approx([4, 4, 4])


async def test_an_error_of_on_update_ends_the_wait(provider: FakeProvider) -> None:
    provider.add("a", 10)

    def fail(task: SeparationTask) -> None:
        raise LookupError(task.task_id)

    async with make_client() as client:
        with pytest.raises(LookupError):
            await client.wait_for_task("a", on_update=fail)
        assert is_idle()


async def test_a_result_survives_a_deadline_that_cuts_on_update(provider: FakeProvider) -> None:
    async with make_client() as client:
        task = await client.wait_for_task("a", timeout=5, on_update=lambda _: anyio.sleep(math.inf))
    assert task.succeeded


async def test_a_failing_policy_ends_the_wait_with_its_own_error(provider: FakeProvider) -> None:
    class Broken:
        def delay(self, context: PollContext) -> float:
            raise LookupError("no idea")

    provider.add("a", 10)
    async with make_client() as client:
        with pytest.raises(LookupError, match="no idea"):
            await client.wait_for_task("a", poll=Broken())


@pytest.mark.parametrize("delay", [math.nan, -1.0, math.inf, None])
async def test_an_unusable_delay_names_the_policy(provider: FakeProvider, delay: Any) -> None:
    class Odd:
        def delay(self, context: PollContext) -> Any:
            return delay

    provider.add("a", 10)
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="delay of a poll policy"):
            await client.wait_for_task("a", poll=Odd())


async def test_the_first_final_record_counts(provider: FakeProvider) -> None:
    provider.script("a", record("a"), finished("a"), record("a"))
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded
    assert len(provider.polls) == 2


async def test_a_slow_on_update_gets_the_newest_record_and_delays_no_result(
    provider: FakeProvider,
) -> None:
    provider.add("a", 60)
    seen: list[str] = []

    async def slow(task: SeparationTask) -> None:
        await anyio.sleep(5)
        seen.append(task.status)

    began = anyio.current_time()
    async with make_client(rate_limit=None) as client:
        await client.wait_for_task("a", poll=Interval(1), on_update=slow)
    assert anyio.current_time() < began + 72
    assert seen[-1] == "SUCCESS"
    assert len(seen) < 15


@pytest.mark.parametrize("wrong", [5, "print"])
async def test_an_on_update_that_cannot_be_called_is_refused(
    provider: FakeProvider, wrong: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="on_update"):
            await client.wait_for_task("a", on_update=wrong)
    assert provider.polls == []


async def test_a_poll_that_hangs_is_the_last_error_of_a_wait_that_runs_out_of_time(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    async with make_client() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(hang_after, provider, 7.0)
            with pytest.raises(TaskTimeoutError) as caught:
                await client.wait_for_task("a", timeout=20, poll=Interval(5))
        error = caught.value
    assert isinstance(error.last_error, RequestTimeoutError)
    # The polls at 0 and 5 s were answered; that at 10 s was not, nor the last one after it.
    assert re.fullmatch(r"no answer came to a poll within 9\.\d s", str(error.last_error))
    assert f"The last poll failed: {error.last_error}. Wait again" in str(error)


async def hang_after(provider: FakeProvider, seconds: float) -> None:
    await anyio.sleep(seconds)
    provider.round_trip = 1000.0


@pytest.mark.parametrize("hangs_for, told", [(0.5, ServerError), (4.0, RequestTimeoutError)])
async def test_of_two_faults_the_one_that_lasts_is_told(
    provider: FakeProvider, hangs_for: float, told: type[VocalSepError]
) -> None:
    def break_and_hang() -> Any:
        provider.round_trip = 1000.0
        return envelope(500, "broken")

    provider.script("a", break_and_hang)
    async with make_client(retry=RetryPolicy(initial=2.0, jitter=0)) as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=2.1 + hangs_for)
    assert isinstance(caught.value.last_error, told)


async def test_the_first_poll_that_hangs_is_told_too(provider: FakeProvider) -> None:
    provider.round_trip = 1000.0
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=3)
        outcomes = await client.wait_for_tasks(["b"], timeout=3)
    assert str(caught.value.last_error) == "a poll has been without an answer for 3.0 s"
    error = outcomes["b"].error
    assert isinstance(error, TaskTimeoutError)
    assert isinstance(error.last_error, RequestTimeoutError)
