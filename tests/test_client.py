"""The client's promises about waiting, in virtual time."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from inspect import get_annotations, iscoroutine, signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, finished, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    AuthenticationError,
    Backoff,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    ErrorAction,
    InsufficientCreditsError,
    Interval,
    InvalidArgumentError,
    MaintenanceError,
    NotFoundError,
    PollContext,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    SeparationTask,
    SeparationType,
    ServerError,
    TaskNotFoundError,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
)
from vocalsep_async._polling.waiter import Waiter
from vocalsep_async._transport.api import Reply, Request
from vocalsep_async.client import ClientOptions

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def alone() -> bool:
    """Whether no task of the package runs in the loop."""
    coroutines = (task.get_coro() for task in asyncio.all_tasks())
    files = [coroutine.cr_code.co_filename for coroutine in coroutines if iscoroutine(coroutine)]
    return bool(files) and not any("vocalsep_async" in Path(file).parts for file in files)


# Waiting for one task


async def test_a_wait_returns_the_final_record(provider: FakeProvider) -> None:
    provider.add("a", 60)
    async with make_client() as client:
        task = await client.wait_for_task("a")
    assert task.succeeded
    assert dict(task.stems) == {
        "vocal": "https://cdn.example/v.mp3",
        "instrumental": "https://cdn.example/i.mp3",
    }


async def test_the_first_look_is_immediate(provider: FakeProvider) -> None:
    began = anyio.current_time()
    async with make_client() as client:
        await client.wait_for_task("a")
    assert provider.times("a") == [pytest.approx(began + provider.round_trip / 2)]


async def test_every_looks_at_even_gaps(provider: FakeProvider) -> None:
    provider.add("a", 22)
    async with make_client(rate_limit=None) as client:
        await client.wait_for_task("a", poll=Interval(5))
    times = provider.times("a")
    assert [b - a for a, b in pairwise(times)] == pytest.approx([5.0] * 5)


async def test_backoff_grows_between_looks(provider: FakeProvider) -> None:
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

    class Watching:
        def delay(self, context: PollContext) -> float:
            seen.append(context.age)
            return 10.0

    pending = record("a", createTime=1_800_000_000_000)
    young = pending._replace(headers={"Date": "Fri, 15 Jan 2027 08:00:30 GMT"})
    provider.script("a", young, pending)
    async with make_client() as client:
        await client.wait_for_task("a", poll=Watching())
    assert seen == [pytest.approx(30, abs=0.2), pytest.approx(40, abs=0.2)]


async def test_the_callers_creation_time_gives_the_age(provider: FakeProvider) -> None:
    seen: list[float] = []

    class Watching:
        def delay(self, context: PollContext) -> float:
            seen.append(context.age)
            return 5.0

    provider.script("a", record("a"))
    created = datetime.now(UTC) - timedelta(seconds=50)
    async with make_client() as client:
        await client.wait_for_task(TaskRef("a", created_at=created), poll=Watching())
    assert seen == [pytest.approx(50, abs=5)]


# Deadlines


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


async def test_the_last_look_falls_just_before_the_deadline(provider: FakeProvider) -> None:
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


async def test_the_deadline_counts_queueing_for_the_budget(provider: FakeProvider) -> None:
    async with make_client(rate_limit=RateLimit(1, 100)) as client:
        await client.get_task("first")
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=7)
        assert caught.value.polls == 0
        assert caught.value.task is None


async def test_no_timeout_waits_for_ever(provider: FakeProvider) -> None:
    provider.add("a", 20_000)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=None)).succeeded


async def test_an_infinite_timeout_waits_for_ever(provider: FakeProvider) -> None:
    provider.add("a", 10_000)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=math.inf)).succeeded


async def test_timeout_zero_looks_exactly_once(provider: FakeProvider) -> None:
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


async def test_timeout_zero_queues_for_the_budget(provider: FakeProvider) -> None:
    began = anyio.current_time()
    async with make_client(rate_limit=RateLimit(1, 50)) as client:
        await client.get_task("first")
        await client.wait_for_task("a", timeout=0)
    assert anyio.current_time() > began + 50


async def test_timeout_zero_tells_what_the_look_met(provider: FakeProvider) -> None:
    provider.script("a", envelope(500, "broken"))
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=0)
    assert isinstance(caught.value.last_error, ServerError)
    assert len(provider.times("a")) == 1


async def test_timeout_zero_raises_what_no_repetition_changes(provider: FakeProvider) -> None:
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
    assert alone()


@pytest.mark.parametrize("unusable", [-1, math.nan, -math.inf, "10", True])
async def test_an_unusable_timeout_is_refused(provider: FakeProvider, unusable: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="timeout"):
            await client.wait_for_task("a", timeout=unusable)
    assert provider.polls == []


# Faults on the way


@pytest.mark.parametrize(
    "fault",
    [
        envelope(500, "broken"),
        envelope(430, "too often"),
        envelope(405, "too often"),
        envelope(455, "maintenance"),
        envelope(200, data=None),
        TransportError("cut"),
        envelope(200, data="strange"),
    ],
)
async def test_a_passing_fault_is_waited_out(provider: FakeProvider, fault: Any) -> None:
    provider.script("a", record("a"), fault, fault)
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded


@pytest.mark.parametrize(
    "code, error",
    [
        (400, APIError),
        (401, AuthenticationError),
        (404, NotFoundError),
        (429, InsufficientCreditsError),
    ],
)
async def test_what_no_repetition_changes_ends_the_wait(
    provider: FakeProvider, code: int, error: type[APIError]
) -> None:
    provider.script("a", record("a"), envelope(code, "no"))
    async with make_client() as client:
        with pytest.raises(error) as caught:
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 2
    assert caught.value.task_id == "a"


async def test_a_fault_without_end_lasts_until_the_deadline(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 1000)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100)
    assert isinstance(caught.value.last_error, ServerError)
    assert 10 < caught.value.polls < 30


async def test_five_unreadable_answers_in_a_row_end_the_wait(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(200, data="strange")] * 4, record("a"))
    provider.script("a", *[envelope(200, data="strange")] * 5)
    async with make_client() as client:
        with pytest.raises(DecodeError):
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 10


async def test_a_task_nobody_knows_gets_a_short_grace(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(200)] * 10)
    async with make_client() as client:
        with pytest.raises(TaskNotFoundError):
            await client.wait_for_task("a")
    assert len(provider.times("a")) == 4


async def test_another_tasks_record_is_never_handed_out(provider: FakeProvider) -> None:
    provider.script("a", finished("b"))
    async with make_client() as client:
        assert (await client.wait_for_task("a")).task_id == "a"


async def test_maintenance_is_probed_at_most_once_a_minute(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(455, "maintenance")] * 1000)
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=3600)
    assert isinstance(caught.value.last_error, MaintenanceError)
    assert len(provider.times("a")) <= 61


async def test_a_pause_beyond_the_deadline_ends_the_wait_at_once(provider: FakeProvider) -> None:
    provider.script("a", envelope(430, "too often", Retry_After="120"))
    provider.add("b", math.inf)
    began = anyio.current_time()
    async with make_client() as client, anyio.create_task_group() as group:

        async def bystander() -> None:
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("b", timeout=119)
            assert anyio.current_time() < began + 1

        group.start_soon(bystander)
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=60)
        assert anyio.current_time() < began + 1
    assert isinstance(caught.value.last_error, RateLimitedError)


async def test_a_refusal_pauses_everybody(provider: FakeProvider) -> None:
    provider.add("b", 30)
    provider.script("a", envelope(430, "too often", Retry_After="20"))
    began = anyio.current_time()
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        group.start_soon(client.wait_for_task, "b")
        await anyio.sleep(1)
        assert client.stats.paused_for == pytest.approx(19.1, abs=0.2)
        assert client.stats.throttled == 1
        group.start_soon(client.get_task, "c")
    assert [at for at, _ in provider.polls if began + 0.2 < at < began + 20] == []


async def test_an_unknown_status_is_pending_and_warned_of_once(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script("a", record("a", "REFINING"), record("a", "REFINING"))
    seen: list[str] = []
    async with make_client() as client:
        await client.wait_for_task("a", on_update=lambda task: seen.append(task.status))
    assert seen == ["REFINING", "REFINING", "SUCCESS"]
    assert caplog.text.count("REFINING") == 1


# on_update


async def test_on_update_is_called_at_each_look(provider: FakeProvider) -> None:
    provider.add("a", 10)
    seen: list[str] = []
    async with make_client() as client:
        await client.wait_for_task("a", poll=Interval(4), on_update=lambda t: seen.append(t.status))
    assert seen == ["PENDING", "PENDING", "PENDING", "SUCCESS"]


async def test_an_async_on_update_delays_no_look(provider: FakeProvider) -> None:
    provider.add("a", 10)

    async def slow(task: SeparationTask) -> None:
        await anyio.sleep(3)

    async with make_client() as client:
        await client.wait_for_task("a", poll=Interval(4), on_update=slow)
    times = provider.times("a")
    assert [b - a for a, b in pairwise(times)] == pytest.approx([4, 4, 4])


async def test_what_on_update_raises_ends_the_wait(provider: FakeProvider) -> None:
    provider.add("a", 10)

    def fail(task: SeparationTask) -> None:
        raise LookupError(task.task_id)

    async with make_client() as client:
        with pytest.raises(LookupError):
            await client.wait_for_task("a", on_update=fail)
        assert alone()


async def test_a_result_beats_the_deadline_that_cuts_on_update(provider: FakeProvider) -> None:
    async with make_client() as client:
        task = await client.wait_for_task("a", timeout=5, on_update=lambda _: anyio.sleep(math.inf))
    assert task.succeeded


# Sharing


async def test_two_waits_for_one_task_share_the_looks(provider: FakeProvider) -> None:
    provider.add("a", 20)
    results: list[SeparationTask] = []

    async def wait() -> None:
        results.append(await client.wait_for_task("a", poll=Interval(5)))

    async with make_client() as client, anyio.create_task_group() as group:
        for _ in range(7):
            group.start_soon(wait)
    assert len(results) == 7
    assert len(provider.times("a")) == 5


async def test_a_wait_that_joins_late_looks_at_once(provider: FakeProvider) -> None:
    provider.add("a", 12)
    began = anyio.current_time()
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(lambda: client.wait_for_task("a", poll=Interval(30)))
        await anyio.sleep(15)
        await client.wait_for_task("a", poll=Interval(30))
        assert anyio.current_time() == pytest.approx(began + 15.1)


async def test_one_of_two_waits_is_cancelled_and_the_other_goes_on(provider: FakeProvider) -> None:
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


async def test_nothing_runs_on_when_nobody_waits(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    async with make_client() as client:
        with anyio.move_on_after(3):
            await client.wait_for_task("a")
        assert alone()
        assert client.stats.in_flight == 0
        provider.add("b", 5)
        assert (await client.wait_for_task("b")).succeeded
        assert alone()


async def test_a_policy_that_fails_ends_the_wait_with_its_own_error(provider: FakeProvider) -> None:
    class Broken:
        def delay(self, context: PollContext) -> float:
            raise LookupError("no idea")

    provider.add("a", 10)
    async with make_client() as client:
        with pytest.raises(LookupError, match="no idea"):
            await client.wait_for_task("a", poll=Broken())


@pytest.mark.parametrize("delay", [math.nan, -1.0, math.inf, None])
async def test_a_policy_with_an_unusable_delay_is_named(provider: FakeProvider, delay: Any) -> None:
    class Odd:
        def delay(self, context: PollContext) -> Any:
            return delay

    provider.add("a", 10)
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="delay of a poll policy"):
            await client.wait_for_task("a", poll=Odd())


# Many tasks


async def test_many_tasks_get_an_outcome_each_in_the_order_given(provider: FakeProvider) -> None:
    for n in range(60):
        provider.add(f"t{n}", 30 + n)
    provider.limit = (20, 10.0)
    ids = [f"t{n}" for n in range(60)]
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(reversed(ids))
    assert list(outcomes) == list(reversed(ids))
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert provider.throttled == 0


async def test_a_task_that_appears_twice_is_waited_for_once(provider: FakeProvider) -> None:
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(["a", TaskRef("a"), "a"])
    assert list(outcomes) == ["a"]
    assert len(provider.times("a")) == 1


async def test_ids_may_come_from_an_async_iterable(provider: FakeProvider) -> None:
    async def ids() -> Any:
        for task_id in "abc":
            yield task_id

    async with make_client() as client:
        assert list(await client.wait_for_tasks(ids())) == ["a", "b", "c"]


async def test_one_bad_task_does_not_hurt_the_others(provider: FakeProvider) -> None:
    provider.script("bad", *[envelope(400, "no")] * 9)
    provider.script("unreadable", *[envelope(200, data=[])] * 9)
    provider.add("good", 20)
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(["bad", "good", "unreadable"])
    assert isinstance(outcomes["bad"].error, APIError)
    assert isinstance(outcomes["unreadable"].error, DecodeError)
    assert outcomes["good"].succeeded
    assert outcomes["good"].elapsed == pytest.approx(20, abs=5)
    with pytest.raises(APIError):
        outcomes["bad"].result()


async def test_a_dead_key_ends_all_without_asking_for_each(provider: FakeProvider) -> None:
    ids = [f"t{n}" for n in range(100)]
    for task_id in ids:
        provider.script(task_id, envelope(401, "no access"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(ids)
    assert all(isinstance(each.error, AuthenticationError) for each in outcomes.values())
    assert len(provider.polls) <= 4


async def test_a_key_that_dies_midway_leaves_what_is_finished(provider: FakeProvider) -> None:
    provider.add("quick", 0)
    ids = ["quick", *(f"t{n}" for n in range(30))]
    for task_id in ids[1:]:
        provider.script(task_id, record(task_id), envelope(401, "no access"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(ids, poll=Interval(8))
    assert outcomes["quick"].succeeded
    assert all(isinstance(outcomes[each].error, AuthenticationError) for each in ids[1:])
    assert len(provider.polls) <= 40


async def test_the_first_final_record_counts(provider: FakeProvider) -> None:
    provider.script("a", record("a"), finished("a"), record("a"))
    async with make_client() as client:
        assert (await client.wait_for_task("a")).succeeded
    assert len(provider.polls) == 2


async def test_at_the_deadline_open_tasks_get_their_timeout_and_last_status(
    provider: FakeProvider,
) -> None:
    provider.add("slow", math.inf)
    provider.add("quick", 5)
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(["slow", "quick"], timeout=30)
    assert outcomes["quick"].succeeded
    slow = outcomes["slow"]
    assert isinstance(slow.error, TaskTimeoutError)
    assert slow.status is TaskStatus.PENDING
    assert slow.task is None
    assert slow.polls > 1
    assert slow.elapsed == pytest.approx(30)


async def test_timeout_zero_looks_at_each_task_once(provider: FakeProvider) -> None:
    provider.add("slow", math.inf)
    provider.script("bad", envelope(400, "no"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(["slow", "done", "bad"], timeout=0)
    assert [outcome.succeeded for outcome in outcomes.values()] == [False, True, False]
    assert [outcome.polls for outcome in outcomes.values()] == [1, 1, 1]
    assert len(provider.polls) == 3
    assert isinstance(outcomes["slow"].error, TaskTimeoutError)
    assert not isinstance(outcomes["bad"].error, TaskTimeoutError)


@pytest.mark.parametrize("tasks", ["an-id", b"an-id", TaskRef("an-id")])
async def test_one_id_instead_of_many_is_refused_with_the_right_call(
    provider: FakeProvider, tasks: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match=r"wait_for_tasks\(\[task_id\]\)"):
            await client.wait_for_tasks(tasks)


async def test_the_type_of_plain_ids_can_be_told(provider: FakeProvider) -> None:
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(
            ["a", TaskRef("b", type=SeparationType.SPLIT_STEM)], type="separate_vocal"
        )
    task = outcomes["a"].task
    assert task is not None
    assert task.type is SeparationType.SEPARATE_VOCAL


# One look


async def test_a_look_is_tried_again_as_the_retry_policy_says(provider: FakeProvider) -> None:
    provider.script("a", envelope(500, "broken"), TransportError("cut"), envelope(430, "often"))
    async with make_client() as client:
        assert (await client.get_task("a")).succeeded


async def test_tries_run_out(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 9)
    async with make_client(retry=RetryPolicy(attempts=2)) as client:
        with pytest.raises(ServerError):
            await client.get_task("a")
    assert len(provider.times("a")) == 2


@pytest.mark.parametrize("code", [400, 401, 404, 413, 429, 455])
async def test_a_look_does_not_repeat_what_would_not_help(
    provider: FakeProvider, code: int
) -> None:
    provider.script("a", envelope(code, "no"))
    async with make_client() as client:
        with pytest.raises(APIError):
            await client.get_task("a")
    assert len(provider.times("a")) == 1


async def test_looks_start_first_come_first_served(provider: FakeProvider) -> None:
    async with make_client() as client, anyio.create_task_group() as group:
        for n in range(50):
            group.start_soon(client.get_task, f"t{n:02}")
    assert provider.sent == [f"t{n:02}" for n in range(50)]


async def test_a_client_without_a_known_limit_learns_one(provider: FakeProvider) -> None:
    provider.limit = (20, 10.0)
    ids = [f"t{n}" for n in range(100)]
    for task_id in ids:
        provider.add(task_id, 60)
    async with make_client(rate_limit=None) as client:
        outcomes = await client.wait_for_tasks(ids, poll=Interval(10))
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert provider.throttled <= 48  # 30 of the first 50, and few while the limit is found


# What the waits know of each other


async def test_a_good_answer_under_way_is_not_lost_to_a_pause(provider: FakeProvider) -> None:
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:

        async def refused_meanwhile() -> None:
            await anyio.sleep(1)
            provider.round_trip = 0.1
            provider.script("b", envelope(430, "too often", Retry_After="120"))
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("b", timeout=60)

        group.start_soon(refused_meanwhile)
        assert (await client.wait_for_task("a", timeout=60)).succeeded


async def test_a_wait_that_begins_in_a_pause_beyond_its_deadline_ends_at_once(
    provider: FakeProvider,
) -> None:
    provider.script("a", envelope(430, "too often", Retry_After="120"))
    async with make_client(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RateLimitedError):
            await client.get_task("a")
        began = anyio.current_time()
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("b", timeout=60)
    assert anyio.current_time() == began
    assert caught.value.polls == 0


async def test_a_pause_that_a_look_brings_on_ends_waits_that_cannot_outlast_it(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    began = anyio.current_time()
    retry = RetryPolicy(attempts=1)
    async with make_client(retry=retry) as client, anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("a", timeout=60, poll=Interval(20))
            assert anyio.current_time() < began + 6

        group.start_soon(wait)
        await anyio.sleep(5)
        provider.script("b", envelope(430, "too often", Retry_After="120"))
        with pytest.raises(RateLimitedError):
            await client.get_task("b")


async def test_what_a_second_wait_knows_of_the_task_counts_for_both(
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
    async with client, client._poller.subscription(TaskRef("a"), Waiter(Interval(1))) as wait:
        await anyio.sleep(100)
        assert len(provider.polls) > 50
        assert wait._unread is None


async def test_a_second_wait_begins_though_a_failed_one_is_still_busy(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(now: float) -> float:
        raise LookupError("the budget is gone")

    async with make_client() as client, anyio.create_task_group() as group:

        async def busy(task: SeparationTask) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(client._rate_limiter, "wait", broken)
                await anyio.sleep(5)
            await anyio.sleep(20)

        async def fails() -> None:
            with pytest.raises(LookupError):
                await client.wait_for_task("a", poll=Interval(2), on_update=busy)

        provider.add("a", 100)
        group.start_soon(fails)
        await anyio.sleep(10)
        assert (await client.wait_for_task("b", timeout=30)).succeeded


async def test_a_time_without_a_zone_beside_one_with_it_teaches_nothing(
    provider: FakeProvider,
) -> None:
    done = finished("a")
    odd = done.body.replace(b"1700000000000", b'"2023-11-14 12:00:00"')
    provider.script("a", done._replace(body=odd))
    async with make_client() as client:
        assert (await client.get_task("a")).duration is not None
        assert client.durations.view(None).completions == 0


async def test_waits_are_not_starved_by_callers_who_look_all_the_time(
    provider: FakeProvider,
) -> None:
    ids = [f"w{n}" for n in range(20)]
    for task_id in ids:
        provider.add(task_id, math.inf)
    async with make_client() as client, anyio.create_task_group() as group:

        async def look_all_the_time(task_id: str) -> None:
            while True:
                await client.get_task(task_id)

        for n in range(50):
            group.start_soon(look_all_the_time, f"g{n}")
        outcomes = await client.wait_for_tasks(ids, timeout=300, poll=Interval(5))
        group.cancel_scope.cancel()
    assert min(outcome.polls for outcome in outcomes.values()) >= 5


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


async def test_a_tracing_hook_that_fails_ends_the_wait_with_its_own_error(
    provider: FakeProvider,
) -> None:
    provider.script("a", LookupError("the hook is broken"))
    async with make_client() as client:
        with pytest.raises(LookupError, match="the hook is broken"):
            await client.wait_for_task("a")
        assert alone()


async def test_a_policy_that_fails_ends_nobody_elses_wait(provider: FakeProvider) -> None:
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


async def test_a_wait_that_joins_does_not_put_off_anothers_last_look(
    provider: FakeProvider,
) -> None:
    provider.add("a", 9.3)
    async with make_client() as client, anyio.create_task_group() as group:

        async def joins_late() -> None:
            await anyio.sleep(9.55)
            await client.wait_for_task("a", timeout=30, poll=Interval(5))

        group.start_soon(joins_late)
        assert (await client.wait_for_task("a", timeout=10, poll=Interval(9.2))).succeeded


async def test_a_look_that_somebody_cancels_is_made_again(provider: FakeProvider) -> None:
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:

        async def vandal() -> None:
            await anyio.sleep(1)
            polls = [task for task in asyncio.all_tasks() if "vocalsep poll a" in task.get_name()]
            polls[0].cancel()

        group.start_soon(vandal)
        assert (await client.wait_for_task("a", timeout=60)).succeeded
        assert client.stats.in_flight == 0


async def test_failures_of_changing_kinds_back_off_too(provider: FakeProvider) -> None:
    for _ in range(300):
        provider.script("a", envelope(500, "broken"), TransportError("cut"))
    async with make_client() as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100)
    assert caught.value.polls < 30


async def test_a_clock_hours_off_does_not_stop_the_looks(provider: FakeProvider) -> None:
    pending = record("a", createTime=1_800_000_000_000)
    off = pending._replace(headers={"Date": "Fri, 15 Jan 2027 16:00:00 GMT"})
    provider.script("a", *[off] * 12)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=200)).succeeded


async def test_unknown_statuses_are_cut_and_warned_of_a_few_times(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script("a", *[record("a", f"{n}\x1b[31m\n" + "y" * 2000) for n in range(200)])
    async with make_client(rate_limit=None) as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=100, poll=Interval(1))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert len(caplog.records) == 20


@pytest.mark.parametrize("wrong", [5, "print"])
async def test_an_on_update_that_cannot_be_called_is_refused(
    provider: FakeProvider, wrong: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="on_update"):
            await client.wait_for_task("a", on_update=wrong)
    assert provider.polls == []


@pytest.mark.parametrize("wrong", [None, 5])
async def test_what_holds_no_ids_is_refused(provider: FakeProvider, wrong: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="tasks must be"):
            await client.wait_for_tasks(wrong)


async def test_looks_do_not_run_in_a_callers_context(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ContextVar("request", default="nobody's")
    seen: list[str] = []
    exchange = provider.exchange

    async def seeing(sent: Request) -> Reply:
        seen.append(request.get())
        return await exchange(sent)

    monkeypatch.setattr(provider, "exchange", seeing)
    request.set("mine")
    async with make_client() as client:
        await client.wait_for_task("a")
    assert seen == ["nobody's"]


# Creating and credits


async def test_a_created_task_is_named_with_all_that_is_known(provider: FakeProvider) -> None:
    provider.script("/api/v1/vocal-removal/generate", envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        ref = await client.create_task(
            source_task_id="song",
            audio_id="track",
            type="split_stem",
            callback_url="http://x.example/cb",
        )
    assert (ref.task_id, ref.type) == ("new", SeparationType.SPLIT_STEM)
    assert ref.created_at is not None
    assert provider.posted == [
        {
            "taskId": "song",
            "audioId": "track",
            "type": "split_stem",
            "callBackUrl": "http://x.example/cb",
        }
    ]


async def test_a_song_from_elsewhere_is_named_by_its_url(provider: FakeProvider) -> None:
    provider.script("/api/v1/vocal-removal/generate", envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        await client.create_task(
            audio_url="https://x.example/a.mp3",
            callback_url="https://x.example/cb",
            type=SeparationType.SPLIT_STEM_ADVANCED,
            stem_name="Piano",
        )
    assert provider.posted[0] == {
        "audioUrl": "https://x.example/a.mp3",
        "type": "split_stem_advanced",
        "callBackUrl": "https://x.example/cb",
        "stemName": "Piano",
    }


CREATE = "/api/v1/vocal-removal/generate"


@pytest.mark.parametrize(
    "fault",
    [
        TransportError("cut"),
        envelope(500, "broken"),
        envelope(200, data={}),
        envelope(200, data={"taskId": 7}),
    ],
)
async def test_a_billed_call_that_may_have_arrived_is_not_repeated(
    provider: FakeProvider, fault: Any
) -> None:
    provider.script(CREATE, fault)
    async with make_client() as client:
        with pytest.raises((TransportError, ServerError, DecodeError)) as caught:
            await client.create_task(
                audio_url="http://x.example/a", callback_url="http://x.example/c"
            )
    assert len(provider.posted) == 1
    assert "may have been created" in caught.value.__notes__[0]


async def test_a_billed_call_that_never_left_says_nothing_of_a_bill(provider: FakeProvider) -> None:
    fault = TransportError("bad certificate", may_have_arrived=False, action=ErrorAction.RAISE)
    provider.script(CREATE, fault)
    async with make_client() as client:
        with pytest.raises(TransportError) as caught:
            await client.create_task(
                audio_url="http://x.example/a", callback_url="http://x.example/c"
            )
    assert not hasattr(caught.value, "__notes__")


async def test_closing_during_a_billed_call_says_what_may_have_happened(
    provider: FakeProvider,
) -> None:
    provider.script(CREATE, ClientClosedError("closed", may_have_arrived=True))
    async with make_client() as client:
        with pytest.raises(ClientClosedError) as caught:
            await client.create_task(
                audio_url="http://x.example/a", callback_url="http://x.example/c"
            )
    assert "may have been created" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "fault",
    [envelope(430, "often"), envelope(405, "often"), TransportError("x", may_have_arrived=False)],
)
async def test_a_billed_call_that_was_turned_away_is_repeated(
    provider: FakeProvider, fault: Any
) -> None:
    provider.script(CREATE, fault, envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        ref = await client.create_task(
            audio_url="http://x.example/a", callback_url="http://x.example/c"
        )
    assert ref.task_id == "new"
    assert len(provider.posted) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"source_task_id": "a"},
        {"audio_id": "a"},
        {"source_task_id": "a", "audio_id": "b", "audio_url": "https://x.example/a"},
        {"audio_url": "not a url"},
        {"audio_url": "https://x.example/a", "type": "karaoke"},
        {"audio_url": "https://x.example/a", "stem_name": " "},
        {"audio_url": "https://x.example/a", "callback_url": "ftp://x.example"},
        {"source_task_id": "a", "audio_id": ""},
    ],
)
async def test_an_unusable_creation_is_refused_before_it_is_sent(
    provider: FakeProvider, wrong: dict[str, Any]
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError):
            await client.create_task(**{"callback_url": "https://x.example/cb", **wrong})
    assert provider.posted == []


@pytest.mark.parametrize(
    "base_url, path",
    [("https://api.sunoapi.org", "generate"), ("https://api.kie.ai", "chat")],
)
async def test_credits_are_asked_for_where_the_dialect_has_them(
    provider: FakeProvider, base_url: str, path: str
) -> None:
    provider.script(f"/api/v1/{path}/credit", envelope(500, "broken"), envelope(200, data=12.5))
    async with make_client(base_url=base_url) as client:
        assert await client.get_credits() == 12.5


# Construction and closing


def test_a_client_without_arguments_takes_key_and_address_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", "k-123456789")
    assert VocalSepClient().base_url == "https://api.sunoapi.org"
    monkeypatch.setenv("VOCALSEP_BASE_URL", "https://api.kie.ai")
    client = VocalSepClient()
    assert "api.kie.ai (kie)" in repr(client)
    assert "k-123456789" not in repr(client)


def test_an_address_of_the_environment_goes_for_a_client_with_a_key_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOCALSEP_BASE_URL", "https://api.kie.ai")
    assert VocalSepClient("k-123456789").base_url == "https://api.kie.ai"


def test_an_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", " ")
    monkeypatch.setenv("VOCALSEP_BASE_URL", " ")
    client = VocalSepClient("k-123456789", base_url="http://localhost:1")
    assert client.base_url == "http://localhost:1"


def test_a_mapping_takes_the_place_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCALSEP_BASE_URL", "https://api.example.net")
    environ = {"VOCALSEP_API_KEY": "k-123456789"}
    assert VocalSepClient.from_env(environ).base_url == "https://api.sunoapi.org"
    environ["VOCALSEP_BASE_URL"] = "https://api.kie.ai"
    assert "api.kie.ai (kie)" in repr(VocalSepClient.from_env(environ))
    client = VocalSepClient.from_env(environ, base_url="http://localhost:1")
    assert client.base_url == "http://localhost:1"


@pytest.mark.parametrize("make", [VocalSepClient, VocalSepClient.from_env])
def test_the_environment_is_read_at_the_time_of_the_call(
    make: Callable[[], VocalSepClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", "k-123456789")
    for host in ("one.example.net", "two.example.net"):
        monkeypatch.setattr(os, "environ", {**os.environ, "VOCALSEP_BASE_URL": f"https://{host}"})
        assert make().base_url == f"https://{host}"


@pytest.mark.parametrize("make", [VocalSepClient, VocalSepClient.from_env])
def test_a_missing_key_is_named_by_its_variable_and_its_argument(
    make: Callable[[], VocalSepClient],
) -> None:
    with pytest.raises(ConfigurationError, match="VOCALSEP_API_KEY, or pass api_key"):
        make()


@pytest.mark.parametrize("name", ["VOCALSEP_API_KEY", "VOCALSEP_BASE_URL"])
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_variable_is_not_taken_for_one_that_is_not_set(
    name: str, blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"VOCALSEP_API_KEY": "k-123456789", name: blank}
    with pytest.raises(ConfigurationError, match=f"{name} is empty"):
        VocalSepClient.from_env(environ)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{name} is empty"):
        VocalSepClient()


def test_the_options_of_from_env_are_those_of_the_constructor() -> None:
    parameters = signature(VocalSepClient).parameters.values()
    options = {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}
    typed = get_annotations(ClientOptions)
    assert {name: each.__forward_arg__ for name, each in typed.items()} == options


@pytest.mark.parametrize(
    "options",
    [
        {"rate_limit": 20},
        {"retry": 3},
        {"poll": 5},
        {"poll": Interval},
        {"provider": "kie"},
        {"request_timeout": 0},
        {"session": object(), "trace_configs": [object()]},
        {"proxy": "not a url"},
        {"user_agent": ""},
        {"base_url": "api.sunoapi.org"},
    ],
)
def test_an_unusable_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        make_client(**options)


async def test_closing_ends_waits_and_queued_calls(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    ended: list[str] = []

    async def expect_closed(name: str, call: Any) -> None:
        with pytest.raises(ClientClosedError):
            await call
        ended.append(name)

    client = make_client(rate_limit=RateLimit(1, 1000))
    async with anyio.create_task_group() as group:
        group.start_soon(expect_closed, "wait", client.wait_for_task("a"))
        await anyio.sleep(1)
        group.start_soon(expect_closed, "queued", client.get_task("b"))
        await anyio.sleep(1)
        await client.aclose()
        await client.aclose()
    assert sorted(ended) == ["queued", "wait"]
    assert alone()
    with pytest.raises(ClientClosedError):
        await client.wait_for_task("c")
