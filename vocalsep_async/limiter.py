"""Limiters decide when a client may send its next request.

`RateLimiter` keeps the budget of one account in this process. For a budget that is kept elsewhere,
such as in a store that several processes share, pass another `Limiter` as
``VocalSepClient(limiter=...)``.
"""

from __future__ import annotations

import asyncio
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from anyio.lowlevel import checkpoint_if_cancelled
from attrs import frozen

from vocalsep_async._budget import Budget, Ending, Member, Pause, SharingMember, Waiter
from vocalsep_async._limiting import Grant, RateLimitState
from vocalsep_async._tasks import set_within
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.policies import RateLimit

if TYPE_CHECKING:
    from vocalsep_async._learned import SharedDurations

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
        mode: how a limiter with a store limits the requests of this process: "shared" by the store;
            while the store is away, by this process's "own share", or "waiting", which sends none.
            None without a store, as for the fields below.
        processes: how many processes share the budget, as the store last said; None if it never
            answered.
        share: requests per second that this process may send while the store is away.
        queued: number of requests of all processes that wait for a slot.
        price: what a slot costs where several processes bid, in seconds of expected delay.
        store_age: seconds since the store last answered.
        losses: how often the store was lost, or had lost its data.
    """

    rate: float
    ceiling: float
    in_flight: int
    sent: int
    throttled: int
    wait: float = 0.0
    paused_until: float | None = None
    pause_reason: str | None = None
    mode: str | None = None
    processes: int | None = None
    share: float | None = None
    queued: int | None = None
    price: float | None = None
    store_age: float | None = None
    losses: int = 0


class Limiter(ABC):
    """Grants slots, one for each request.

    A limiter belongs to one client, which closes it. The client asks for one slot at a time; its
    other requests queue in the client. All methods are called in the client's event loop. If that
    loop was closed, the client continues in the next one that uses it, after a call of `move`.

    Attributes:
        on_pause: called when a pause begins or changes its end; set by the client, None before.
            The limiter may call it at any time, even for a pause that began in another process.
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

    def retry_in(self) -> float:
        """Seconds after which a caller that cannot wait for a slot should ask again, without I/O.

        Override it to give each caller a different time. If all of them ask again when the
        `snapshot` says that a slot may be free, only one of them gets it.
        """
        return self.snapshot().wait

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

    def _share_durations(  # noqa: B027 - few have a store
        self, durations: SharedDurations, provider: str
    ) -> None:
        """Share what the clients of the account learn here with other processes, in a store.

        For limiters of this package: called in each event loop that the client is bound to, with
        the name of its provider. Tasks of different providers take differently long.
        """

    async def aclose(self) -> None:  # noqa: B027 - only a limiter with connections or tasks needs it
        """Release connections and tasks; the client has ended all its requests before."""


class RateLimiter(Limiter):
    """Keeps to the rate limit of an account: at most so many requests in any period.

    Within the limit, requests are spread evenly after a small burst. Throttling pauses the client
    and lowers the rate, which answers then raise again: another program may use the same account.
    Once its client is closed, another one may use the limiter and continues its budget.

    A client without a *limiter* makes one that shares the budget of the account with the other
    clients of the account in the process; a `RateLimiter` that you make has a budget of its own.

    Args:
        limit: the limit; None if it is not known: then it is learned from throttling.

    Raises:
        InvalidArgumentError: *limit* is neither a `RateLimit` nor None.
    """

    def __init__(self, limit: RateLimit | None = RateLimit()) -> None:  # noqa: B008 - a frozen value
        if not isinstance(limit, (RateLimit, type(None))):
            raise InvalidArgumentError("limit must be a RateLimit, or None")
        self._budget = Budget(limit)
        self._member: Member = Member()
        self._waiters: set[Waiter] = set()
        self._sent = 0
        self._throttled = 0

    def __repr__(self) -> str:
        paused = ", paused" if self._budget.is_paused else ""
        return (
            f"<RateLimiter: {self.rate:.2f} requests/s, {len(self._member.in_flight)} in flight, "
            f"{self._sent} sent, {self._throttled} throttled{paused}>"
        )

    def __del__(self) -> None:
        # There is none where the limit was refused.
        if hasattr(self, "_member"):
            self._budget.on_gone(self._member)

    def _share(self, budget: Budget) -> None:
        """Take the slots of *budget* from now on, as a member in the running event loop."""
        self._budget.leave(self._member, _now())
        self._budget = budget
        self._member = member = SharingMember(self._announce)
        budget.join(member)
        self._announce_present()

    async def acquire(self, bid: Callable[[], Bid]) -> Slot:
        """Wait for a slot and take it."""
        # The fast path below does not wait, so a cancelled caller would get a slot.
        await checkpoint_if_cancelled()
        grant = self._budget.take(self._member, _now())
        return self._granted(await self._wait(bid) if grant is None else grant)

    async def _wait(self, bid: Callable[[], Bid]) -> Grant:
        waiter = Waiter()
        self._waiters.add(waiter)
        self._budget.enter(waiter)
        try:
            while True:
                waiter.woken.clear()
                now = _now()
                if self._budget.is_shared:
                    offer = bid()
                    waiter.bid(offer.worth, offer.growth, must=offer.must, now=now)
                granted = self._budget.attempt(self._member, waiter, now)
                if isinstance(granted, Grant):
                    return granted
                await set_within(waiter.woken, granted)
        finally:
            self._waiters.discard(waiter)
            self._budget.leave_line(waiter)

    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:  # noqa: ARG002 - it waits for no better one
        """Take a slot if there is one; otherwise the seconds after which to ask again."""
        now = _now()
        grant = self._budget.take(self._member, now)
        return self._budget.wait(now) if grant is None else self._granted(grant)

    def _granted(self, grant: Grant) -> Slot:
        self._sent += 1
        return _GrantedSlot(self, self._member, grant)

    def _on_end(
        self, member: Member, grant: Grant, result: SlotResult, retry_after: float | None
    ) -> None:
        if member is not self._member:
            return  # `move` has taken the request for lost
        if result is SlotResult.ANSWERED:  # nearly always: what follows takes its time
            pause = self._budget.end(member, grant, _now(), RateLimitState.on_answer)
        elif result in _PAUSING:
            self._throttled += result is SlotResult.THROTTLED
            record = partial(_PAUSING[result], retry_after=retry_after)
            pause = self._budget.end(member, grant, _now(), record, result.value)
        else:
            self._sent -= result in (SlotResult.NOT_SENT, SlotResult.UNUSED)
            pause = self._budget.end(member, grant, _now(), _ENDINGS[result])
        if pause is not None:
            self._announce(pause)

    def wake(self) -> None:
        """Compare the bid with those of the other clients again."""
        if self._budget.is_shared:
            for waiter in self._waiters:
                waiter.woken.set()

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment; needs a running event loop."""
        now = _now()
        pause = self._budget.pause(now)
        return LimiterSnapshot(
            rate=self._budget.rate,
            ceiling=self._budget.ceiling,
            in_flight=len(self._member.in_flight),
            sent=self._sent,
            throttled=self._throttled,
            wait=self._budget.wait(now),
            paused_until=None if pause is None else pause.until,
            pause_reason=None if pause is None else pause.reason,
        )

    def retry_in(self) -> float:
        """Seconds after which to ask again: different for each caller, as slots become free."""
        return self._budget.appoint(_now())

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""
        return self._budget.rate

    def move(self, shift: float) -> None:
        """Keep the budget: requests that the loop before has sent still count."""
        now = _now()
        self._budget.leave(self._member, now - shift)
        self._member = Member()
        self._budget.move(shift, now)
        # The client of this loop does not know of the pause.
        self._announce_present()

    async def aclose(self) -> None:
        """Keep the budget for another client, even one in another event loop."""
        self._budget.leave(self._member, _now())

    def _announce_present(self) -> None:
        pause = self._budget.pause(_now())
        if pause is not None:
            self._announce(pause)

    def _announce(self, pause: Pause) -> None:
        if self.on_pause is not None:
            self.on_pause(pause.until, pause.reason)


class _GrantedSlot:
    """A slot of a `RateLimiter`."""

    __slots__ = ("_grant", "_limiter", "_member")

    def __init__(self, limiter: RateLimiter, member: Member, grant: Grant) -> None:
        self._limiter = limiter
        self._member = member
        self._grant = grant

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        """Report how the request ended."""
        self._limiter._on_end(  # noqa: SLF001 - the same module
            self._member, self._grant, result, retry_after
        )


_ENDINGS: dict[SlotResult, Ending] = {
    SlotResult.FAILED: RateLimitState.on_failed,
    SlotResult.LOST: RateLimitState.on_lost,
    SlotResult.NOT_SENT: RateLimitState.on_not_sent,
    SlotResult.UNUSED: RateLimitState.cancel,
}
_PAUSING = {
    SlotResult.THROTTLED: RateLimitState.on_throttled,
    SlotResult.MAINTENANCE: RateLimitState.on_maintenance,
}


def _now() -> float:
    # Cheaper than `anyio.current_time`, which detects the backend at every request.
    return asyncio.get_running_loop().time()
