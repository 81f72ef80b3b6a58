"""Refusals, maintenance and faults on demand."""

from typing import Any, Literal

import aiohttp
import anyio
import pytest
from anyio.lowlevel import checkpoint
from emulator.calling import Caller, DialectName

from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def _codes(caller: Caller, emulator: Emulator, count: int) -> list[int]:
    return [(await caller.credits(emulator)).code for _ in range(count)]


@pytest.mark.parametrize(
    "options, code",
    [({}, 430), ({"throttle_code": 405}, 405), ({"provider": "kie"}, 429)],
)
async def test_one_request_too_many_is_refused(
    caller: Caller, options: dict[str, Any], code: int
) -> None:
    async with Emulator(rate_limit=(2, 3600.0), **options) as emulator:
        assert await _codes(caller, emulator, 3) == [200, 200, code]
    assert [request.throttled for request in emulator.requests] == [False, False, True]


async def test_without_a_limit_nobody_is_refused(caller: Caller) -> None:
    async with Emulator(rate_limit=None) as emulator:
        assert set(await _codes(caller, emulator, 30)) == {200}


@pytest.mark.parametrize("throttle_in, status", [("body", 200), ("status", 430)])
async def test_a_refusal_comes_where_it_was_asked_for(
    caller: Caller, throttle_in: Literal["body", "status"], status: int
) -> None:
    async with Emulator(throttle_in=throttle_in, retry_after=7) as emulator:
        emulator.inject(Fault.THROTTLED)
        answer = await caller.credits(emulator)
    assert (answer.http_status, answer.code) == (status, 430)
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "seconds, sent",
    [
        (0, "0"),
        (-0.0, "0"),
        (100, "100"),
        (2.5, "2.5"),
        (1e-5, "0.00001"),
        (1234567.0, "1234567"),
        (1234567.25, "1234567.25"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e22, "1" + "0" * 22),
        (10**300, "1" + "0" * 300),
    ],
)
async def test_the_time_of_a_refusal_is_sent_in_plain_decimals(
    caller: Caller, seconds: float, sent: str
) -> None:
    async with Emulator(retry_after=seconds) as emulator:
        emulator.inject(Fault.THROTTLED)
        assert (await caller.credits(emulator)).headers["Retry-After"] == sent


async def test_a_refusal_names_no_time_unless_asked_to(caller: Caller) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.THROTTLED)
        assert "Retry-After" not in (await caller.credits(emulator)).headers


async def test_files_do_not_count(caller: Caller) -> None:
    async with Emulator(rate_limit=(1, 3600.0)) as emulator:
        task = emulator._backend.tasks.find(emulator.add_task())
        assert task is not None
        url = emulator._backend._link(task, "bass")
        for _ in range(2):
            async with caller.session.get(url) as answer:
                assert answer.status == 200
        assert (await caller.credits(emulator)).code == 200


async def test_a_fault_takes_a_place_under_the_limit(caller: Caller) -> None:
    async with Emulator(rate_limit=(1, 3600.0)) as emulator:
        emulator.inject(Fault.SERVER_ERROR)
        assert await _codes(caller, emulator, 2) == [500, 430]


async def test_maintenance_holds_until_it_is_switched_off(caller: Caller) -> None:
    async with Emulator() as emulator:
        emulator.maintenance = True
        assert await _codes(caller, emulator, 2) == [455, 455]
        emulator.maintenance = False
        assert await _codes(caller, emulator, 1) == [200]


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
    caller: Caller, fault: Fault, sunoapi: int, kie: int
) -> None:
    codes: dict[DialectName, int] = {"sunoapi": sunoapi, "kie": kie}
    for provider, code in codes.items():
        async with Emulator(provider=provider) as emulator:
            emulator.inject(fault, times=2)
            assert await _codes(caller, emulator, 3) == [code, code, 200]
        assert [request.code for request in emulator.requests] == [code, code, 200]
        assert emulator.requests[0].throttled == (fault is Fault.THROTTLED)


async def test_a_faulty_creation_creates_nothing(caller: Caller) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.SERVER_ERROR)
        await caller.create(emulator)
    assert emulator.tasks == ()
    assert emulator.credits_left == 1000.0


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.EMPTY, Fault.GARBAGE])
async def test_a_body_can_be_no_json(caller: Caller, fault: Fault) -> None:
    async with Emulator() as emulator:
        emulator.inject(fault)
        answer = await caller.credits(emulator)
    assert answer.http_status == 200
    assert ("text/html" in answer.headers["Content-Type"]) == (fault is Fault.HTML)
    assert (answer.text == "") == (fault is Fault.EMPTY)
    with pytest.raises(ValueError, match=r"."):
        _ = answer.body
    assert emulator.requests[0].code == 200


async def test_a_connection_can_be_dropped(caller: Caller) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.DROPPED)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await caller.create(emulator)
        assert emulator.tasks == ()
        assert (await caller.credits(emulator)).code == 200
    assert [request.code for request in emulator.requests] == [None, 200]


async def _stalled(emulator: Emulator) -> None:
    while not emulator.requests:
        await checkpoint()


async def test_a_stalled_request_is_cut_when_the_emulator_closes(caller: Caller) -> None:
    emulator = Emulator()
    emulator.inject(Fault.STALLED)

    async def ask() -> None:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await caller.create(emulator)

    async with anyio.create_task_group() as group, emulator:
        group.start_soon(ask)
        await _stalled(emulator)
    assert [request.code for request in emulator.requests] == [None]


async def test_a_stalled_client_may_leave(caller: Caller) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.STALLED)
        async with anyio.create_task_group() as group:
            group.start_soon(caller.credits, emulator)
            await _stalled(emulator)
            group.cancel_scope.cancel()
        assert (await caller.credits(emulator)).code == 200


@pytest.mark.parametrize("fault, times", [("earthquake", 1), (Fault.HTML, 0), ("html", 1.0)])
def test_what_is_no_fault_cannot_be_injected(fault: Any, times: Any) -> None:
    with pytest.raises(ConfigurationError):
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
    with pytest.raises(ConfigurationError, match="times must be a whole number from 1 to 1000000"):
        Emulator().inject(Fault.HTML, times)


def test_a_fault_can_be_injected_a_million_times() -> None:
    emulator = Emulator()
    emulator.inject(Fault.HTML, 1_000_000)
    assert len(emulator._faults._waiting) == 1_000_000
