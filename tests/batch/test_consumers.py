"""Consumers of a batch: slow, several, after the end, or outside of the block."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Callable
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, make_client, record

from vocalsep_async import ConfigurationError, Interval
from vocalsep_async.batch import BatchRunner

pytestmark = pytest.mark.anyio


# Slow ones


async def test_a_slow_consumer_delays_no_poll_and_loses_no_outcome(provider: FakeProvider) -> None:
    ids = numbered(10)
    for number, task_id in enumerate(ids):
        provider.add(task_id, 10 * number)
    began = anyio.current_time()
    got: list[str] = []
    async with make_client() as client, client.track(ids, poll=Interval(5)) as batch:
        async for outcome in batch:
            got.append(outcome.task_id)
            await anyio.sleep(100)
    assert sorted(got) == ids
    assert max(at for at, _ in provider.polls) < began + 100


async def test_outcomes_are_kept_until_they_are_fetched(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(numbered(10)) as batch:
        await anyio.sleep(1000)
        assert (batch.stats.pending, batch.stats.finished) == (0, 10)
        assert len(await outcomes_of(batch)) == 10


async def test_a_slow_consumer_pauses_an_endless_source(
    provider: FakeProvider,
) -> None:
    read = 0

    def ids() -> Any:
        nonlocal read
        for read in count(1):
            yield f"t{read}"

    async with make_client(rate_limit=None) as client, client.track(ids()) as batch:
        await anyio.sleep(1000)
        so_far = read
        assert so_far <= 2_100
        await anyio.sleep(10_000)
        assert read == so_far
        for _ in range(1_500):
            await anext(batch)
        await anyio.sleep(1000)
        assert so_far + 1_000 <= read <= so_far + 2_600


# Several


async def test_each_outcome_goes_to_one_of_several_consumers(provider: FakeProvider) -> None:
    ids = numbered(40)
    add_all(provider, ids, 30)
    got: list[list[str]] = [[], [], []]

    async def consume(mine: list[str]) -> None:
        async for outcome in batch:
            mine.append(outcome.task_id)
            await anyio.sleep(1)

    async with (
        make_client() as client,
        client.track(ids) as batch,
        anyio.create_task_group() as group,
    ):
        for mine in got:
            group.start_soon(consume, mine)
    assert sorted(functools.reduce(operator.iadd, got, [])) == sorted(ids)
    assert all(len(mine) > 5 for mine in got)


async def test_iteration_ends_for_all_waiting_consumers(provider: FakeProvider) -> None:
    provider.add("a", 20)
    got: list[list[str]] = []

    async def consume() -> None:
        got.append(list(await outcomes_of(batch)))

    async with (
        make_client() as client,
        client.track(["a"], keep_open=True) as batch,
        anyio.create_task_group() as group,
    ):
        for _ in range(5):
            group.start_soon(consume)
        await anyio.sleep(60)
        assert got == []
        batch.close()
    assert sorted(got) == [[], [], [], [], ["a"]]


async def test_a_cancelled_consumer_loses_no_outcome(provider: FakeProvider) -> None:
    ids = numbered(30)
    for number, task_id in enumerate(ids):
        provider.add(task_id, number)
    got: list[str] = []
    async with make_client() as client, client.track(ids, poll=Interval(2)) as batch:
        while len(got) < 30:
            with anyio.move_on_after(0.35):
                got.append((await anext(batch)).task_id)
    assert sorted(got) == sorted(ids)


async def test_a_consumer_does_not_block_the_event_loop(provider: FakeProvider) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with make_client(rate_limit=None) as client, client.track(numbered(100)) as batch:
        await anyio.sleep(100)
        async with anyio.create_task_group() as group:
            group.start_soon(count_turns)
            await outcomes_of(batch)
            group.cancel_scope.cancel()
    assert turns >= 100


# The end, and outside of the block


async def test_iteration_stays_ended(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(["a"]) as batch:
        await anext(batch)
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(batch)
            assert [outcome async for outcome in batch] == []
    with pytest.raises(StopAsyncIteration):
        await anext(batch)


async def test_outcomes_can_be_fetched_after_the_block(provider: FakeProvider) -> None:
    async with make_client() as client:
        async with client.track(numbered(5)) as batch:
            await anyio.sleep(100)
        assert len(await outcomes_of(batch)) == 5


USES: dict[str, Callable[[BatchRunner], object]] = {
    "add": lambda batch: batch.add("a"),
    "notify": lambda batch: batch.notify("a"),
    "stats": lambda batch: batch.stats,
}


@pytest.mark.parametrize("use", USES)
async def test_the_use_of_a_batch_that_was_not_entered_is_refused(
    provider: FakeProvider, use: str
) -> None:
    async with make_client() as client:
        with pytest.raises(ConfigurationError, match=r"async with client\.track\(task_ids\)"):
            USES[use](client.track(["a"]))


async def test_iterating_over_a_batch_that_was_not_entered_is_refused(
    provider: FakeProvider,
) -> None:
    async with make_client() as client:
        with pytest.raises(ConfigurationError, match=r"async with client\.track\(task_ids\)"):
            async for _ in client.track(["a"]):
                pass
    assert provider.sent == []


async def test_a_batch_can_be_entered_only_once(provider: FakeProvider) -> None:
    async with make_client() as client:
        async with client.track(["a"]) as batch:
            with pytest.raises(ConfigurationError, match="entered only once"):
                await batch.__aenter__()
            await outcomes_of(batch)
        with pytest.raises(ConfigurationError, match="entered only once"):
            await batch.__aenter__()


async def test_after_the_block_nothing_is_tracked_or_added(provider: FakeProvider) -> None:
    provider.every_answer = record
    async with make_client() as client:
        async with client.track(["a"]) as batch:
            await anyio.sleep(1)
        assert batch.notify("a") is False
        assert batch.stats.pending == 0
        with pytest.raises(ConfigurationError, match="closed"):
            batch.add("b")
        batch.close()


async def test_the_repr_of_a_batch_shows_its_numbers(provider: FakeProvider) -> None:
    provider.add("b", NEVER)
    async with make_client() as client:
        batch = client.track(["a", "b"])
        assert repr(batch) == "<BatchRunner, not entered>"
        async with batch:
            await anext(batch)
            assert repr(batch) == "<BatchRunner: 1 pending, 1 finished>"


async def test_a_batch_may_be_iterated_over_in_another_task(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(numbered(5)) as batch:
        outcomes = await asyncio.ensure_future(outcomes_of(batch))
    assert len(outcomes) == 5
