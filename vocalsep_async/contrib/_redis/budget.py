"""What one process knows of a shared budget, does with it and has to tell, without I/O."""

from __future__ import annotations

import math
import secrets

from attrs import frozen

from vocalsep_async._limiting import Grant, RateLimitState
from vocalsep_async.contrib._redis.loss import Mode, StoreLoss
from vocalsep_async.contrib._redis.protocol import Call, Reply, Report
from vocalsep_async.contrib._redis.reports import Reports
from vocalsep_async.limiter import Bid, LimiterSnapshot, SlotResult
from vocalsep_async.policies import STORE_BEAT, STORE_PATIENCE, RateLimit

_SHORTEST_WAIT = 0.001
"""Seconds for which a process waits at least for the store."""
STORE_LOST = "store lost"
"""The reason of a pause in which the store is away."""


@frozen(eq=False)
class Taken:
    """A slot that this process may use.

    Attributes:
        slot: its id.
        grant: of this process's own share; None for a slot of the store.
    """

    slot: str
    grant: Grant | None = None


class SharedBudget:
    """The budget of an account as one process sees it.

    All moments are seconds on the event loop's clock. The store's are not known: replies hold
    durations.

    Args:
        limit: as this process was told.
        shares: whether it goes on with its share while the store is away.

    Attributes:
        loss: what it knows, and does while the store is away.
        reports: what it has to tell.
        free_at: before this moment, the store has no slot for any bid.
        sent: requests sent.
        in_flight: requests sent and not answered.
        throttled: requests that were throttled.
    """

    def __init__(self, limit: RateLimit, *, shares: bool) -> None:
        self.limit = limit
        self.loss = StoreLoss(limit, shares=shares)
        self.reports = Reports(_new_name())
        self.free_at = -math.inf
        self.sent = self.in_flight = self.throttled = 0
        self.ceiling = limit.max_requests / limit.period
        """Requests per second at most."""
        self._rate = self.ceiling
        self._paused_until: float | None = None
        self._pause_reason = ""
        self._number = 0
        self._epoch = self._grants = 0
        self._sent_without = False
        self._queued = 0
        self._asked_at = -math.inf

    # Calls

    def next_call(
        self, now: float, slot: str | None = None, bid: Bid | None = None, *, leaves: bool = False
    ) -> Call:
        """The next call of the script, which may ask for *slot* with *bid*."""
        self._number += 1
        if bid is not None:
            self._queued, self._asked_at = bid.queued, now
        # What asked a moment ago competes for slots; what waits for its time does not.
        elif now - self._asked_at > STORE_BEAT:
            self._queued = 0
        self.reports.forget_before(now - self._memory)
        return Call(
            process=self.reports.process,
            number=self._number,
            limit=self.limit,
            epoch=self._epoch,
            grants=self._grants,
            sent_without=self._sent_without,
            queued=None if leaves else self._queued,
            slot=slot,
            bid=bid,
            held=sorted(self.reports.held),
            reports=self.reports.next_batch(),
            batch=self.reports.batch,
        )

    @property
    def _memory(self) -> float:
        # After a period an end changes nothing; a pause of the service may be longer.
        return max(self.limit.period, STORE_PATIENCE)

    def on_reply(self, reply: Reply, sent: float, now: float) -> None:
        """The call that was sent at *sent* was answered."""
        self.loss.on_reply(reply, sent)
        self.reports.on_reply()
        self._epoch, self._grants, self._sent_without = reply.epoch, reply.grants, False
        self.free_at = now + reply.free if reply.free > 0 else -math.inf
        self._paused_until = None if reply.pause is None else now + reply.pause
        self._pause_reason = reply.reason
        own = max(1, self._queued)
        self._rate = reply.allowed / reply.limit.period * own / max(own, reply.queued)

    # Slots

    def take(self, slot: str) -> Taken:
        """The store has granted *slot*."""
        self.reports.held.add(slot)
        self.sent += 1
        self.in_flight += 1
        return Taken(slot)

    def take_own(self, now: float) -> Taken | float:
        """Take a slot of the own share; otherwise the seconds until there is one."""
        limiter = self.loss.own_limiter()
        if (wait := limiter.wait(now)) > 0:
            return wait
        grant = limiter.start(now)
        # The store hears of them when it is back: until then, it cannot count them.
        self._sent_without = True
        return Taken(self.take(self.reports.new_slot()).slot, grant)

    def end(self, taken: Taken, result: SlotResult, now: float, retry_after: float | None) -> None:
        """The request of a slot has ended."""
        self.in_flight -= 1
        self.sent -= result in (SlotResult.UNUSED, SlotResult.NOT_SENT)
        self.throttled += result is SlotResult.THROTTLED
        if taken.grant is not None and self.loss.own is not None:
            _record_end(self.loss.own, taken.grant, now, result, retry_after)
        self.reports.end(Report(taken.slot, result, now, retry_after))
        if result is SlotResult.UNUSED:
            self.free_at = -math.inf
        elif result is SlotResult.ANSWERED and self._paused_until is not None:
            # It was the probe: a pause lets nothing else through.
            self._paused_until = self._paused_until if now < self._paused_until else None

    def forget_slot(self, slot: str, now: float) -> None:
        """Nothing is sent in *slot*, which the store may have granted."""
        self.reports.end(Report(slot, SlotResult.UNUSED, now))

    # State

    def mode(self, now: float) -> Mode:
        """How requests are limited at *now*."""
        return self.loss.mode(now)

    def pause(self, now: float) -> tuple[float, str] | None:
        """When the present pause ends, and its reason; None without one."""
        match self.mode(now):
            case Mode.SHARED:
                until = self._paused_until
                return None if until is None else (until, self._pause_reason)
            case Mode.OWN_SHARE:
                own = self.loss.own
                is_paused = own is not None and own.is_paused
                return (own.paused_until(now), "throttled") if own and is_paused else None
            case _:
                return self._away_until(now), STORE_LOST

    def _away_until(self, now: float) -> float:
        change = self.loss.next_change(now)
        if change < math.inf or self.loss.since is None:
            return change
        # Not known: minute after minute.
        minutes = math.floor((now - self.loss.since) / STORE_PATIENCE) + 1
        return self.loss.since + minutes * STORE_PATIENCE

    @property
    def rate(self) -> float:
        """Requests per second that this process may expect."""
        return self._rate if self.loss.own is None else self.loss.own.rate

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent, as far as is known."""
        match self.mode(now):
            case Mode.SHARED:
                return max(0.0, self.free_at - now)
            case Mode.OWN_SHARE:
                return self.loss.own_limiter().wait(now)
            case _:
                # It may be back at any moment.
                return min(STORE_BEAT, max(_SHORTEST_WAIT, self._away_until(now) - now))

    def snapshot(self, now: float) -> LimiterSnapshot:
        """The state at *now*."""
        known, pause, share = self.loss.known, self.pause(now), self.loss.share
        return LimiterSnapshot(
            rate=self.rate,
            ceiling=self.ceiling,
            in_flight=self.in_flight,
            sent=self.sent,
            throttled=self.throttled,
            wait=self.wait(now),
            paused_until=None if pause is None else pause[0],
            pause_reason=None if pause is None else pause[1],
            mode=self.mode(now).value,
            processes=None if known is None else known.processes,
            share=None if share is None else share.max_requests / share.period,
            queued=None if known is None else known.queued,
            price=None if known is None else known.price,
            store_age=None if known is None else max(0.0, now - self.loss.heard),
            losses=self.loss.losses,
        )

    # Ends

    def leave(self) -> None:
        """Begin anew, as another process: this one has left the store, or was forked."""
        self.loss.forget()
        self.reports = Reports(_new_name())
        self.free_at, self._rate = -math.inf, self.ceiling
        self.in_flight = 0
        self._paused_until = None
        self._number = self._epoch = self._grants = self._queued = 0
        self._sent_without = False

    def move(self, shift: float, now: float) -> None:
        """Go on with a clock that is *shift* seconds ahead; requests under way are lost."""
        self.reports.move(shift, now)
        self.loss.move(shift, now)
        self.free_at += shift
        self._asked_at += shift
        self.in_flight = 0
        if self._paused_until is not None:
            self._paused_until += shift


def _record_end(
    state: RateLimitState,
    grant: Grant,
    now: float,
    result: SlotResult,
    retry_after: float | None,
) -> None:
    match result:
        case SlotResult.THROTTLED:
            state.on_throttled(grant, now, retry_after)
        case SlotResult.MAINTENANCE:
            state.on_maintenance(grant, now, retry_after)
        case SlotResult.UNUSED:
            state.cancel(grant)
        case _:
            _ENDS[result](state, grant, now)


_ENDS = {
    SlotResult.ANSWERED: RateLimitState.on_answer,
    SlotResult.FAILED: RateLimitState.on_failed,
    SlotResult.LOST: RateLimitState.on_lost,
    SlotResult.NOT_SENT: RateLimitState.on_not_sent,
}


def _new_name() -> str:
    return secrets.token_hex(8)
