"""Polling a task once, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, finished, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    APIError,
    RetryPolicy,
    ServerError,
    TransportError,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_get_task_is_retried_as_the_retry_policy_says(provider: FakeProvider) -> None:
    provider.script("a", envelope(500, "broken"), TransportError("cut"), envelope(430, "often"))
    async with make_client() as client:
        assert (await client.get_task("a")).succeeded


async def test_get_task_raises_after_the_last_attempt(provider: FakeProvider) -> None:
    provider.script("a", *[envelope(500, "broken")] * 9)
    async with make_client(retry=RetryPolicy(attempts=2)) as client:
        with pytest.raises(ServerError):
            await client.get_task("a")
    assert len(provider.times("a")) == 2


@pytest.mark.parametrize("code", [400, 401, 404, 413, 429, 455])
async def test_get_task_does_not_retry_a_permanent_error(provider: FakeProvider, code: int) -> None:
    provider.script("a", envelope(code, "no"))
    async with make_client() as client:
        with pytest.raises(APIError):
            await client.get_task("a")
    assert len(provider.times("a")) == 1


async def test_get_task_calls_start_first_come_first_served(provider: FakeProvider) -> None:
    async with make_client() as client, anyio.create_task_group() as group:
        for n in range(50):
            group.start_soon(client.get_task, f"t{n:02}")
    assert provider.sent == [f"t{n:02}" for n in range(50)]


async def test_a_time_without_a_zone_beside_one_with_it_teaches_nothing(
    provider: FakeProvider,
) -> None:
    done = finished("a")
    odd = done.body.replace(b"1700000000000", b'"2023-11-14 12:00:00"')
    provider.script("a", done._replace(body=odd))
    async with make_client() as client:
        assert (await client.get_task("a")).duration is not None
        assert client.durations.view(None).completions == 0
