"""Headers by which the provider finds an answer in its logs, on errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import FakeProvider, bare, envelope, make_client
from fault_server import ECHOING, FaultServer
from telemetry.telemetry import Telemetry, attributes_of
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    AuthenticationError,
    DecodeError,
    Interval,
    RateLimit,
    RetryPolicy,
    TaskTimeoutError,
    VocalSepClient,
)
from vocalsep_async.emulator import Emulator, UploadFault

pytestmark = pytest.mark.anyio

KEY = "sk-CANARY-0123456789abcdef"
ONCE = RetryPolicy(attempts=1)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def create(client: VocalSepClient) -> object:
    return await client.create_task(audio_url="https://a.example/a.mp3")


CALLS: list[Callable[[VocalSepClient], Awaitable[object]]] = [
    create,
    lambda client: client.get_task("a"),
    lambda client: client.wait_for_task("a"),
    lambda client: client.get_credits(),
    lambda client: client.poll_once("a"),
]


@pytest.mark.parametrize("call", CALLS)
async def test_an_error_of_the_api_has_the_ids_of_its_answer(
    provider: FakeProvider, call: Callable[[VocalSepClient], Awaitable[object]]
) -> None:
    refused = envelope(401, "no", CF_Ray="8a1b-FRA", X_Request_Id="r-1", Date="today")
    provider.every_answer = lambda _: refused
    async with make_client(retry=ONCE) as client:
        with pytest.raises(AuthenticationError) as caught:
            await call(client)
    expected = {"cf-ray": "8a1b-FRA", "x-request-id": "r-1", "date": "today"}
    assert caught.value.response_headers == expected
    for same in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert same.response_headers == expected


async def test_an_answer_that_is_none_of_the_api_has_them_too(provider: FakeProvider) -> None:
    provider.every_answer = lambda _: bare(200, b"<html>", CF_Ray="8a1b-FRA")
    async with make_client(retry=ONCE) as client:
        with pytest.raises(DecodeError) as caught:
            await client.get_task("a")
    assert caught.value.response_headers == {"cf-ray": "8a1b-FRA"}


async def test_the_last_error_of_a_wait_has_them(provider: FakeProvider) -> None:
    provider.every_answer = lambda _: envelope(500, "broken", X_Trace_Id="t-1")
    async with make_client(poll=Interval(5)) as client:
        with pytest.raises(TaskTimeoutError) as caught:
            await client.wait_for_task("a", timeout=30)
    assert isinstance(caught.value.last_error, APIError)
    assert caught.value.last_error.response_headers == {"x-trace-id": "t-1"}


async def test_headers_are_printable_and_bounded(provider: FakeProvider) -> None:
    provider.every_answer = lambda _: envelope(401, "no", CF_Ray="\x1b[2J" + "x" * 5000)
    async with make_client(retry=ONCE) as client:
        with pytest.raises(APIError) as caught:
            await client.get_task("a")
    shown = caught.value.response_headers["cf-ray"]
    assert shown.isprintable()
    assert len(shown) < 220


def test_an_error_that_came_with_no_answer_has_none() -> None:
    assert APIError("no", code=400, http_status=200).response_headers == {}
    assert DecodeError("no callback").response_headers == {}


async def test_the_span_of_a_poll_has_the_ids_of_its_answer(provider: FakeProvider) -> None:
    provider.every_answer = lambda _: envelope(401, "no", CF_Ray="8a1b-FRA", Date="today")
    telemetry = Telemetry()
    async with make_client(retry=ONCE) as client:
        telemetry.instrument(client)
        with pytest.raises(APIError):
            await client.get_task("a")
    attributes = attributes_of(telemetry.the("vocalsep.poll"))
    assert attributes["http.response.header.cf-ray"] == ("8a1b-FRA",)
    assert "http.response.header.date" not in attributes


# On the wire


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_headers_that_repeat_the_key_are_masked() -> None:
    with FaultServer() as server:
        async with VocalSepClient(
            KEY,
            base_url=f"{server.url}/echo_key_encoded",
            rate_limit=RateLimit(1000, 0.01),
            retry=ONCE,
        ) as client:
            with pytest.raises(APIError) as caught:
                await client.get_task("a")
    headers = caught.value.response_headers
    assert set(headers) == {name.lower() for name in ECHOING}
    assert KEY not in str(headers)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_other_headers_are_not_kept() -> None:
    with FaultServer() as server:
        async with VocalSepClient(
            KEY, base_url=f"{server.url}/st401", rate_limit=RateLimit(1000, 0.01), retry=ONCE
        ) as client:
            with pytest.raises(APIError) as caught:
                await client.get_task("a")
    assert set(caught.value.response_headers) <= {"date"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("fault", [UploadFault.UNAUTHORIZED, UploadFault.REFUSED])
async def test_the_error_of_an_upload_has_those_of_the_upload_host(
    vocalsep_emulator: Emulator, fault: UploadFault
) -> None:
    async with vocalsep_emulator.client(retry=ONCE) as client:
        vocalsep_emulator.inject(fault)
        with pytest.raises(APIError) as caught:
            await client.upload(vocalsep_emulator.original_wav(), name="a.wav")
    assert "date" in caught.value.response_headers
