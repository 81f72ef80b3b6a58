"""Starting, closing, and use from another thread."""

import asyncio
import socket
from contextlib import suppress

import aiohttp
import anyio
import pytest
from aiohttp import web
from anyio.lowlevel import checkpoint
from emulator.http_client import HttpClient
from yarl import URL

from vocalsep_async.emulator import Emulator
from vocalsep_async.errors import ConfigurationError

pytestmark = pytest.mark.anyio


def test_an_emulator_has_no_url_before_it_is_started() -> None:
    with pytest.raises(ConfigurationError, match="not started"):
        _ = Emulator().url


async def test_tasks_can_be_added_before_the_start(http: HttpClient) -> None:
    emulator = Emulator()
    emulator.add_task("one")
    emulator.finish("one")
    async with emulator:
        assert (await http.record_info(emulator, "one")).data["successFlag"] == "SUCCESS"


async def test_a_closed_emulator_does_not_listen(http: HttpClient) -> None:
    async with Emulator() as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.credits(emulator)


async def test_closing_again_does_nothing(http: HttpClient) -> None:
    emulator = Emulator()
    await emulator.start()
    await http.credits(emulator)
    await emulator.aclose()
    left = (repr(emulator), emulator.url, emulator.requests)
    await emulator.aclose()
    assert (repr(emulator), emulator.url, emulator.requests) == left
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.credits(emulator)


async def test_cancelling_the_block_closes_it(http: HttpClient) -> None:
    emulator = Emulator()
    with anyio.CancelScope() as scope:
        async with emulator:
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.credits(emulator)


async def test_a_running_emulator_does_not_start_again() -> None:
    async with Emulator() as emulator:
        with pytest.raises(ConfigurationError, match="starts only once"):
            await emulator.start()


async def test_one_of_two_simultaneous_starts_fails_and_leaves_nothing_open(
    http: HttpClient,
) -> None:
    emulator = Emulator()
    first, second = await asyncio.gather(emulator.start(), emulator.start(), return_exceptions=True)
    assert first is None
    assert isinstance(second, ConfigurationError)
    assert (await http.credits(emulator)).code == 200
    await emulator.aclose()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.credits(emulator)


async def test_an_emulator_does_not_start_again_after_a_failed_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        emulator = Emulator(port=server.getsockname()[1])
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await emulator.start()
    with pytest.raises(ConfigurationError, match="starts only once"):
        await emulator.start()
    with pytest.raises(ConfigurationError, match="not started"):
        _ = emulator.url


async def test_an_emulator_whose_start_fails_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(site: web.SockSite) -> None:
        names.append(site.name)
        raise OSError("no")

    names: list[str] = []
    monkeypatch.setattr(web.SockSite, "start", fail)
    with pytest.raises(OSError, match="no"):
        await Emulator().start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", URL(names[0]).port)


@pytest.mark.parametrize("rounds", range(4))
async def test_closing_closes_a_connection_that_was_just_made(rounds: int) -> None:
    emulator = Emulator()
    await emulator.start()
    with socket.create_connection(("127.0.0.1", URL(emulator.url).port or 0), timeout=60) as made:
        for _ in range(rounds):
            await checkpoint()
        await emulator.aclose()
        with suppress(ConnectionResetError):
            assert made.recv(1) == b""


async def test_a_closed_emulator_does_not_start_again() -> None:
    async with Emulator() as emulator:
        pass
    with pytest.raises(ConfigurationError, match="starts only once"):
        await emulator.start()


async def test_a_port_in_use_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        emulator = Emulator(port=server.getsockname()[1])
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await emulator.start()


async def test_the_repr_shows_the_state() -> None:
    emulator = Emulator(credits=30)
    emulator.add_task()
    text = "<Emulator of sunoapi, {}: 1 task, 0 requests, 30 credits left>"
    assert repr(emulator) == text.format("closed")
    async with emulator:
        assert repr(emulator) == text.format(emulator.url)


async def test_an_emulator_can_be_used_from_another_thread(http: HttpClient) -> None:
    with Emulator() as emulator:
        emulator.add_task("one")
        emulator.finish("one")
        record = await http.record_info(emulator, "one")
        assert record.data["successFlag"] == "SUCCESS"


async def test_two_emulators_share_no_state(http: HttpClient) -> None:
    async with Emulator() as one, Emulator() as other:
        task_id = one.add_task(duration=0)
        assert (await http.record_info(other, task_id)).data is None
        assert (len(one.requests), len(other.requests)) == (0, 1)


@pytest.mark.parametrize("count", [5])
async def test_simultaneous_requests_are_all_answered(http: HttpClient, count: int) -> None:
    async with Emulator() as emulator:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(http.create, emulator)
        assert len(emulator.tasks) == count
