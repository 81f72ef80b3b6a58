"""The events of waits, their polls and their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, tracked
from fakes import Answer, FakeProvider, bare, envelope, make_client, record
from listening import Recorder
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    DecodeError,
    Event,
    Interval,
    InvalidArgumentError,
    PollContext,
    RateLimitedError,
    RetryPolicy,
    SeparationTask,
    ServerError,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.instrumentation import (
    BatchStarted,
    PollFinished,
    PollStarted,
    RequestRetried,
    TaskFinished,
    WaitFinished,
    WaitStarted,
)

pytestmark = pytest.mark.anyio

FIVE = Interval(5)
EVEN = RetryPolicy(jitter=0)
POLL = ["poll.started", "poll.finished"]


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def events() -> Recorder:
    return Recorder(WaitStarted, WaitFinished, PollStarted, PollFinished, BatchStarted)


async def ended(call: Awaitable[object]) -> BaseException | None:
    """The error with which *call* ends, a cancellation included."""
    (result,) = await asyncio.gather(call, return_exceptions=True)
    return result if isinstance(result, BaseException) else None


# Waits


async def test_a_wait_starts_polls_and_finishes_in_this_order(provider: FakeProvider) -> None:
    provider.add("a", 12)
    events = Recorder()
    async with make_client(on_event=events) as client:
        began = anyio.current_time()
        await client.wait_for_task("a", poll=FIVE)
        lasted = anyio.current_time() - began
    assert events.names == [
        "wait.started",
        *POLL * 3,
        "poll.started",
        "task.finished",
        "poll.finished",
        "wait.finished",
    ]
    start, end = events.the(WaitStarted), events.the(WaitFinished)
    assert (start.task_id, start.timeout) == ("a", 900.0)
    assert end == WaitFinished(
        wait_id=start.wait_id,
        task_id="a",
        duration=lasted,
        polls=4,
        status=TaskStatus.SUCCESS,
        error=None,
    )
    sent, polls = events.of(PollStarted), events.of(PollFinished)
    assert [each.attempt for each in sent] == [each.attempt for each in polls] == [1, 2, 3, 4]
    assert [each.wait_ids for each in sent] == [each.wait_ids for each in polls]
    assert {each.wait_ids for each in polls} == {(start.wait_id,)}


@pytest.mark.parametrize("seconds", [0.1, 0, 7, None])
async def test_the_start_of_a_wait_has_the_timeout_as_given(
    provider: FakeProvider, events: Recorder, seconds: float | None
) -> None:
    async with make_client(on_event=events) as client:
        await ended(client.wait_for_task("a", timeout=seconds))
    assert events.the(WaitStarted).timeout == seconds


async def raises(_task: SeparationTask) -> None:
    raise LookupError


class BrokenPolicy:
    def delay(self, _context: PollContext) -> float:
        raise LookupError


async def cancelled(client: VocalSepClient) -> None:
    wait = asyncio.ensure_future(client.wait_for_task("a"))
    await anyio.sleep(20)
    wait.cancel()
    await wait


async def closed(client: VocalSepClient) -> None:
    wait = asyncio.ensure_future(client.wait_for_task("a"))
    await anyio.sleep(20)
    await client.aclose()
    await wait


ENDS: list[tuple[Callable[[VocalSepClient], Awaitable[object]], type[BaseException], object]] = [
    (lambda client: client.wait_for_task("a", timeout=20), TaskTimeoutError, TaskStatus.PENDING),
    (lambda client: client.wait_for_task("a", timeout=0), TaskTimeoutError, TaskStatus.PENDING),
    (lambda client: client.wait_for_task("a", on_update=raises), LookupError, TaskStatus.PENDING),
    (lambda client: client.wait_for_task("a", poll=BrokenPolicy()), LookupError, "PENDING"),
    (lambda client: client.wait_for_task("rejected"), AuthenticationError, None),
    (cancelled, asyncio.CancelledError, TaskStatus.PENDING),
    (closed, ClientClosedError, TaskStatus.PENDING),
]


@pytest.mark.parametrize("end, kind, status", ENDS)
async def test_a_wait_that_fails_finishes_once_with_the_error_that_it_raises(
    provider: FakeProvider,
    events: Recorder,
    end: Callable[[VocalSepClient], Awaitable[object]],
    kind: type[BaseException],
    status: object,
) -> None:
    provider.add("a", NEVER)
    provider.script("rejected", envelope(401, "no"))
    async with make_client(on_event=events) as client:
        error = await ended(end(client))
    finish = events.the(WaitFinished)
    assert isinstance(finish.error, kind)
    assert finish.error is error or kind is asyncio.CancelledError
    assert finish.status == status
    assert finish.polls == len(events.of(PollStarted)) == len(events.of(PollFinished))
    assert events[-1] is finish


@pytest.mark.own_limiter
async def test_a_wait_cancelled_at_any_step_finishes_exactly_once(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.round_trip = 0.0
    async with make_client(rate_limit=None, on_event=events) as client:
        is_made = False
        steps = 0
        while not is_made:
            events.clear()
            call = asyncio.create_task(client.wait_for_task("a"))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            is_made = not call.cancelled()
            starts, ends = events.of(WaitStarted), events.of(WaitFinished)
            assert len(starts) == len(ends) == min(steps, 1)
            assert all((each.error is None) == is_made for each in ends)
            assert len(events.of(PollStarted)) == len(events.of(PollFinished))
            steps += 1
        assert steps > 5


async def test_a_wait_cancelled_while_it_cleans_up_finishes_with_the_cancellation(
    provider: FakeProvider, events: Recorder
) -> None:
    async with make_client(on_event=events) as client:
        provider.round_trip = 4
        call = asyncio.ensure_future(client.wait_for_task("a"))
        await anyio.sleep(1)
        await ended(asyncio.wait_for(client.wait_for_task("b"), 1))
        call.cancel()
        await asyncio.sleep(0)
        call.cancel()
        assert isinstance(await ended(call), asyncio.CancelledError)
    assert len(events.of(WaitFinished)) == 2
    assert all(isinstance(each.error, BaseException) for each in events.of(WaitFinished))


async def test_a_start_sees_the_callers_context_and_a_poll_none(provider: FakeProvider) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen = []

    def listener(event: Event) -> None:
        seen.append((event.name, request.get()))

    async with make_client(on_event=listener) as client:
        request.set("the caller's")
        await client.wait_for_task("a")
        await client.wait_for_tasks(["b"])
    mine = {name for name, value in seen if value == "the caller's"}
    others = {name for name, value in seen if value == "none"}
    assert mine == {
        "wait.started",
        "wait.finished",
        "batch.started",
        "outcome.delivered",
        "batch.finished",
    }
    assert others == {*POLL, "task.finished"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": ""},
        {"task": 5},
        {"task": TaskRef("a", route="nowhere")},
        {"timeout": -1},
        {"poll": 5},
        {"on_update": 5},
    ],
)
async def test_an_invalid_argument_emits_nothing(
    provider: FakeProvider, events: Recorder, wrong: dict[str, Any]
) -> None:
    async with make_client(on_event=events) as client:
        with pytest.raises(InvalidArgumentError):
            await client.wait_for_task(**{"task": "a", **wrong})
    assert events == []


async def test_a_closed_client_emits_nothing(provider: FakeProvider, events: Recorder) -> None:
    client = make_client(on_event=events)
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.wait_for_task("a")
    assert events == []


# Shared polls


async def test_a_shared_poll_names_all_waits_and_batches_that_it_serves(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.add("a", 4)
    async with make_client(poll=FIVE, on_event=events) as client:
        await asyncio.gather(
            client.wait_for_task("a"), client.wait_for_task("a"), client.wait_for_tasks(["a"])
        )
    ids = {each.wait_id for each in events.of(WaitStarted)}
    ids.add(events.the(BatchStarted).batch_id)
    assert len(ids) == 3
    start, end = events.of(PollStarted)[-1], events.of(PollFinished)[-1]
    # All of them leave with this poll.
    assert set(start.wait_ids) == set(end.wait_ids) == ids
    assert end.status is TaskStatus.SUCCESS
    assert len(start.wait_ids) == 3


async def test_a_wait_that_joins_a_poll_under_way_is_named_at_its_end(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.round_trip = 4
    async with make_client(on_event=events) as client:
        first = asyncio.ensure_future(client.wait_for_task("a"))
        await anyio.sleep(1)
        await client.wait_for_task("a")
        await first
    one, two = (each.wait_id for each in events.of(WaitStarted))
    assert events.the(PollStarted).wait_ids == (one,)
    assert events.the(PollFinished).wait_ids == (one, two)
    assert {each.polls for each in events.of(WaitFinished)} == {1}


async def test_a_wait_that_has_left_is_not_named_any_more(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.add("a", 8)
    async with make_client(poll=FIVE, on_event=events) as client:
        brief = asyncio.ensure_future(ended(client.wait_for_task("a", timeout=3)))
        await anyio.sleep(1)
        assert (await client.wait_for_task("a")).is_final
        assert isinstance(await brief, TaskTimeoutError)
    _, long = (each.wait_id for each in events.of(WaitStarted))
    assert events.of(PollFinished)[-1].wait_ids == (long,)


async def test_the_polls_of_a_batch_name_the_batch(
    provider: FakeProvider, events: Recorder
) -> None:
    ids = [f"t{number}" for number in range(5)]
    for task_id in ids:
        provider.add(task_id, 30)
    async with make_client(on_event=events) as client:
        outcomes = await tracked(client, ids)
    batch_id = events.the(BatchStarted).batch_id
    polls = events.of(PollFinished)
    assert {each.wait_ids for each in polls} == {(batch_id,)}
    assert len(polls) == sum(outcome.polls for outcome in outcomes)
    for outcome in outcomes:
        attempts = [each.attempt for each in polls if each.task_id == outcome.task_id]
        assert attempts == [*range(1, outcome.polls + 1)]


# What a poll found


@pytest.mark.parametrize(
    "answer, found, next_poll_in",
    [
        (record("a"), (200, "PENDING", None), 4.9),
        (envelope(500, "broken"), (500, None, ServerError), 0.5),
        (bare(502), (502, None, ServerError), 0.5),
        (bare(200, b"<html>"), (200, None, DecodeError), 0.5),
        (TransportError("cut"), (None, None, TransportError), 0.5),
        # Throttling pauses the client, for a second if the server names no time.
        (envelope(430, "often"), (430, None, RateLimitedError), 1.0),
        (envelope(430, "often", Retry_After="20"), (430, None, RateLimitedError), 20.0),
        (envelope(401, "no"), (401, None, AuthenticationError), None),
    ],
)
async def test_a_poll_says_what_it_found_and_when_the_next_one_comes(
    provider: FakeProvider,
    events: Recorder,
    answer: Answer,
    found: tuple[int | None, str | None, type[VocalSepError] | None],
    next_poll_in: float | None,
) -> None:
    provider.script("a", answer)
    async with make_client(poll=FIVE, retry=EVEN, on_event=events) as client:
        await ended(client.wait_for_task("a"))
    poll, *later = events.of(PollFinished)
    kind = None if poll.error is None else type(poll.error)
    assert (poll.code, poll.status, kind) == found
    assert (poll.attempt, poll.failures) == (1, 0 if poll.error is None else 1)
    assert poll.duration == pytest.approx(provider.round_trip)
    if next_poll_in is None or poll.next_poll_in is None:
        assert (poll.next_poll_in, later) == (next_poll_in, [])
    else:
        assert poll.next_poll_in == pytest.approx(next_poll_in, abs=0.01)
        first, second = provider.times("a")
        # The next poll is sent no earlier than was said, and arrives half a round trip later.
        assert second - first >= poll.next_poll_in + provider.round_trip / 2 - 0.001
        assert (later[0].status, later[0].next_poll_in) == (TaskStatus.SUCCESS, None)


async def test_failures_in_a_row_are_counted_until_a_poll_succeeds(
    provider: FakeProvider, events: Recorder
) -> None:
    broken = envelope(500, "broken")
    provider.script("a", broken, TransportError("cut"), broken, record("a"), broken)
    async with make_client(on_event=events) as client:
        await client.wait_for_task("a")
    assert [each.failures for each in events.of(PollFinished)] == [1, 2, 3, 0, 1, 0]


async def test_the_last_poll_before_a_deadline_is_announced(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.add("a", NEVER)
    async with make_client(on_event=events) as client:
        await ended(client.wait_for_task("a", timeout=20, poll=Interval(500)))
    first, _ = events.of(PollFinished)
    assert first.next_poll_in is not None
    assert 18 < first.next_poll_in < 20


async def test_a_policy_that_fails_leaves_no_next_poll(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.add("a", NEVER)
    async with make_client(on_event=events) as client:
        await ended(client.wait_for_task("a", timeout=None, poll=BrokenPolicy()))
    assert events.the(PollFinished).next_poll_in is None


async def test_an_error_of_a_users_hook_is_the_error_of_its_poll(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.script("a", LookupError("a tracing hook"))
    async with make_client(on_event=events) as client:
        error = await ended(client.wait_for_task("a"))
    poll = events.the(PollFinished)
    assert poll.error is error is not None
    assert poll.wait_ids == (events.the(WaitStarted).wait_id,)
    assert (poll.code, poll.next_poll_in) == (None, None)


@pytest.mark.own_limiter
@pytest.mark.parametrize("end", [cancelled, closed])
async def test_a_poll_that_is_cut_finishes_before_its_wait(
    provider: FakeProvider, events: Recorder, end: Callable[[VocalSepClient], Awaitable[None]]
) -> None:
    provider.round_trip = 100
    async with make_client(on_event=events) as client:
        await ended(end(client))
    assert events.names == ["wait.started", *POLL, "wait.finished"]
    poll = events.the(PollFinished)
    assert isinstance(poll.error, asyncio.CancelledError)
    assert poll.wait_ids == (events.the(WaitStarted).wait_id,)
    assert poll.duration == pytest.approx(20)
    assert (poll.code, poll.status, poll.failures, poll.next_poll_in) == (None, None, 0, None)


async def test_a_poll_that_is_cancelled_from_outside_is_followed_by_another(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.round_trip = 5
    async with make_client(on_event=events) as client:
        waiting = asyncio.create_task(client.wait_for_task("a"))
        await anyio.sleep(2)
        (poll,) = (task for task in asyncio.all_tasks() if task.get_name() == "vocalsep poll a")
        poll.cancel()
        await waiting
    cut, whole = events.of(PollFinished)
    assert isinstance(cut.error, asyncio.CancelledError)
    assert cut.wait_ids == whole.wait_ids
    assert cut.next_poll_in is not None
    assert [cut.attempt, whole.attempt] == [1, 2]


# Other requests


@pytest.mark.parametrize(
    "path, call",
    [
        ("/api/v1/vocal-removal/record-info", lambda client: client.get_task("a")),
        ("/api/v1/generate/credit", lambda client: client.get_credits()),
    ],
)
async def test_each_try_of_a_request_but_the_last_is_reported(
    provider: FakeProvider, path: str, call: Callable[[VocalSepClient], Awaitable[object]]
) -> None:
    provider.every_answer = lambda _: TransportError("cut")
    events = Recorder(RequestRetried)
    async with make_client(retry=EVEN, on_event=events) as client:
        error = await ended(call(client))
    assert isinstance(error, TransportError)
    retried = events.of(RequestRetried)
    assert {each.request for each in retried} == {f"GET {path}"}
    assert [each.attempt for each in retried] == [1, 2, 3]
    assert [each.delay for each in retried] == [0.5, 1.0, 2.0]
    assert all(str(each.error) == "cut" and not each.error.__traceback__ for each in retried)


async def test_a_throttled_request_is_repeated_after_the_pause(provider: FakeProvider) -> None:
    provider.script("a", envelope(430, "often"))
    events = Recorder()
    async with make_client(on_event=events) as client:
        await client.get_task("a")
    assert events.names == [
        "poll.started",
        "throttled",
        "paused",
        "poll.finished",
        "request.retried",
        "poll.started",
        "resumed",
        "poll.finished",
        "task.finished",
    ]
    assert events.the(RequestRetried).delay == 0


# The end of a task


async def test_a_task_finishes_once_however_many_calls_see_its_end(
    provider: FakeProvider,
) -> None:
    provider.add("a", 12)
    events = Recorder(TaskFinished)
    async with make_client(poll=FIVE, on_event=events) as client:
        await asyncio.gather(client.wait_for_task("a"), client.wait_for_tasks(["a"]))
        await client.get_task("a")
        await client.poll_once("a")
        await client.wait_for_task("a")
    end = events.the(TaskFinished)
    assert (end.task_id, end.status, end.duration, end.polls) == ("a", "SUCCESS", 60.0, 4)


@pytest.mark.parametrize(
    "call", [lambda client: client.get_task("a"), lambda client: client.poll_once("a")]
)
async def test_a_task_that_is_not_waited_for_finishes_without_polls_and_delay(
    provider: FakeProvider, call: Callable[[VocalSepClient], Awaitable[object]]
) -> None:
    events = Recorder(TaskFinished)
    async with make_client(on_event=events) as client:
        await call(client)
    end = events.the(TaskFinished)
    assert (end.task_id, end.duration, end.delay, end.polls) == ("a", 60.0, None, 0)


async def test_the_delay_of_a_task_is_the_time_from_its_end_to_the_poll_that_saw_it(
    provider: FakeProvider,
) -> None:
    provider.is_dated = True
    provider.add("a", 12)
    began = anyio.current_time()
    events = Recorder(TaskFinished)
    async with make_client(poll=FIVE, on_event=events) as client:
        await client.wait_for_task("a")
    end = events.the(TaskFinished)
    assert end.duration == pytest.approx(12)
    # The provider dates its answers in whole seconds.
    assert end.delay == pytest.approx(anyio.current_time() - began - 12, abs=1)


async def test_a_pending_task_has_not_finished(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    events = Recorder(TaskFinished)
    async with make_client(on_event=events) as client:
        await client.get_task("a")
        await client.poll_once("a")
        await ended(client.wait_for_task("a", timeout=50))
    assert events == []
