"""A receiver whose client is not open, or open in another event loop, thread or process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from queue import Queue
from typing import Any

import pytest
from batch.tracking import NEVER
from fakes import FakeProvider, make_client
from receivers.callbacks import Response, callback, make_receiver, post

from vocalsep_async import Interval, SeparationTask, VocalSepClient
from vocalsep_async.contrib.asgi import CallbackReceiver
from vocalsep_async.webhooks import ReceiverStats, parse_callback

RARELY = Interval(1000)


def posted(receiver: CallbackReceiver, task_id: str = "a") -> Response:
    """The response to a callback, in an event loop of its own."""
    return asyncio.run(post(receiver, callback(task_id)))


async def opened(client: VocalSepClient) -> None:
    await client.__aenter__()


async def opened_and_closed(client: VocalSepClient) -> None:
    async with client:
        """It is of no more use."""


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Any]]:
    """Runs a function in a thread of its own, and returns what it returns."""
    with ThreadPoolExecutor(1) as threads:
        yield lambda call, *args: threads.submit(call, *args).result(60)


@pytest.mark.parametrize(
    "prepare, said",
    [
        (lambda _: None, "not open"),
        (lambda client: asyncio.run(opened(client)), "not open"),
        (lambda client: asyncio.run(opened_and_closed(client)), "was closed"),
    ],
    ids=["never opened", "opened in a loop that was closed", "closed"],
)
def test_a_client_that_is_not_open_is_answered_with_503_and_one_sentence(
    provider: FakeProvider,
    prepare: Callable[[VocalSepClient], object],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make_client()
    prepare(client)
    receiver = make_receiver(client)
    for _ in range(2):
        response = posted(receiver)
        assert response.status == 503
        assert said in response.text
    assert receiver.stats == ReceiverStats(received=2, unavailable=2)
    (logged,) = caplog.records
    assert (logged.name, logged.levelno) == ("vocalsep_async.callbacks", logging.WARNING)
    assert "lifespan" in logged.getMessage()
    assert "async with client" in logged.getMessage()


def test_a_client_with_a_session_of_a_loop_that_was_closed_is_answered_with_503(
    provider: FakeProvider,
) -> None:
    async def run() -> VocalSepClient:
        # Bound to its loop for good, as a borrowed session is.
        provider.loop = asyncio.get_running_loop()
        client = make_client()
        await opened(client)
        return client

    response = posted(make_receiver(asyncio.run(run())))
    assert response.status == 503
    assert "not open" in response.text


def test_a_callback_that_met_a_closed_client_is_no_repetition_later(
    provider: FakeProvider,
) -> None:
    async def run() -> None:
        client = make_client()
        receiver = make_receiver(client)
        assert (await post(receiver, callback())).status == 503
        async with client:
            assert (await post(receiver, callback())).status == 200
        assert receiver.stats == ReceiverStats(received=2, unavailable=1, unawaited=1)

    asyncio.run(run())


def test_a_client_that_a_fork_left_behind_is_answered_with_503(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Response:
        async with make_client() as client:
            receiver = make_receiver(client)
            with monkeypatch.context() as patch:
                patch.setattr("vocalsep_async._binding.os.getpid", lambda: -1)
                return await post(receiver, callback())

    response = asyncio.run(run())
    assert response.status == 503
    assert "forked" in response.text


def test_a_client_that_was_made_before_a_fork_may_be_opened_after_it(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    receiver = make_receiver(client)

    async def run() -> Response:
        async with client:
            return await post(receiver, callback())

    monkeypatch.setattr("vocalsep_async._binding.os.getpid", lambda: -1)
    assert asyncio.run(run()).status == 200


REQUEST = ContextVar("REQUEST", default="none")


class Waiting:
    """A client that waits for the task "a", in an event loop of another thread."""

    def __init__(self, provider: FakeProvider) -> None:
        provider.round_trip = 0.0
        self.provider = provider
        self.polled = threading.Event()
        self.client = make_client(poll=RARELY)
        self.thread = ThreadPoolExecutor(1)
        self.result = self.thread.submit(asyncio.run, self._run())

    def end(self) -> None:
        """End the task, and have it polled; in the client's event loop."""
        self.provider.ends_all()
        self.client.notify("a")

    async def _run(self) -> SeparationTask:
        async with self.client:
            return await self.client.wait_for_task("a", on_update=lambda _: self.polled.set())


@pytest.fixture
def waiting(provider: FakeProvider) -> Iterator[Waiting]:
    asyncio.run(_add(provider))
    waiting = Waiting(provider)
    with waiting.thread:
        assert waiting.polled.wait(60)
        yield waiting


async def _add(provider: FakeProvider) -> None:
    provider.add("a", NEVER)


def test_a_callback_in_another_event_loop_wakes_the_wait(
    provider: FakeProvider, waiting: Waiting
) -> None:
    receiver = make_receiver(waiting.client)
    provider.ends_all()
    assert posted(receiver).status == 200
    assert waiting.result.result(60).succeeded
    assert receiver.stats == ReceiverStats(received=1, woke=1)


def test_what_follows_in_another_event_loop_is_no_part_of_the_request(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Queue[str]()

    def notify(*_: object, **__: object) -> bool:
        seen.put(REQUEST.get())
        return True

    async def request() -> Response:
        REQUEST.set("the trace of the request")
        return await post(receiver, callback())

    receiver = make_receiver(waiting.client)
    with monkeypatch.context() as patch:
        patch.setattr(waiting.client, "notify", notify)
        assert asyncio.run(request()).status == 200
        assert seen.get(timeout=60) == "none"
    waiting.client._engines.reachable().call_soon_threadsafe(waiting.end)
    assert waiting.result.result(60).succeeded


def test_a_callback_outside_of_asyncio_wakes_the_wait(
    provider: FakeProvider, waiting: Waiting
) -> None:
    # As in a server that runs in another kind of event loop.
    receiver = make_receiver(waiting.client)
    provider.ends_all()
    receiver._pass_on(parse_callback(callback()), waiting.client._engines.reachable())
    assert waiting.result.result(60).succeeded
    assert receiver.stats.woke == 1


def test_a_loop_that_is_not_running_gets_the_callback_when_it_runs_again(
    provider: FakeProvider, in_thread: Callable[..., Any]
) -> None:
    client = make_client()
    receiver = make_receiver(client)
    with asyncio.Runner() as runner:
        runner.run(opened(client))
        assert in_thread(posted, receiver).status == 200
        assert receiver.stats == ReceiverStats(received=1)
        runner.run(client.aclose())
    assert receiver.stats == ReceiverStats(received=1, unawaited=1)


def test_a_loop_that_closes_meanwhile_is_answered_with_503(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    client = make_client()
    monkeypatch.setattr(client._engines, "reachable", lambda: loop)
    receiver = make_receiver(client)
    for _ in range(2):  # the second one is no repetition of what was refused
        assert posted(receiver).status == 503
    assert receiver.stats == ReceiverStats(received=2, unavailable=2)


def test_counts_are_exact_in_any_number_of_threads(provider: FakeProvider) -> None:
    receiver = make_receiver(make_client())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: posted(receiver), range(100)))
    assert receiver.stats == ReceiverStats(received=100, unavailable=100)
