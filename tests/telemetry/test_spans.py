"""Spans of waits, batches, polls and creations, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all
from fakes import FakeProvider, envelope, finished, make_client, record
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from telemetry.telemetry import (
    Telemetry,
    attributes_of,
    id_of,
    linked_from,
    parent_of,
    trace_of,
)
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    Interval,
    RateLimit,
    RetryPolicy,
    ServerError,
    TaskNotFoundError,
    TaskRef,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
)
from vocalsep_async.batch import BatchRunner

pytestmark = pytest.mark.anyio

NOTHING = trace.INVALID_SPAN


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def is_nothing_current() -> bool:
    return trace.get_current_span() is NOTHING


def error_of(span: ReadableSpan) -> tuple[str, str]:
    """The error that a span is marked with, checked for being there once."""
    assert span.status.status_code is StatusCode.ERROR
    (event,) = [each for each in span.events if each.name == "exception"]
    assert event.attributes is not None
    kind = attributes_of(span)["error.type"]
    assert event.attributes["exception.type"] == kind
    return str(kind), str(event.attributes["exception.message"])


# Waits


async def test_the_span_of_a_wait_is_in_the_callers_trace_and_its_polls_are_below_it(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", record("a"), envelope(430, "too often"), finished("a", 60))
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request"):
            await client.wait_for_task(TaskRef("a", label="song"), timeout=100)
    assert telemetry.names == [*["vocalsep.poll"] * 3, "vocalsep.wait", "request"]
    *polls, wait, request = telemetry.spans
    assert parent_of(wait) == id_of(request)
    assert {parent_of(each) for each in polls} == {id_of(wait)}
    expected = {
        "server.address": "api.sunoapi.org",
        "vocalsep.provider": "sunoapi",
        "vocalsep.task.id": "a",
        "vocalsep.task.label": "song",
        "vocalsep.wait.timeout": 100.0,
        "vocalsep.task.status": "SUCCESS",
        "vocalsep.polls": 3,
    }
    assert attributes_of(wait) == expected
    assert wait.status.status_code is StatusCode.UNSET


async def test_the_span_of_a_throttled_poll_has_the_code_of_the_body(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", record("a"), envelope(430, "too often"), finished("a", 60))
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    pending, throttled, final = map(attributes_of, telemetry.named("vocalsep.poll"))
    assert pending["vocalsep.code"] == 200
    assert pending["vocalsep.poll.verdict"] == "pending"
    assert pending["vocalsep.poll.next_delay"] == pytest.approx(5, abs=0.2)
    assert throttled["vocalsep.code"] == 430
    assert throttled["vocalsep.poll.verdict"] == "throttle"
    assert throttled["vocalsep.poll.attempt"] == 2
    assert throttled["vocalsep.poll.failures"] == 1
    assert throttled["vocalsep.poll.next_delay"] > 0
    assert throttled["http.response.status_code"] == 200
    assert final["vocalsep.poll.verdict"] == "final"
    assert final["vocalsep.task.status"] == "SUCCESS"
    assert "vocalsep.poll.next_delay" not in final
    kind, message = error_of(telemetry.named("vocalsep.poll")[1])
    assert kind == "RateLimitedError"
    assert "too often" in message


async def test_a_success_without_links_is_doubted(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", record("a", "SUCCESS"), finished("a"))
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    assert verdicts_in(telemetry) == ["doubted", "final"]


async def test_a_poll_that_serves_three_waits_is_in_none_of_their_traces_and_links_to_all(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", 12)
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)

        async def serve(number: int) -> None:
            with telemetry.tracer.start_as_current_span(f"request {number}"):
                await client.wait_for_task("a")
                assert trace.get_current_span().is_recording()

        await asyncio.gather(*map(serve, range(3)))
    waits, polls = telemetry.named("vocalsep.wait"), telemetry.named("vocalsep.poll")
    assert len({trace_of(each) for each in waits}) == 3
    assert len(polls) > 2
    for poll in polls:
        assert poll.parent is None
        assert linked_from(poll) == {id_of(each) for each in waits}
        assert trace_of(poll) not in {trace_of(each) for each in waits}


async def test_a_wait_that_joins_a_poll_under_way_is_linked_from_it(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    provider.round_trip = 4
    async with make_client() as client, anyio.create_task_group() as group:
        telemetry.instrument(client)
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(1)
        await client.wait_for_task("a")
    first, second = telemetry.named("vocalsep.wait")
    poll = telemetry.the("vocalsep.poll")
    assert {parent_of(poll), *linked_from(poll)} == {id_of(first), id_of(second)}


async def test_no_span_is_current_in_code_of_the_application(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    add_all(provider, ["a", "b", "c"], 12)
    seen: list[bool] = []
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a", on_update=lambda _: seen.append(is_nothing_current()))
        async with client.track(["b", "c"]) as batch:
            seen.append(is_nothing_current())
            seen += [is_nothing_current() async for _ in batch]
        await client.get_task("a")
        seen.append(is_nothing_current())
    assert len(seen) >= 6
    assert all(seen)


async def queueing(client: VocalSepClient) -> None:
    await client.get_task("first")  # takes the only slot


async def nothing(_client: VocalSepClient) -> None:
    """Nothing happens before."""


@pytest.mark.own_limiter
@pytest.mark.parametrize(
    "before, round_trip, seconds",
    [
        pytest.param(nothing, 0.1, 3, id="asleep"),
        pytest.param(nothing, 50, 20, id="while it is polled"),
        pytest.param(queueing, 0.1, 3, id="in the queue"),
    ],
)
async def test_a_cancelled_wait_ends_its_spans_once(
    provider: FakeProvider,
    telemetry: Telemetry,
    before: Callable[[VocalSepClient], Awaitable[None]],
    round_trip: float,
    seconds: float,
) -> None:
    add_all(provider, ["first", "a"], NEVER)
    limit = RateLimit(1, 100) if before is queueing else RateLimit(20, 10)
    async with make_client(rate_limit=limit, poll=Interval(10)) as client:
        await before(client)
        telemetry.instrument(client)
        provider.round_trip = round_trip
        wait = asyncio.ensure_future(client.wait_for_task("a"))
        await anyio.sleep(seconds)
        wait.cancel("by a test")
        with pytest.raises(asyncio.CancelledError, match="by a test"):
            await wait
    assert error_of(telemetry.the("vocalsep.wait"))[0] == "CancelledError"
    polls = telemetry.named("vocalsep.poll")
    assert len(polls) == (before is nothing)
    if round_trip == 50:
        assert error_of(polls[0])[0] == "CancelledError"
        assert attributes_of(polls[0])["vocalsep.poll.verdict"] == "cancelled"
    (point,) = telemetry.points("vocalsep.wait.duration")
    assert point.count == 1
    assert point.attributes["error.type"] == "CancelledError"


async def test_a_wait_that_runs_out_of_time_is_an_error(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client:
        telemetry.instrument(client)
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("a", timeout=30)
    wait = telemetry.the("vocalsep.wait")
    assert error_of(wait)[0] == "TaskTimeoutError"
    assert attributes_of(wait)["vocalsep.task.status"] == "PENDING"
    (point,) = telemetry.points("vocalsep.wait.duration")
    assert point.attributes["error.type"] == "TaskTimeoutError"
    assert point.sum == pytest.approx(30, abs=1)


async def test_the_error_of_a_wait_has_the_code_of_the_body(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.every_answer = lambda _: envelope(401, "not this key")
    async with make_client() as client:
        telemetry.instrument(client)
        with pytest.raises(Exception, match="not this key"):
            await client.wait_for_task("a")
    wait = telemetry.the("vocalsep.wait")
    assert attributes_of(wait)["vocalsep.code"] == 401
    assert error_of(wait)[0] == "AuthenticationError"
    assert verdicts_in(telemetry) == ["raise"]


async def test_a_refusal_that_another_poll_is_to_confirm_is_a_retry(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", record("a"), envelope(401, "not this key"), finished("a"))
    async with make_client() as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    assert verdicts_in(telemetry) == ["pending", "retry", "final"]


async def test_the_last_poll_of_an_unknown_task_raises(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.every_answer = lambda _: envelope(404, "no such task")
    async with make_client() as client:
        telemetry.instrument(client)
        with pytest.raises(TaskNotFoundError):
            await client.wait_for_task("a")
    *before, last = map(attributes_of, telemetry.named("vocalsep.poll"))
    assert verdicts_in(telemetry) == [*("retry" for _ in before), "raise"]
    assert before
    assert all(each["vocalsep.poll.next_delay"] > 0 for each in before)
    assert "vocalsep.poll.next_delay" not in last


async def test_a_poll_that_serves_no_wait_has_the_action_of_its_error(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", envelope(500, "broken"), envelope(401, "not this key"))
    async with make_client() as client:
        telemetry.instrument(client)
        with pytest.raises(AuthenticationError):
            await client.get_task("a")
    assert verdicts_in(telemetry) == ["retry", "raise"]


def verdicts_in(telemetry: Telemetry) -> list[Any]:
    return [
        attributes_of(each)["vocalsep.poll.verdict"] for each in telemetry.named("vocalsep.poll")
    ]


async def test_the_message_of_an_error_of_the_application_is_not_shown(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()

    def fail(_task: object) -> None:
        raise ValueError("https://cdn.example/v.mp3?signature=secret")

    async with make_client() as client:
        telemetry.instrument(client)
        with pytest.raises(ValueError, match="secret"):
            await client.wait_for_task("a", on_update=fail)
    assert error_of(telemetry.the("vocalsep.wait")) == ("ValueError", "")
    assert "secret" not in telemetry.text


async def test_a_hook_of_the_application_that_fails_is_shown_by_its_class(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", ValueError("a hook with a secret"))
    async with make_client() as client:
        telemetry.instrument(client)
        with pytest.raises(ValueError, match="hook"):
            await client.wait_for_task("a")
    poll = telemetry.the("vocalsep.poll")
    assert error_of(poll) == ("ValueError", "")
    assert attributes_of(poll)["vocalsep.poll.verdict"] == "raise"


async def test_attributes_are_bounded(provider: FakeProvider, telemetry: Telemetry) -> None:
    provider.script("a", record("a", "S" * 5000), finished("a"))
    async with make_client() as client:
        telemetry.instrument(client)
        await client.wait_for_task(TaskRef("a", label="l" * 200))
    longest = max(
        len(str(value)) for span in telemetry.spans for value in attributes_of(span).values()
    )
    assert longest <= 201


async def test_waits_end_their_spans_when_the_client_is_closed(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client:
        telemetry.instrument(client)
        wait = asyncio.ensure_future(client.wait_for_task("a"))
        await anyio.sleep(5)
    with pytest.raises(ClientClosedError):
        await wait
    assert error_of(telemetry.the("vocalsep.wait"))[0] == "ClientClosedError"


# Calls


async def test_each_try_of_a_call_is_a_span_in_the_callers_trace(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", envelope(500, "broken"), finished("a"))
    async with make_client() as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request") as request:
            await client.get_task("a")
            assert trace.get_current_span() is request
    failed, answered = telemetry.named("vocalsep.poll")
    assert {parent_of(failed), parent_of(answered)} == {id_of(telemetry.the("request"))}
    assert error_of(failed)[0] == "ServerError"
    assert attributes_of(answered)["vocalsep.poll.verdict"] == "final"


async def test_a_call_that_is_cancelled_leaves_the_callers_span_current(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", NEVER)
    provider.round_trip = 50
    async with make_client() as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request") as request:
            with anyio.move_on_after(5):
                await client.get_task("a")
            assert trace.get_current_span() is request
    assert error_of(telemetry.the("vocalsep.poll"))[0] == "CancelledError"


# Creations


async def create(client: VocalSepClient) -> TaskRef:
    return await client.create_task(
        callback_url="https://callback.example/",
        audio_url="https://a.example/a.mp3?signature=secret",
    )


PATH = "/api/v1/vocal-removal/generate"


async def test_a_creation_that_is_sent_twice_is_one_span(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    current: list[int] = []

    def answer() -> Any:
        current.append(trace.get_current_span().get_span_context().span_id)
        return envelope(200, data={"taskId": "a"})

    provider.script(PATH, envelope(430, "too often"), answer)
    async with make_client() as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request") as request:
            await create(client)
            assert trace.get_current_span() is request
    creation = telemetry.the("vocalsep.creation")
    assert parent_of(creation) == id_of(telemetry.the("request"))
    # What sends the request makes its spans below.
    assert current == [id_of(creation)]
    assert attributes_of(creation)["vocalsep.task.id"] == "a"
    assert creation.status.status_code is StatusCode.UNSET
    assert "secret" not in telemetry.text
    (point,) = telemetry.points("vocalsep.creation.duration")
    assert point.count == 1


async def test_a_creation_that_fails_says_whether_the_task_may_exist(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script(PATH, envelope(500, "broken"))
    async with make_client(retry=RetryPolicy(attempts=1)) as client:
        telemetry.instrument(client)
        with pytest.raises(ServerError):
            await create(client)
        assert is_nothing_current()
    creation = telemetry.the("vocalsep.creation")
    assert error_of(creation)[0] == "ServerError"
    assert attributes_of(creation)["vocalsep.code"] == 500
    assert attributes_of(creation)["vocalsep.creation.may_exist"] is True


async def test_a_creation_that_is_never_sent_is_an_error(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    async with make_client() as client:
        telemetry.instrument(client)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await create(client)
    assert error_of(telemetry.the("vocalsep.creation"))[0] == "ClientClosedError"


# Batches


async def test_the_polls_of_a_batch_are_below_its_span(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    add_all(provider, ["a", "b"], 12)
    provider.script("c", record("c", "GENERATE_AUDIO_FAILED"))
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request"):
            await client.wait_for_tasks(["a", "b", "c"])
    batch = telemetry.the("vocalsep.batch")
    assert parent_of(batch) == id_of(telemetry.the("request"))
    assert {parent_of(each) for each in telemetry.named("vocalsep.poll")} == {id_of(batch)}
    told = attributes_of(batch)
    assert told["vocalsep.batch.tasks"] == 3
    assert told["vocalsep.batch.succeeded"] == 2
    assert told["vocalsep.batch.failed"] == 1
    assert told["vocalsep.batch.pending"] == 0
    assert told["vocalsep.polls"] == len(telemetry.named("vocalsep.poll"))


class LeaveError(Exception):
    """What the consumer of a batch raises."""


async def breaks(batch: BatchRunner) -> None:
    async for _ in batch:
        break


async def raises(batch: BatchRunner) -> None:
    async for _ in batch:
        raise LeaveError


async def is_cancelled(batch: BatchRunner) -> None:
    async for _ in batch:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()


@pytest.mark.parametrize(
    "consume, error",
    [(breaks, None), (raises, LeaveError), (is_cancelled, asyncio.CancelledError)],
)
async def test_a_batch_that_is_left_early_ends_its_span_once(
    provider: FakeProvider,
    telemetry: Telemetry,
    consume: Callable[[BatchRunner], Awaitable[None]],
    error: type[BaseException] | None,
) -> None:
    add_all(provider, ["a"], 5)
    add_all(provider, ["b"], NEVER)

    async def run() -> None:
        with telemetry.tracer.start_as_current_span("request") as request:
            try:
                async with client.track(["a", "b"]) as batch:
                    await consume(batch)
            finally:
                assert trace.get_current_span() is request

    async with make_client() as client:
        telemetry.instrument(client)
        (result,) = await asyncio.gather(asyncio.ensure_future(run()), return_exceptions=True)
    assert type(result) is (type(None) if error is None else error)
    batch = telemetry.the("vocalsep.batch")
    if error is None:
        assert batch.status.status_code is StatusCode.UNSET
    else:
        assert error_of(batch)[0] == error.__name__


async def test_a_batch_may_be_entered_iterated_and_left_in_three_tasks(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    add_all(provider, ["a", "b"], 5)
    async with make_client() as client:
        telemetry.instrument(client)
        batch = client.track(["a", "b"])

        async def enter() -> None:
            with telemetry.tracer.start_as_current_span("request"):
                await batch.__aenter__()

        async def leave() -> None:
            await batch.__aexit__(None, None, None)

        await asyncio.create_task(enter())
        await asyncio.create_task(breaks(batch))
        await asyncio.create_task(leave())
    assert parent_of(telemetry.the("vocalsep.batch")) == id_of(telemetry.the("request"))


async def test_a_batch_and_a_wait_for_one_task_are_both_linked_from_its_polls(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", 12)
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        async with client.track(["a"]) as batch:
            await client.wait_for_task("a")
            assert [outcome.succeeded async for outcome in batch] == [True]
    both = {id_of(telemetry.the(name)) for name in ("vocalsep.batch", "vocalsep.wait")}
    *_, last = telemetry.named("vocalsep.poll")
    assert last.parent is None
    assert linked_from(last) == both


async def test_what_fails_before_a_poll_is_sent_is_no_span_of_a_poll(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", TransportError("no connection", may_have_arrived=False), finished("a"))
    async with make_client() as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    failed, answered = telemetry.named("vocalsep.poll")
    assert "vocalsep.code" not in attributes_of(failed)
    assert error_of(failed) == ("TransportError", "no connection")
    assert attributes_of(answered)["vocalsep.code"] == 200
