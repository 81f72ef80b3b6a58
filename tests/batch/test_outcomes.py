"""Each task of a batch has one outcome, independent of the others."""

from __future__ import annotations

import asyncio
import math
import random
from itertools import count
from typing import Any

import anyio
import pytest
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
from fakes import FakeProvider, envelope, finished, make_client, record
from sampling import sampled

from vocalsep_async import (
    APIError,
    AuthenticationError,
    Backoff,
    ClientClosedError,
    DecodeError,
    InsufficientCreditsError,
    Interval,
    InvalidArgumentError,
    NotFoundError,
    PollContext,
    PollPolicy,
    RateLimit,
    TaskNotFoundError,
    TaskStatus,
    TransportError,
)
from vocalsep_async._limiting import RateLimitState

pytestmark = pytest.mark.anyio


# Order


@pytest.mark.parametrize("seed", sampled([1, 2, 3], one_in=3))
async def test_outcomes_come_in_the_order_in_which_tasks_end(
    provider: FakeProvider, seed: int
) -> None:
    ids = numbered(20)
    for number, task_id in enumerate(ids):
        provider.add(task_id, 20 + 20 * number)
    given = random.Random(seed).sample(ids, len(ids))
    async with make_client(rate_limit=None) as client:
        outcomes = await tracked(client, given, poll=Interval(5))
    assert [outcome.task_id for outcome in outcomes] == ids


async def test_an_outcome_is_available_as_soon_as_it_is_known(provider: FakeProvider) -> None:
    provider.add("slow", 500)
    provider.add("quick", 10)
    began = anyio.current_time()
    async with make_client() as client, client.track(["slow", "quick"], poll=Interval(5)) as batch:
        assert (await anext(batch)).task_id == "quick"
        assert anyio.current_time() < began + 16
        assert (await anext(batch)).task_id == "slow"


@pytest.mark.parametrize("poll", [None, Interval(7), Backoff(maximum=60)])
async def test_every_policy_tracks_a_batch_without_being_throttled(
    provider: FakeProvider, poll: PollPolicy | None
) -> None:
    ids = numbered(100)
    add_all(provider, ids, 90)
    provider.limit = (20, 10.0)
    async with make_client() as client:
        outcomes = await tracked(client, ids, poll=poll)
        assert client.stats.throttled == provider.throttled == 0
    assert sorted(outcome.task_id for outcome in outcomes) == sorted(ids)
    assert all(outcome.succeeded for outcome in outcomes)


@pytest.mark.own_limiter
async def test_an_interval_policy_keeps_its_interval_in_a_batch(provider: FakeProvider) -> None:
    provider.add("a", 22)
    async with make_client(rate_limit=None) as client:
        await tracked(client, ["a"], poll=Interval(5))
    first, *rest = provider.times("a")
    assert [at - first for at in rest] == pytest.approx([5, 10, 15, 20, 25])


@pytest.mark.own_limiter
async def test_an_outcome_has_its_polls_and_elapsed_time(provider: FakeProvider) -> None:
    provider.add("a", 12)
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"], poll=Interval(5))
    assert outcome.status is TaskStatus.SUCCESS
    assert outcome.polls == 4
    assert outcome.elapsed == pytest.approx(15.1)
    assert outcome.result() is outcome.task


@pytest.mark.parametrize(
    "limit, most",
    [
        (RateLimit(20, 10.0), 8),
        (RateLimit(300, 10.0), 30),
        (RateLimit(5000, 10.0), 100),
        (None, 64),
    ],
    ids=str,
)
@pytest.mark.own_limiter
async def test_the_polls_under_way_fit_the_rate_limit_by_default(
    provider: FakeProvider, limit: RateLimit | None, most: int
) -> None:
    provider.round_trip = 1.0
    ids = numbered(400)
    add_all(provider, ids, 60)
    async with make_client(rate_limit=limit) as client, client.track(ids) as batch:
        with anyio.move_on_after(30):
            await outcomes_of(batch)
    assert provider.most_in_flight <= most
    # Answers of a second leave no slot of the limit unused.
    if limit is not None:
        assert provider.most_in_flight >= min(limit.max_requests / limit.period, most) - 1


async def test_max_concurrency_limits_the_polls_under_way(provider: FakeProvider) -> None:
    provider.round_trip = 3
    ids = numbered(60)
    add_all(provider, ids, 30)
    async with make_client(rate_limit=None) as client:
        await tracked(client, ids, max_concurrency=5, poll=Interval(10))
    assert provider.most_in_flight == 5


# One bad task


BAD: dict[str, tuple[list[Any], type[Exception]]] = {
    "400": ([envelope(400, "no")], APIError),
    "404": ([envelope(404, "no")], NotFoundError),
    "422": ([envelope(422, "no")], APIError),
    "unknown": ([envelope(200)] * 9, TaskNotFoundError),
    "unknown, in words": ([envelope(422, "record is null")] * 9, TaskNotFoundError),
    "unreadable": ([envelope(200, data=[])] * 9, DecodeError),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_task_does_not_affect_the_others(provider: FakeProvider, what: str) -> None:
    answers, error = BAD[what]
    provider.script("bad", *answers)
    add_all(provider, ["good", "better"], 20)
    async with make_client() as client:
        outcomes = await tracked(client, ["good", "bad", "better"], poll=Interval(5))
    by_id = {outcome.task_id: outcome for outcome in outcomes}
    assert isinstance(by_id["bad"].error, error)
    assert by_id["good"].succeeded
    assert by_id["better"].elapsed == pytest.approx(20, abs=6)


@pytest.mark.parametrize(
    "fault",
    [
        envelope(500, "broken"),
        envelope(430, "too often"),
        envelope(405, "too often"),
        envelope(455, "maintenance"),
        envelope(200, data=None),
        envelope(200, data="strange"),
        TransportError("cut"),
    ],
)
async def test_a_temporary_fault_is_retried(provider: FakeProvider, fault: Any) -> None:
    provider.script("a", record("a"), fault, fault)
    async with make_client() as client:
        outcomes = await tracked(client, ["a", "b", "c"])
    assert all(outcome.succeeded for outcome in outcomes)


async def test_a_failed_task_is_an_outcome_without_an_error(provider: FakeProvider) -> None:
    provider.script("a", record("a", "CREATE_TASK_FAILED", errorMessage="bad song"))
    async with make_client() as client:
        (outcome,) = await tracked(client, ["a"])
    assert outcome.error is None
    assert not outcome.succeeded
    assert outcome.status is TaskStatus.CREATE_TASK_FAILED


# Errors that end all tasks


ENDS = pytest.mark.parametrize(
    "code, error", [(401, AuthenticationError), (429, InsufficientCreditsError)]
)


def ends_all(provider: FakeProvider, code: int, good: int = 0) -> None:
    """Answer all requests but the *good* first ones with *code*, which ends the batch."""
    numbers = count()

    def answer(task_id: str) -> Any:
        return record(task_id) if next(numbers) < good else envelope(code, "no")

    provider.every_answer = answer


@ENDS
@pytest.mark.parametrize("options", [{}, {"keep_open": True}, {"max_concurrency": 1}])
@pytest.mark.parametrize("good", [0, 30])
async def test_a_rejected_key_becomes_the_outcome_of_every_task_after_few_requests(
    provider: FakeProvider,
    code: int,
    error: type[APIError],
    options: dict[str, Any],
    good: int,
) -> None:
    ends_all(provider, code, good)
    ids = numbered(2_000)
    async with make_client() as client:
        outcomes = await tracked(client, ids, **options)
        assert client.stats.requests <= good + 4
    assert sorted(outcome.task_id for outcome in outcomes) == sorted(ids)
    assert all(isinstance(outcome.error, error) for outcome in outcomes)
    assert sum(outcome.polls for outcome in outcomes) <= good + 4


@ENDS
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_rejected_key_ends_a_batch_with_an_endless_source(
    provider: FakeProvider, code: int, error: type[APIError], *, is_async: bool
) -> None:
    ends_all(provider, code, 30)
    ids = (f"t{number}" for number in count())
    before = asyncio.all_tasks()
    async with make_client() as client:
        outcomes = await tracked(client, slowly(ids, 0.1) if is_async else ids)
        assert is_clean(client, before)
        assert client.stats.requests <= 34
    assert all(isinstance(outcome.error, error) for outcome in outcomes)
    assert len({outcome.task_id for outcome in outcomes}) == len(outcomes) >= 30


@ENDS
async def test_a_task_added_after_the_key_was_rejected_gets_that_error_too(
    provider: FakeProvider, code: int, error: type[APIError]
) -> None:
    ends_all(provider, code)
    async with make_client() as client, client.track(["a"], keep_open=True) as batch:
        assert list(await outcomes_of(batch)) == ["a"]
        batch.add("late")
        assert batch.notify("late")
        late = await anext(batch)
        assert isinstance(late.error, error)
        assert (late.task_id, late.polls, late.status) == ("late", 0, None)
        assert await outcomes_of(batch) == {}
        assert client.stats.requests == 1
        await anyio.sleep(100)
        assert client.stats.requests == 1


async def test_finished_tasks_keep_their_outcomes_when_the_key_is_rejected(
    provider: FakeProvider,
) -> None:
    numbers = count()
    provider.script("done", finished("done"))
    provider.every_answer = lambda task_id: (
        record(task_id) if next(numbers) < 5 else envelope(401, "no")
    )
    async with make_client() as client:
        outcomes = await tracked(client, ["done", *numbered(50)])
    assert [outcome.succeeded for outcome in outcomes] == [True] + [False] * 50


@pytest.mark.own_limiter
async def test_a_response_under_way_counts_though_the_key_was_rejected_meanwhile(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 10
    provider.script("dead", envelope(401, "no"))
    async with make_client() as client, client.track(["dead", "good", "pending"]) as batch:
        provider.add("pending", NEVER)
        await anyio.sleep(30)
        outcomes = await outcomes_of(batch)
    assert outcomes["good"].succeeded
    assert isinstance(outcomes["pending"].error, AuthenticationError)


async def test_a_new_batch_after_a_rejected_key_polls_again(provider: FakeProvider) -> None:
    provider.script("a", envelope(401, "no"))
    async with make_client() as client:
        (first,) = await tracked(client, ["a"])
        (second,) = await tracked(client, ["a"])
    assert isinstance(first.error, AuthenticationError)
    assert second.succeeded


async def test_a_rejected_key_ends_single_waits_too(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(401, "no")] * 2)
    provider.add("b", NEVER)
    async with make_client() as client, anyio.create_task_group() as group:

        async def waits() -> None:
            with pytest.raises(AuthenticationError):
                await client.wait_for_task("b", poll=Interval(30))

        group.start_soon(waits)
        await anyio.sleep(10)
        await tracked(client, ["a"])


@pytest.mark.parametrize("polls", ["none", "between", "during"])
async def test_closing_the_client_becomes_the_outcome_of_every_pending_task(
    provider: FakeProvider, polls: str
) -> None:
    ids = numbered(30)
    add_all(provider, ids, NEVER)
    provider.round_trip = 100 if polls == "during" else 0.1
    before = asyncio.all_tasks()
    client = make_client(rate_limit=None)
    async with client.track(ids, keep_open=True, poll=Interval(1000)) as batch:
        if polls != "none":
            await anyio.sleep(10)
        await client.aclose()
        outcomes = await outcomes_of(batch)
        batch.add("late")
        assert isinstance((await anext(batch)).error, ClientClosedError)
    assert sorted(outcomes) == sorted(ids)
    assert all(isinstance(outcome.error, ClientClosedError) for outcome in outcomes.values())
    assert is_clean(client, before)


async def test_a_batch_of_a_closed_client_is_refused(provider: FakeProvider) -> None:
    client = make_client()
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await tracked(client, ["a"])
    assert provider.sent == []


# Errors that iteration raises


class Broken:
    def delay(self, context: PollContext) -> float:
        raise LookupError("no idea")


class BrokenLater:
    def delay(self, context: PollContext) -> float:
        if context.polls > 2:
            raise LookupError("no idea")
        return 5.0


@pytest.mark.parametrize("poll", [Broken(), BrokenLater()])
async def test_an_error_of_a_policy_is_raised_by_iteration(
    provider: FakeProvider, poll: PollPolicy
) -> None:
    provider.add("a", NEVER)
    provider.script("done", finished("done"))
    got: list[str] = []
    before = asyncio.all_tasks()
    async with make_client() as client:
        async with client.track(["done", "a"], poll=poll) as batch:
            with pytest.raises(LookupError, match="no idea"):
                await fetched(batch, got)
        assert is_clean(client, before)
        assert (await client.wait_for_task("b")).succeeded
    assert got == ["done"]


@pytest.mark.parametrize("delay", [math.nan, -1.0, math.inf, None])
async def test_an_unusable_delay_of_a_policy_is_the_error_of_the_outcomes(
    provider: FakeProvider, delay: Any
) -> None:
    class Odd:
        def delay(self, context: PollContext) -> Any:
            return delay

    add_all(provider, ["a", "b"], 10)
    async with make_client() as client, client.track(["a", "b"], poll=Odd()) as batch:
        outcomes = await outcomes_of(batch)
        assert client.stats.requests == batch.stats.polls == 2
        assert len(client._engine.poller._scheduler._queues) == 2
        assert [len(queue) for queue in client._engine.poller._scheduler._queues] == [0, 0]
    for outcome in outcomes.values():
        with pytest.raises(InvalidArgumentError, match="delay of a poll policy"):
            outcome.result()


async def test_an_error_of_a_tracing_hook_is_raised_by_iteration(provider: FakeProvider) -> None:
    provider.script("a", LookupError("the hook is broken"))
    async with make_client() as client:
        with pytest.raises(LookupError, match="the hook is broken"):
            await tracked(client, ["a", "b"])


async def test_an_error_of_the_rate_limiter_is_raised_by_iteration(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(state: RateLimitState, now: float) -> None:
        raise LookupError("the budget is gone")

    async with make_client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(RateLimitState, "start", broken)
            async with client.track(f"t{number}" for number in count()) as batch:
                # Entered: the error is that of the first slot.
                with pytest.raises(LookupError, match="the budget is gone"):
                    await outcomes_of(batch)
        assert (await tracked(client, ["a"]))[0].succeeded


async def test_a_repeated_error_makes_one_outcome(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client() as client, client.track(["a"]) as batch:
        await anyio.sleep(1)
        target = client._engine.poller._targets["a"]
        (group,) = target.subscribers
        for _ in range(2):
            group.on_error(target, InvalidArgumentError("a delay of nan seconds"))
        assert [type(outcome.error) async for outcome in batch] == [InvalidArgumentError]
