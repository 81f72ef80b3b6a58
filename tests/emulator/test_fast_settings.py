"""Settings that lose no time: polls, retries and pauses of a client against an emulator."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import aiohttp
import anyio
import pytest
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Bid, Interval, LimiterSnapshot, RateLimit, VocalSepClient
from vocalsep_async.emulator import Emulator, Fault, fast_settings
from vocalsep_async.emulator.fast import FastLimiter
from vocalsep_async.emulator.fixture import fast_client
from vocalsep_async.errors import ClientClosedError, ConfigurationError
from vocalsep_async.instrumentation import Event, Paused
from vocalsep_async.limiter import SlotResult

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def now() -> float:
    return asyncio.get_running_loop().time()


async def end(limiter: FastLimiter, result: SlotResult) -> LimiterSnapshot:
    slot = await limiter.acquire(Bid)
    slot.release(result)
    return limiter.snapshot()


@pytest.mark.parametrize("result", [SlotResult.THROTTLED, SlotResult.MAINTENANCE])
async def test_a_pause_is_short_and_keeps_its_reason(result: SlotResult) -> None:
    limiter, announced = FastLimiter(), list[tuple[float, str]]()
    limiter.on_pause = lambda until, reason: announced.append((until, reason))
    began = now()
    paused = await end(limiter, result)
    assert (paused.pause_reason, paused.throttled) == (
        result.value,
        int(result is SlotResult.THROTTLED),
    )
    assert [reason for _, reason in announced] == [result.value]
    assert limiter.rate == paused.rate
    over = await end(limiter, SlotResult.ANSWERED)
    assert (over.pause_reason, over.sent, over.throttled) == (None, 2, paused.throttled)
    assert 0 < now() - began <= 0.1


async def test_a_slot_is_tried_and_put_off_during_a_pause() -> None:
    limiter = FastLimiter()
    slot = await limiter.try_acquire(Bid)
    assert not isinstance(slot, float)
    slot.release(SlotResult.MAINTENANCE)
    wait = await limiter.try_acquire(Bid)
    assert isinstance(wait, float)
    assert 0 < wait <= 0.1


async def test_a_thousand_requests_are_allowed_in_a_second() -> None:
    limiter, began = FastLimiter(), now()
    for _ in range(1000):
        await end(limiter, SlotResult.ANSWERED)
    assert now() - began < 1.0


async def test_an_outage_is_announced_as_one() -> None:
    limiter, reasons = FastLimiter(), list[str]()
    limiter.on_pause = lambda _, reason: reasons.append(reason)
    for _ in range(70):
        await end(limiter, SlotResult.FAILED)
        await asyncio.sleep(1)
    assert reasons[0] == "outage"


async def test_a_limiter_goes_on_in_another_loop_and_can_be_closed() -> None:
    limiter = FastLimiter()
    await end(limiter, SlotResult.MAINTENANCE)
    limiter.move(100.0)
    assert limiter.snapshot().paused_until == pytest.approx(now() + 100.05, abs=0.01)
    await limiter.aclose()
    assert repr(limiter).startswith("<FastLimiter: <RateLimiter: ")


def test_each_call_returns_settings_of_their_own() -> None:
    one, other = fast_settings(), fast_settings()
    assert one["limiter"] is not other["limiter"]
    VocalSepClient("any-key", **one)
    VocalSepClient("any-key", **other)


# With an emulator, in real time


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_maintenance_and_throttling_cost_a_wait_no_second_each() -> None:
    events: list[Event] = []
    async with (
        Emulator() as emulator,
        emulator.client(**fast_settings(on_event=events.append)) as client,
    ):
        for fault in (Fault.MAINTENANCE, Fault.THROTTLED, Fault.SERVER_ERROR):
            emulator.inject(fault)
            assert (await client.wait_for_task(emulator.add_task(duration=0))).succeeded
        assert client.stats.throttled == 1
    pauses = [event for event in events if isinstance(event, Paused)]
    assert [each.reason for each in pauses] == ["maintenance", "throttled"]
    assert max(each.duration for each in pauses) <= 0.1


def test_a_client_of_a_block_is_closed_after_it() -> None:
    with Emulator() as emulator:
        task_id = emulator.add_task(duration=0.1)
        with fast_client(emulator, {}) as client:
            for _ in range(2):
                assert asyncio.run(client.wait_for_task(task_id)).succeeded
        with pytest.raises(ClientClosedError):
            asyncio.run(client.get_task(task_id))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_of_a_block_in_a_running_loop_is_closed_there() -> None:
    with Emulator() as emulator:
        with fast_client(emulator, {}) as unused:
            pass
        with pytest.raises(ClientClosedError):
            await unused.get_credits()

        def use() -> None:
            with fast_client(emulator, {}) as client:
                anyio.from_thread.run(client.get_credits)
            with pytest.raises(ClientClosedError):
                anyio.from_thread.run(client.get_credits)

        await anyio.to_thread.run_sync(use)


def test_a_client_of_a_block_is_closed_in_a_loop_that_was_left_open() -> None:
    with Emulator() as emulator, asyncio.Runner() as runner:
        with fast_client(emulator, {}) as client:
            assert runner.run(client.get_credits()) == 1000
        with pytest.raises(ClientClosedError):
            runner.run(client.get_credits())


def test_a_client_whose_borrowed_session_has_ended_with_its_loop_is_left_alone() -> None:
    async def use() -> None:
        async with aiohttp.ClientSession() as session:
            client = stack.enter_context(fast_client(emulator, {"session": session}))
            assert await client.get_credits() == 1000

    with Emulator() as emulator, ExitStack() as stack:
        asyncio.run(use())


@pytest.mark.parametrize("limit", [RateLimit(), RateLimit(5, 1.0), None])
def test_a_rate_limit_of_the_user_takes_the_place_of_the_fast_one(limit: RateLimit | None) -> None:
    with Emulator() as emulator, fast_client(emulator, {"rate_limit": limit}) as client:
        assert "RateLimiter" in repr(client)
        assert "FastLimiter" not in repr(client)


def test_options_of_the_user_take_the_place_of_the_fast_ones() -> None:
    with Emulator() as emulator:
        with fast_client(emulator, {"poll": Interval(1), "limiter": FastLimiter()}) as client:
            assert client._poll == Interval(1)
        with (
            pytest.raises(ConfigurationError),
            fast_client(emulator, {"request_timeout": -1}),
        ):
            pass
