"""`RedisLimiter` while its store is away, or was emptied; in virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client
from scripted_stores import Network
from shared_starts import Starts, close, make_limiter, must, now
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import SlotResult

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_without_the_store_each_process_goes_on_with_its_share(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    starts, limiters = Starts(), [make_limiter() for _ in range(4)]
    async with anyio.create_task_group() as group:
        for limiter in limiters:
            group.start_soon(starts.send_on, limiter)
        await anyio.sleep(20)
        network.is_up = False
        lost = now()
        await anyio.sleep(3)
        for limiter in limiters:
            snapshot = limiter.snapshot()
            assert (snapshot.mode, snapshot.pause_reason) == ("waiting", "store lost")
            assert snapshot.paused_until == pytest.approx(lost + 4, abs=1)
            assert snapshot.losses == 1
        await anyio.sleep(7)
        assert {limiter.snapshot().mode for limiter in limiters} == {"own share"}
        assert limiters[0].rate == 0.5
        during = len([each for each in starts.moments if each > lost])
        assert during >= 8
        network.empty()
        network.is_up = True
        back = now()
        await anyio.sleep(1)
        assert {limiter.snapshot().mode for limiter in limiters} == {"shared"}
        await anyio.sleep(19)
        group.cancel_scope.cancel()
    assert starts.worst() <= 20
    moments = sorted(each for each in starts.moments if each > lost + 0.5)
    assert 3 < moments[0] - lost < 6.5
    assert min(each for each in moments if each > back + 0.6) - back < 4
    assert len([each for each in moments if each > back]) > 30
    messages = "\n".join(caplog.messages)
    assert (
        "the store of account a does not answer (connection refused). Nothing is sent" in messages
    )
    assert "continues with its share, 5 of 20 requests per 10 s" in messages
    assert "the store of account a is back after 10." in messages
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert len(caplog.records) == 4 * 3
    await close(*limiters)


async def test_a_share_is_sent_for_a_minute_at_most(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    starts, limiter, other = Starts(), make_limiter(), make_limiter()
    (await other.acquire(must)).release(SlotResult.ANSWERED)
    async with anyio.create_task_group() as group:
        group.start_soon(starts.send_on, limiter)
        await anyio.sleep(15)
        network.cut.add(limiter._budget.reports.process)
        cut = now()
        await anyio.sleep(200)
        own = [each for each in starts.moments if each > cut + 1]
        assert cut + 3 < own[0]
        assert own[-1] < cut + 61
        assert max(sum(0 <= later - each < 10 for later in own) for each in own) <= 10
        assert 50 <= len(own) <= 60
        assert limiter.snapshot().mode == "waiting"
        assert "is still away. Nothing is sent until it is back" in caplog.text
        network.cut.clear()
        sent = len(starts.spans)
        await anyio.sleep(10)
        assert len(starts.spans) - sent >= 10
        group.cancel_scope.cancel()
    await close(limiter, other)


async def test_a_process_that_waits_sends_nothing_without_the_store(network: Network) -> None:
    starts, limiter = Starts(), make_limiter(on_store_loss="wait")
    events: list[tuple[float, str]] = []
    limiter.on_pause = lambda until, reason: events.append((until, reason))
    async with anyio.create_task_group() as group:
        group.start_soon(starts.send_on, limiter)
        await anyio.sleep(15)
        network.is_hung = True
        hung = now()
        await anyio.sleep(100)
        assert max(starts.moments) < hung + 0.1
        assert isinstance(await limiter.try_acquire(must), float)
        assert limiter.snapshot().wait <= 3.0
        network.is_hung = False
        await anyio.sleep(5)
        assert max(starts.moments) > hung + 100
        group.cancel_scope.cancel()
    assert [reason for _, reason in events] == ["store lost"] * 2
    assert [until - hung for until, _ in events] == pytest.approx([60, 120], abs=2)
    await close(limiter)


async def test_a_process_that_never_reached_the_store_waits_and_says_so(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    starts, limiter = Starts(), make_limiter()
    network.is_up = False
    async with anyio.create_task_group() as group:
        group.start_soon(starts.send, limiter)
        await anyio.sleep(100)
        assert starts.spans == []
        assert limiter.snapshot().mode == "waiting"
        assert limiter.snapshot().losses == 0
        (message,) = caplog.messages
        assert message.startswith("the store of account a has not answered for 5 s (connection")
        network.is_up = True
    assert len(starts.spans) == 1
    await close(limiter)


async def test_a_process_that_has_heard_nothing_for_long_does_not_rely_on_its_share(
    network: Network,
) -> None:
    limiter = make_limiter()
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    network.is_up = False
    # As a process that was suspended: others may have come meanwhile.
    loop.jump(30)
    await anyio.sleep(30)
    assert limiter.snapshot().mode == "waiting"
    await close(limiter)


async def test_a_share_pauses_by_itself_when_it_is_throttled(network: Network) -> None:
    limiter = make_limiter()
    announced: list[str] = []
    limiter.on_pause = lambda _, reason: announced.append(reason)
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    network.is_up = False
    await anyio.sleep(10)
    for result in (
        *(SlotResult.UNUSED, SlotResult.FAILED, SlotResult.NOT_SENT, SlotResult.LOST),
        *(SlotResult.THROTTLED, SlotResult.ANSWERED, SlotResult.MAINTENANCE),
    ):
        (await limiter.acquire(must)).release(result)
        if result is SlotResult.THROTTLED:
            assert limiter.snapshot().pause_reason == "throttled"
    assert limiter.snapshot().paused_until == pytest.approx(now() + 30)
    assert announced == ["store lost", "throttled", "throttled"]
    network.is_up = True
    await anyio.sleep(3)
    assert limiter.snapshot().pause_reason == "throttled"
    await close(limiter)


async def test_a_store_that_was_emptied_is_noticed(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    starts, limiter = Starts(), make_limiter()
    async with anyio.create_task_group() as group:
        group.start_soon(starts.send_on, limiter)
        await anyio.sleep(20)
        network.empty()
        await anyio.sleep(20)
        group.cancel_scope.cancel()
    assert starts.worst() <= 20
    assert limiter.snapshot().losses == 1
    assert caplog.messages == ["the store of account a has lost its data; all processes pause"]
    await close(limiter)


async def test_waits_survive_ten_seconds_without_the_store(
    network: Network, provider: FakeProvider
) -> None:
    provider.limit = (20, 10.0)
    ids = [f"t{number}" for number in range(60)]
    for task_id in ids:
        provider.add(task_id, 30)

    async def lose() -> None:
        await anyio.sleep(12)
        network.is_up = False
        network.empty()
        await anyio.sleep(10)
        network.is_up = True

    client = make_client(limiter=make_limiter())
    async with client, anyio.create_task_group() as group:
        group.start_soon(lose)
        outcomes = await client.wait_for_tasks(ids)
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert provider.throttled == 0
