"""Limiters of processes in virtual time, and requests that take their slots."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import anyio
from store_histories import worst

from vocalsep_async import Bid, RateLimit, SlotResult
from vocalsep_async.contrib.redis import RedisLimiter

URL = "redis://store.example/0"
MUST = Bid(must=True)


def make_limiter(limit: RateLimit | None = None, **options: Any) -> RedisLimiter:
    return RedisLimiter(URL, account="a", rate_limit=limit or RateLimit(20, 10.0), **options)


def now() -> float:
    return asyncio.get_running_loop().time()


def must() -> Bid:
    return MUST


class Starts:
    """Requests that end after a tenth of a second, and their moments."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self.by: Counter[object] = Counter()

    @property
    def moments(self) -> list[float]:
        return [start for start, _ in self.spans]

    async def send(self, limiter: RedisLimiter, bid: Bid = MUST) -> None:
        slot = await limiter.acquire(lambda: bid)
        started = now()
        self.by[limiter] += 1
        await anyio.sleep(0.1)
        self.spans.append((started, now()))
        slot.release(SlotResult.ANSWERED)

    async def send_on(self, limiter: RedisLimiter, bid: Bid = MUST) -> None:
        while True:
            await self.send(limiter, bid)

    def worst(self, period: float = 10.0) -> int:
        return worst(self.spans, period)


async def close(*limiters: RedisLimiter) -> None:
    for limiter in limiters:
        await limiter.aclose()
