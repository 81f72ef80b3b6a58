"""Limiters that behave as if they had a store: slow, unreachable for a while, or out of order.

Each wraps a `RateLimiter`, so a client behind one of them still keeps to its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from vocalsep_async.limiter import Bid, Limiter, LimiterSnapshot, RateLimiter, Slot, SlotResult
from vocalsep_async.policies import RateLimit

Ask = Callable[[], Bid]


class WrappedLimiter(Limiter):
    """A `RateLimiter` behind an interface of its own.

    Attributes:
        bids: what the client bid, one for each question.
    """

    def __init__(self, limit: RateLimit | None = RateLimit()) -> None:  # noqa: B008
        self.inner = RateLimiter(limit)
        self.inner.on_pause = self.announce_pause
        self.bids: list[Bid] = []
        self.results: list[SlotResult] = []
        self.wakes = 0
        self.closed = 0

    def announce_pause(self, until: float, reason: str) -> None:
        if self.on_pause is not None:
            self.on_pause(until, reason)

    async def acquire(self, bid: Ask) -> Slot:
        self.bids.append(bid())
        return CheckedSlot(self, await self.inner.acquire(bid))

    async def try_acquire(self, bid: Ask) -> Slot | float:
        self.bids.append(bid())
        slot = await self.inner.try_acquire(bid)
        return slot if isinstance(slot, (int, float)) else CheckedSlot(self, slot)

    def snapshot(self) -> LimiterSnapshot:
        return self.inner.snapshot()

    def retry_in(self) -> float:
        return self.inner.retry_in()

    def wake(self) -> None:
        self.wakes += 1

    def move(self, shift: float) -> None:
        self.inner.move(shift)

    async def aclose(self) -> None:
        self.closed += 1
        assert self.inner.snapshot().in_flight == 0, "a slot was never released"


class CheckedSlot:
    """A slot that fails the test if it is released twice."""

    def __init__(self, limiter: WrappedLimiter, slot: Slot) -> None:
        self._limiter = limiter
        self._slot = slot
        self._is_released = False

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        assert not self._is_released, "a slot was released twice"
        self._is_released = True
        self._limiter.results.append(result)
        self._slot.release(result, retry_after=retry_after)


class SleepingLimiter(WrappedLimiter):
    """Asks a store that answers after *delay* seconds, before each grant and in between."""

    delay = 0.005

    async def acquire(self, bid: Ask) -> Slot:
        await anyio.sleep(self.delay)
        slot = await super().acquire(bid)
        try:
            await anyio.sleep(self.delay)
        except BaseException:
            slot.release(SlotResult.UNUSED)
            raise
        return slot

    async def try_acquire(self, bid: Ask) -> Slot | float:
        await anyio.sleep(self.delay)
        return await super().try_acquire(bid)


class LosingLimiter(WrappedLimiter):
    """Grants nothing while its store is away, for ten seconds that begin after five."""

    def __init__(self, limit: RateLimit | None = RateLimit()) -> None:  # noqa: B008
        super().__init__(limit)
        self._began: float | None = None

    def _away_for(self) -> float:
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        return self._began + 15 - now if now >= self._began + 5 else 0.0

    async def acquire(self, bid: Ask) -> Slot:
        await anyio.sleep(max(0.0, self._away_for()))
        return await super().acquire(bid)

    async def try_acquire(self, bid: Ask) -> Slot | float:
        seconds = self._away_for()
        return seconds if seconds > 0 else await super().try_acquire(bid)


class Auction:
    """A budget that several clients share: the highest bid gets the next slot.

    So slots are granted in another order than they were asked for.
    """

    def __init__(self, limit: RateLimit) -> None:
        self.inner = RateLimiter(limit)
        self.waiting: list[Ask] = []

    def limiter(self) -> AuctionLimiter:
        return AuctionLimiter(self)


class AuctionLimiter(WrappedLimiter):
    """One client's part of an `Auction`."""

    def __init__(self, auction: Auction) -> None:
        super().__init__()
        self.inner = auction.inner
        self._auction = auction

    async def acquire(self, bid: Ask) -> Slot:
        waiting = self._auction.waiting
        waiting.append(bid)
        try:
            while True:
                # Asked again at each turn, because bids grow.
                if max(waiting, key=_value) is bid:
                    slot = await self.try_acquire(bid)
                    if not isinstance(slot, (int, float)):
                        return slot
                await anyio.sleep(0.02)
        finally:
            waiting.remove(bid)

    async def aclose(self) -> None:
        self.closed += 1


def _value(ask: Ask) -> tuple[bool, float]:
    bid = ask()
    return bid.must, bid.worth
