"""Start, stop, and use from another thread."""

import asyncio
import socket

import aiohttp
import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from emulator.calling import Caller

from vocalsep_async.emulator import Emulator
from vocalsep_async.errors import ConfigurationError

pytestmark = pytest.mark.anyio


def test_an_emulator_that_was_not_started_has_no_url() -> None:
    with pytest.raises(ConfigurationError, match="not started"):
        _ = Emulator().url


async def test_tasks_can_be_prepared_before_the_start(caller: Caller) -> None:
    emulator = Emulator()
    emulator.add_task("one")
    emulator.finish("one")
    async with emulator:
        assert (await caller.record(emulator, "one")).data["successFlag"] == "SUCCESS"


async def test_nobody_listens_after_the_end(caller: Caller) -> None:
    async with Emulator() as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
    with pytest.raises(aiohttp.ClientConnectorError):
        await caller.credits(emulator)


async def test_closing_again_does_nothing(caller: Caller) -> None:
    emulator = Emulator()
    await emulator.start()
    await caller.credits(emulator)
    await emulator.aclose()
    left = (repr(emulator), emulator.url, emulator.requests)
    await emulator.aclose()
    assert (repr(emulator), emulator.url, emulator.requests) == left
    with pytest.raises(aiohttp.ClientConnectorError):
        await caller.credits(emulator)


async def test_cancelling_the_block_closes_it(caller: Caller) -> None:
    emulator = Emulator()
    with anyio.CancelScope() as scope:
        async with emulator:
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(aiohttp.ClientConnectorError):
        await caller.credits(emulator)


async def test_an_emulator_starts_once() -> None:
    async with Emulator() as emulator:
        with pytest.raises(ConfigurationError, match="starts once"):
            await emulator.start()


async def test_of_two_starts_at_once_one_wins_and_nothing_is_left_open(caller: Caller) -> None:
    emulator = Emulator()
    first, second = await asyncio.gather(emulator.start(), emulator.start(), return_exceptions=True)
    assert first is None
    assert isinstance(second, ConfigurationError)
    assert (await caller.credits(emulator)).code == 200
    await emulator.aclose()
    with pytest.raises(aiohttp.ClientConnectorError):
        await caller.credits(emulator)


async def test_a_start_that_failed_is_not_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        emulator = Emulator(port=server.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"):
            await emulator.start()
    with pytest.raises(ConfigurationError, match="starts once"):
        await emulator.start()
    with pytest.raises(ConfigurationError, match="not started"):
        _ = emulator.url


async def test_an_emulator_does_not_start_again_after_the_end() -> None:
    async with Emulator() as emulator:
        pass
    with pytest.raises(ConfigurationError, match="starts once"):
        await emulator.start()


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        emulator = Emulator(port=server.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"):
            await emulator.start()


async def test_its_state_can_be_read() -> None:
    emulator = Emulator(credits=30)
    emulator.add_task()
    text = "<Emulator of sunoapi, {}: 1 task, 0 requests, 30 credits left>"
    assert repr(emulator) == text.format("closed")
    async with emulator:
        assert repr(emulator) == text.format(emulator.url)


async def test_another_thread_may_use_it(caller: Caller) -> None:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Emulator()) as emulator,
    ):
        emulator.add_task("one")
        emulator.finish("one")
        record = await caller.record(emulator, "one")
        assert record.data["successFlag"] == "SUCCESS"


async def test_two_emulators_do_not_share_anything(caller: Caller) -> None:
    async with Emulator() as one, Emulator() as other:
        task_id = one.add_task(duration=0)
        assert (await caller.record(other, task_id)).data is None
        assert (len(one.requests), len(other.requests)) == (0, 1)


@pytest.mark.parametrize("count", [5])
async def test_many_may_ask_at_once(caller: Caller, count: int) -> None:
    async with Emulator() as emulator:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(caller.create, emulator)
        assert len(emulator.tasks) == count
