"""Settings for clients in tests, with the short delays that a local server allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from attrs import evolve

from vocalsep_async.client import ClientOptions
from vocalsep_async.limiter import Bid, Limiter, LimiterSnapshot, RateLimiter, Slot, SlotResult
from vocalsep_async.policies import Backoff, RateLimit, RetryPolicy

_LIMIT = RateLimit(1000, 0.1)
"""More than one process can send. Its short period makes pauses short, too: half of it at first."""


def fast_settings(**options: Unpack[ClientOptions]) -> ClientOptions:
    """Return options of a `VocalSepClient` that loses no time in tests against an `Emulator`.

    Pending tasks are polled after 10 ms, then less and less often, and finally every 50 ms. A
    failed request is tried again after 10 to 50 ms, as many times as by default. There is
    practically no rate limit, and a pause after throttling or maintenance lasts 50 to 100 ms. A
    request that the emulator does not answer fails after 10 s instead of 30 s.

    Each call returns new options, for one client: its limiter is not shared.

    Args:
        options: options of `VocalSepClient`, which take precedence over the fast ones; with
            *rate_limit*, the client keeps to that limit.
    """
    fast: ClientOptions = {
        "poll": Backoff(initial=0.01, factor=1.5, maximum=0.05, jitter=0.0),
        "retry": RetryPolicy(initial=0.01, maximum=0.05, jitter=0.0),
        "limiter": FastLimiter(),
        "request_timeout": 10.0,
    }
    if "rate_limit" in options:
        del fast["limiter"]
    return fast | options


class FastLimiter(Limiter):
    """A `RateLimiter` whose pauses are short, even during maintenance."""

    def __init__(self) -> None:
        self._inner = RateLimiter(_LIMIT)
        self._inner.on_pause = self._announce
        self._reason = SlotResult.THROTTLED
        """Why there is a pause, if there is one."""
        self._maintained = 0
        """Requests during maintenance, which the inner limiter takes for throttled ones."""

    def __repr__(self) -> str:
        return f"<FastLimiter: {self._inner!r}>"

    async def acquire(self, bid: Callable[[], Bid]) -> Slot:
        """Wait for a slot and take it."""
        return _FastSlot(self, await self._inner.acquire(bid))

    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:
        """Take a slot if there is one; otherwise the seconds after which to ask again."""
        slot = await self._inner.try_acquire(bid)
        return slot if isinstance(slot, (int, float)) else _FastSlot(self, slot)

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        inner = self._inner.snapshot()
        return evolve(
            inner,
            throttled=inner.throttled - self._maintained,
            pause_reason=inner.pause_reason and self._reason.value,
        )

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now."""
        return self._inner.rate

    def move(self, shift: float) -> None:
        """Continue in another event loop."""
        self._inner.move(shift)

    async def aclose(self) -> None:
        """Close the inner limiter."""
        await self._inner.aclose()

    def release(self, slot: Slot, result: SlotResult, retry_after: float | None) -> None:
        """End *slot*: maintenance pauses no longer than throttling."""
        if result in (SlotResult.THROTTLED, SlotResult.MAINTENANCE):
            self._reason = result
        if result is SlotResult.MAINTENANCE:
            self._maintained += 1
            result = SlotResult.THROTTLED
        slot.release(result, retry_after=retry_after)

    def _announce(self, until: float, reason: str) -> None:
        if self.on_pause is not None:
            self.on_pause(until, self._reason.value if reason == "throttled" else reason)


class _FastSlot:
    """A slot of a `FastLimiter`."""

    __slots__ = ("_limiter", "_slot")

    def __init__(self, limiter: FastLimiter, slot: Slot) -> None:
        self._limiter = limiter
        self._slot = slot

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        """Report how the request ended."""
        self._limiter.release(self._slot, result, retry_after)
