"""Maintenance, and faults that tests inject."""

from typing import Any

import aiohttp
import anyio
import pytest
from anyio.lowlevel import checkpoint
from emulator.http_client import HttpClient, ProviderName

from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.errors import InvalidArgumentError

pytestmark = pytest.mark.anyio


async def _codes(http: HttpClient, emulator: Emulator, count: int) -> list[int]:
    return [(await http.credits(emulator)).code for _ in range(count)]


async def test_a_fault_counts_against_the_rate_limit(http: HttpClient) -> None:
    async with Emulator(rate_limit=(1, 3600.0)) as emulator:
        emulator.inject(Fault.SERVER_ERROR)
        assert await _codes(http, emulator, 2) == [500, 430]


async def test_maintenance_lasts_until_it_is_switched_off(http: HttpClient) -> None:
    async with Emulator() as emulator:
        emulator.maintenance = True
        assert await _codes(http, emulator, 2) == [455, 455]
        emulator.maintenance = False
        assert await _codes(http, emulator, 1) == [200]


@pytest.mark.parametrize(
    "fault, sunoapi, kie",
    [
        (Fault.THROTTLED, 430, 429),
        (Fault.MAINTENANCE, 455, 455),
        (Fault.SERVER_ERROR, 500, 500),
        (Fault.NO_CREDITS, 429, 402),
        (Fault.UNAUTHORIZED, 401, 401),
    ],
)
async def test_the_next_requests_meet_the_fault(
    http: HttpClient, fault: Fault, sunoapi: int, kie: int
) -> None:
    codes: dict[ProviderName, int] = {"sunoapi": sunoapi, "kie": kie}
    for provider, code in codes.items():
        async with Emulator(provider=provider) as emulator:
            emulator.inject(fault, times=2)
            assert await _codes(http, emulator, 3) == [code, code, 200]
        assert [request.code for request in emulator.requests] == [code, code, 200]
        assert emulator.requests[0].throttled == (fault is Fault.THROTTLED)


async def test_a_creation_that_meets_a_fault_has_no_effect(http: HttpClient) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.SERVER_ERROR)
        await http.create(emulator)
    assert emulator.tasks == ()
    assert emulator.credits_left == 1000.0


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.EMPTY, Fault.GARBAGE])
async def test_a_fault_can_replace_the_body(http: HttpClient, fault: Fault) -> None:
    async with Emulator() as emulator:
        emulator.inject(fault)
        reply = await http.credits(emulator)
    assert reply.http_status == 200
    assert ("text/html" in reply.headers["Content-Type"]) == (fault is Fault.HTML)
    assert (reply.text == "") == (fault is Fault.EMPTY)
    with pytest.raises(ValueError, match=r"."):
        _ = reply.body
    assert emulator.requests[0].code == 200


async def test_a_dropped_request_gets_no_response(http: HttpClient) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.DROPPED)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.create(emulator)
        assert emulator.tasks == ()
        assert (await http.credits(emulator)).code == 200
    assert [request.code for request in emulator.requests] == [None, 200]


async def test_an_unanswered_request_is_carried_out_all_the_same(http: HttpClient) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.UNANSWERED)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.create(emulator)
        assert len(emulator.tasks) == 1
        assert emulator.credits_left < 1000.0
    assert [request.task_id for request in emulator.requests] == list(emulator.tasks)


async def _stalled(emulator: Emulator) -> None:
    while not emulator.requests:
        await checkpoint()


async def test_closing_cuts_a_stalled_request(http: HttpClient) -> None:
    emulator = Emulator()
    emulator.inject(Fault.STALLED)

    async def create() -> None:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.create(emulator)

    async with anyio.create_task_group() as group, emulator:
        group.start_soon(create)
        await _stalled(emulator)
    assert [request.code for request in emulator.requests] == [None]


async def test_the_emulator_survives_a_client_that_leaves_a_stalled_request(
    http: HttpClient,
) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.STALLED)
        async with anyio.create_task_group() as group:
            group.start_soon(http.credits, emulator)
            await _stalled(emulator)
            group.cancel_scope.cancel()
        assert (await http.credits(emulator)).code == 200


@pytest.mark.parametrize("fault, times", [("earthquake", 1), (Fault.HTML, 0), ("html", 1.0)])
def test_an_unknown_fault_or_number_of_times_is_refused(fault: Any, times: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        Emulator().inject(fault, times)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(times, id=name)
        for name, times in (
            ("one-more", 1_000_001),
            ("terabytes", 10**12),
            ("unprintable", 10**5000),
            ("below-all", -(10**5000)),
        )
    ],
)
def test_a_fault_cannot_be_injected_more_than_a_million_times(times: int) -> None:
    with pytest.raises(
        InvalidArgumentError, match="times must be a whole number from 1 to 1000000"
    ):
        Emulator().inject(Fault.HTML, times)


def test_a_fault_can_be_injected_a_million_times() -> None:
    emulator = Emulator()
    emulator.inject(Fault.HTML, 1_000_000)
    assert len(emulator._faults._faults) == 1_000_000
