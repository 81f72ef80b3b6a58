"""Listeners that misbehave, and blocks that are left in every way, while a listener is attached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import journals_in_virtual_time
from batch.tracking import NEVER, add_all, outcomes_of
from fakes import FakeProvider, bare, envelope, is_idle, make_client, record
from listening import Recorder, check
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import (
    Event,
    Interval,
    TransportError,
    VocalSepClient,
)
from vocalsep_async.batch import BatchRunner
from vocalsep_async.instrumentation import (
    BatchFinished,
    BatchStarted,
    JournalClosed,
    JournalOpened,
)

pytestmark = pytest.mark.anyio

IDS = ["ends", "fails", "unknown", "faulty", "slow"]


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


# Listeners that misbehave


class ListenerError(Exception):
    """What a listener of these tests raises."""


def raises(_event: Event, _client: VocalSepClient) -> object:
    raise ListenerError


def blocks(_event: Event, _client: VocalSepClient) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.jump(0.5)


def closes_without_await(_event: Event, client: VocalSepClient) -> object:
    return client.aclose()


def notifies(event: Event, client: VocalSepClient) -> None:
    client.notify(getattr(event, "task_id", "ends"))


def reads(_event: Event, client: VocalSepClient) -> object:
    return client.stats, repr(client)


def begins_a_call(event: Event, client: VocalSepClient) -> object:
    if event.name == "poll.finished":
        return asyncio.gather(client.wait_for_task("another"), return_exceptions=True)
    return None


Listener = Callable[[Event, VocalSepClient], object]
LISTENERS: list[Listener] = [
    raises,
    blocks,
    closes_without_await,
    notifies,
    reads,
    begins_a_call,
]


def script(provider: FakeProvider) -> None:
    provider.reopen()
    add_all(provider, ["ends", "faulty", "another"], 20)
    provider.add("slow", NEVER)
    provider.script("fails", record("fails"), record("fails", "GENERATE_AUDIO_FAILED"))
    provider.script("unknown", *[envelope(200)] * 50)
    provider.script("faulty", envelope(500, "broken"), TransportError("cut"), bare(200, b"<html>"))
    provider.script("faulty", envelope(430, "often"), record("faulty"))


async def results(provider: FakeProvider, *listeners: Callable[[Event], object]) -> object:
    """How waits and batches end, in what does not depend on when they poll."""
    script(provider)
    async with make_client(poll=Interval(5), on_event=listeners) as client:
        for each in listeners:
            if isinstance(each, Bound):
                each.client = client
        waits = [asyncio.ensure_future(client.wait_for_task(each, timeout=200)) for each in IDS]
        outcomes = await client.wait_for_tasks(IDS, timeout=200)
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert client.stats.in_flight == 0
    await anyio.sleep(1)  # until calls that the listeners began have ended, too
    assert is_idle()
    return (
        {each.task_id: (each.status, each.task, type(each.error)) for each in outcomes.values()},
        [type(each) if isinstance(each, BaseException) else each for each in ended],
    )


class Bound:
    """A listener that knows the client."""

    client: VocalSepClient

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.calls = 0

    def __call__(self, event: Event) -> object:
        self.calls += 1
        return self.listener(event, self.client)


@pytest.mark.parametrize("listener", LISTENERS, ids=lambda each: each.__name__)
async def test_a_listener_changes_no_result_and_no_event_of_the_others(
    provider: FakeProvider, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await results(provider)
    assert "TaskTimeoutError" in str(expected)
    assert "TaskNotFoundError" in str(expected)
    before, between, after = Recorder(), Bound(listener), Recorder()
    assert await results(provider, before, between, after) == expected
    assert before == after
    assert between.calls == len(before)
    check(before)


@pytest.mark.parametrize("listener", [raises, closes_without_await], ids=lambda each: each.__name__)
async def test_the_first_failure_of_a_listener_is_logged_and_the_others_are_counted(
    provider: FakeProvider, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    bound = Bound(listener)
    await results(provider, bound)
    first, last = failures(caplog)
    assert "failed at batch.started" in first
    assert last.endswith(f"failed {bound.calls - 1} more times")


async def test_listeners_that_behave_are_not_logged(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    await results(provider, *map(Bound, (blocks, notifies, reads)))
    assert failures(caplog) == []


async def test_a_listener_may_close_the_client_in_a_task(provider: FakeProvider) -> None:
    closing: list[asyncio.Task[None]] = []

    def closes(event: Event) -> None:
        if event.name == "poll.started" and not closing:
            closing.append(asyncio.create_task(client.aclose()))

    provider.add("a", NEVER)
    events = Recorder()
    client = make_client(on_event=[closes, events])
    outcomes = await asyncio.gather(
        client.wait_for_task("a"), client.wait_for_tasks(["a"]), return_exceptions=True
    )
    await closing[0]
    assert "the client was closed" in str(outcomes)
    check(events)
    assert is_idle()


# Blocks that are left


async def breaks(batch: BatchRunner) -> None:
    async with batch:
        async for _ in batch:
            break


async def returns(batch: BatchRunner) -> object:
    async with batch:
        async for outcome in batch:
            return outcome
    raise AssertionError


async def raises_in_loop(batch: BatchRunner) -> None:
    async with batch:
        async for _ in batch:
            raise ListenerError


async def is_cancelled(batch: BatchRunner) -> None:
    with anyio.move_on_after(10):
        async with batch:
            await outcomes_of(batch)


async def is_cancelled_in_a_pending_fetch(batch: BatchRunner) -> None:
    async with batch:
        async for _ in batch:
            with anyio.move_on_after(5):
                await anext(batch)
            break


async def is_iterated_in_another_task(batch: BatchRunner) -> None:
    async with batch:
        fetching = asyncio.create_task(outcomes_of(batch))
        await anyio.sleep(10)
        fetching.cancel()
        await asyncio.wait([fetching])


async def is_left_in_another_task(batch: BatchRunner) -> None:
    await batch.__aenter__()
    await anext(batch)
    await asyncio.create_task(batch.__aexit__(None, None, None))


@pytest.fixture(params=[False, True], ids=["without a journal", "with a journal"])
def journal(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path | None:
    journals_in_virtual_time(monkeypatch)
    return tmp_path / "batch.journal" if request.param else None


Leave = Callable[[BatchRunner], Awaitable[object]]
LEAVES: list[Leave] = [
    breaks,
    returns,
    raises_in_loop,
    is_cancelled,
    is_cancelled_in_a_pending_fetch,
    is_iterated_in_another_task,
    is_left_in_another_task,
]


@pytest.mark.parametrize("leave", LEAVES, ids=lambda each: each.__name__)
async def test_a_batch_left_in_any_way_finishes_once_and_logs_no_error(
    provider: FakeProvider,
    leave: Leave,
    journal: Path | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add_all(provider, ["b", "c"], NEVER)
    events = Recorder()
    async with make_client(on_event=events) as client:
        batch = client.track(["a", "b", "c"], journal=journal)
        await asyncio.gather(leave(batch), return_exceptions=True)
        # When the block has been left, and not when the client is closed.
        assert events.the(BatchFinished).batch_id == events.the(BatchStarted).batch_id
        assert events[-1] is events.the(BatchFinished)
        assert len(events.of(JournalOpened)) == len(events.of(JournalClosed)) == bool(journal)
        assert is_idle()
    check(events)
    assert failures(caplog) == []
