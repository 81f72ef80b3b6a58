"""Calls with a timeout of their own, `get_task` and `get_credits`, in virtual time."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fakes import FakeProvider, envelope, is_idle, make_client
from limiters import WrappedLimiter
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    ClientClosedError,
    InvalidArgumentError,
    MaintenanceError,
    RateLimit,
    RateLimitedError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Slot,
    SlotResult,
    TransportError,
)

pytestmark = pytest.mark.anyio

CREDITS = "/api/v1/generate/credit"
THROTTLED = envelope(430, "Your call frequency is too high")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def time_out(call: Awaitable[object], after: float) -> RequestTimeoutError:
    """The error of *call*, which must end after so many seconds."""
    began = anyio.current_time()
    with pytest.raises(RequestTimeoutError) as caught:
        await call
    assert anyio.current_time() - began == pytest.approx(after)
    return caught.value


# In the queue


async def test_a_call_without_a_slot_in_time_says_how_long_the_queue_is(
    provider: FakeProvider,
) -> None:
    async with make_client(rate_limit=RateLimit(1, 1000.0)) as client:
        await client.get_task("a")
        async with anyio.create_task_group() as group:
            for name in ("b", "c"):
                group.start_soon(client.get_task, name)
            await anyio.sleep(1)
            error = await time_out(client.get_task("d", timeout=5), after=5)
            group.cancel_scope.cancel()
    assert str(error) == (
        "GET /api/v1/vocal-removal/record-info at provider.example: no answer within the 5 s of "
        "the call. No slot came within 5.0 s, while 1 other request waited, at 0.001 requests/s. "
        "Send fewer requests, or allow more time."
    )
    assert not error.may_have_arrived
    assert error.last_error is None
    assert isinstance(error, TimeoutError)
    assert provider.sent == ["a"]


async def test_a_call_leaves_the_queue_when_no_time_is_left_for_an_answer(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 0.6
    async with make_client(rate_limit=RateLimit(1, 1000.0)) as client:
        await client.get_task("a", timeout=5)
        await time_out(client.get_task("b", timeout=5), after=4.4)
        assert client.stats.requests == 1


async def test_a_call_gets_half_of_its_time_for_the_queue_however_slow_answers_are(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 29.0
    async with make_client(rate_limit=RateLimit(1, 1000.0)) as client:
        await client.get_task("a", timeout=100)
        await time_out(client.get_task("b", timeout=5), after=2.5)


async def test_the_time_that_answers_take_is_learned_from_the_last_ones(
    provider: FakeProvider,
) -> None:
    async with make_client(rate_limit=RateLimit(41, 1000.0)) as client:
        for provider.round_trip in [*[3.0] * 20, *[0.2] * 20]:
            await client.get_task("a", timeout=9000)
        provider.round_trip = 0.4
        await client.get_task("a", timeout=9000)
        began = anyio.current_time()
        with pytest.raises(RequestTimeoutError):
            await client.get_task("b", timeout=10)
    # Most of the way from 3 to 0.2, and an eighth of the way from there to 0.4.
    assert anyio.current_time() - began == pytest.approx(9.6, abs=0.1)


async def test_the_deadline_of_a_call_is_in_its_bid(provider: FakeProvider) -> None:
    provider.round_trip = 0.5
    limiter = WrappedLimiter()
    async with make_client(limiter=limiter) as client:
        await client.get_task("a")
        await client.get_task("a", timeout=20)
        await client.get_task("a", timeout=20)
        await client.get_task("a", timeout=None)
    deadlines = [bid.deadline for bid in limiter.bids]
    assert deadlines == [None, 1020.5, pytest.approx(1020.5), None]


async def test_a_call_with_a_timeout_of_0_sends_nothing(provider: FakeProvider) -> None:
    limiter = WrappedLimiter()
    async with make_client(limiter=limiter) as client:
        error = await time_out(client.get_task("a", timeout=0), after=0)
        await client.get_task("b")
    assert "within the 0 s of the call" in str(error)
    assert limiter.results == [SlotResult.UNUSED, SlotResult.ANSWERED]
    assert provider.sent == ["b"]


class StubbornLimiter(WrappedLimiter):
    """Grants a slot although it was cancelled."""

    async def acquire(self, bid: Any) -> Slot:
        with suppress(asyncio.CancelledError):
            await anyio.sleep(100)
        return await super().acquire(bid)


async def test_a_slot_that_comes_too_late_is_given_back(provider: FakeProvider) -> None:
    limiter = StubbornLimiter()
    async with make_client(limiter=limiter) as client:
        await time_out(client.get_task("a", timeout=5), after=5)
    assert limiter.results == [SlotResult.UNUSED]
    assert provider.sent == []


# Pauses


async def test_a_call_that_a_pause_keeps_from_sending_says_what_began_it(
    provider: FakeProvider,
) -> None:
    provider.script("a", envelope(455, "Maintenance"))
    async with make_client() as client:
        with pytest.raises(MaintenanceError):
            await client.get_task("a")
        error = await time_out(client.get_task("b", timeout=5), after=5)
    assert "The client is paused for another 25.0 s: code 455: Maintenance" in str(error)
    assert isinstance(error.last_error, MaintenanceError)
    assert not error.may_have_arrived


async def test_a_throttled_call_whose_time_ends_in_the_pause_holds_the_answer(
    provider: FakeProvider,
) -> None:
    provider.script("a", THROTTLED, THROTTLED, THROTTLED)
    async with make_client() as client:
        error = await time_out(client.get_task("a", timeout=5), after=5)
    assert "The client is paused for another 2.3 s: code 430" in str(error)
    assert "3 requests of the call failed, the last one with: code 430" in str(error)
    assert isinstance(error.last_error, RateLimitedError)
    assert error.may_have_arrived


async def test_a_pause_that_began_elsewhere_is_named_too(provider: FakeProvider) -> None:
    limiter = WrappedLimiter(RateLimit(1, 1000.0))
    async with make_client(limiter=limiter) as client:
        await client.get_task("a")
        limiter.announce_pause(anyio.current_time() + 60, "another process was throttled")
        error = await time_out(client.get_task("b", timeout=5), after=5)
    assert "paused for another 55.0 s: another client of the account began it" in str(error)
    assert error.last_error is None


# Answers


async def test_a_request_under_way_is_cut_at_the_deadline(provider: FakeProvider) -> None:
    provider.round_trip = 20.0
    limiter = WrappedLimiter(RateLimit(1, 2.0))
    async with make_client(limiter=limiter) as client, anyio.create_task_group() as group:
        group.start_soon(client.get_task, "a")
        await checkpoint()
        error = await time_out(client.get_task("b", timeout=25), after=25)
    assert "The request was sent after 22.0 s, 3.0 s ago. Allow more time." in str(error)
    assert error.may_have_arrived
    assert error.last_error is None
    assert limiter.results == [SlotResult.ANSWERED, SlotResult.LOST]
    assert is_idle()


async def test_a_call_is_tried_again_within_its_time(provider: FakeProvider) -> None:
    provider.script("a", envelope(500, "broken"), TransportError("cut"), THROTTLED)
    async with make_client() as client:
        assert (await client.get_task("a", timeout=30)).succeeded


async def test_a_call_raises_the_error_of_its_last_try_before_time_is_up(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[envelope(500, "broken")] * 9)
    async with make_client(retry=RetryPolicy(attempts=2)) as client:
        with pytest.raises(ServerError):
            await client.get_task("a", timeout=30)
    assert len(provider.times("a")) == 2


async def test_a_call_that_waits_for_its_next_try_says_why(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 9)
    async with make_client(retry=RetryPolicy(initial=4, jitter=0)) as client:
        error = await time_out(client.get_task("a", timeout=10), after=10)
    assert "It was too late for another request. 2 requests of the call failed" in str(error)
    assert isinstance(error.last_error, ServerError)


async def test_a_request_that_fails_when_no_time_is_left_is_the_last_one(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 3.0
    provider.script("b", envelope(500, "broken"))
    async with make_client(rate_limit=RateLimit(2, 1.0)) as client:
        await client.get_task("a", timeout=20)
        error = await time_out(client.get_task("b", timeout=5), after=3)
    assert "1 request of the call failed, the last one with: code 500" in str(error)
    assert isinstance(error.last_error, ServerError)
    assert error.may_have_arrived


async def test_a_call_whose_requests_never_left_cannot_have_arrived(
    provider: FakeProvider,
) -> None:
    provider.every_answer = lambda _: TransportError("refused", may_have_arrived=False)
    async with make_client(retry=RetryPolicy(attempts=99)) as client:
        error = await time_out(client.get_task("a", timeout=10), after=10)
    assert not error.may_have_arrived
    assert isinstance(error.last_error, TransportError)


@pytest.mark.parametrize(
    "raised", [RequestTimeoutError("no answer within request_timeout"), TimeoutError("a hook's")]
)
async def test_another_timeout_is_not_taken_for_that_of_the_call(
    raised: Exception, provider: FakeProvider
) -> None:
    provider.script("a", raised)
    async with make_client(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(TimeoutError) as caught:
            await client.get_task("a", timeout=30)
    assert caught.value is raised


# Others end it


async def test_a_cancelled_call_ends_as_cancelled(provider: FakeProvider) -> None:
    provider.round_trip = 2.0
    limiter = WrappedLimiter()
    async with make_client(limiter=limiter) as client:
        call = asyncio.ensure_future(client.get_task("a", timeout=30))
        await anyio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert limiter.results == [SlotResult.LOST]


async def test_a_client_that_closes_ends_a_call_with_its_own_error(provider: FakeProvider) -> None:
    client = make_client(rate_limit=RateLimit(1, 1000.0))
    await client.get_task("a")
    call = asyncio.ensure_future(client.get_task("b", timeout=30))
    await anyio.sleep(1)
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await call


# Arguments


@pytest.mark.parametrize("seconds", [-1, math.nan, -math.inf, "5", True])
@pytest.mark.parametrize("name", ["get_task", "get_credits"])
async def test_an_unusable_timeout_is_refused(
    name: str, seconds: Any, provider: FakeProvider
) -> None:
    arguments = ["a"] if name == "get_task" else []
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError, match="timeout must be"):
            await getattr(client, name)(*arguments, timeout=seconds)
    assert provider.sent == []


@pytest.mark.parametrize("seconds", [None, math.inf])
async def test_a_call_without_a_timeout_waits_without_end(
    seconds: float | None, provider: FakeProvider
) -> None:
    provider.script(CREDITS, envelope(200, data=7))
    async with make_client(rate_limit=RateLimit(1, 100_000.0)) as client:
        await client.get_task("a")
        assert await client.get_credits(timeout=seconds) == 7


async def test_credits_that_do_not_come_in_time_are_an_error(provider: FakeProvider) -> None:
    provider.round_trip = 20.0
    async with make_client() as client:
        error = await time_out(client.get_credits(timeout=5), after=5)
    assert f"GET {CREDITS} at" in str(error)


async def test_the_error_of_a_call_keeps_its_last_error_when_pickled(
    provider: FakeProvider,
) -> None:
    provider.script("a", *[envelope(500, "broken")] * 9)
    async with make_client(retry=RetryPolicy(initial=4)) as client:
        error = await time_out(client.get_task("a", timeout=1), after=1)
    copied = pickle.loads(pickle.dumps(error))
    assert str(copied) == str(error)
    assert isinstance(copied.last_error, ServerError)
