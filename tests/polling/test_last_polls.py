"""The last poll before a deadline, while another one hangs."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, make_client
from hypothesis import given
from hypothesis import strategies as st
from listening import Recorder, check
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval, RateLimit, SeparationTask, TaskTimeoutError
from vocalsep_async._polling.lead import Lead
from vocalsep_async.instrumentation import PollFinished, PollStarted

pytestmark = pytest.mark.anyio

EVERY_3 = Interval(3)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def hang(provider: FakeProvider, begin: float, end: float) -> None:
    """Leave the polls that are sent between these moments without an answer."""
    await anyio.sleep(begin)
    usual, provider.round_trip = provider.round_trip, 10_000
    await anyio.sleep(end - begin)
    provider.round_trip = usual


def given_up(events: Recorder) -> list[PollFinished]:
    polls = events.of(PollFinished)
    return [poll for poll in polls if isinstance(poll.error, asyncio.CancelledError)]


async def test_a_poll_that_hangs_does_not_keep_a_wait_from_its_last_poll(
    provider: FakeProvider,
) -> None:
    provider.add("a", 8)
    events = Recorder()
    async with make_client(on_event=events) as client, anyio.create_task_group() as group:
        group.start_soon(hang, provider, 5, 10)
        task = await client.wait_for_task("a", timeout=20, poll=EVERY_3)
    assert task.succeeded
    check(events)
    (hung,) = given_up(events)
    assert hung.attempt == 3
    assert 13 < hung.duration < 14
    assert hung.next_poll_in == 0
    assert provider.distrusted == 1


@pytest.mark.own_limiter
async def test_a_poll_that_hangs_does_not_keep_a_batch_from_its_last_polls(
    provider: FakeProvider,
) -> None:
    ids = [f"task-{n}" for n in range(5)]
    for task_id in ids:
        provider.add(task_id, 8)
    events = Recorder()
    client = make_client(on_event=events, rate_limit=RateLimit(100, 1.0))
    async with client, anyio.create_task_group() as group:
        group.start_soon(hang, provider, 5, 10)
        outcomes = await client.wait_for_tasks(ids, timeout=20, poll=EVERY_3)
    assert all(outcome.succeeded for outcome in outcomes.values())
    check(events)
    assert len(given_up(events)) == len(ids)


async def test_a_poll_that_is_given_up_does_not_end_the_silence(provider: FakeProvider) -> None:
    provider.add("a", 8)
    events = Recorder()
    async with (
        make_client(on_event=events) as client,
        client.track(["a"], poll=EVERY_3, timeout=20) as batch,
        anyio.create_task_group() as group,
    ):
        group.start_soon(hang, provider, 5, 30)
        await anyio.sleep(19.9)
        assert given_up(events)
        assert batch.stats.eta == math.inf


async def test_the_end_of_a_wait_does_not_end_the_silence_of_other_polls(
    provider: FakeProvider,
) -> None:
    provider.add("a", 8)
    provider.add("b", 8)
    events = Recorder()
    client = make_client(on_event=events)
    async with (
        client,
        client.track(["a"], poll=EVERY_3, timeout=200) as batch,
        anyio.create_task_group() as group,
    ):
        group.start_soon(hang, provider, 5, 30)
        await anyio.sleep(5)
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("b", timeout=20)
        assert given_up(events)
        assert batch.stats.eta == math.inf


async def test_a_wait_that_joins_a_poll_that_hangs_gets_its_last_poll(
    provider: FakeProvider,
) -> None:
    provider.add("a", 8)
    ended: dict[float, SeparationTask] = {}

    async def wait(seconds: float) -> None:
        ended[seconds] = await client.wait_for_task("a", timeout=seconds, poll=EVERY_3)

    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(hang, provider, 5, 10)
        group.start_soon(wait, 900)
        await anyio.sleep(9)
        group.start_soon(wait, 10)
    assert all(task.succeeded for task in ended.values())
    # One record ends both.
    assert len(ended) == 2


async def test_each_deadline_of_a_task_has_its_last_poll(provider: FakeProvider) -> None:
    provider.add("a", 25)
    events = Recorder()
    async with make_client(on_event=events) as client, anyio.create_task_group() as group:
        group.start_soon(hang, provider, 5, 22)

        async def times_out() -> None:
            with pytest.raises(TaskTimeoutError):
                await client.wait_for_task("a", timeout=20, poll=EVERY_3)

        group.start_soon(times_out)
        assert (await client.wait_for_task("a", timeout=30, poll=EVERY_3)).succeeded
    check(events)
    assert [poll.attempt for poll in given_up(events)] == [3, 4]


async def test_a_poll_is_not_given_up_where_answers_take_long(provider: FakeProvider) -> None:
    provider.round_trip = 6
    provider.add("a", 12)
    events = Recorder()
    async with make_client(on_event=events) as client:
        await client.get_task("a")
        task = await client.wait_for_task("a", timeout=17.5, poll=Interval(7))
    assert task.succeeded
    assert not given_up(events)


async def test_a_poll_is_not_given_up_before_the_first_answer(provider: FakeProvider) -> None:
    provider.round_trip = 4.8
    provider.add("a", 0)
    async with make_client() as client:
        assert (await client.wait_for_task("a", timeout=5)).succeeded
    assert len(provider.sent) == 1


async def test_a_poll_is_not_given_up_while_no_other_one_may_be_sent(
    provider: FakeProvider,
) -> None:
    provider.add("a", 5)
    provider.script("b", envelope(430, "too fast", Retry_After="300"))

    async def pause_while_the_poll_hangs() -> None:
        await anyio.sleep(5)
        provider.round_trip = 13.8
        await anyio.sleep(5)
        provider.round_trip = 0.1
        with anyio.move_on_after(100):
            await client.get_task("b")

    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(pause_while_the_poll_hangs)
        task = await client.wait_for_task("a", timeout=20, poll=EVERY_3)
        group.cancel_scope.cancel()
    assert task.succeeded
    assert provider.sent == ["a", "a", "a", "b"]


async def test_a_poll_that_may_end_by_itself_before_the_deadline_is_left_alone(
    provider: FakeProvider,
) -> None:
    provider.add("a", math.inf)
    events = Recorder(PollStarted, PollFinished)
    async with make_client(on_event=events, request_timeout=5) as client:
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("a", timeout=60, poll=Interval(30))
    assert len(events.of(PollStarted)) == 3
    assert provider.distrusted == 0


@given(times=st.lists(st.floats(0, 60), min_size=1))
def test_the_lead_is_at_least_twice_the_last_answer_and_bounded(times: list[float]) -> None:
    lead = Lead()
    assert not lead.tells_hanging
    for answer_time in times:
        lead.observe(answer_time)
        assert min(2 * answer_time, 5.0) <= lead.seconds <= 5.0
        assert lead.tells_hanging is (lead.seconds < 5.0)


@given(times=st.lists(st.floats(0, 60)), deadlines=st.lists(st.floats(0, 1e6) | st.just(math.inf)))
def test_a_last_poll_is_due_the_lead_before_any_deadline(
    times: list[float], deadlines: list[float]
) -> None:
    lead = Lead()
    for deadline in [*deadlines, *deadlines]:
        # Twice, as the tasks of a batch ask one after the other.
        assert lead.before(deadline) == lead.before(deadline) == deadline - lead.seconds
        if times:
            lead.observe(times.pop())
