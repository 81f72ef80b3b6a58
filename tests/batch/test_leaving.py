"""Leaving a batch early ends everything that it started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all, is_clean, numbered, outcomes_of, slowly, tracker_of
from fakes import FakeProvider, make_client, provider_in_place, record
from test_cancellation import Mode, broken_off, tasks_left

from vocalsep_async import (
    Interval,
    SeparationTask,
    TaskRef,
    TaskStatus,
    TransportError,
    VocalSepClient,
)

pytestmark = pytest.mark.anyio


class Abandoned(Exception):  # noqa: N818 - raised by the test only
    """An exception of the code in a block."""


@pytest.mark.parametrize("round_trip", [0.1, 30])
@pytest.mark.parametrize("way", ["break", "exception", "cancellation"])
async def test_leaving_early_stops_the_polls_and_leaks_nothing(
    provider: FakeProvider, way: str, round_trip: float
) -> None:
    provider.round_trip = round_trip
    provider.script("done", record("done", "SUCCESS"))
    ids = ["done", *numbered(100)]
    add_all(provider, ids, NEVER)
    before = asyncio.all_tasks()

    async def use() -> None:
        async with client.track(ids, poll=Interval(5)) as batch:
            async for _ in batch:
                if way == "break":
                    break
                if way == "exception":
                    raise Abandoned
                await anyio.sleep(NEVER)

    async with make_client() as client:
        with anyio.move_on_after(100):
            if way == "exception":
                with pytest.raises(Abandoned):
                    await use()
            else:
                await use()
        sent = len(provider.sent)
        assert is_clean(client, before)
        assert provider.in_flight == 0
        await anyio.sleep(1000)
        assert len(provider.sent) == sent


async def test_leaving_immediately_sends_nothing(provider: FakeProvider) -> None:
    before = asyncio.all_tasks()
    async with make_client() as client:
        async with client.track(numbered(100)):
            pass
        async with client.track(f"t{number}" for number in count()):
            pass
        assert is_clean(client, before)
    assert provider.sent == []


async def test_the_poll_of_an_expired_task_does_not_outlive_the_batch(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 1000
    before = asyncio.all_tasks()
    async with make_client() as client:
        async with client.track(numbered(3), timeout=5) as batch:
            await outcomes_of(batch)
        assert is_clean(client, before)


@pytest.mark.parametrize("reads", [False, True])
async def test_leaving_closes_an_async_source(provider: FakeProvider, *, reads: bool) -> None:
    closed: list[str] = []

    async def ids() -> AsyncIterator[str]:
        try:
            for number in count():
                yield f"t{number}"
                if reads:
                    await anyio.sleep(1)
        finally:
            closed.append("closed")

    before = asyncio.all_tasks()
    async with make_client() as client:
        async with client.track(ids()) as batch:
            await anext(batch)
            await anyio.sleep(10)
        assert not await tasks_left(before)
    assert closed == ["closed"]


async def test_leaving_waits_for_the_cleanup_of_a_source(provider: FakeProvider) -> None:
    cleaned = False

    async def ids() -> AsyncIterator[str]:
        nonlocal cleaned
        try:
            yield "a"
            await anyio.sleep(NEVER)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            cleaned = True

    async with make_client() as client:
        async with client.track(ids()) as batch:
            await anext(batch)
        assert cleaned


async def test_leaving_ends_the_iteration_of_a_consumer_in_another_task(
    provider: FakeProvider,
) -> None:
    provider.every_answer = record
    async with make_client() as client:
        async with client.track(numbered(10), keep_open=True) as batch:
            consumer = asyncio.ensure_future(outcomes_of(batch))
            await anyio.sleep(10)
        with anyio.fail_after(1):
            assert await consumer == {}


async def test_leaving_does_not_stop_the_waits_of_others(provider: FakeProvider) -> None:
    provider.add("a", 50)
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        async with client.track(["a", "b"]) as batch:
            await anext(batch)
        assert list(client._engine.poller._targets) == ["a"]


# Cancelled at every await

Use = Callable[[VocalSepClient], Any]


async def _all(client: VocalSepClient) -> None:
    async with client.track(["a", "b", "c"]) as batch:
        await outcomes_of(batch)


async def _from_a_generator(client: VocalSepClient) -> None:
    async with client.track(iter(["a", "b", "c"]), max_concurrency=1) as batch:
        await outcomes_of(batch)


async def _from_an_async_generator(client: VocalSepClient) -> None:
    async with client.track(slowly(["a", "b", "c"], 0.5)) as batch:
        await outcomes_of(batch)


async def _added(client: VocalSepClient) -> None:
    async with client.track(keep_open=True) as batch:
        batch.add("a")
        await anext(batch)
        batch.add("b")
        batch.notify("b")
        batch.close()
        await outcomes_of(batch)


async def _out_of_time(client: VocalSepClient) -> None:
    async with client.track(["a", "never"], timeout=2) as batch:
        await outcomes_of(batch)


async def _long_list(client: VocalSepClient) -> None:
    async with client.track(numbered(2_000)) as batch:
        await anext(batch)


USES: dict[str, Use] = {
    "a list": _all,
    "a generator": _from_a_generator,
    "an async generator": _from_an_async_generator,
    "added": _added,
    "out of time": _out_of_time,
    "a long list": _long_list,
}


async def sweep(patch: pytest.MonkeyPatch, use: Use, mode: Mode, *more: int, step: int) -> int:
    """Cancel *use* at its suspensions, in steps; return how many there were at least."""
    for n in range(1, 1000, step):
        before = asyncio.all_tasks()
        with provider_in_place(patch) as provider:
            client = make_client()
        add_all(provider, "abc", 1)
        provider.add("never", NEVER)
        async with client:
            hits = await broken_off(use(client), {n, *(n + each for each in more)}, mode)
            assert not await tasks_left(before), f"cancelled at {n}: tasks are left"
            assert is_clean(client, before), f"cancelled at {n}: something is kept"
            assert provider.in_flight == 0, f"cancelled at {n}: a request goes on"
            assert (await client.wait_for_task("next")).succeeded
        assert not await tasks_left(before), f"cancelled at {n}, then closed"
        if not hits:
            return n - step
    raise AssertionError("the sweep found no end")


STEPS = pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.deep)])


@STEPS
@pytest.mark.parametrize("mode", ["native", "scope"])
@pytest.mark.parametrize("what", USES)
async def test_a_batch_can_be_cancelled_at_every_await(
    monkeypatch: pytest.MonkeyPatch, what: str, mode: Mode, step: int
) -> None:
    assert await sweep(monkeypatch, USES[what], mode, step=step) > 8 - step


@STEPS
@pytest.mark.parametrize("later", [1, 2])
@pytest.mark.parametrize("what", USES)
async def test_a_batch_can_be_cancelled_again_while_it_is_left(
    monkeypatch: pytest.MonkeyPatch, what: str, later: int, step: int
) -> None:
    assert await sweep(monkeypatch, USES[what], "native", later, step=step) > 8 - step


async def test_leaving_a_large_batch_lets_other_tasks_run_meanwhile(provider: FakeProvider) -> None:
    refs = [TaskRef(task_id, created_at=datetime.now(UTC)) for task_id in numbered(2000)]
    steps = 0

    async def count_steps() -> None:
        nonlocal steps
        while True:
            await asyncio.sleep(0)
            steps += 1

    add_all(provider, [ref.task_id for ref in refs], NEVER)
    async with make_client() as client, anyio.create_task_group() as group:
        async with client.track(refs) as batch:
            await anyio.sleep(1)
            group.start_soon(count_steps)
            before = steps
        assert steps - before >= 3
        assert len(batch.pending_ids()) == 2000
        assert not client._engine.poller._targets
        group.cancel_scope.cancel()


async def test_a_batch_that_is_being_left_takes_no_record_of_a_shared_poll(
    provider: FakeProvider,
) -> None:
    refs = [TaskRef(task_id, created_at=datetime.now(UTC)) for task_id in numbered(1200)]
    add_all(provider, [ref.task_id for ref in refs], NEVER)
    async with make_client(rate_limit=None) as client:
        async with client.track(refs) as batch:
            await anyio.sleep(5)
            targets = client._engine.poller._targets
            shared = targets[refs[0].task_id]
        # While the rest is left, the target still has the batch among its subscribers.
        tracker = tracker_of(batch)
        before = batch.stats
        for subscriber in shared.subscribers or (tracker._group_for(refs[0], 0.0),):
            subscriber.on_poll(None)
            subscriber.on_record(shared, SeparationTask(task_id="a", status=TaskStatus.SUCCESS))
            subscriber.on_retry(shared, TransportError("cut"))
    assert batch.stats == before
