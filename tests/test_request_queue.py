"""The queue in front of the rate limiter, in virtual time."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from virtual_time import VIRTUAL_TIME

from vocalsep_async._events import Events
from vocalsep_async._request_queue import RequestQueue, RequestSlot
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    MaintenanceError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from vocalsep_async.instrumentation import Event, Paused
from vocalsep_async.limiter import RateLimiter
from vocalsep_async.policies import RateLimit

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def api_error(
    kind: type[APIError], action: ErrorAction, retry_after: float | None = None
) -> APIError:
    return kind("no", code=430, http_status=200, action=action, retry_after=retry_after)


def sent_and_in_flight(limiter: RateLimiter) -> tuple[int, int]:
    snapshot = limiter.snapshot()
    return snapshot.sent, snapshot.in_flight


async def test_slots_are_granted_first_come_first_served() -> None:
    queue = RequestQueue(RateLimiter(RateLimit(2, 1.0)), Events())
    order: list[int] = []

    async def start(number: int) -> None:
        with await queue.acquire():
            order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(start, number)
    assert order == list(range(30))


async def test_a_cancelled_request_leaves_no_hole_and_no_used_slot() -> None:
    rate_limiter = RateLimiter(RateLimit(1, 10.0))
    queue = RequestQueue(rate_limiter, Events())
    began = anyio.current_time()
    with await queue.acquire():
        pass

    async def impatient() -> None:
        with anyio.move_on_after(3):
            await queue.acquire()

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(impatient)
        with await queue.acquire():
            assert anyio.current_time() == pytest.approx(began + 10.01)
    assert sent_and_in_flight(rate_limiter) == (2, 0)


async def test_a_slot_that_is_released_was_never_used() -> None:
    rate_limiter = RateLimiter(RateLimit(1, 1000.0))
    queue = RequestQueue(rate_limiter, Events())
    slot = await queue.acquire()
    slot.release()
    slot.release()
    assert sent_and_in_flight(rate_limiter) == (0, 0)
    with anyio.fail_after(1):
        await queue.acquire()


async def test_an_answer_wakes_the_head_of_the_queue() -> None:
    queue = RequestQueue(RateLimiter(None), Events())
    slots = [await queue.acquire() for _ in range(2)]

    async def answer() -> None:
        await anyio.sleep(5)
        with slots[0]:
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(answer)
        began = anyio.current_time()
        await queue.acquire()
        assert anyio.current_time() == pytest.approx(began + 5)


@pytest.mark.parametrize(
    "error, pause",
    [
        (None, 0),
        (api_error(RateLimitedError, ErrorAction.THROTTLE), 1),
        (api_error(RateLimitedError, ErrorAction.THROTTLE, retry_after=17), 17),
        (api_error(MaintenanceError, ErrorAction.MAINTENANCE), 30),
        (api_error(ServerError, ErrorAction.RETRY), 0),
        (DecodeError("strange"), 0),
        (TransportError("cut"), 0),
        (KeyboardInterrupt(), 0),
    ],
)
async def test_the_end_of_a_request_decides_about_a_pause(
    error: BaseException | None, pause: float
) -> None:
    rate_limiter = RateLimiter(RateLimit(20, 10.0))
    queue = RequestQueue(rate_limiter, Events())
    slot = await queue.acquire()
    caught: BaseException | None = None
    try:
        with slot:
            if error is not None:
                raise error
    except BaseException as raised:  # noqa: BLE001 - also what ends a program
        caught = raised
    assert caught is error
    assert queue.paused_until() - anyio.current_time() == pytest.approx(pause)
    assert rate_limiter.snapshot().in_flight == 0


async def test_a_pause_is_announced_when_it_begins_and_when_it_gets_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    announced: list[Event] = []
    queue = RequestQueue(RateLimiter(), Events([announced.append]))
    slots = [await queue.acquire() for _ in range(4)]
    with caplog.at_level("INFO", "vocalsep_async"):
        for slot, retry_after in zip(slots, [None, None, 30, 20], strict=True):
            with pytest.raises(RateLimitedError), slot:
                raise api_error(RateLimitedError, ErrorAction.THROTTLE, retry_after)
    pauses = [event.duration for event in announced if isinstance(event, Paused)]
    assert pauses == [pytest.approx(1), pytest.approx(30)]
    assert len(caplog.records) == 2


async def test_closing_fails_queued_and_later_requests() -> None:
    queue = RequestQueue(RateLimiter(RateLimit(1, 1000.0)), Events())
    await queue.acquire()
    failed = 0

    async def start() -> None:
        nonlocal failed
        with pytest.raises(ClientClosedError):
            await queue.acquire()
        failed += 1

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(start)
        await anyio.sleep(1)
        queue.close()
    await start()
    assert failed == 4


async def test_a_queue_that_was_overloaded_has_failed_all_requests_when_it_is_closed() -> None:
    queue = RequestQueue(RateLimiter(RateLimit(1, 1000.0)), Events())
    await queue.acquire()

    async def give_up() -> None:
        with anyio.move_on_after(1):
            await queue.acquire()

    calls = [asyncio.ensure_future(queue.acquire()) for _ in range(20)]
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(give_up)
    queue.close()
    await queue.aclose()
    assert [type(call.exception()) for call in calls] == [ClientClosedError] * 20


async def test_a_cancelled_scope_takes_no_slot() -> None:
    rate_limiter = RateLimiter(RateLimit(20, 10.0))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await RequestQueue(rate_limiter, Events()).acquire()
    assert scope.cancelled_caught
    assert rate_limiter.snapshot().sent == 0


async def test_the_queue_gets_through_the_shortest_waits() -> None:
    rate_limiter = RateLimiter(RateLimit(3, math.pi / 1e7))
    queue = RequestQueue(rate_limiter, Events())
    for _ in range(100):
        with await queue.acquire():
            await anyio.sleep(1e-9)
    assert sent_and_in_flight(rate_limiter) == (100, 0)


def test_an_unused_slot_of_a_closed_loop_is_not_given_back() -> None:
    """The limiter takes what was in flight in that loop for lost."""
    limiter = RateLimiter(RateLimit(1, 1000.0))

    async def take() -> RequestSlot:
        return await RequestQueue(limiter, Events()).acquire()

    async def in_flight() -> int:
        return limiter.snapshot().in_flight

    slot = asyncio.run(take())
    slot.release()
    assert asyncio.run(in_flight()) == 1
