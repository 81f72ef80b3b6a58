"""`RedisLimiter`: processes that share a budget on a real store, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fakes import FakeProvider, is_idle, make_client
from scripted_stores import Network
from shared_starts import URL, Starts, close, make_limiter, must, now
from store_histories import worst
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    Bid,
    ConfigurationError,
    Interval,
    InvalidArgumentError,
    RateLimit,
    SlotResult,
)
from vocalsep_async.contrib.redis import RedisLimiter
from vocalsep_async.instrumentation import Event, Paused, Resumed

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


# Sharing


async def test_one_process_uses_the_whole_budget_and_asks_once_for_each_slot(
    network: Network,
) -> None:
    starts, limiter = Starts(), make_limiter()
    with anyio.move_on_after(60):
        await starts.send_on(limiter)
    assert starts.worst() == 20
    assert len(starts.spans) >= 114
    assert network.calls <= 1.2 * len(starts.spans)
    await close(limiter)
    assert is_idle()


async def test_eight_processes_with_fifty_requests_each_keep_to_one_budget(
    network: Network,
) -> None:
    starts, limiters = Starts(), [make_limiter() for _ in range(8)]
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as group:
            for limiter in limiters:
                for _ in range(50):
                    group.start_soon(starts.send_on, limiter)
    assert starts.worst() <= 20
    assert len(starts.spans) >= 0.8 * 120
    assert max(starts.by.values()) <= min(starts.by.values()) + 5
    assert network.calls <= 9 * len(starts.spans)
    assert worst([(each, each) for each in starts.moments], 0.5) <= 20 / 3
    await close(*limiters)


async def test_few_requests_of_one_process_are_not_stuck_behind_many_of_another(
    network: Network,
) -> None:
    starts, many, few = Starts(), make_limiter(), make_limiter()
    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(starts.send, many)
        await anyio.sleep(5)
        began = now()
        async with anyio.create_task_group() as two:
            for _ in range(2):
                two.start_soon(starts.send, few)
        assert now() - began < 5
        calls, sent = network.calls, len(starts.spans)
        await anyio.sleep(30)
        assert network.calls - calls <= 4 * (len(starts.spans) - sent)
        group.cancel_scope.cancel()
    assert starts.worst() <= 20
    await close(many, few)


async def test_thirty_simultaneous_requests_take_what_the_budget_has(network: Network) -> None:
    starts, limiters = Starts(), [make_limiter() for _ in range(30)]
    with anyio.move_on_after(9.9):
        async with anyio.create_task_group() as group:
            for limiter in limiters:
                group.start_soon(starts.send, limiter)
    assert 19 <= len(starts.spans) <= 20
    await close(*limiters)


async def test_the_price_leaves_slots_to_the_process_with_the_more_urgent_polls(
    network: Network,
) -> None:
    starts, urgent, idle = Starts(), make_limiter(), make_limiter()
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(starts.send_on, urgent, Bid(worth=20.0, queued=50))
            group.start_soon(starts.send_on, idle, Bid(worth=2.0, queued=5))
    assert starts.by[urgent] > 8 * starts.by[idle]
    assert len(starts.spans) > 0.9 * 120
    await close(urgent, idle)


async def test_a_bid_that_rises_is_asked_before_its_time(network: Network) -> None:
    starts, other, limiter = Starts(), make_limiter(), make_limiter()
    worth = 0.1
    async with anyio.create_task_group() as group:
        group.start_soon(starts.send_on, other, Bid(worth=20.0, queued=50))
        await anyio.sleep(20)
        granted: list[float] = []

        async def ask() -> None:
            slot = await limiter.acquire(lambda: Bid(worth=worth, queued=1))
            granted.append(now())
            slot.release(SlotResult.UNUSED)

        group.start_soon(ask)
        await anyio.sleep(5)
        assert granted == []
        calls = network.calls
        for _ in range(100):
            limiter.wake()
            await checkpoint()
        assert network.calls - calls <= 2
        worth = 100.0
        limiter.wake()
        await anyio.sleep(1.1)
        assert len(granted) == 1
        group.cancel_scope.cancel()
    await close(other, limiter)


async def test_the_snapshot_says_what_the_process_knows(network: Network) -> None:
    limiter, other = make_limiter(), make_limiter()
    snapshot = limiter.snapshot()
    assert (snapshot.mode, snapshot.processes, snapshot.share) == ("shared", None, None)
    assert snapshot.store_age is snapshot.price is snapshot.queued is None
    assert snapshot.rate == snapshot.ceiling == limiter.rate == 2.0
    (await other.acquire(lambda: Bid(worth=3.0, queued=3))).release(SlotResult.ANSWERED)
    slot = await limiter.acquire(lambda: Bid(worth=5.0, queued=1))
    snapshot = limiter.snapshot()
    assert snapshot.in_flight == snapshot.sent == 1
    assert snapshot.processes == 2
    assert snapshot.share == 1.0
    assert snapshot.queued == 4
    assert snapshot.rate == limiter.rate == 0.5
    assert snapshot.price is not None
    assert 0 < snapshot.price < 5
    assert snapshot.store_age == pytest.approx(0.002)
    assert snapshot.losses == 0
    slot.release(SlotResult.THROTTLED)
    assert limiter.snapshot().throttled == 1
    expected = "<RedisLimiter of a: 0.50 requests/s, 0 in flight, 1 sent, 1 throttled>"
    assert repr(limiter) == expected
    await close(limiter, other)


async def test_a_slot_that_is_not_used_serves_another_process(network: Network) -> None:
    limit = RateLimit(1, 1000.0)
    first, second = make_limiter(limit), make_limiter(limit)
    slot = await first.acquire(must)
    assert await second.try_acquire(must) == pytest.approx(1000.01, abs=0.1)
    slot.release(SlotResult.UNUSED)
    await anyio.sleep(0.1)
    assert first.snapshot().sent == 0
    third = make_limiter(limit)
    assert not isinstance(await third.try_acquire(must), float)
    await close(first, second, third)


async def test_a_request_under_way_for_long_holds_its_slot(network: Network) -> None:
    limit = RateLimit(1, 10.0)
    first, second = make_limiter(limit), make_limiter(limit)
    slot = await first.acquire(must)
    with anyio.move_on_after(100) as scope:
        await second.acquire(must)
    assert scope.cancelled_caught
    slot.release(SlotResult.LOST)
    began = now()
    (await second.acquire(must)).release(SlotResult.ANSWERED)
    assert now() - began == pytest.approx(10.01, abs=1.1)
    await close(first, second)


async def test_an_open_limiter_without_requests_calls_every_few_seconds(network: Network) -> None:
    limiter = make_limiter()
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    await anyio.sleep(5)
    calls = network.calls
    await anyio.sleep(60)
    assert 15 <= network.calls - calls <= 21
    await close(limiter)
    calls = network.calls
    await anyio.sleep(60)
    assert network.calls == calls


async def test_a_closed_limiter_may_serve_another_client(network: Network) -> None:
    limiter, other = make_limiter(), make_limiter()
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    await close(limiter)
    (await other.acquire(must)).release(SlotResult.ANSWERED)
    assert other.snapshot().processes == 1
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    assert limiter.snapshot().processes == 2
    assert limiter.snapshot().sent == 2
    await close(limiter, other)
    await close(make_limiter())


async def test_processes_with_other_limits_keep_to_the_strictest_and_say_so(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_limiter(), make_limiter(RateLimit(5, 10.0))
    (await second.acquire(must)).release(SlotResult.ANSWERED)
    assert caplog.messages == []
    for _ in range(3):
        (await first.acquire(must)).release(SlotResult.ANSWERED)
    (message,) = caplog.messages
    assert message.startswith("another process states a different limit for the account a")
    assert message.endswith("the strictest one holds, 5 requests per 10 s")
    await close(first, second)


# Pauses


async def test_a_pause_of_another_process_is_announced_and_ends(
    network: Network, provider: FakeProvider
) -> None:
    provider.add("a", 60)
    events: list[Event] = []
    other = make_limiter()
    async with make_client(limiter=make_limiter(), on_event=events.append) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.wait_for_task("a", poll=Interval(1)))
            await anyio.sleep(10)
            slot = await other.acquire(must)
            slot.release(SlotResult.THROTTLED, retry_after=20.0)
            await anyio.sleep(5)
            assert 13 < client.stats.paused_for < 17
            snapshot = other.snapshot()
            assert snapshot.pause_reason == "throttled"
        found = [event for event in events if isinstance(event, (Paused, Resumed))]
    assert [event.name for event in found] == ["paused", "resumed"]
    assert isinstance(found[0], Paused)
    assert found[0].reason == "throttled"
    assert found[0].duration == pytest.approx(20, abs=1.2)
    await close(other)


# Cancelled and lost questions


@pytest.mark.parametrize("delay", [0.05, 0.1])
async def test_a_question_may_be_cancelled_at_any_moment(delay: float, network: Network) -> None:
    network.delay = delay
    limit = RateLimit(4, 10.0)
    limiter, other = make_limiter(limit), make_limiter(limit)
    (await other.acquire(must)).release(SlotResult.UNUSED)
    for step in range(60):
        began = now()
        with anyio.move_on_after(step * delay / 12) as scope:
            (await limiter.acquire(must)).release(SlotResult.UNUSED)
        assert now() - began < 1 or not scope.cancelled_caught
    await anyio.sleep(2)
    assert limiter.snapshot().in_flight == limiter.snapshot().sent == 0
    # All four are there, and nobody has got another one's.
    began = now()
    slots = [await other.acquire(must) for _ in range(4)]
    assert now() - began < 4 * 2.5 + 2
    for slot in slots:
        slot.release(SlotResult.ANSWERED)
    await close(limiter, other)
    assert is_idle()


async def test_a_cancelled_question_that_was_granted_gives_its_slot_back(network: Network) -> None:
    network.delay = 0.1
    limiter = make_limiter(RateLimit(1, 1000.0))
    with anyio.move_on_after(0.15):
        await limiter.acquire(must)
    assert limiter.snapshot().in_flight == 0
    slot = await limiter.acquire(must)
    assert limiter.snapshot().sent == 1
    slot.release(SlotResult.ANSWERED)
    await close(limiter)


async def test_lost_answers_cost_no_slots(network: Network) -> None:
    starts, limiter = Starts(), make_limiter()
    for _ in range(30):
        network.lose = 1
        with anyio.move_on_after(3):
            await starts.send(limiter)
    assert len(starts.spans) >= 25
    assert starts.worst() <= 20
    await anyio.sleep(20)
    # Nothing is left in the window but what was sent.
    with anyio.move_on_after(10.0):
        await starts.send_on(limiter)
    assert starts.worst() == 20
    await close(limiter)


async def test_a_question_whose_answer_is_lost_and_that_is_cancelled_takes_no_slot(
    network: Network,
) -> None:
    limiter, other = make_limiter(RateLimit(1, 1000.0)), make_limiter(RateLimit(1, 1000.0))
    network.lose = 1
    with anyio.move_on_after(0.2):
        await limiter.acquire(must)
    await anyio.sleep(2)
    assert limiter.snapshot().sent == 0
    slot = await other.acquire(must)
    slot.release(SlotResult.ANSWERED)
    await close(limiter, other)


# A store that refuses


async def test_a_store_that_refuses_the_script_is_an_error_that_says_what_is_needed(
    network: Network,
) -> None:
    limiter = make_limiter()
    network.refusal = "NOPERM this user has no permissions to run the 'time' command"
    with pytest.raises(ConfigurationError) as caught:
        await limiter.acquire(must)
    assert "the store of account a refuses the rate limiter: NOPERM" in str(caught.value)
    assert "TIME" in str(caught.value)
    network.refusal = None
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    # Later, it is a store that is away.
    network.refusal = "NOPERM"
    await anyio.sleep(10)
    assert limiter.snapshot().mode == "own share"
    await close(limiter)


async def test_requests_that_wait_for_the_store_learn_that_it_refuses(network: Network) -> None:
    limiter = make_limiter()
    network.is_up = False

    async def ask() -> None:
        with pytest.raises(ConfigurationError, match="refuses"):
            await limiter.acquire(must)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
        await anyio.sleep(10)
        network.refusal = "WRONGPASS"
        network.is_up = True
    await close(limiter)


async def test_an_error_that_the_client_of_the_store_does_not_document_ends_the_request(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = make_limiter()

    def fail(*_: object) -> None:
        raise RuntimeError("what is this")

    with monkeypatch.context() as patch:
        patch.setattr(network, "run", fail)
        with pytest.raises(RuntimeError, match="what is this"):
            await limiter.acquire(must)
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    await close(limiter)


# Loops and processes


async def test_a_limiter_that_moves_gives_up_what_its_loop_has_sent(network: Network) -> None:
    limiter, other = make_limiter(RateLimit(1, 10.0)), make_limiter(RateLimit(1, 10.0))
    slot = await limiter.acquire(must)
    limiter.move(0.0)
    slot.release(SlotResult.UNUSED)
    assert limiter.snapshot().in_flight == 0
    await anyio.sleep(2)
    began = now()
    (await other.acquire(must)).release(SlotResult.ANSWERED)
    assert now() - began == pytest.approx(8, abs=0.2)
    await close(limiter, other)


async def test_a_limiter_moves_while_its_store_is_away(network: Network) -> None:
    limiter = make_limiter()
    (await limiter.acquire(must)).release(SlotResult.THROTTLED)
    await anyio.sleep(0.1)
    limiter.move(0.0)
    network.is_up = False
    await anyio.sleep(10)
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    limiter.move(0.0)
    assert limiter.snapshot().mode == "own share"
    await close(limiter)


async def test_a_forked_process_has_a_name_of_its_own(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = make_limiter()
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    name = limiter._budget.reports.process
    monkeypatch.setattr("os.getpid", lambda: -1)
    (await limiter.acquire(must)).release(SlotResult.ANSWERED)
    assert limiter._budget.reports.process != name
    assert limiter.snapshot().processes == 2
    await close(limiter)


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"account": ""}, "account must be"),
        ({"account": "a b"}, "account must be"),
        ({"account": "a}b"}, "account must be"),
        ({"account": "a\n"}, "account must be"),
        ({"account": None}, "account must be"),
        ({"rate_limit": None}, "rate_limit must be a RateLimit"),
        ({"on_store_loss": "ignore"}, 'on_store_loss must be "share" or "wait"'),
        ({"store": "http://:secret@store"}, "must be like redis://"),
        ({"store": "redis://:se/cret@store"}, "must be like redis://"),
        ({"store": None}, "must be a URL, or a client of redis.asyncio"),
    ],
)
def test_an_unusable_argument_is_refused_without_its_secrets(
    options: dict[str, Any], problem: str
) -> None:
    given: dict[str, Any] = {"store": URL, "account": "a"} | options
    with pytest.raises(InvalidArgumentError, match=problem) as caught:
        RedisLimiter(given.pop("store"), **given)
    assert "cret" not in str(caught.value)
