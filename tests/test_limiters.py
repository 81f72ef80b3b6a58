"""Limiters: the default `RateLimiter`, and limiters of other kinds behind the same protocol."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, bare, envelope, is_idle, make_client, record
from limiters import Auction, LosingLimiter, SleepingLimiter, WrappedLimiter
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    Bid,
    ClientClosedError,
    ConfigurationError,
    Interval,
    InvalidArgumentError,
    Limiter,
    LimiterSnapshot,
    PollDone,
    PollPending,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    Slot,
    SlotResult,
    TaskTimeoutError,
)
from vocalsep_async.instrumentation import Event, Paused, Resumed, Throttled

pytestmark = pytest.mark.anyio

CREATE = "/api/v1/vocal-removal/generate"
CREATED = envelope(200, data={"taskId": "new"})
THROTTLED = envelope(430, "Your call frequency is too high")
KINDS: list[type[WrappedLimiter]] = [WrappedLimiter, SleepingLimiter, LosingLimiter]


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def no_bid() -> Bid:
    return Bid()


async def slot_of(limiter: Limiter) -> Slot:
    return await limiter.acquire(no_bid)


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.__name__)
class TestEveryLimiter:
    """A client behind a limiter that is slow, or unreachable for ten seconds."""

    async def test_a_wait_ends_with_its_record(
        self, kind: type[WrappedLimiter], provider: FakeProvider
    ) -> None:
        provider.add("a", 40)
        limiter = kind()
        async with make_client(limiter=limiter) as client:
            assert (await client.wait_for_task("a", poll=Interval(3))).succeeded
            assert client.stats.requests == len(provider.sent) == len(limiter.results)
        assert set(limiter.results) == {SlotResult.ANSWERED}
        assert limiter.closed == 1
        assert is_idle()

    async def test_a_batch_keeps_to_the_limit_and_loses_nothing(
        self, kind: type[WrappedLimiter], provider: FakeProvider
    ) -> None:
        provider.limit = (20, 10.0)
        ids = [f"t{number}" for number in range(60)]
        for task_id in ids:
            provider.add(task_id, 30)
        async with make_client(limiter=kind()) as client:
            outcomes = await client.wait_for_tasks(ids)
        assert all(outcome.succeeded for outcome in outcomes.values())
        assert provider.throttled == 0

    async def test_a_creation_is_sent_once(
        self, kind: type[WrappedLimiter], provider: FakeProvider
    ) -> None:
        provider.script(CREATE, CREATED)
        limiter = kind()
        async with make_client(limiter=limiter) as client:
            await anyio.sleep(6)  # the store of one of the limiters is away
            ref = await client.create_task(
                callback_url="https://example.com/hook", audio_url="https://example.com/song.mp3"
            )
        assert ref.task_id == "new"
        assert len(provider.posted) == 1
        assert limiter.bids[-1] == Bid(must=True, queued=1)

    async def test_polls_of_callers_that_cannot_sleep_come_to_an_end(
        self, kind: type[WrappedLimiter], provider: FakeProvider
    ) -> None:
        provider.add("a", 20)
        async with make_client(limiter=kind()) as client:
            state = None
            while not isinstance(polled := await client.poll_once("a", state=state), PollDone):
                assert 0 < polled.delay < math.inf
                await anyio.sleep(polled.delay)
                state = polled.state
        assert polled.task.succeeded

    async def test_a_cancelled_wait_leaves_no_slot_behind(
        self, kind: type[WrappedLimiter], provider: FakeProvider
    ) -> None:
        limiter = kind()
        async with make_client(limiter=limiter) as client:
            for step in range(40):
                with anyio.move_on_after(step * 0.003):
                    await client.wait_for_task(f"t{step}")
                assert client.stats.in_flight == 0
            assert client.stats.requests == len(provider.sent)

    async def test_a_client_that_closes_ends_the_calls_that_wait_for_a_slot(
        self, kind: type[WrappedLimiter], provider: FakeProvider
    ) -> None:
        ended: list[type[Exception]] = []
        limiter = kind(RateLimit(1, 1000.0))
        client = make_client(limiter=limiter)

        async def call(function: Any) -> None:
            with pytest.raises(ClientClosedError) as caught:
                await function("a")
            ended.append(caught.type)

        provider.add("a", 2000)
        async with anyio.create_task_group() as group:
            group.start_soon(call, client.wait_for_task)
            await anyio.sleep(30)
            for _ in range(3):
                group.start_soon(call, client.get_task)
            await anyio.sleep(1)
            began = anyio.current_time()
            await client.aclose()
        assert anyio.current_time() == began
        assert len(ended) == 4
        assert limiter.closed == 1
        assert limiter.on_pause is None


async def test_a_limiter_that_makes_no_appointments_has_callers_ask_when_a_slot_may_be_free() -> (
    None
):
    limiter = WrappedLimiter(RateLimit(1, 20.0))
    # What a limiter has that does not override it, as this one does.
    assert Limiter.retry_in(limiter) == 0
    await slot_of(limiter)
    until = limiter.snapshot().wait
    assert 0 < Limiter.retry_in(limiter) <= until


async def test_a_wait_outlives_the_outage_of_the_limiters_store(provider: FakeProvider) -> None:
    provider.add("a", 20)
    async with make_client(limiter=LosingLimiter()) as client:
        assert (await client.wait_for_task("a", poll=Interval(2))).succeeded
    first, *others = provider.times("a")
    assert [at for at in others if 5.1 < at - first < 14.9] == []
    assert any(at - first < 5 for at in others)


async def test_clients_share_a_limit_in_the_order_of_their_bids(provider: FakeProvider) -> None:
    provider.limit = (20, 10.0)
    auction = Auction(RateLimit(20, 10.0))
    first, second = (make_client(limiter=auction.limiter()) for _ in range(2))
    ended: list[str] = []
    for number in range(50):
        provider.add(f"a{number}", 30)
    for number in range(5):
        provider.add(f"b{number}", 30)

    async def track(client: Any, ids: list[str]) -> None:
        async with client.track(ids) as batch:
            async for outcome in batch:
                assert outcome.succeeded
                ended.append(outcome.task_id)

    async with first, second, anyio.create_task_group() as group:
        group.start_soon(track, first, [f"a{number}" for number in range(50)])
        group.start_soon(track, second, [f"b{number}" for number in range(5)])
        await anyio.sleep(1)
        # A call whose caller waits for it comes before every poll.
        began = anyio.current_time()
        await second.get_task("other")
        assert anyio.current_time() - began < 10
    assert len(ended) == 55
    assert provider.throttled == 0


async def test_the_bid_of_the_polls_grows_with_the_expected_delay(provider: FakeProvider) -> None:
    for number in range(30):
        provider.add(f"t{number}", 500)
    limiter = WrappedLimiter(RateLimit(1, 20.0))
    async with make_client(limiter=limiter) as client:
        await client.wait_for_tasks([f"t{number}" for number in range(30)], timeout=900)
    worths = [bid.worth for bid in limiter.bids]
    assert max(worths) > worths[0] > 0
    assert {bid.queued for bid in limiter.bids} <= set(range(31))
    assert max(bid.queued for bid in limiter.bids) == 30
    assert all(0 <= bid.growth <= 1 for bid in limiter.bids)


async def test_a_more_urgent_poll_wakes_the_limiter(provider: FakeProvider) -> None:
    limiter = WrappedLimiter(RateLimit(1, 1000.0))
    async with make_client(limiter=limiter) as client, anyio.create_task_group() as group:
        await client.get_task("a")
        group.start_soon(client.wait_for_task, "b")
        await anyio.sleep(1)
        wakes = limiter.wakes
        group.start_soon(client.wait_for_task, "c")
        await anyio.sleep(1)
        assert limiter.wakes > wakes
        group.cancel_scope.cancel()


async def test_a_pause_that_began_in_another_process_holds_for_this_client(
    provider: FakeProvider,
) -> None:
    provider.add("a", 1000)
    events: list[Event] = []
    limiter = WrappedLimiter()
    client = make_client(limiter=limiter, on_event=events.append)
    async with client, anyio.create_task_group() as group:

        async def out_of_time() -> None:
            with pytest.raises(TaskTimeoutError) as caught:
                await client.wait_for_task("a", timeout=20, poll=Interval(2))
            assert "last seen PENDING" in str(caught.value)

        group.start_soon(out_of_time)
        await anyio.sleep(5)
        limiter.announce_pause(anyio.current_time() + 60, "another process was throttled")
    paused = [event for event in events if isinstance(event, Paused)]
    assert paused == [Paused(duration=60.0, reason="another process was throttled")]


async def test_a_limiter_with_a_pause_that_began_earlier_holds_a_new_wait(
    provider: FakeProvider,
) -> None:
    limiter = RateLimiter(None)
    async with make_client(limiter=limiter) as client:
        provider.script("a", THROTTLED)
        await client.get_task("a")
    provider.reopen()
    slot = await slot_of(limiter)
    slot.release(SlotResult.THROTTLED, retry_after=100.0)
    async with make_client(limiter=limiter) as client:
        assert client.stats.paused_for == pytest.approx(100.0)
        with pytest.raises(TaskTimeoutError):
            await client.wait_for_task("b", timeout=50)
        assert provider.times("b") == []


async def test_the_events_of_a_pause_come_in_order(provider: FakeProvider) -> None:
    events: list[Event] = []
    provider.script("a", THROTTLED, THROTTLED)
    async with make_client(on_event=events.append) as client:
        await client.get_task("a")
    names = [event.name for event in events if isinstance(event, (Throttled, Paused, Resumed))]
    assert names == ["throttled", "paused", "throttled", "paused", "resumed"]
    assert Throttled(code=430, retry_after=None) in events
    assert Paused(duration=1.0, reason="throttled") in events


async def test_an_answer_from_before_a_pause_does_not_end_it(provider: FakeProvider) -> None:
    events: list[Event] = []

    async def poll(client: Any, task_id: str) -> None:
        await client.get_task(task_id)

    provider.script("a", THROTTLED)
    client = make_client(on_event=events.append)
    async with client, anyio.create_task_group() as group:
        group.start_soon(poll, client, "a")
        await anyio.sleep(0.05)
        group.start_soon(poll, client, "b")
        await anyio.sleep(0.5)
        assert "resumed" not in [event.name for event in events]
    assert [event.name for event in events].count("resumed") == 1


# The client's own


async def test_a_rate_limiter_says_how_long_to_wait() -> None:
    limiter = RateLimiter(RateLimit(1, 10.0))
    slot = await limiter.try_acquire(no_bid)
    assert not isinstance(slot, float)
    assert await limiter.try_acquire(no_bid) == math.inf
    slot.release(SlotResult.ANSWERED)
    assert await limiter.try_acquire(no_bid) == pytest.approx(10.01)


async def test_a_rate_limiter_gives_a_slot_back_that_was_not_used() -> None:
    limiter = RateLimiter(RateLimit(1, 10.0))
    (await slot_of(limiter)).release(SlotResult.UNUSED)
    assert limiter.snapshot().sent == 0
    (await slot_of(limiter)).release(SlotResult.LOST)
    assert limiter.snapshot().sent == 1


async def test_a_rate_limiter_holds_no_slot_for_a_request_that_was_not_sent() -> None:
    limiter = RateLimiter(RateLimit(1, 10.0))
    (await slot_of(limiter)).release(SlotResult.NOT_SENT)
    assert limiter.snapshot().sent == limiter.snapshot().in_flight == 0
    assert limiter.snapshot().wait == pytest.approx(10.0)


async def test_a_rate_limiter_may_be_asked_for_several_slots_at_the_same_time() -> None:
    limiter = RateLimiter(RateLimit(2, 10.0))
    slots = [await slot_of(limiter)]
    await anyio.sleep(5)
    slots.append(await slot_of(limiter))
    granted: list[float] = []

    async def ask() -> None:
        slots.append(await slot_of(limiter))
        granted.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(ask)
        await anyio.sleep(20)
        now = anyio.current_time()
        # Both wait for an answer, and the first one to be woken may not be the one to be served.
        for slot in slots[:2]:
            slot.release(SlotResult.ANSWERED)
    assert granted == pytest.approx([now + 10.01, now + 15.01])


async def test_the_snapshot_of_a_rate_limiter_holds_its_state() -> None:
    limiter = RateLimiter(RateLimit(20, 10.0))
    assert limiter.snapshot() == LimiterSnapshot(
        rate=2.0, ceiling=2.0, in_flight=0, sent=0, throttled=0
    )
    slot, other = await slot_of(limiter), await slot_of(limiter)
    slot.release(SlotResult.MAINTENANCE)
    now = anyio.current_time()
    assert limiter.snapshot() == LimiterSnapshot(
        rate=2.0,
        ceiling=2.0,
        in_flight=1,
        sent=2,
        throttled=0,
        wait=30.0,
        paused_until=now + 30.0,
        pause_reason="maintenance",
    )
    other.release(SlotResult.ANSWERED)
    await anyio.sleep(30)
    (await slot_of(limiter)).release(SlotResult.ANSWERED)
    assert limiter.snapshot().paused_until is None
    assert limiter.snapshot().pause_reason is None


async def test_a_rate_limiter_announces_each_pause_once() -> None:
    announced: list[tuple[float, str]] = []
    limiter = RateLimiter()
    (await slot_of(limiter)).release(SlotResult.THROTTLED)  # nothing listens yet
    limiter = RateLimiter()
    limiter.on_pause = lambda until, reason: announced.append((until, reason))
    slots = [await slot_of(limiter) for _ in range(4)]
    now = anyio.current_time()
    for slot, retry_after in zip(slots, [None, None, 30.0, 20.0], strict=True):
        slot.release(SlotResult.THROTTLED, retry_after=retry_after)
    assert announced == [(now + 1, "throttled"), (now + 30, "throttled")]


async def test_the_budget_of_a_limiter_goes_on_with_the_next_client(
    provider: FakeProvider,
) -> None:
    provider.limit = (20, 10.0)
    limiter = RateLimiter(RateLimit(20, 10.0))
    for number in range(60):
        async with make_client(limiter=limiter) as client:
            await client.get_task(f"t{number}")
        provider.reopen()
    assert limiter.snapshot().sent == 60
    assert provider.throttled == 0


async def test_a_client_that_is_closed_twice_leaves_its_limiter_to_the_next_one(
    provider: FakeProvider,
) -> None:
    limiter = WrappedLimiter()
    first = make_client(limiter=limiter)
    await first.aclose()
    provider.reopen()
    async with make_client(limiter=limiter) as second:
        await first.aclose()
        provider.reopen()
        assert limiter.closed == 1
        assert limiter.on_pause is not None
        await second.get_task("a")


async def test_a_rate_limiter_shows_its_state() -> None:
    expected = "<RateLimiter: 2.00 requests/s, 0 in flight, 0 sent, 0 throttled>"
    assert repr(RateLimiter()) == expected


# Wrong arguments


def test_a_limiter_belongs_to_one_client() -> None:
    limiter = RateLimiter()
    make_client(limiter=limiter)
    with pytest.raises(ConfigurationError, match="one for each client"):
        make_client(limiter=limiter)


@pytest.mark.parametrize(
    "options",
    [
        {"limiter": RateLimit()},
        {"limiter": RateLimiter},
        {"limiter": RateLimiter(), "rate_limit": None},
        {"limiter": RateLimiter(), "rate_limit": RateLimit(5, 1.0)},
    ],
)
def test_an_unusable_limiter_is_an_error_of_the_set_up(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="limiter"):
        make_client(**options)


def test_a_rate_limiter_needs_a_rate_limit() -> None:
    with pytest.raises(InvalidArgumentError, match="limit must be a RateLimit, or None"):
        RateLimiter(20)  # type: ignore[arg-type]


async def test_a_wrong_address_is_found_while_the_limiter_holds_requests_back(
    provider: FakeProvider,
) -> None:
    provider.every_answer = lambda _: bare(405)
    async with make_client(limiter=SleepingLimiter()) as client, anyio.create_task_group() as group:

        async def call() -> None:
            with pytest.raises(RateLimitedError, match="base_url"):
                await client.get_task("a")

        for _ in range(30):
            group.start_soon(call)
    assert len(provider.sent) < 20


async def test_a_final_record_of_another_call_ends_the_wait_for_a_slot(
    provider: FakeProvider,
) -> None:
    limiter = WrappedLimiter(RateLimit(2, 60.0))
    provider.script("a", record("a"))
    async with make_client(limiter=limiter) as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(1)
        await client.get_task("a")
        assert client.stats.in_flight == 0
    assert SlotResult.UNUSED not in limiter.results


class EmptyLimiter(WrappedLimiter):
    """Has no slot for `try_acquire`, and names *seconds* after which to ask again."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def try_acquire(self, bid: Any) -> Slot | float:
        bid()
        return self.seconds


@pytest.mark.parametrize(
    "seconds, delay",
    [(0, 1.0), (0.0, 1.0), (-1, 1.0), (math.nan, 1.0), (math.inf, 1.0), (3, 3.0), (0.25, 0.25)],
)
async def test_poll_once_never_asks_to_be_called_again_immediately(
    seconds: float, delay: float, provider: FakeProvider
) -> None:
    async with make_client(limiter=EmptyLimiter(seconds)) as client:
        pending = await client.poll_once("a")
    assert isinstance(pending, PollPending)
    assert pending.delay == delay
    assert not provider.sent


async def test_poll_once_behind_a_request_that_waits_for_a_slow_limiter_is_not_called_immediately(
    provider: FakeProvider,
) -> None:
    provider.add("a", 20)
    async with make_client(limiter=SleepingLimiter()) as client, anyio.create_task_group() as group:
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(SleepingLimiter.delay / 2)
        pending = await client.poll_once("b")
    assert isinstance(pending, PollPending)
    assert pending.delay == 1.0


class ClosedLimiter(SleepingLimiter):
    """Fails the test if anything happens to it after it was closed."""

    delay = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.asking = 0

    async def acquire(self, bid: Any) -> Slot:
        self.asking += 1
        try:
            return await super().acquire(bid)
        finally:
            self.asking -= 1

    async def aclose(self) -> None:
        await super().aclose()
        assert not self.asking, "a slot was still asked for"


@pytest.mark.parametrize("moment", [0.5, 1.5])
async def test_a_closing_client_closes_the_limiter_after_it_was_asked_for_the_last_slot(
    moment: float, provider: FakeProvider
) -> None:
    limiter = ClosedLimiter()
    client = make_client(limiter=limiter)
    calls = [asyncio.ensure_future(client.get_task(name)) for name in ("a", "b")]
    await anyio.sleep(moment)
    await client.aclose()
    assert limiter.closed == 1
    for call in calls:
        with pytest.raises(ClientClosedError):
            await call


class BrokenLimiter(WrappedLimiter):
    """Cannot say its state any more once it has granted a slot."""

    def snapshot(self) -> LimiterSnapshot:
        if self.bids:
            raise OSError("the store is away")
        return super().snapshot()

    @property
    def rate(self) -> float:
        return math.inf if len(self.bids) < 1 else self.snapshot().rate


async def test_a_limiter_that_fails_when_the_poll_is_chosen_gets_its_slot_back(
    provider: FakeProvider,
) -> None:
    limiter = BrokenLimiter()
    async with make_client(limiter=limiter) as client:
        with pytest.raises(OSError, match="the store is away"):
            await client.wait_for_task("a")
    assert limiter.results == [SlotResult.UNUSED]
    assert is_idle()


class CancelledLimiter(WrappedLimiter):
    """Depends on a task that something has cancelled."""

    async def acquire(self, bid: Any) -> Slot:
        raise asyncio.CancelledError

    async def try_acquire(self, bid: Any) -> Slot | float:
        raise asyncio.CancelledError


async def test_a_limiter_that_was_cancelled_ends_calls_with_an_error_and_not_as_cancelled(
    provider: FakeProvider,
) -> None:
    async with make_client(limiter=CancelledLimiter()) as client:
        for call in (
            client.wait_for_task("a", timeout=None),
            client.get_task("a"),
            client.poll_once("a"),
        ):
            with pytest.raises(RuntimeError, match="something cancelled the limiter"):
                await call
    assert is_idle()
