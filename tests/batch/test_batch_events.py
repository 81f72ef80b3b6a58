"""The events of batches and of the journals that they open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from batch.journals import make_read_only
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, make_client, provider_in_place
from listening import Recorder

from vocalsep_async import InvalidArgumentError, Journal, JournalError
from vocalsep_async.instrumentation import (
    BatchFinished,
    BatchStarted,
    JournalClosed,
    JournalOpened,
    OutcomeDelivered,
)

pytestmark = pytest.mark.anyio

OURS = (BatchStarted, BatchFinished, OutcomeDelivered, JournalOpened, JournalClosed)


@pytest.fixture
def events() -> Recorder:
    return Recorder(*OURS)


async def test_a_batch_emits_its_start_each_outcome_and_its_end(
    provider: FakeProvider, events: Recorder
) -> None:
    add_all(provider, ["a", "b"], 50)
    async with make_client(on_event=events) as client:
        async with client.track(["a", "b"]) as batch:
            began = anyio.current_time()
            outcomes = await outcomes_of(batch)
            lasted = anyio.current_time() - began
        start, *delivered, end = events
    assert isinstance(start, BatchStarted)
    assert start.tasks == 2
    assert isinstance(end, BatchFinished)
    assert (end.duration, end.error) == (lasted, None)
    assert (end.stats.finished, end.stats.succeeded) == (2, 2)
    assert [each.outcome for each in delivered if isinstance(each, OutcomeDelivered)] == [
        *outcomes.values()
    ]
    assert {each.batch_id for each in (start, *delivered, end)} == {start.batch_id}  # type: ignore[attr-defined]


async def test_two_batches_have_different_ids(provider: FakeProvider, events: Recorder) -> None:
    async with make_client(on_event=events) as client:
        for _ in range(2):
            async with client.track([]):
                pass
    assert len({each.batch_id for each in events if isinstance(each, BatchStarted)}) == 2


async def test_the_start_is_emitted_before_the_first_await(
    provider: FakeProvider, events: Recorder
) -> None:
    async with make_client(on_event=events) as client:
        entering = client.track(numbered(600)).__aenter__()
        entering.send(None)
        assert events.names == ["batch.started"]
        with pytest.raises(asyncio.CancelledError):
            entering.throw(asyncio.CancelledError())
    assert events.names == ["batch.started", "batch.finished"]


async def test_an_iterator_has_no_number_of_tasks_yet(
    provider: FakeProvider, events: Recorder
) -> None:
    async def ids() -> AsyncIterator[str]:
        yield "a"

    async with make_client(on_event=events) as client:
        async with client.track(ids()) as batch:
            await outcomes_of(batch)
        async with client.track(iter(["b"])) as batch:
            await outcomes_of(batch)
    assert [each.tasks for each in events if isinstance(each, BatchStarted)] == [0, 0]


async def test_an_outcome_is_delivered_when_it_is_fetched(
    provider: FakeProvider, events: Recorder
) -> None:
    async with make_client(on_event=events) as client, client.track(["a", "b"]) as batch:
        await anyio.sleep(100)
        assert batch.stats.finished == 2
        assert events.names == ["batch.started"]
        await anext(batch)
        assert events.names == ["batch.started", "outcome.delivered"]
    assert events.names == ["batch.started", "outcome.delivered", "batch.finished"]


async def test_an_error_of_the_block_is_the_error_of_the_batch(
    provider: FakeProvider, events: Recorder
) -> None:
    async with make_client(on_event=events) as client:
        with pytest.raises(ZeroDivisionError) as caught:
            async with client.track(["a"]):
                raise ZeroDivisionError
    assert events.the(BatchFinished).error is caught.value


async def test_a_batch_that_cannot_be_entered_finishes_with_its_error(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    async with make_client(on_event=events) as client:
        with pytest.raises(JournalError) as caught:
            async with client.track(["a"], journal=Journal(path)):
                pass
        assert events.names == ["batch.started", "batch.finished"]
    assert events.the(BatchFinished).error is caught.value
    assert events.the(BatchFinished).stats.finished == events.the(BatchFinished).stats.pending == 0


async def test_a_batch_with_an_unusable_id_finishes_with_its_error(
    provider: FakeProvider, events: Recorder
) -> None:
    async with make_client(on_event=events) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            async with client.track([""]):
                pass
    assert events.names == ["batch.started", "batch.finished"]
    assert events.the(BatchFinished).error is caught.value


async def test_a_second_entry_emits_nothing(provider: FakeProvider, events: Recorder) -> None:
    async with make_client(on_event=events) as client:
        batch = client.track([])
        async with batch:
            pass
        before = list(events)
        with pytest.raises(Exception, match="only once"):
            await batch.__aenter__()
    assert events == before


async def test_a_batch_with_a_path_opens_and_closes_its_journal(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    async with (
        make_client(on_event=events) as client,
        client.track(["a"], journal=path) as batch,
    ):
        await outcomes_of(batch)
    assert events.names == [
        "batch.started",
        "journal.opened",
        "outcome.delivered",
        "journal.closed",
        "batch.finished",
    ]
    assert {each.path for each in events if isinstance(each, JournalOpened | JournalClosed)} == {
        path
    }


async def test_a_journal_that_is_open_already_is_neither_opened_nor_closed(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    async with (
        make_client(on_event=events) as client,
        Journal(path) as journal,
        client.track(["a"], journal=journal) as batch,
    ):
        await outcomes_of(batch)
    assert events.names == ["batch.started", "outcome.delivered", "batch.finished"]


async def test_a_journal_whose_last_write_fails_is_closed_and_ends_the_batch(
    provider: FakeProvider, events: Recorder, path: Path
) -> None:
    provider.add("a", NEVER)
    async with make_client(on_event=events) as client:
        with pytest.raises(JournalError) as caught:  # noqa: PT012 - on leaving
            async with client.track(["a"], journal=path) as batch:
                await anyio.sleep(5)
                make_read_only(batch)
    assert events.names == ["batch.started", "journal.opened", "journal.closed", "batch.finished"]
    assert events.the(BatchFinished).error is caught.value


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_a_batch_cancelled_at_any_step_finishes_exactly_once(
    monkeypatch: pytest.MonkeyPatch, events: Recorder, path: Path, steps: int
) -> None:
    with provider_in_place(monkeypatch) as provider:
        client = make_client(on_event=events)
    provider.add("a", NEVER)

    async def use() -> None:
        async with client.track(["a", "done"], journal=path) as batch:
            await outcomes_of(batch)

    async with client:
        call = asyncio.ensure_future(use())
        await checkpoint()
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert events.names[0] == "batch.started"
    assert events.names[-1] == "batch.finished"
    assert isinstance(events.the(BatchFinished).error, asyncio.CancelledError)
    assert events.names.count("journal.opened") == events.names.count("journal.closed")
