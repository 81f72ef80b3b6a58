"""The queue in front of the budget, in virtual time."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from virtual_time import VIRTUAL_TIME

from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    MaintenanceError,
    RateLimitedError,
    ServerError,
    TransportError,
    Verdict,
)
from vocalsep_async.pacing import Pacer, RateLimit
from vocalsep_async.polling import Gate

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def refusal(kind: type[APIError], verdict: Verdict, retry_after: float | None = None) -> APIError:
    return kind("no", code=430, http_status=200, verdict=verdict, retry_after=retry_after)


async def test_starts_are_granted_first_come_first_served() -> None:
    gate = Gate(Pacer(RateLimit(2, 1.0)))
    order: list[int] = []

    async def start(number: int) -> None:
        with await gate.start():
            order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(start, number)
    assert order == list(range(30))


async def test_a_cancelled_waiter_leaves_no_hole_and_no_leak() -> None:
    pacer = Pacer(RateLimit(1, 10.0))
    gate = Gate(pacer)
    began = anyio.current_time()
    with await gate.start():
        pass

    async def impatient() -> None:
        with anyio.move_on_after(3):
            await gate.start()

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(impatient)
        with await gate.start():
            assert anyio.current_time() == pytest.approx(began + 10.01)
    assert (pacer.sent, pacer.in_flight) == (2, 0)


async def test_a_permit_that_is_not_used_is_given_back() -> None:
    pacer = Pacer(RateLimit(1, 1000.0))
    gate = Gate(pacer)
    permit = await gate.start()
    permit.give_back()
    permit.give_back()
    assert (pacer.sent, pacer.in_flight) == (0, 0)
    with anyio.fail_after(1):
        await gate.start()


async def test_an_answer_lets_the_first_in_line_look_again() -> None:
    gate = Gate(Pacer(None))
    permits = [await gate.start() for _ in range(50)]

    async def answer() -> None:
        await anyio.sleep(5)
        with permits[0]:
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(answer)
        began = anyio.current_time()
        await gate.start()
        assert anyio.current_time() == pytest.approx(began + 5)


@pytest.mark.parametrize(
    "error, pause",
    [
        (None, 0),
        (refusal(RateLimitedError, Verdict.PAUSE_EVERYONE), 1),
        (refusal(RateLimitedError, Verdict.PAUSE_EVERYONE, retry_after=17), 17),
        (refusal(MaintenanceError, Verdict.RETRY_SLOWLY), 30),
        (refusal(ServerError, Verdict.RETRY), 0),
        (DecodeError("strange"), 0),
        (TransportError("cut"), 0),
        (KeyboardInterrupt(), 0),
    ],
)
async def test_how_a_request_ended_decides_about_a_pause(
    error: BaseException | None, pause: float
) -> None:
    pacer = Pacer(RateLimit(20, 10.0))
    gate = Gate(pacer)
    permit = await gate.start()
    caught: BaseException | None = None
    try:
        with permit:
            if error is not None:
                raise error
    except BaseException as raised:  # noqa: BLE001 - also what ends a program
        caught = raised
    assert caught is error
    assert gate.paused_until() - anyio.current_time() == pytest.approx(pause)
    assert pacer.in_flight == 0


async def test_closing_turns_away_those_who_wait_and_those_who_come() -> None:
    gate = Gate(Pacer(RateLimit(1, 1000.0)))
    await gate.start()
    turned_away = 0

    async def start() -> None:
        nonlocal turned_away
        with pytest.raises(ClientClosedError):
            await gate.start()
        turned_away += 1

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(start)
        await anyio.sleep(1)
        gate.close()
    await start()
    assert turned_away == 4


async def test_a_cancelled_scope_takes_no_slot() -> None:
    pacer = Pacer(RateLimit(20, 10.0))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Gate(pacer).start()
    assert scope.cancelled_caught
    assert pacer.sent == 0


async def test_no_wait_is_too_short_to_be_waited() -> None:
    pacer = Pacer(RateLimit(3, math.pi / 1e7))
    gate = Gate(pacer)
    for _ in range(100):
        with await gate.start():
            await anyio.sleep(1e-9)
    assert (pacer.sent, pacer.in_flight) == (100, 0)
