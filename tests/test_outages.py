"""A host that refuses connections for a while, in virtual time."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval, TransportError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def refused(_task_id: str) -> TransportError:
    return TransportError("no connection (Connection refused)", may_have_arrived=False)


def polls_between(provider: FakeProvider, began: float, ended: float) -> int:
    return sum(began <= at < ended for at, _ in provider.polls)


async def test_polls_go_on_at_the_full_rate_as_soon_as_the_host_is_back(
    provider: FakeProvider,
) -> None:
    provider.limit = (20, 10.0)
    ids = [f"t{number}" for number in range(100)]
    for task_id in ids:
        provider.add(task_id, math.inf)
    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(lambda: client.wait_for_tasks(ids, timeout=None, poll=Interval(1)))
        await anyio.sleep(30)
        sent = client.stats.requests
        provider.every_answer, provider.limit = refused, None
        down = anyio.current_time()
        await anyio.sleep(60)
        # Only those on their way when the host went down had been sent.
        assert client.stats.requests - sent <= 1
        # As often as the rate limit allows, and no more often.
        assert 110 <= polls_between(provider, down, down + 60) <= 124
        provider.every_answer = None
        back = anyio.current_time()
        await anyio.sleep(60)
        group.cancel_scope.cancel()
    # One request in 10 s less than the limit, because slots are held from start to answer.
    assert polls_between(provider, back, back + 10) >= 19
    for second in range(50):
        assert 1 <= polls_between(provider, back + second, back + second + 1) <= 4


async def test_a_host_that_refuses_connections_is_not_stormed(provider: FakeProvider) -> None:
    provider.round_trip = 0.001
    provider.every_answer = refused
    async with make_client() as client, anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(client.wait_for_task, f"t{number}")
        began = anyio.current_time()
        await anyio.sleep(60)
        group.cancel_scope.cancel()
    assert polls_between(provider, began, began + 60) <= 2 * 60 + 4
    assert client.stats.requests == 0
