"""The contexts in which events are emitted, and listeners that come and go, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.tracking import tracked
from fakes import FakeProvider, finished, make_client, record
from listening import Recorder
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Event, Interval
from vocalsep_async._transport.api import Reply
from vocalsep_async.emulator import Emulator
from vocalsep_async.instrumentation import (
    BatchStarted,
    DownloadStarted,
    PollFinished,
    PollStarted,
    WaitFinished,
    WaitStarted,
)
from vocalsep_async.providers import Request

pytestmark = pytest.mark.anyio

span: ContextVar[str] = ContextVar("span", default="none")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Setter:
    """A listener that sets the variable at some events, and keeps what it was at others."""

    def __init__(self, at: type[Event], seen_at: type[Event]) -> None:
        self._at, self._seen_at = at, seen_at
        self.seen: list[str] = []
        self.before: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, self._at):
            self.before.append(span.get())
            span.set(f"set {len(self.before)}")
        if isinstance(event, self._seen_at):
            self.seen.append(span.get())


async def test_what_is_set_at_the_start_of_a_poll_holds_for_its_request_and_its_end(
    provider: FakeProvider,
) -> None:
    sent_in: list[str] = []

    def answer(task_id: str) -> Any:
        sent_in.append(span.get())
        return record(task_id) if len(sent_in) == 1 else finished(task_id)

    provider.every_answer = answer
    listener = Setter(PollStarted, PollFinished)
    seen_by_user: list[str] = []
    span.set("the user's")
    async with make_client(on_event=listener, poll=Interval(5)) as client:
        await client.wait_for_task("a", on_update=lambda _: seen_by_user.append(span.get()))
    assert listener.before == ["none", "none"]
    assert sent_in == listener.seen == ["set 1", "set 2"]
    assert {span.get(), *seen_by_user} == {"the user's"}


async def test_what_is_set_at_the_start_of_a_poll_holds_for_its_end_if_it_is_cancelled(
    provider: FakeProvider,
) -> None:
    provider.add("a", 1000)
    provider.round_trip = 10
    listener = Setter(PollStarted, PollFinished)
    async with make_client(on_event=listener) as client:
        with anyio.move_on_after(5):
            await client.wait_for_task("a")
    assert listener.seen == ["set 1"]


async def test_a_wait_starts_and_ends_in_the_context_of_its_caller(provider: FakeProvider) -> None:
    provider.add("a", 10)
    seen: list[tuple[str, str]] = []

    def listener(event: Event) -> None:
        if isinstance(event, (WaitStarted, WaitFinished)):
            seen.append((event.name, span.get()))

    async def wait(number: int) -> None:
        span.set(f"request {number}")
        await client.wait_for_task("a")

    async with make_client(on_event=listener) as client:
        await asyncio.gather(wait(1), wait(2))
    assert sorted(seen) == [
        (name, f"request {number}")
        for name in ("wait.finished", "wait.started")
        for number in (1, 2)
    ]


def test_what_is_set_at_the_start_of_a_batch_holds_for_its_downloads_alone(
    vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    listener = Setter(BatchStarted, DownloadStarted)

    async def run() -> None:
        span.set("the user's")
        ids = [vocalsep_emulator.add_task(duration=0.1) for _ in range(2)]
        listeners = [listener, Setter(PollStarted, PollStarted)]
        async with vocalsep_emulator.client(on_event=listeners) as client:
            async with client.track(ids, download_to=tmp_path) as batch:
                async for outcome in batch:
                    assert outcome.files
                    assert span.get() == "the user's"
            assert span.get() == "the user's"

    asyncio.run(run())
    assert listener.before == ["the user's"]
    assert listener.seen == ["set 1", "set 1"]


# Listeners that come and go


async def test_a_listener_that_is_added_gets_the_events_from_then_on(
    provider: FakeProvider,
) -> None:
    provider.ends_all()
    first, late = Recorder(), Recorder()
    async with make_client(on_event=first) as client:
        await client.wait_for_task("a")
        count = len(first)
        client._engines.listen(late)
        await client.wait_for_task("b")
        assert late == first[count:]
        client._engines.unlisten(late)
        await client.wait_for_task("c")
        assert len(first) == 3 * len(late)


def test_a_listener_that_was_added_stays_in_the_next_event_loop() -> None:
    client = make_client(base_url="http://127.0.0.1:9")
    kept, removed = Recorder(), Recorder()
    client._engines.listen(kept)
    client._engines.listen(removed)

    async def fail() -> None:
        async with client.track(["a"]):
            pass

    asyncio.run(fail())
    client._engines.unlisten(removed)
    assert len(removed) == len(kept)
    asyncio.run(fail())
    assert len(kept) == 2 * len(removed)
    asyncio.run(client.aclose())


async def test_the_failures_of_a_listener_are_counted_until_it_is_removed(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.ends_all()

    def fails(_event: Event) -> None:
        raise ValueError

    async with make_client() as client:
        client._engines.listen(fails)
        await client.wait_for_task("a")
        client._engines.unlisten(fails)
        messages = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert len(messages) == 2
        assert "more times" in messages[1]
        assert len(await tracked(client, ["b"])) == 1
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 2


async def test_a_client_is_closed_once_that_has_begun(provider: FakeProvider) -> None:
    provider.ends_all()
    async with make_client() as client:
        await client.wait_for_task("a")
        assert not client._engines.is_closed
    assert client._engines.is_closed


def eager_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
) -> asyncio.Task[Any]:
    """Run the beginning of a poll at once, as an eager task factory of Python 3.12 does."""
    if coroutine.__qualname__ == "Poller._poll":
        options["context"].run(coroutine.send, None)
    return asyncio.Task(coroutine, loop=loop, **options)


async def test_a_poll_starts_before_its_request_where_tasks_are_eager(
    provider: FakeProvider,
) -> None:
    provider.ends_all()
    sent_in: list[str] = []
    exchange = provider.exchange

    async def sent(request: Request) -> Reply:
        sent_in.append(span.get())
        return await exchange(request)

    provider.exchange = sent  # type: ignore[method-assign]
    events, listener = Recorder(), Setter(PollStarted, PollFinished)
    asyncio.get_running_loop().set_task_factory(eager_factory)
    async with make_client(on_event=[events, listener]) as client:
        await client.wait_for_task("a")
    asyncio.get_running_loop().set_task_factory(None)
    assert sent_in == listener.seen == ["set 1"]
    assert [event.name for event in events if event.name.startswith("poll")] == [
        "poll.started",
        "poll.finished",
    ]
