"""How events reach their listeners."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from event_values import EVENTS, failed_poll, poll
from fakes import FakeProvider, make_client
from listening import Recorder

from vocalsep_async import TaskRef
from vocalsep_async._events import Events, new_id
from vocalsep_async.errors import TransportError
from vocalsep_async.instrumentation import Event, WaitFinished, WaitStarted

FAILED = "vocalsep_async.events"


class BrokenListenerError(Exception):
    """What the broken listeners of these tests raise."""


def broken(_event: Event) -> None:
    raise BrokenListenerError


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.name == FAILED]


@pytest.fixture
def loud() -> Iterator[None]:
    """Fail a test in which a coroutine is never awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_every_listener_gets_every_event_in_order() -> None:
    first, second = Recorder(), Recorder()
    events = Events([first, second])
    for event in EVENTS:
        events.emit(event)
    assert first == second == EVENTS


def test_listeners_are_called_in_the_order_in_which_they_were_given() -> None:
    called: list[str] = []
    Events([lambda _: called.append("a"), lambda _: called.append("b")]).emit(EVENTS[0])
    assert called == ["a", "b"]


def test_a_listener_that_raises_keeps_no_event_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, after = Recorder(), Recorder()
    events = Events([before, broken, after])
    for event in EVENTS:
        events.emit(event)
    assert before == after == EVENTS


def test_the_first_error_of_a_listener_is_logged_with_its_event_and_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events([broken])
    for event in EVENTS:
        events.emit(event)
    (record,) = failures(caplog)
    assert record.levelno == logging.ERROR
    assert "listener broken failed at wait.started" in record.getMessage()
    assert "BrokenListenerError" in caplog.text
    assert "in broken" in caplog.text


def test_each_listener_has_its_own_first_error(caplog: pytest.LogCaptureFixture) -> None:
    Events([broken, partial(broken)]).emit(EVENTS[0])
    assert len(failures(caplog)) == 2


def test_later_errors_of_a_listener_are_counted_until_the_client_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = Events([broken, Recorder()])
    for event in EVENTS[:4]:
        events.emit(event)
    events.close()
    assert failures(caplog)[-1].getMessage() == "listener broken failed 3 more times"
    events.close()
    assert len(failures(caplog)) == 2
    events.emit(EVENTS[0])
    events.close()
    assert failures(caplog)[-1].getMessage() == "listener broken failed 1 more time"


@pytest.mark.anyio
async def test_a_client_reports_the_errors_of_its_listeners_when_it_closes(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_client(on_event=broken) as client:
        client._engine.events.emit(EVENTS[0])
        client._engine.events.emit(EVENTS[0])
        assert len(failures(caplog)) == 1
    assert failures(caplog)[1].getMessage() == "listener broken failed 1 more time"


def test_a_filter_of_the_application_that_raises_keeps_no_event_from_a_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_record: logging.LogRecord) -> bool:
        raise BrokenListenerError

    for name in (FAILED, "vocalsep_async.waits"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [refuse])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
        logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]
    last = Recorder()
    Events([broken, last]).emit(EVENTS[0])
    assert last == [EVENTS[0]]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_exit_or_cancellation_of_a_listener_passes(kind: type[BaseException]) -> None:
    def leave(_event: Event) -> None:
        raise kind

    with pytest.raises(kind):
        Events([leave]).emit(EVENTS[0])


@pytest.mark.usefixtures("loud")
def test_a_coroutine_that_a_listener_returns_is_closed_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def send() -> None:
        """Never runs."""

    after = Recorder()
    Events([lambda _: send(), after]).emit(EVENTS[0])
    assert "returned an awaitable" in caplog.text
    assert after == [EVENTS[0]]


def test_an_awaitable_without_close_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Later:
        def __await__(self) -> Iterator[None]:
            yield

    Events([lambda _: Later()]).emit(EVENTS[0])
    assert "returned an awaitable" in caplog.text


@pytest.mark.anyio
async def test_a_task_that_a_listener_returns_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()

    async def send() -> None:
        done.set()

    tasks: list[asyncio.Task[None]] = []

    def start(_event: Event) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(send()))
        return tasks[-1]

    Events([start]).emit(EVENTS[0])
    await tasks[0]
    assert done.is_set()
    assert failures(caplog) == []


def test_what_a_listener_returns_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    Events([lambda _: 5, lambda _: "text"]).emit(EVENTS[0])
    assert failures(caplog) == []


@pytest.mark.usefixtures("loud")
@pytest.mark.anyio
async def test_a_listener_that_calls_aclose_without_awaiting_it_closes_nothing(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    def closes(_event: Event) -> Any:
        return client.aclose()

    async with make_client(on_event=closes) as client:
        client._engine.events.emit(EVENTS[0])
        assert (await client.get_task("a")).is_final
    assert "returned an awaitable" in caplog.text


def test_frequent_events_are_wanted_only_by_listeners_and_the_debug_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "vocalsep_async"):
        assert not Events()
        assert Events([print])
    with caplog.at_level(logging.DEBUG, "vocalsep_async.polls"):
        assert Events()


@pytest.mark.anyio
async def test_events_of_polls_are_wanted_while_polls_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "vocalsep_async"):
        events = Events()
        events.emit(failed_poll(TransportError("no connection")))
        assert events
        events.emit(poll())
        assert not events


def test_ids_are_unique_and_name_their_kind() -> None:
    ids = [new_id("wait"), new_id("batch"), new_id("wait")]
    assert len(set(ids)) == 3
    assert [each.partition("-")[0] for each in ids] == ["wait", "batch", "wait"]


@pytest.mark.anyio
async def test_the_events_of_a_wait_have_the_label_of_its_own_ref(provider: FakeProvider) -> None:
    heard = Recorder(WaitStarted, WaitFinished)
    provider.add("a", 10)
    async with make_client(on_event=heard) as client, asyncio.TaskGroup() as group:
        for label in ("One", "Other", None):
            group.create_task(client.wait_for_task(TaskRef("a", label=label)))
    labels = {each.wait_id: each.label for each in heard if isinstance(each, WaitStarted)}
    assert sorted(labels.values(), key=str) == [None, "One", "Other"]
    ends = {each.wait_id: each.label for each in heard if isinstance(each, WaitFinished)}
    assert ends == labels
