"""Claims: calls that want the same song at the same time share what is done for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from virtual_time import VIRTUAL_TIME

from vocalsep_async import NotBegunError, TaskRef
from vocalsep_async._creation import Gate
from vocalsep_async._songs.claims import Claimed, Claims, Make

pytestmark = pytest.mark.anyio

SONG = (None, "song")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Maker:
    """Makes tasks with the ids 1, 2 and so on, each in ten seconds."""

    def __init__(self, *, cleans_up: float = 0.0) -> None:
        self.made = 0
        self.cleans_up = cleans_up

    async def make(self, _gate: Gate) -> Claimed:
        self.made += 1
        number = self.made
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleans_up)
            raise
        return Claimed(TaskRef(str(number)), "created")


async def claimed(claims: Claims, make: Make, then: float = 0.0) -> Claimed:
    async with claims.caller() as caller:
        found = await caller.task_of(SONG, make)
        await asyncio.sleep(then)
        return found


def begun(claims: Claims, make: Make, then: float = 0.0) -> asyncio.Task[Claimed]:
    return asyncio.create_task(claimed(claims, make, then))


async def test_a_song_is_shared_until_the_last_call_that_wants_it_has_ended() -> None:
    claims, maker = Claims(), Maker()
    calls = [begun(claims, maker.make, then) for then in (0, 50)]
    await asyncio.sleep(20)
    third = await claimed(claims, maker.make)
    assert third.origin == "joined"
    assert [(await call).ref.task_id for call in calls] == ["1", "1"]
    assert (await claimed(claims, maker.make)).ref.task_id == "2"


async def test_the_end_of_the_first_call_does_not_end_what_another_one_waits_for() -> None:
    claims, maker = Claims(), Maker()
    first, second = begun(claims, maker.make), begun(claims, maker.make)
    await asyncio.sleep(1)
    first.cancel()
    assert (await second).ref.task_id == "1"


async def test_a_call_that_comes_while_another_one_is_given_up_begins_anew() -> None:
    claims, maker = Claims(), Maker(cleans_up=5)
    first = begun(claims, maker.make)
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(1)
    assert (await claimed(claims, maker.make)).ref.task_id == "2"
    assert first.cancelled()
    assert claims._shared == {}


async def test_a_limit_of_the_first_call_is_none_of_the_others() -> None:
    async def limited(_gate: Gate) -> Claimed:
        await asyncio.sleep(1)
        raise NotBegunError("not begun")

    claims, maker = Claims(), Maker()
    first, second = begun(claims, limited), begun(claims, maker.make)
    assert (await second).ref.task_id == "1"
    with pytest.raises(NotBegunError):
        await first


async def test_an_error_that_is_not_of_this_package_reaches_every_call() -> None:
    async def breaks(_gate: Gate) -> Claimed:
        await asyncio.sleep(1)
        raise OSError("broken")

    claims = Claims()
    for call in [begun(claims, breaks) for _ in range(2)]:
        with pytest.raises(OSError, match="broken"):
            await call
    assert claims._shared == {}


async def test_one_call_may_ask_for_its_song_again() -> None:
    claims, maker = Claims(), Maker()
    async with claims.caller() as caller:
        found = [await caller.task_of(SONG, maker.make) for _ in range(2)]
    assert [each.ref.task_id for each in found] == ["1", "1"]
