"""The events of polls outside the poll loop: those of `get_task`, `poll_once` and downloads."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, make_client, record
from listening import Recorder
from virtual_time import VIRTUAL_TIME

from vocalsep_async import PollPending, RetryPolicy, ServerError, TaskStatus, TransportError
from vocalsep_async.instrumentation import PollFinished, PollStarted, RequestRetried

pytestmark = pytest.mark.anyio

EVEN = RetryPolicy(jitter=0)
FAILED = envelope(500, "internal")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_each_try_of_get_task_is_a_poll_that_serves_no_wait(provider: FakeProvider) -> None:
    provider.script("a", FAILED, record("a"))
    events = Recorder(PollStarted, PollFinished)
    async with make_client(retry=EVEN, on_event=events) as client:
        await client.get_task("a")
    failed, succeeded = events.of(PollFinished)
    assert events.of(PollStarted) == [
        PollStarted(task_id="a", attempt=number, wait_ids=()) for number in (1, 2)
    ]
    assert isinstance(failed.error, ServerError)
    assert (failed.code, failed.failures, failed.status) == (500, 1, None)
    assert (succeeded.code, succeeded.failures) == (200, 0)
    assert succeeded.status is TaskStatus.PENDING
    assert succeeded.duration == pytest.approx(0.1)
    assert (succeeded.error, succeeded.next_poll_in, succeeded.wait_ids) == (None, None, ())


async def test_poll_once_counts_its_polls_over_its_calls(provider: FakeProvider) -> None:
    provider.script("a", FAILED, FAILED, record("a"))
    events = Recorder(PollFinished, RequestRetried)
    async with make_client(retry=EVEN, on_event=events) as client:
        state = None
        for _ in range(3):
            polled = await client.poll_once("a", state=state)
            assert isinstance(polled, PollPending)
            state = polled.state
            await anyio.sleep(polled.delay)
    polls = events.of(PollFinished)
    assert [(each.attempt, each.failures) for each in polls] == [(1, 1), (2, 2), (3, 0)]
    assert [each.attempt for each in events.of(RequestRetried)] == [1, 2]
    assert events.of(RequestRetried)[0].request == "GET /api/v1/vocal-removal/record-info"


async def test_a_cancelled_get_task_finishes_its_poll(provider: FakeProvider) -> None:
    provider.round_trip = 10
    events = Recorder(PollStarted, PollFinished)
    async with make_client(on_event=events) as client:
        with anyio.move_on_after(3):
            await client.get_task("a")
    assert events.names == ["poll.started", "poll.finished"]
    assert isinstance(events.the(PollFinished).error, asyncio.CancelledError)


async def test_the_first_failure_of_a_call_is_the_one_warning_of_it(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.every_answer = lambda _: TransportError("cut")
    with caplog.at_level(logging.DEBUG, "vocalsep_async"):
        async with make_client(retry=EVEN) as client:
            with pytest.raises(TransportError):
                await client.get_task("a")
    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.name for each in warnings] == ["vocalsep_async.requests"]
    polls = [each for each in caplog.records if each.name == "vocalsep_async.polls"]
    assert len(polls) == 4
