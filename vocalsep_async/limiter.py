"""Limiters decide when a client may send its next request.

`RateLimiter` keeps the budget of one client in its process. For a budget that is kept elsewhere,
such as in a store that several processes share, write another `Limiter` and pass it as
``VocalSepClient(limiter=...)``.
"""

from __future__ import annotations

import asyncio
import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from anyio.lowlevel import checkpoint_if_cancelled
from attrs import frozen

from vocalsep_async._limiting import Grant, RateLimitState
from vocalsep_async._tasks import set_within
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import RateLimit

OnPause = Callable[[float, str], object]
"""Called with the end of a pause, on the event loop's clock, and its reason."""


@frozen(kw_only=True)
class Bid:
    """How much a slot is worth to a client at this moment.

    The client decides which of its polls it sends once it has the slot; a limiter that several
    clients share compares their bids.

    Attributes:
        worth: the expected delay of the most urgent poll, in seconds: how long its task has
            probably been finished without being noticed.
        growth: seconds by which *worth* grows per second, from 0 to 1.
        must: whether the request takes precedence over every *worth*: a creation, a call whose
            caller waits for it, the last poll before a deadline, a poll of a starving task. A
            limiter that sets a price for slots leaves it as it is.
        queued: requests of this client that wait for a slot, tasks between two polls included.
        deadline: when the slot becomes useless, on the event loop's clock; None for never. It is
            set for calls with a timeout: how long an answer usually takes is subtracted. The client
            cancels `Limiter.acquire` then.
    """

    worth: float = 0.0
    growth: float = 0.0
    must: bool = False
    queued: int = 1
    deadline: float | None = None


class SlotResult(enum.Enum):
    """How the request of a slot ended."""

    ANSWERED = "answered"
    """An answer came that was neither throttling nor maintenance, though perhaps an error."""
    THROTTLED = "throttled"
    """The API throttled the request."""
    MAINTENANCE = "maintenance"
    """The API is under maintenance."""
    FAILED = "failed"
    """The service failed: no answer came, a 5xx, or one that is not the API's; the API may have
    counted the request nevertheless."""
    LOST = "lost"
    """The client gave the request up; the API may have counted it nevertheless."""
    NOT_SENT = "not_sent"
    """The API cannot have counted the request: no connection was made, or a proxy rejected it. A
    limiter may grant its slot again, but should not do so immediately: the next one may fail as
    fast."""
    UNUSED = "unused"
    """No request was tried."""


class Slot(Protocol):
    """The right to send one request."""

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        """End the slot. The client calls it exactly once, and it never raises.

        Args:
            result: how the request ended.
            retry_after: seconds that the API asked the client to wait; None if it did not.
        """


@frozen(kw_only=True)
class LimiterSnapshot:
    """The state of a limiter at one moment, as far as this process knows it.

    Attributes:
        rate: requests per second that this client may expect now; infinity while no limit is
            known.
        ceiling: the highest rate that it may expect; infinity while no limit is known.
        in_flight: requests of this client that were sent and not answered yet.
        sent: requests that this client has sent; not those that ended as `SlotResult.NOT_SENT`.
        throttled: how many of them the API throttled.
        wait: seconds until a request may be sent, as far as is known; 0 for now, infinity for not
            before an answer.
        paused_until: when the present pause ends, on the event loop's clock; None without a pause.
            A pause is over once a request was answered, so this may lie in the past.
        pause_reason: why there is a pause, such as "throttled", "maintenance" or "outage"; None
            without one.
    """

    rate: float
    ceiling: float
    in_flight: int
    sent: int
    throttled: int
    wait: float = 0.0
    paused_until: float | None = None
    pause_reason: str | None = None


class Limiter(ABC):
    """Grants slots, one for each request.

    A limiter belongs to one client, which closes it. The client asks for one slot at a time; its
    other requests queue in the client. All methods are called in the client's event loop. If that
    loop was closed, the client continues in the next one that uses it, after a call of `move`.

    Attributes:
        on_pause: called when a pause begins or changes its end; set by the client, None before.
            The limiter may call it at any time, also for a pause that began in another process.
    """

    on_pause: OnPause | None = None

    @abstractmethod
    async def acquire(self, bid: Callable[[], Bid]) -> Slot:
        """Wait for a slot and take it.

        A cancelled call takes no slot: one that was already granted is given back.

        Args:
            bid: returns what the slot is worth at the moment of the call. Bids grow, so call it
                again before each comparison.
        """

    @abstractmethod
    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:
        """Take a slot if there is one; otherwise the seconds after which to ask again.

        A limiter with a store asks it once. It must not wait for a slot.

        Args:
            bid: as for `acquire`.
        """

    @abstractmethod
    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment, without I/O."""

    @property
    def rate(self) -> float:
        """The rate of the `snapshot`. Each poll reads it: override it if a snapshot costs more."""
        return self.snapshot().rate

    def wake(self) -> None:  # noqa: B027 - a limiter that never compares bids has nothing to do
        """The bid of the `acquire` under way may have become higher."""

    def move(self, shift: float) -> None:  # noqa: B027 - only what is bound to a loop has to move
        """The client continues in the running event loop, because the one before was closed.

        Make anew what belongs to a loop, such as locks, tasks and connections. Slots of the loop
        before are not released any more, and its `acquire` does not return.

        Args:
            shift: seconds to add to a moment on the clock of the loop before, for the same moment
                on the clock of this one; practically 0 between loops of asyncio or uvloop.
        """

    async def aclose(self) -> None:  # noqa: B027 - only a limiter with connections or tasks needs it
        """Release connections and tasks; the client has ended all its requests before."""


class RateLimiter(Limiter):
    """Keeps to the rate limit of an account: at most so many requests in any period.

    Within the limit, requests are spread evenly after a small burst. Throttling pauses the client
    and lowers the rate, which answers then raise again: another program may use the same account.
    Bids are ignored, because the limiter serves one client. Once that client is closed, another one
    may use the limiter and continues its budget.

    Args:
        limit: the limit; None if it is not known: then it is learned from throttling.

    Raises:
        InvalidArgumentError: *limit* is neither a `RateLimit` nor None.
    """

    def __init__(self, limit: RateLimit | None = RateLimit()) -> None:  # noqa: B008 - a frozen value
        if not isinstance(limit, (RateLimit, type(None))):
            raise InvalidArgumentError("limit must be a RateLimit, or None")
        self._state = RateLimitState(limit)
        self._pause_reason: str | None = None
        self._announced_until = -math.inf
        self._changed: asyncio.Event | None = None
        self._wakes_at = math.inf
        """When those that wait ask again, if nothing changes before."""
        self._moves = 0
        """Event loops that it has left."""

    def __repr__(self) -> str:
        return f"<RateLimiter: {self._state}>"

    async def acquire(self, bid: Callable[[], Bid]) -> Slot:  # noqa: ARG002 - see the class
        """Wait for a slot and take it."""
        # The fast path below does not wait, so a cancelled caller would get a slot.
        await checkpoint_if_cancelled()
        while (slot := self._take(_now())) is None:
            await self._until_changed()
        return slot

    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:  # noqa: ARG002 - see the class
        """Take a slot if there is one; otherwise the seconds after which to ask again."""
        now = _now()
        return self._take(now) or self._state.wait(now)

    def _take(self, now: float) -> _GrantedSlot | None:
        if self._state.wait(now) > 0:
            return None
        return _GrantedSlot(self, self._state.start(now), self._moves)

    async def _until_changed(self) -> None:
        # One for all that wait: a user's limiter may ask for several slots at the same time.
        if self._changed is None or self._changed.is_set():
            self._changed = asyncio.Event()
        now = _now()
        wait = self._state.wait(now)
        self._wakes_at = now + wait
        await set_within(self._changed, wait)

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment; needs a running event loop."""
        now = _now()
        state = self._state
        return LimiterSnapshot(
            rate=state.rate,
            ceiling=state.ceiling,
            in_flight=state.in_flight,
            sent=state.sent,
            throttled=state.throttled,
            wait=state.wait(now),
            paused_until=state.paused_until(now) if state.is_paused else None,
            pause_reason=self._pause_reason if state.is_paused else None,
        )

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""
        return self._state.rate

    def move(self, shift: float) -> None:
        """Keep the budget: requests that the loop before has sent still count."""
        now = _now()
        self._moves += 1
        self._state.move(shift, now)
        self._changed = None
        # The client of this loop does not know of the pause.
        self._announced_until = -math.inf
        if self._state.is_paused and self._pause_reason is not None:
            self._announce_pause(now, self._pause_reason)

    async def aclose(self) -> None:
        """Keep the budget for another client, also one in another event loop."""
        # A wait that was given up leaves it unset, and bound to this loop.
        self._changed = None

    def _on_end(
        self, grant: Grant, moves: int, result: SlotResult, retry_after: float | None
    ) -> None:
        if moves != self._moves:
            return  # `move` has taken the request for lost
        now = _now()
        self._record_end(grant, now, result, retry_after)
        if result in (SlotResult.THROTTLED, SlotResult.MAINTENANCE):
            self._announce_pause(now, result.value)
        elif self._state.is_outage:
            self._announce_pause(now, "outage")
        # Most ends allow nothing earlier than before: the spacing decides.
        if self._changed is not None and now + self._state.wait(now) < self._wakes_at:
            self._changed.set()

    def _record_end(
        self, grant: Grant, now: float, result: SlotResult, retry_after: float | None
    ) -> None:
        match result:
            case SlotResult.ANSWERED:
                self._state.on_answer(grant, now)
            case SlotResult.THROTTLED:
                self._state.on_throttled(grant, now, retry_after)
            case SlotResult.MAINTENANCE:
                self._state.on_maintenance(grant, now, retry_after)
            case SlotResult.FAILED:
                self._state.on_failed(grant, now)
            case SlotResult.LOST:
                self._state.on_lost(grant, now)
            case SlotResult.NOT_SENT:
                self._state.on_not_sent(grant, now)
            case _:  # UNUSED
                self._state.cancel(grant)

    def _announce_pause(self, now: float, reason: str) -> None:
        until = self._state.paused_until(now)
        # Requests that were under way when the pause began are throttled too, and change nothing.
        if until > self._announced_until:
            self._announced_until, self._pause_reason = until, reason
            if self.on_pause is not None:
                self.on_pause(until, reason)


class _GrantedSlot:
    """A slot of a `RateLimiter`."""

    __slots__ = ("_grant", "_limiter", "_moves")

    def __init__(self, limiter: RateLimiter, grant: Grant, moves: int) -> None:
        self._limiter = limiter
        self._grant = grant
        self._moves = moves

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        """Report how the request ended."""
        self._limiter._on_end(  # noqa: SLF001 - the same module
            self._grant, self._moves, result, retry_after
        )


def _now() -> float:
    # Cheaper than `anyio.current_time`, which detects the backend at every request.
    return asyncio.get_running_loop().time()
