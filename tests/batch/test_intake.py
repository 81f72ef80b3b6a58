"""The ids of a batch: from any iterable, each tracked once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from batch.journals import process, run
from batch.tracking import (
    NEVER,
    add_all,
    fetched,
    is_clean,
    numbered,
    outcomes_of,
    slowly,
    tracked,
)
from fakes import FakeProvider, make_client, record

from vocalsep_async import Interval, InvalidArgumentError, SeparationType, TaskRef, VocalSepClient
from vocalsep_async._batch import runner

pytestmark = pytest.mark.anyio

IDS = ["a", "b", "c"]

SOURCES: dict[str, Callable[[], Any]] = {
    "a list": lambda: list(IDS),
    "a tuple": lambda: tuple(IDS),
    "a set": lambda: set(IDS),
    "the keys of a dict": lambda: dict.fromkeys(IDS, 1).keys(),
    "a dict": lambda: dict.fromkeys(IDS, 1),
    "a generator": lambda: (task_id for task_id in IDS),
    "an async generator": lambda: slowly(IDS, 1),
    "ids and refs": lambda: ["a", TaskRef("b"), "c"],
    "a generator of refs": lambda: map(TaskRef, IDS),
    "a list with one twice": lambda: ["a", "b", "a", TaskRef("b"), "c"],
    "a generator with one twice": lambda: iter(["a", "b", "a", TaskRef("b"), "c"]),
}


@pytest.mark.parametrize("source", SOURCES)
async def test_ids_can_come_from_any_iterable(provider: FakeProvider, source: str) -> None:
    async with make_client() as client:
        outcomes = await tracked(client, SOURCES[source]())
    assert sorted(outcome.task_id for outcome in outcomes) == IDS
    assert sorted(provider.sent) == IDS


async def test_a_batch_without_ids_ends_immediately(provider: FakeProvider) -> None:
    async with make_client() as client:
        assert await tracked(client) == []
        assert await tracked(client, iter(())) == []
    assert provider.polls == []


@pytest.mark.parametrize("wrong", ["an-id", b"an-id", TaskRef("an-id")])
async def test_a_single_id_is_refused_and_the_right_call_named(
    provider: FakeProvider, wrong: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match=r"track\(\[task_id\]\).*wait_for_task"):
            client.track(wrong)


@pytest.mark.parametrize("wrong", [None, 5])
async def test_an_argument_without_ids_is_refused(provider: FakeProvider, wrong: Any) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="tasks must be ids to iterate over"):
            client.track(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"type": "karaoke"},
        {"max_concurrency": 0},
        {"max_concurrency": 2.5},
        {"max_concurrency": True},
        {"timeout": -1},
        {"timeout": "10"},
        {"poll": 5},
        {"keep_open": 1},
    ],
)
async def test_an_unusable_option_is_refused_by_its_name(
    provider: FakeProvider, options: dict[str, Any]
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match=next(iter(options))):
            client.track(["a"], **options)


@pytest.mark.parametrize("wrong", [7, None, "", " ", "x" * 513, "\ud800", "a\n", " a", "a\x00b"])
async def test_one_bad_id_in_a_list_is_refused_before_anything_is_sent(
    provider: FakeProvider, wrong: Any
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="task id"):
            async with client.track(["good", wrong]):
                pass
        assert client._engine.poller._groups == {}
    assert provider.sent == []


async def bad_id() -> AsyncIterator[Any]:
    yield "a"
    yield "b"
    await anyio.sleep(5)
    yield 7


async def broken() -> AsyncIterator[str]:
    yield "a"
    yield "b"
    await anyio.sleep(5)
    raise LookupError("the list is gone")


def breaks_at_once() -> Iterator[str]:
    yield from ["a", "b"]
    raise LookupError("the list is gone")


@pytest.mark.parametrize(
    "source, error",
    [(bad_id, InvalidArgumentError), (broken, LookupError), (breaks_at_once, LookupError)],
)
async def test_an_error_of_the_source_is_raised_unchanged_and_no_outcome_is_lost(
    provider: FakeProvider, source: Callable[[], Any], error: type[Exception]
) -> None:
    got: list[str] = []
    provider.add("b", 20)
    async with make_client() as client, client.track(source()) as batch:
        with pytest.raises(error):
            await fetched(batch, got)
        await fetched(batch, got)
        await fetched(batch, got)
    assert got == ["a", "b"]


class StopProgramError(BaseException):
    """An error that no ``except Exception`` catches."""


@pytest.mark.parametrize(
    "raised, error",
    [
        (asyncio.CancelledError, InvalidArgumentError),
        (StopProgramError, StopProgramError),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_source_that_ends_by_no_ordinary_error_does_not_end_like_an_exhausted_one(
    provider: FakeProvider,
    raised: type[BaseException],
    error: type[BaseException],
    *,
    is_async: bool,
) -> None:
    def ids() -> Iterator[str]:
        yield from ("a", "b")
        raise raised

    async def ids_in_time() -> AsyncIterator[str]:
        for each in ids():
            yield each

    source = ids_in_time() if is_async else ids()
    async with make_client() as client, client.track(source) as batch:
        assert {(await anext(batch)).task_id, (await anext(batch)).task_id} == {"a", "b"}
        with pytest.raises(error):
            await anext(batch)
        with pytest.raises(StopAsyncIteration):
            await anext(batch)


def test_a_source_that_ends_the_program_ends_it() -> None:
    def ids() -> Iterator[str]:
        yield "a"
        sys.exit(7)

    async def track() -> None:
        client = VocalSepClient("key", base_url="http://127.0.0.1:9")
        async with client, client.track(ids()) as batch:
            await anext(batch)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(track())
    assert caught.value.code == 7


async def test_an_error_of_the_source_is_raised_once_and_after_ready_outcomes(
    provider: FakeProvider,
) -> None:
    async with make_client() as client, client.track(breaks_at_once()) as batch:
        await anyio.sleep(10)
        assert {(await anext(batch)).task_id, (await anext(batch)).task_id} == {"a", "b"}
        with pytest.raises(LookupError):
            await anext(batch)
        with pytest.raises(StopAsyncIteration):
            await anext(batch)


def yields_none() -> Iterator[Any]:
    yield from ["a", "b", "slow"]
    yield None


async def yields_none_later() -> AsyncIterator[Any]:
    for task_id in yields_none():
        yield task_id


@pytest.mark.parametrize("source", [yields_none, yields_none_later])
async def test_an_error_of_the_source_comes_after_a_first_poll_of_the_ids_before_it(
    provider: FakeProvider, source: Callable[[], Any]
) -> None:
    provider.add("slow", 500)
    got: list[str] = []
    async with make_client() as client, client.track(source()) as batch:
        with pytest.raises(InvalidArgumentError, match="a task id is a string, not NoneType"):
            await fetched(batch, got)
        assert sorted(got) == ["a", "b"]
        assert batch.pending_ids() == ("slow",)
        await fetched(batch, got)
    assert got[2:] == ["slow"]


async def test_an_error_of_the_source_comes_after_the_outcomes_of_a_journal(
    provider: FakeProvider, path: Path
) -> None:
    ids = numbered(50)
    await run(provider, ids, journal=path)
    provider.sent.clear()
    got: list[str] = []
    async with process(provider) as client:
        async with client.track((int(each) for each in ["x"]), journal=path) as batch:  # type: ignore[misc]
            with pytest.raises(ValueError, match="invalid literal"):
                await fetched(batch, got)
        assert got == ids
        async with client.track(chain(ids, [None]), journal=path) as batch:  # type: ignore[list-item]
            with pytest.raises(InvalidArgumentError):
                await fetched(batch, got)
    assert got == ids * 2
    assert provider.sent == []


async def test_an_error_of_the_source_comes_after_outcomes_that_are_being_recorded(
    provider: FakeProvider, path: Path
) -> None:
    got: list[str] = []
    async with make_client() as client, client.track(yields_none(), journal=path) as batch:
        with pytest.raises(InvalidArgumentError):
            await fetched(batch, got)
    assert sorted(got) == ["a", "b", "slow"]


# Read lazily


class Endless:
    """An endless iterator of ids that counts how many were read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for number in count():
            self.read += 1
            yield f"t{number}"


class EndlessAsync(Endless):
    """The same, asynchronous."""

    async def __aiter__(self) -> AsyncIterator[str]:
        for task_id in super().__iter__():
            yield task_id


@pytest.mark.parametrize("kind", [Endless, EndlessAsync])
async def test_an_endless_source_is_read_about_a_thousand_ids_ahead(
    provider: FakeProvider, kind: type[Endless]
) -> None:
    source = kind()
    async with make_client() as client, client.track(source) as batch:
        for fetched in range(1, 40):
            await anext(batch)
            assert source.read <= fetched + 1_020
        assert source.read > 1_000


@pytest.mark.parametrize("rate", [pytest.param(None, marks=pytest.mark.deep), "the account's"])
async def test_pending_tasks_do_not_pause_a_source(
    provider: FakeProvider, rate: str | None
) -> None:
    ids = numbered(3000)
    add_all(provider, ids, NEVER)
    options = {"rate_limit": None} if rate is None else {}
    async with (
        make_client(**options) as client,
        client.track(iter(ids), poll=Interval(50_000)) as batch,
    ):
        await anyio.sleep(2_000)
        assert batch.stats.pending == 3000
        assert len(provider.polls) == 3000


async def test_the_open_ids_of_a_source_are_limited(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_MAX_OPEN", 20)
    source = Endless()
    for number in range(20):
        provider.add(f"t{number}", 500)
    async with make_client() as client, client.track(iter(source)) as batch:
        await anyio.sleep(400)
        assert source.read == 20
        await anext(batch)
        await anyio.sleep(1)
        assert source.read == 20 + batch.stats.finished


async def test_reading_a_long_list_does_not_block_the_event_loop(provider: FakeProvider) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(count_turns)
        async with client.track(numbered(50_000)):
            group.cancel_scope.cancel()
    assert turns >= 100


async def test_a_hundred_thousand_ids_take_a_few_steps_each(provider: FakeProvider) -> None:
    add_all(provider, numbered(100), NEVER)
    keys = 0

    class Counting:
        def delay(self, context: object) -> float:
            nonlocal keys
            keys += 1
            return 60.0

    async with (
        make_client() as client,
        client.track(numbered(100_000), poll=Counting()) as batch,
    ):
        await anyio.sleep(100)
        assert batch.stats.pending + batch.stats.finished == 100_000
        assert 190 <= client.stats.requests <= 220
    assert keys <= 20 * 220


# Once each


async def test_two_refs_of_one_task_are_merged(provider: FakeProvider) -> None:
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED"))
    refs = [
        TaskRef("a", created_at=datetime.now(UTC)),
        TaskRef("a", type=SeparationType.SPLIT_STEM),
    ]
    async with make_client() as client:
        (outcome,) = await tracked(client, refs)
    assert outcome.task is not None
    assert outcome.task.type is SeparationType.SPLIT_STEM


async def test_an_id_that_is_added_while_it_is_pending_is_tracked_once(
    provider: FakeProvider,
) -> None:
    provider.add("a", 20)
    async with make_client() as client, client.track(["a"], poll=Interval(5)) as batch:
        batch.add("a")
        await anyio.sleep(1)
        batch.add("a")
        batch.add(TaskRef("a", type=SeparationType.SPLIT_STEM))
        assert list(await outcomes_of(batch)) == ["a"]
    assert len(provider.polls) == 5


async def test_an_added_id_that_has_its_outcome_is_tracked_again(provider: FakeProvider) -> None:
    provider.add("a", 5)
    async with make_client() as client, client.track(["a"]) as batch:
        assert (await anext(batch)).succeeded
        batch.add("a")
        again = await anext(batch)
        assert again.succeeded
        assert again.polls == 1
        assert (batch.stats.finished, batch.stats.pending) == (2, 0)


@pytest.mark.parametrize("duration", [5, NEVER], ids=["succeeded", "timed out"])
async def test_an_id_that_is_added_before_its_outcome_is_fetched_is_tracked_once(
    provider: FakeProvider, duration: float
) -> None:
    provider.add("a", duration)
    async with make_client() as client, client.track(["a"], timeout=15) as batch:
        await anyio.sleep(20)
        sent = len(provider.sent)
        assert batch.pending_ids() == ()
        batch.add("a")
        assert list(await outcomes_of(batch)) == ["a"]
        assert (batch.stats.finished, batch.stats.pending) == (1, 0)
    assert len(provider.sent) == sent


async def test_an_id_that_a_source_repeats_before_its_outcome_is_fetched_is_tracked_once(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_REMEMBERED", 1)
    async with make_client() as client, client.track(slowly(["a", "b", "a"], 10)) as batch:
        await anyio.sleep(60)
        assert list(await outcomes_of(batch)) == ["a", "b"]


async def test_an_id_that_a_source_repeats_is_tracked_once(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_REMEMBERED", 3)
    ids = slowly(["a", "a", "b", "c", "a", "d", "a"], 10)
    async with make_client() as client:
        outcomes = await tracked(client, ids)
    assert [outcome.task_id for outcome in outcomes] == ["a", "b", "c", "d", "a"]


async def test_a_source_that_repeats_one_id_endlessly_can_be_left(provider: FakeProvider) -> None:
    async def same() -> AsyncIterator[str]:
        while True:
            yield "a"
            await anyio.sleep(1)

    before = asyncio.all_tasks()
    async with make_client() as client:
        async with client.track(same()) as batch:
            await anext(batch)
            with anyio.move_on_after(100):
                await anext(batch)
        assert is_clean(client, before)
    assert provider.sent == ["a"]


async def test_the_type_of_a_ref_goes_before_the_type_of_the_batch(
    provider: FakeProvider,
) -> None:
    for task_id in "abc":
        provider.script(task_id, record(task_id, "GENERATE_AUDIO_FAILED"))
    refs = ["a", TaskRef("b", type="split_stem"), TaskRef("c")]
    async with make_client() as client:
        outcomes = await tracked(client, refs, type="separate_vocal")
    types = {outcome.task_id: outcome.task.type for outcome in outcomes if outcome.task}
    assert types == {"a": "separate_vocal", "b": "split_stem", "c": "separate_vocal"}


class FewAsync:
    """A finite async iterator that is not a generator."""

    def __init__(self, *ids: str) -> None:
        self._ids = iter(ids)

    def __aiter__(self) -> FewAsync:
        return self

    async def __anext__(self) -> str:
        try:
            return next(self._ids)
        except StopIteration:
            raise StopAsyncIteration from None


async def test_an_async_iterator_need_not_be_a_generator(provider: FakeProvider) -> None:
    async with make_client() as client, client.track(FewAsync("a", "b")) as batch:
        assert [outcome.task_id async for outcome in batch] == ["a", "b"]
    assert sorted(provider.sent) == ["a", "b"]
