"""A client that more is asked of than the rate limit allows, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import SeparationTask, VocalSepClient

pytestmark = pytest.mark.anyio

HANDLERS = 20
WANTED = 2.9
"""Polls per second that all handlers want; the rate limit allows 2."""
PATIENCE = 5.0
SECONDS = 300
ALLOWED = 2 * SECONDS

Call = Callable[[VocalSepClient, str], Awaitable[SeparationTask]]


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def with_timeout(client: VocalSepClient, task_id: str) -> SeparationTask:
    return await client.get_task(task_id, timeout=PATIENCE)


async def within_timeout(client: VocalSepClient, task_id: str) -> SeparationTask:
    async with asyncio.timeout(PATIENCE):
        return await client.get_task(task_id)


CALLS = pytest.mark.parametrize("call", [with_timeout, within_timeout])


class Handlers:
    """Handlers of a web service: each polls one task again and again, and soon gives up."""

    def __init__(self, client: VocalSepClient, call: Call) -> None:
        self.answers = 0
        self._client = client
        self._call = call
        self._random = random.Random(1)

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            for number in range(HANDLERS):
                group.start_soon(self._poll, f"h{number}")
                await anyio.sleep(1 / WANTED)

    async def _poll(self, task_id: str) -> None:
        due = anyio.current_time()
        while True:
            try:
                await self._call(self._client, task_id)
                self.answers += 1
            except TimeoutError:
                pass
            due += self._random.uniform(0.9, 1.1) * HANDLERS / WANTED
            await anyio.sleep_until(due)


def slow(provider: FakeProvider) -> None:
    """Have answers take 600 ms, more or less."""
    random_ = random.Random(2)
    exchange = provider.exchange

    async def vary(request: Any) -> Any:
        provider.round_trip = random_.uniform(0.4, 0.8)
        return await exchange(request)

    provider.exchange = vary  # type: ignore[method-assign]


@CALLS
async def test_an_overloaded_client_still_answers_at_four_fifths_of_the_rate_limit(
    call: Call, provider: FakeProvider
) -> None:
    slow(provider)
    provider.limit = (20, 10.0)
    async with make_client() as client:
        handlers = Handlers(client, call)
        with anyio.move_on_after(SECONDS):
            await handlers.run()
    assert handlers.answers >= 0.8 * ALLOWED
    assert provider.throttled == 0


async def test_no_slot_goes_to_a_call_whose_time_is_too_short_for_an_answer(
    provider: FakeProvider,
) -> None:
    provider.round_trip = 0.6
    async with make_client() as client:
        handlers = Handlers(client, with_timeout)
        with anyio.move_on_after(SECONDS):
            await handlers.run()
        # Those under way at the end were cut.
        assert client.stats.requests - handlers.answers <= 2


@CALLS
async def test_patient_calls_are_answered_in_an_overload(
    call: Call, provider: FakeProvider
) -> None:
    slow(provider)
    answered: list[float] = []

    async def be_patient(client: VocalSepClient, began: float) -> None:
        await client.get_task("patient")
        answered.append(anyio.current_time() - began)

    async with make_client() as client, anyio.create_task_group() as group:
        group.start_soon(Handlers(client, call).run)
        await anyio.sleep(60)
        for _ in range(5):
            group.start_soon(be_patient, client, anyio.current_time())
        await anyio.sleep(60)
        group.cancel_scope.cancel()
    assert len(answered) == 5


@CALLS
async def test_the_poll_loop_and_calls_share_the_slots_in_an_overload(
    call: Call, provider: FakeProvider
) -> None:
    slow(provider)
    ids = [f"b{number}" for number in range(100)]
    for task_id in ids:
        provider.add(task_id, math.inf)
    async with make_client() as client, anyio.create_task_group() as group:
        handlers = Handlers(client, call)
        group.start_soon(handlers.run)
        await client.wait_for_tasks(ids, timeout=SECONDS)
        group.cancel_scope.cancel()
    assert handlers.answers >= 0.4 * ALLOWED
    assert sum(task_id in ids for task_id in provider.sent) >= 0.4 * ALLOWED


async def test_calls_that_have_time_are_answered_first_come_first_served(
    provider: FakeProvider,
) -> None:
    ids = [f"t{number:02}" for number in range(40)]
    async with make_client() as client, anyio.create_task_group() as group:
        for task_id in ids:
            group.start_soon(with_a_minute, client, task_id)
    assert provider.sent == ids


async def with_a_minute(client: VocalSepClient, task_id: str) -> None:
    await client.get_task(task_id, timeout=60)
