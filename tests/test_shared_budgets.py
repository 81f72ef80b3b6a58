"""Clients of one account share its budget: for any number of clients, event loops and threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, make_client
from listening import Recorder
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Bid, RateLimit, RateLimiter, Slot, SlotResult, VocalSepClient
from vocalsep_async._budget import Budget
from vocalsep_async.emulator import Emulator
from vocalsep_async.instrumentation import Paused
from vocalsep_async.limiter import _GrantedSlot

pytestmark = [pytest.mark.anyio, pytest.mark.own_limiter]

THROTTLED = envelope(430, "Your call frequency is too high")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


# Clients in one event loop


async def wait_with(client: VocalSepClient, ids: list[str]) -> float:
    """Wait for the tasks; the seconds that it took."""
    began = anyio.current_time()
    outcomes = await client.wait_for_tasks(ids)
    assert all(outcome.succeeded for outcome in outcomes.values())
    return anyio.current_time() - began


async def test_clients_of_one_account_keep_to_one_limit(provider: FakeProvider) -> None:
    provider.limit = (20, 10.0)
    clients = [make_client() for _ in range(6)]
    batches = [[f"{number}-{each}" for each in range(20)] for number in range(6)]
    for task_id in chain(*batches):
        provider.add(task_id, 30)
    async with anyio.create_task_group() as group:
        for client, ids in zip(clients, batches, strict=True):
            group.start_soon(wait_with, client, ids)
    assert provider.throttled == 0
    assert sum(client.stats.requests for client in clients) == len(provider.sent)
    for client in clients:
        assert 20 <= client.stats.requests < len(provider.sent) / 3
        await client.aclose()


async def test_a_small_batch_is_not_held_up_by_the_large_one_of_another_client(
    provider: FakeProvider,
) -> None:
    large, small = make_client(), make_client()
    many = [f"many-{number}" for number in range(300)]
    async with large, small, anyio.create_task_group() as group:
        group.start_soon(wait_with, large, many)
        await anyio.sleep(5)
        assert await wait_with(small, ["few-1", "few-2"]) < 10
        assert provider.sent.count("few-1") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "https://other.example"},
        {"base_url": "https://api.sunoapi.org:444"},
        {"limiter": RateLimiter(RateLimit(20, 10.0))},
    ],
    ids=["of another host", "of another port", "with a limiter of its own"],
)
async def test_a_client_of_its_own_account_has_its_own_budget(
    provider: FakeProvider, options: dict[str, Any]
) -> None:
    async with make_client() as one, make_client(**options) as other:
        began = anyio.current_time()
        for client in (one, other):
            await asyncio.gather(*(client.get_task(f"t{number}") for number in range(4)))
        assert anyio.current_time() - began == pytest.approx(2 * provider.round_trip)


async def test_another_key_is_another_account(provider: FakeProvider) -> None:
    async with make_client() as one, VocalSepClient("another-key-for-tests") as other:
        began = anyio.current_time()
        for client in (one, other):
            await asyncio.gather(*(client.get_task(f"t{number}") for number in range(4)))
        assert anyio.current_time() - began == pytest.approx(2 * provider.round_trip)


async def test_host_names_are_compared_without_capitals_and_a_final_dot(
    provider: FakeProvider,
) -> None:
    urls = ["https://API.example/v1", "https://api.example.", "https://api.example:443"]
    clients = [make_client(base_url=url) for url in urls]
    began = anyio.current_time()
    await asyncio.gather(*(client.get_task("a") for client in clients for _ in range(2)))
    # Four at once, the others one after the other.
    assert anyio.current_time() - began == pytest.approx(1.0 + provider.round_trip)
    for client in clients:
        await client.aclose()


async def test_clients_that_state_different_limits_are_warned_and_share_nothing(
    provider: FakeProvider,
) -> None:
    async with make_client() as one:
        await asyncio.gather(*(one.get_task("a") for _ in range(4)))
        other = make_client(rate_limit=RateLimit(30, 10.0), base_url=one.base_url)
        with pytest.warns(UserWarning, match="30 requests per 10 s .* 20 requests per 10 s"):
            await other.get_task("b")
        third = make_client(rate_limit=None)
        with pytest.warns(UserWarning, match="states no limit for its account"):
            await third.get_task("b")
        assert other.stats.rate == 3.0
        await third.aclose()
        await other.aclose()
    assert len(provider.sent) == 6


async def test_another_limit_is_no_contradiction_once_the_first_one_counts_no_more(
    provider: FakeProvider,
) -> None:
    async with make_client() as one:
        await one.get_task("a")
    await anyio.sleep(11)
    provider.reopen()
    async with make_client(rate_limit=RateLimit(30, 10.0)) as other:
        await other.get_task("a")  # a warning would be an error


async def test_a_client_continues_the_budget_of_one_that_was_closed(
    provider: FakeProvider,
) -> None:
    provider.limit = (2, 10.0)
    for _ in range(6):
        async with make_client(rate_limit=RateLimit(2, 10.0)) as client:
            await client.get_task("a")
        provider.reopen()
    assert provider.throttled == 0


async def test_a_pause_that_one_client_meets_is_announced_to_all(provider: FakeProvider) -> None:
    heard = [Recorder(Paused) for _ in range(3)]
    one, other = (make_client(on_event=each) for each in heard[:2])
    async with one, other:
        await other.get_task("b")
        provider.script("a", THROTTLED)
        call = asyncio.ensure_future(one.get_task("a"))
        await anyio.sleep(0.2)
        assert other.stats.paused_for == one.stats.paused_for > 0
        assert (one.stats.throttled, other.stats.throttled) == (1, 0)
        # One that comes while there is a pause hears of it, too.
        async with make_client(on_event=heard[2]) as third:
            assert third.stats.paused_for > 0
            assert (await other.get_task("b")).succeeded
            provider.reopen()
        provider.reopen()
        await call
    assert [[event.reason for event in each.of(Paused)] for each in heard] == [["throttled"]] * 3


async def test_a_closed_client_leaves_its_turn_to_the_others(provider: FakeProvider) -> None:
    one, other = (make_client(rate_limit=RateLimit(1, 10.0)) for _ in range(2))
    await one.get_task("a")
    calls = [asyncio.ensure_future(each.get_task("b")) for each in (one, other)]
    await anyio.sleep(1)
    calls[0].cancel()
    began = anyio.current_time()
    await calls[1]
    assert anyio.current_time() - began == pytest.approx(9.2, abs=0.1)
    for client in (one, other):
        await client.aclose()


# Other event loops and threads, in real time


def no_bid() -> Bid:
    return Bid()


async def member_of(budget: Budget) -> RateLimiter:
    limiter = RateLimiter(budget.limit)
    limiter._share(budget)
    return limiter


async def slots_of(budget: Budget, count: int) -> tuple[RateLimiter, list[Slot]]:
    limiter = await member_of(budget)
    return limiter, [await limiter.acquire(no_bid) for _ in range(count)]


async def in_turn(budget: Budget, count: int) -> int:
    """Take slots, one after the other, and end each; how many requests there were."""
    limiter = await member_of(budget)
    for _ in range(count):
        (await limiter.acquire(no_bid)).release(SlotResult.ANSWERED)
    sent = limiter.snapshot().sent
    await limiter.aclose()
    return sent


QUICK = RateLimit(2, 0.02)


def test_requests_of_an_event_loop_that_was_closed_count_as_lost() -> None:
    budget, loop = Budget(QUICK), asyncio.new_event_loop()
    left = loop.run_until_complete(slots_of(budget, 2))
    loop.close()
    assert asyncio.run(in_turn(budget, 4)) == 4
    assert left[0].snapshot is not None


def test_requests_of_an_event_loop_that_stands_still_count_as_lost() -> None:
    budget, loop = Budget(QUICK), asyncio.new_event_loop()
    limiter, slots = loop.run_until_complete(slots_of(budget, 2))
    assert asyncio.run(in_turn(budget, 4)) == 4

    async def go_on() -> tuple[int, int]:
        for slot in slots:
            slot.release(SlotResult.THROTTLED)  # says nothing about now
        snapshot = limiter.snapshot()
        assert snapshot.paused_until is None
        return snapshot.sent, snapshot.in_flight

    assert loop.run_until_complete(go_on()) == (2, 0)
    loop.close()


def test_requests_of_a_client_that_is_gone_count_as_lost() -> None:
    budget = Budget(QUICK)

    async def leave() -> None:
        await slots_of(budget, 2)

    async def main() -> int:
        await leave()
        gc.collect()
        return await in_turn(budget, 4)

    assert asyncio.run(main()) == 4


@pytest.mark.parametrize("is_closed", [True, False], ids=["was closed", "stands still"])
def test_a_place_of_an_event_loop_that_does_not_run_holds_up_no_other(*, is_closed: bool) -> None:
    budget, loop = Budget(RateLimit(1, 0.02)), asyncio.new_event_loop()
    # Python reports the tasks that such a loop leaves behind.
    loop.set_exception_handler(lambda _loop, _context: None)
    waiting: list[asyncio.Future[Slot]] = []

    async def wait() -> RateLimiter:
        limiter, (slot,) = await slots_of(budget, 1)
        waiting.append(asyncio.ensure_future(limiter.acquire(no_bid)))
        await asyncio.sleep(0)
        slot.release(SlotResult.ANSWERED)
        return limiter

    limiter = loop.run_until_complete(wait())
    if is_closed:
        loop.close()
    assert asyncio.run(in_turn(budget, 3)) == 3
    if not is_closed:
        # It has its turn as soon as it runs again.
        loop.run_until_complete(waiting[0])
        loop.run_until_complete(limiter.aclose())
        loop.close()


def test_a_slot_that_is_given_back_does_not_wait_for_a_closed_event_loop() -> None:
    budget, loop = Budget(RateLimit(1, 3600.0)), asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    waiting: list[asyncio.Future[Slot]] = []

    async def wait() -> None:
        limiter = await member_of(budget)
        waiting.append(asyncio.ensure_future(limiter.acquire(no_bid)))
        await asyncio.sleep(0)

    with asyncio.Runner() as runner:
        limiter, (slot,) = runner.run(slots_of(budget, 1))
        loop.run_until_complete(wait())
        loop.close()

        async def give_back() -> Slot:
            slot.release(SlotResult.UNUSED)
            return await limiter.acquire(no_bid)

        assert isinstance(runner.run(give_back()), _GrantedSlot)


def test_a_wait_that_ends_outside_of_event_loops_leaves_its_turn_to_the_next() -> None:
    budget = Budget(RateLimit(1, 3600.0))

    async def wait() -> tuple[Slot, Any, asyncio.Future[Slot]]:
        limiter, (slot,) = await slots_of(budget, 1)
        # Driven by hand, as the garbage collector may end it.
        first: Any = limiter.acquire(no_bid)
        first.send(None)
        second = asyncio.ensure_future(limiter.acquire(no_bid))
        await asyncio.sleep(0)
        return slot, first, second

    async def give_back(slot: Slot, waiting: asyncio.Future[Slot]) -> Slot:
        slot.release(SlotResult.UNUSED)
        return await waiting

    with asyncio.Runner() as runner:
        slot, first, second = runner.run(wait())
        first.close()
        assert isinstance(runner.run(give_back(slot, second)), _GrantedSlot)


async def test_a_pause_is_not_announced_to_a_client_that_is_gone() -> None:
    budget = Budget(RateLimit(20, 10.0))
    await slots_of(budget, 1)
    gc.collect()
    limiter, (slot,) = await slots_of(budget, 1)
    slot.release(SlotResult.THROTTLED)
    assert limiter.snapshot().pause_reason == "throttled"


def test_a_slot_that_is_given_back_in_one_thread_goes_to_another() -> None:
    budget = Budget(RateLimit(1, 3600.0))
    is_waiting, is_served = threading.Event(), threading.Event()

    async def wait() -> None:
        limiter = await member_of(budget)
        waiting = asyncio.ensure_future(limiter.acquire(no_bid))
        await asyncio.sleep(0)
        is_waiting.set()
        await waiting
        is_served.set()

    async def give_back() -> None:
        _, (slot,) = await slots_of(budget, 1)
        thread.start()
        assert await asyncio.to_thread(is_waiting.wait, 60)
        slot.release(SlotResult.UNUSED)
        assert await asyncio.to_thread(is_served.wait, 60)

    thread = threading.Thread(target=lambda: asyncio.run(wait()))
    asyncio.run(give_back())
    thread.join()


def test_a_pause_is_announced_in_the_thread_of_each_client() -> None:
    budget = Budget(RateLimit(20, 10.0))
    is_ready, is_over = threading.Event(), threading.Event()
    heard: list[tuple[str, int]] = []

    async def listen() -> None:
        limiter, paused = await member_of(budget), asyncio.Event()

        def on_pause(_until: float, reason: str) -> None:
            heard.append((reason, threading.get_ident()))
            paused.set()

        limiter.on_pause = on_pause
        is_ready.set()
        await paused.wait()
        is_over.set()

    async def throttle() -> None:
        _, (slot,) = await slots_of(budget, 1)
        thread.start()
        assert await asyncio.to_thread(is_ready.wait, 60)
        slot.release(SlotResult.THROTTLED, retry_after=60)
        assert await asyncio.to_thread(is_over.wait, 60)

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    asyncio.run(throttle())
    assert heard == [("throttled", thread.ident)]
    thread.join()


# Whole clients, judged by a server


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, Any]:
    return {"rate_limit": (20, 0.25)}


Job = Callable[[VocalSepClient, str], Coroutine[Any, Any, bool]]


async def waits(client: VocalSepClient, task_id: str) -> bool:
    return (await client.wait_for_task(task_id)).succeeded


@pytest.mark.parametrize("threads", [1, 8])
def test_sixty_jobs_with_a_client_and_an_event_loop_each_are_not_throttled(
    vocalsep_emulator: Emulator, threads: int
) -> None:
    ids = [vocalsep_emulator.add_task(duration=0.05) for _ in range(60)]

    async def job(task_id: str) -> bool:
        limit = RateLimit(20, 0.25)
        url = vocalsep_emulator.url
        async with VocalSepClient("any-key", base_url=url, rate_limit=limit) as client:
            return await waits(client, task_id)

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(lambda task_id: asyncio.run(job(task_id)), ids))
    assert set(Counter(request.code for request in vocalsep_emulator.requests)) == {200}
