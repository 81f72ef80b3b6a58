"""Waiting for many tasks, in virtual time."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, make_client, record
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    AuthenticationError,
    DecodeError,
    Interval,
    InvalidArgumentError,
    SeparationType,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


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


async def test_a_dead_key_ends_all_waits_without_a_poll_for_each(provider: FakeProvider) -> None:
    ids = [f"t{n}" for n in range(100)]
    for task_id in ids:
        provider.script(task_id, envelope(401, "no access"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(ids)
    assert all(isinstance(each.error, AuthenticationError) for each in outcomes.values())
    assert len(provider.polls) <= 4


async def test_a_key_that_dies_midway_leaves_finished_outcomes(provider: FakeProvider) -> None:
    provider.add("quick", 0)
    ids = ["quick", *(f"t{n}" for n in range(30))]
    for task_id in ids[1:]:
        provider.script(task_id, record(task_id), envelope(401, "no access"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(ids, poll=Interval(8))
    assert outcomes["quick"].succeeded
    assert all(isinstance(outcomes[each].error, AuthenticationError) for each in ids[1:])
    assert len(provider.polls) <= 40


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


async def test_timeout_zero_polls_each_task_once(provider: FakeProvider) -> None:
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
async def test_a_single_id_is_refused_with_the_right_call(
    provider: FakeProvider, tasks: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match=r"wait_for_tasks\(\[task_id\]\)"):
            await client.wait_for_tasks(tasks)


async def test_the_type_argument_applies_to_plain_ids(provider: FakeProvider) -> None:
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED"))
    async with make_client() as client:
        outcomes = await client.wait_for_tasks(
            ["a", TaskRef("b", type=SeparationType.SPLIT_STEM)], type="separate_vocal"
        )
    task = outcomes["a"].task
    assert task is not None
    assert task.type is SeparationType.SEPARATE_VOCAL


async def test_a_client_without_a_known_limit_learns_one(provider: FakeProvider) -> None:
    provider.limit = (20, 10.0)
    ids = [f"t{n}" for n in range(100)]
    for task_id in ids:
        provider.add(task_id, 60)
    async with make_client(rate_limit=None) as client:
        outcomes = await client.wait_for_tasks(ids, poll=Interval(10))
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert provider.throttled <= 48  # 30 of the first 50, and few while the limit is found


async def test_waits_are_not_starved_by_constant_get_task_calls(
    provider: FakeProvider,
) -> None:
    ids = [f"w{n}" for n in range(20)]
    for task_id in ids:
        provider.add(task_id, math.inf)
    async with make_client() as client, anyio.create_task_group() as group:

        async def poll_all_the_time(task_id: str) -> None:
            while True:
                await client.get_task(task_id)

        for n in range(50):
            group.start_soon(poll_all_the_time, f"g{n}")
        outcomes = await client.wait_for_tasks(ids, timeout=300, poll=Interval(5))
        group.cancel_scope.cancel()
    assert min(outcome.polls for outcome in outcomes.values()) >= 5


@pytest.mark.parametrize("wrong", [None, 5])
async def test_tasks_without_ids_are_refused(provider: FakeProvider, wrong: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="tasks must be"):
            await client.wait_for_tasks(wrong)
