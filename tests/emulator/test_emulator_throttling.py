"""Throttling: the sliding window, and the response to one request too many."""

from typing import Any, Literal

import pytest
from emulator.http_client import HttpClient
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async.emulator import Emulator, Fault
from vocalsep_async.emulator.app import SlidingWindow

pytestmark = pytest.mark.anyio
_gaps = st.lists(st.floats(0, 20, allow_nan=False), max_size=80)


def _admitted(window: SlidingWindow, gaps: list[float]) -> list[float]:
    now = 1000.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        if window.admit(now):
            admitted.append(now)
    return admitted


@given(
    limit=st.integers(1, 8),
    period=st.floats(0.01, 30),
    gaps=_gaps,
    count_throttled=st.booleans(),
)
def test_no_window_contains_more_requests_than_the_limit(
    limit: int, period: float, gaps: list[float], *, count_throttled: bool
) -> None:
    admitted = _admitted(SlidingWindow(limit, period, count_throttled=count_throttled), gaps)
    for first, last in zip(admitted, admitted[limit:], strict=False):
        assert last - first >= period


@given(st.integers(1, 8), st.floats(0.01, 30), _gaps)
def test_a_request_is_admitted_exactly_while_there_is_room(
    limit: int, period: float, gaps: list[float]
) -> None:
    window, now = SlidingWindow(limit, period), 1000.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        room = sum(now - at < period for at in admitted) < limit
        assert window.admit(now) == room
        if room:
            admitted.append(now)


def test_a_request_stops_counting_after_exactly_one_period() -> None:
    window = SlidingWindow(1, 10.0)
    assert [window.admit(now) for now in (0.0, 9.999, 10.0)] == [True, False, True]


def test_throttled_requests_that_count_keep_the_client_throttled() -> None:
    window = SlidingWindow(1, 10.0, count_throttled=True)
    assert [window.admit(now) for now in (0.0, 6.0, 12.0, 22.0)] == [True, False, False, True]


async def _codes(http: HttpClient, emulator: Emulator, count: int) -> list[int]:
    return [(await http.credits(emulator)).code for _ in range(count)]


@pytest.mark.parametrize(
    "options, code",
    [({}, 430), ({"throttle_code": 405}, 405), ({"provider": "kie"}, 429)],
)
async def test_one_request_too_many_is_throttled(
    http: HttpClient, options: dict[str, Any], code: int
) -> None:
    async with Emulator(rate_limit=(2, 3600.0), **options) as emulator:
        assert await _codes(http, emulator, 3) == [200, 200, code]
    assert [request.throttled for request in emulator.requests] == [False, False, True]


async def test_without_a_limit_no_request_is_throttled(http: HttpClient) -> None:
    async with Emulator(rate_limit=None) as emulator:
        assert set(await _codes(http, emulator, 30)) == {200}


@pytest.mark.parametrize("provider, code", [("sunoapi", 430), ("kie", 429), ("kie_jobs", 429)])
async def test_creations_may_have_a_limit_of_their_own(
    http: HttpClient, provider: Literal["sunoapi", "kie", "kie_jobs"], code: int
) -> None:
    async with Emulator(provider=provider, creation_limit=(1, 3600.0)) as emulator:
        codes = [(await http.create(emulator)).code for _ in range(2)]
        assert codes == [200, code]
        assert await _codes(http, emulator, 3) == [200, 200, 200]
        assert len(emulator.tasks) == 1


@pytest.mark.parametrize("throttle_in, status", [("body", 200), ("status", 430)])
async def test_the_throttle_code_is_sent_in_the_place_of_the_options(
    http: HttpClient, throttle_in: Literal["body", "status"], status: int
) -> None:
    async with Emulator(throttle_in=throttle_in, retry_after=7) as emulator:
        emulator.inject(Fault.THROTTLED)
        reply = await http.credits(emulator)
    assert (reply.http_status, reply.code) == (status, 430)
    assert reply.headers["Retry-After"] == "7"


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
async def test_retry_after_is_sent_without_an_exponent(
    http: HttpClient, seconds: float, sent: str
) -> None:
    async with Emulator(retry_after=seconds) as emulator:
        emulator.inject(Fault.THROTTLED)
        assert (await http.credits(emulator)).headers["Retry-After"] == sent


async def test_retry_after_is_not_sent_by_default(http: HttpClient) -> None:
    async with Emulator() as emulator:
        emulator.inject(Fault.THROTTLED)
        assert "Retry-After" not in (await http.credits(emulator)).headers


async def test_downloads_do_not_count_against_the_limit(http: HttpClient) -> None:
    async with Emulator(rate_limit=(1, 3600.0)) as emulator:
        task = emulator._backend.tasks.find(emulator.add_task())
        assert task is not None
        url = emulator._backend._link(task, "vocals")
        for _ in range(2):
            async with http.session.get(url) as reply:
                assert reply.status == 200
        assert (await http.credits(emulator)).code == 200
