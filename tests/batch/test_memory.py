"""The memory of a batch for each task."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import anyio
import pytest
from batch.tracking import NEVER, numbered
from fakes import FakeProvider, make_client, record

from vocalsep_async import Interval
from vocalsep_async._polling import learner

pytestmark = pytest.mark.anyio

NUMBERS = pytest.mark.parametrize("number", [2_000, pytest.param(10_000, marks=pytest.mark.deep)])


class Held:
    """Bytes allocated since it was made and not freed."""

    def __init__(self) -> None:
        gc.collect()
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]

    def by_each(self, number: int) -> float:
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - self._before) / number


@pytest.fixture(autouse=True)
def _not_traced_afterwards() -> Iterator[None]:
    yield
    tracemalloc.stop()


@pytest.fixture
def forgetful(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """A provider that keeps no list of requests."""

    class Nothing(list[object]):
        def append(self, _each: object) -> None:
            pass

    monkeypatch.setattr(provider, "polls", Nothing())
    monkeypatch.setattr(provider, "sent", Nothing())
    provider.every_answer = record
    return provider


@pytest.mark.own_limiter
@pytest.mark.parametrize(
    "number, seconds, most",
    [
        # Fewer tasks share what the client itself has.
        (2_000, None, 700),
        pytest.param(10_000, None, 600, marks=pytest.mark.deep),
        pytest.param(10_000, 1e6, 600, marks=pytest.mark.deep),
    ],
)
async def test_a_pending_task_takes_less_than_600_bytes(
    forgetful: FakeProvider, number: int, seconds: float | None, most: int
) -> None:
    ids = numbered(number)
    async with make_client(rate_limit=None) as client:
        await client.get_task("warm")
        held = Held()
        async with client.track(ids, poll=Interval(1e5), timeout=seconds) as batch:
            await anyio.sleep(1e4)
            assert batch.stats.polls == batch.stats.pending == number
            figure = held.by_each(number)
    assert figure < most


@pytest.mark.deep
async def test_a_pending_task_takes_no_more_memory_after_many_polls(
    forgetful: FakeProvider,
) -> None:
    ids = numbered(1_000)
    async with make_client(rate_limit=None) as client:
        await client.get_task("warm")
        held = Held()
        async with client.track(ids, poll=Interval(100)) as batch:
            await anyio.sleep(3 * 100)
            assert batch.stats.polls >= 2 * 1_000
            figure = held.by_each(1_000)
    assert figure < 700


@NUMBERS
async def test_a_never_polled_task_takes_less_than_200_bytes(
    forgetful: FakeProvider, number: int
) -> None:
    ids = numbered(number)
    async with make_client() as client:
        held = Held()
        async with client.track(ids):
            figure = held.by_each(number)
    assert figure < 200


@NUMBERS
async def test_an_added_task_takes_less_than_200_bytes(
    forgetful: FakeProvider, number: int
) -> None:
    ids = numbered(number)
    async with make_client() as client, client.track(keep_open=True) as batch:
        held = Held()
        for task_id in ids:
            batch.add(task_id)
        assert held.by_each(number) < 200


async def test_tasks_that_are_added_one_by_one_take_little_more_memory(
    forgetful: FakeProvider,
) -> None:
    # So many that what the rest of the process allocates meanwhile does not count.
    ids = numbered(4_000)
    forgetful.round_trip = NEVER
    async with (
        make_client() as client,
        client.track(keep_open=True, max_concurrency=1) as batch,
    ):

        async def add(ids: list[str]) -> None:
            for task_id in ids:
                batch.add(task_id)
                await anyio.sleep(1)

        # Ids that were read lately are remembered: 1,024 of them, whatever the batch.
        tracemalloc.start()
        await add(numbered(1_100, "warm"))
        held = Held()
        await add(ids)
        # Each task has an arrival group of its own.
        assert held.by_each(4_000) < 200


@pytest.mark.deep
async def test_finished_tasks_of_an_open_batch_take_no_memory(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_REMEMBERED", 50)
    async with make_client(rate_limit=None) as client, client.track(keep_open=True) as batch:

        async def round_of(ids: list[str]) -> None:
            for task_id in ids:
                batch.add(task_id)
                await anext(batch)
            provider.polls.clear()
            provider.sent.clear()

        tracemalloc.start()
        await round_of(numbered(1_100, "warm"))
        held = Held()
        await round_of(numbered(1_200))
        assert held.by_each(1_200) < 100


@pytest.mark.deep
async def test_finished_waits_take_no_memory(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_REMEMBERED", 50)
    async with make_client(rate_limit=None) as client:

        async def waits_for(ids: list[str]) -> None:
            for task_id in ids:
                await client.wait_for_task(task_id)
            provider.polls.clear()
            provider.sent.clear()

        tracemalloc.start()
        await waits_for(numbered(1_100, "cold"))
        held = Held()
        await waits_for(numbered(1_200))
        assert held.by_each(1_200) < 100
