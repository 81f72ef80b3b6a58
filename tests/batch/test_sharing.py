"""Batches beside single waits and beside each other, on one client."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all, is_clean, numbered, outcomes_of, tracked
from fakes import FakeProvider, finished, make_client

from vocalsep_async import (
    BatchRunner,
    Event,
    Interval,
    PollContext,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskTimeoutError,
    VocalSepClient,
)
from vocalsep_async.instrumentation import PollStarted

pytestmark = pytest.mark.anyio


async def both(*calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))


# The same task


async def test_a_batch_and_a_wait_share_polls(provider: FakeProvider) -> None:
    provider.add("a", 18)
    async with make_client(poll=Interval(5)) as client:
        task, (outcome,) = await both(client.wait_for_task("a"), tracked(client, ["a"]))
    assert task == outcome.task
    assert outcome.polls == len(provider.polls) == 5


async def test_batches_with_the_same_ids_share_polls(provider: FakeProvider) -> None:
    ids = numbered(30)
    add_all(provider, ids, 100)
    provider.limit = (20, 10.0)
    async with make_client(poll=Interval(30)) as client:
        first, second = await both(tracked(client, ids), tracked(client, reversed(ids)))
    assert all(outcome.succeeded for outcome in first + second)
    assert len(provider.polls) <= 5 * 30 + 30
    assert provider.throttled == 0


async def test_polls_from_before_a_batch_are_not_counted(provider: FakeProvider) -> None:
    provider.add("a", 100)
    async with make_client(poll=Interval(10)) as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(52)
        async with client.track(["a"]) as batch:
            outcome = await anext(batch)
            assert batch.stats.polls == outcome.polls
    assert outcome.polls == len([at for at in provider.times("a") if at > 1052]) == 6
    assert outcome.elapsed == pytest.approx(50, abs=2.5)


@pytest.mark.parametrize("when", [0.0, 0.02, 3.0])
async def test_a_wait_goes_on_when_the_batch_is_left(provider: FakeProvider, when: float) -> None:
    provider.add("a", 20)
    async with make_client() as client, anyio.create_task_group() as group:

        async def waits() -> None:
            assert (await client.wait_for_task("a", poll=Interval(5))).succeeded

        async with client.track(["a"], poll=Interval(7)):
            group.start_soon(waits)
            await anyio.sleep(when)
    assert provider.times("a")[-1] < 1026.1


@pytest.mark.parametrize("when", [0.0, 0.02, 3.0])
async def test_a_batch_goes_on_when_a_wait_is_cancelled(
    provider: FakeProvider, when: float
) -> None:
    provider.add("a", 20)
    async with make_client() as client, client.track(["a"], poll=Interval(7)) as batch:
        with anyio.move_on_after(when):
            await client.wait_for_task("a", poll=Interval(5))
        assert (await anext(batch)).succeeded
    assert provider.times("a")[-1] < 1030


@pytest.mark.parametrize("when", [0.0, 0.02, 3.0])
async def test_a_batch_goes_on_when_another_with_its_ids_is_left(
    provider: FakeProvider, when: float
) -> None:
    ids = numbered(20)
    add_all(provider, ids, 60)
    before = asyncio.all_tasks()
    async with make_client(poll=Interval(20)) as client:
        async with client.track(ids) as batch:
            async with client.track(ids):
                await anyio.sleep(when)
            assert len(await outcomes_of(batch)) == 20
        assert is_clean(client, before)


async def test_each_batch_has_its_own_deadline_for_a_task(provider: FakeProvider) -> None:
    provider.add("a", 50)
    async with make_client() as client:
        (short,), (long,) = await both(
            tracked(client, ["a"], timeout=20), tracked(client, ["a"], timeout=200)
        )
    assert isinstance(short.error, TaskTimeoutError)
    assert short.elapsed == pytest.approx(20)
    assert long.succeeded


@pytest.mark.parametrize("seconds", [0, 5.0])
async def test_a_task_that_expired_in_a_batch_is_still_polled_for_a_wait(
    provider: FakeProvider, seconds: float
) -> None:
    provider.add("a", 50)
    async with make_client(poll=Interval(10)) as client, anyio.create_task_group() as group:

        async def waits() -> None:
            assert (await client.wait_for_task("a", timeout=500)).succeeded

        group.start_soon(waits)
        await anyio.sleep(3)
        (outcome,) = await tracked(client, ["a"], timeout=seconds)
        assert isinstance(outcome.error, TaskTimeoutError)
    assert provider.times("a")[-1] < 1061


async def test_an_error_of_one_batch_s_policy_does_not_affect_another(
    provider: FakeProvider,
) -> None:
    class Broken:
        def delay(self, context: PollContext) -> float:
            raise LookupError("no idea")

    provider.add("a", 30)
    async with make_client() as client, anyio.create_task_group() as group:

        async def fails() -> None:
            with pytest.raises(LookupError):
                await tracked(client, ["a"], poll=Broken())

        group.start_soon(fails)
        (outcome,) = await tracked(client, ["a"], poll=Interval(5))
    assert outcome.succeeded


async def most_in_flight(provider: FakeProvider, client: VocalSepClient, seconds: float) -> int:
    await anyio.sleep(30)
    provider.most_in_flight = 0
    await anyio.sleep(seconds)
    return provider.most_in_flight


async def test_the_limit_of_a_batch_holds_when_waits_for_its_tasks_have_left(
    provider: FakeProvider,
) -> None:
    ids = numbered(30)
    add_all(provider, ids, NEVER)
    provider.round_trip = 2
    async with (
        make_client(rate_limit=None) as client,
        client.track(ids, max_concurrency=2, poll=Interval(60)),
    ):
        await anyio.sleep(100)
        with anyio.move_on_after(100):
            await both(*map(client.wait_for_task, ids))
        assert await most_in_flight(provider, client, 300) <= 2


@pytest.mark.parametrize("first_to_leave", ["narrow", "wide"])
async def test_the_limit_of_a_batch_holds_when_another_has_left(
    provider: FakeProvider, first_to_leave: str
) -> None:
    ids = numbered(30)
    add_all(provider, ids, NEVER)
    provider.round_trip = 2
    async with make_client(rate_limit=None) as client:
        stays, goes = (3, 20) if first_to_leave == "wide" else (20, 3)
        async with client.track(ids, max_concurrency=stays, poll=Interval(60)):
            await anyio.sleep(150)
            async with client.track(ids, max_concurrency=goes, poll=Interval(60)):
                await anyio.sleep(150)
            assert await most_in_flight(provider, client, 300) <= stays


# Other tasks


async def finishing_time(client: VocalSepClient, ids: list[str], **options: Any) -> float:
    began = anyio.current_time()
    outcomes: list[TaskOutcome] = await tracked(client, ids, **options)
    assert all(outcome.succeeded for outcome in outcomes)
    return anyio.current_time() - began


async def test_a_small_batch_beside_a_big_one_ends_soon(provider: FakeProvider) -> None:
    few, many = numbered(5, "few"), numbered(500, "many")
    add_all(provider, many, NEVER)
    add_all(provider, few, 60)
    provider.limit = (20, 10.0)
    async with make_client() as client, client.track(many):
        assert await finishing_time(client, few) < 60 + 20
    assert provider.throttled == 0


async def test_a_single_wait_beside_a_big_batch_ends_soon(provider: FakeProvider) -> None:
    many = numbered(500)
    add_all(provider, many, NEVER)
    provider.add("a", 60)
    async with make_client() as client, client.track(many):
        await anyio.sleep(100)
        began = anyio.current_time()
        provider.add("a", 60)
        await client.wait_for_task("a", timeout=300)
        assert anyio.current_time() < began + 80


async def test_batches_of_the_same_size_get_the_same_rate(provider: FakeProvider) -> None:
    lists = [numbered(100, prefix) for prefix in "abc"]
    for ids in lists:
        add_all(provider, ids, NEVER)
    async with make_client() as client:
        with anyio.move_on_after(100):
            await both(*(tracked(client, ids) for ids in lists))
    polls = [sum(task_id[0] == prefix for _, task_id in provider.polls) for prefix in "abc"]
    assert sum(polls) >= 180
    assert max(polls) - min(polls) <= 4


async def test_a_single_poll_does_not_queue_behind_a_batch(provider: FakeProvider) -> None:
    add_all(provider, numbered(500), NEVER)
    async with make_client() as client, client.track(numbered(500)):
        await anyio.sleep(30)
        began = anyio.current_time()
        await client.get_task("a")
        assert anyio.current_time() < began + 2


# What is known


def created(seconds_ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds_ago)


async def learned(client: VocalSepClient, provider: FakeProvider) -> None:
    """A client that has seen forty tasks, each of 60 s."""
    for task_id in numbered(40, "past"):
        provider.script(task_id, finished(task_id, 60))
        await client.get_task(task_id)


async def test_under_a_tight_rate_limit_a_young_task_is_not_polled_first(
    provider: FakeProvider,
) -> None:
    old, young = numbered(60, "old"), numbered(60, "young")
    refs = [TaskRef(task_id, type="separate_vocal", created_at=created(2)) for task_id in young]
    refs += [TaskRef(task_id, type="separate_vocal", created_at=created(70)) for task_id in old]
    add_all(provider, young, 58)
    async with make_client() as client:
        await learned(client, provider)
        await tracked(client, refs)
    sweep = [task_id for _, task_id in provider.polls[40:100]]
    assert sum(task_id.startswith("old") for task_id in sweep) >= 50


async def test_under_a_tight_rate_limit_tasks_of_unknown_age_are_polled_in_order(
    provider: FakeProvider,
) -> None:
    ids = numbered(100)
    add_all(provider, ids, NEVER)
    async with make_client() as client, client.track(ids, max_concurrency=1):
        await anyio.sleep(20)
    firsts = list(dict.fromkeys(task_id for _, task_id in provider.polls))
    assert firsts == ids[: len(firsts)]
    assert len(firsts) >= 30


async def test_the_type_of_a_batch_is_used_for_its_durations(provider: FakeProvider) -> None:
    ids = numbered(30)
    add_all(provider, ids, 60)
    provider.is_dated = True
    async with make_client() as client:
        await tracked(client, ids, type="split_stem")
        learned = client.durations._hazards.model(SeparationType.SPLIT_STEM)
    assert learned.completions == 0 or learned.version > 0


async def test_the_type_with_the_longer_expected_delay_is_polled_first(
    provider: FakeProvider,
) -> None:
    # Vocals take a minute, all stems take several.
    refs = [TaskRef(each, type="split_stem") for each in numbered(40, "slow")]
    refs += [TaskRef(each, type="separate_vocal") for each in numbered(40, "quick")]
    add_all(provider, [ref.task_id for ref in refs], NEVER)
    async with make_client() as client, client.track(refs):
        await anyio.sleep(15)
    firsts = [task_id for _, task_id in provider.polls[:20]]
    assert all(task_id.startswith("quick") for task_id in firsts)


async def test_a_batch_that_a_listener_gives_a_task_being_polled_shares_that_poll(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 6.0
    add_all(provider, ["a"], 20)
    others: list[BatchRunner] = []

    def share(event: Event) -> None:
        if isinstance(event, PollStarted) and others:
            others.pop().add(TaskRef("a", created_at=datetime.now(UTC)))

    async with make_client(on_event=share) as client, client.track(keep_open=True) as second:
        others.append(second)
        async with client.track(["a"]) as first:
            assert set(await outcomes_of(first)) == {"a"}
        second.close()
        assert set(await outcomes_of(second)) == {"a"}
    assert not others
    assert provider.most_in_flight == 1
