"""What a process does while the store is away: nothing at first, then its own share, for a time."""

from __future__ import annotations

import enum
import math

from vocalsep_async._limiting import RateLimitState
from vocalsep_async.contrib._redis.protocol import Reply
from vocalsep_async.policies import STORE_MEMORY, STORE_PATIENCE, RateLimit

_BURST = 4.0
"""Requests that may start together, as the script has it."""


class Mode(enum.Enum):
    """How the requests of a process are limited."""

    SHARED = "shared"
    """By the store."""
    OWN_SHARE = "own share"
    """By its last share of the budget, because the store is away."""
    WAITING = "waiting"
    """Nothing is sent, because the store is away."""


class StoreLoss:
    """The knowledge that a process has of the shared budget, and its share while the store is away.

    Args:
        limit: as this process was told.
        shares: whether it goes on with its share; otherwise it waits for the store.

    Attributes:
        known: the last reply; None before.
        heard: when its call was sent.
        since: when the first call without a reply was sent; None while the store answers.
        own: limits the requests that are sent without the store; None while there were none.
    """

    # The spacing of all processes has let at most so many requests start that after `_quiet`
    # seconds without any there is room in every window for the shares of all.

    def __init__(self, limit: RateLimit, *, shares: bool) -> None:
        self._limit = limit
        self._shares = shares
        self.known: Reply | None = None
        self.heard = -math.inf
        self.since: float | None = None
        self.own: RateLimitState | None = None
        self.losses = 0
        """How often the store was away, or had lost what was written."""

    def on_reply(self, reply: Reply, sent: float) -> None:
        """The call that was sent at *sent* was answered."""
        if self.known is not None and self.since is None:
            self.losses += reply.epoch != self.known.epoch
        self.known, self.heard = reply, sent
        self.since = self.own = None

    def on_failure(self, sent: float) -> None:
        """The call that was sent at *sent* was not answered."""
        if self.since is None:
            self.since = sent
            self.losses += self.known is not None

    @property
    def is_present(self) -> bool:
        """Whether the store has answered the last call."""
        return self.known is not None and self.since is None

    def forget(self) -> None:
        """Know nothing any more, as before the first call."""
        self.known, self.since, self.own = None, None, None

    @property
    def share(self) -> RateLimit | None:
        """What it goes on with while the store is away; None if that is not known."""
        if self.known is None:
            return None
        limit, processes = self.known.limit, self.known.processes
        # The account may have been found to allow less than its limit.
        most = int(min(limit.max_requests, self.known.allowed)) // processes
        return RateLimit(max(1, most), limit.period * (1 if most else processes))

    def _quiet(self, reply: Reply) -> float:
        limit = reply.limit
        burst = min(_BURST, max(1.0, limit.max_requests / 5))
        return (burst + max(burst, reply.processes)) * limit.period / limit.max_requests

    def _bounds(self) -> tuple[float, float]:
        """From when until when it sends its own share."""
        if self.since is None or self.known is None or not self._shares:
            return math.inf, math.inf
        # What it knows of the number of processes may be outdated.
        if self.since - self.heard > STORE_MEMORY:
            return math.inf, math.inf
        return self.since + self._quiet(self.known), self.since + STORE_PATIENCE

    def mode(self, now: float) -> Mode:
        """How requests are limited at *now*."""
        if self.since is None:
            return Mode.SHARED
        begins, ends = self._bounds()
        return Mode.OWN_SHARE if begins <= now < ends else Mode.WAITING

    def next_change(self, now: float) -> float:
        """When the mode changes although nothing happens; infinity for never."""
        return min((each for each in self._bounds() if each > now), default=math.inf)

    def own_limiter(self) -> RateLimitState:
        """What limits the requests that are sent without the store."""
        if self.own is None:
            self.own = RateLimitState(self.share)
        return self.own

    def move(self, shift: float, now: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        self.heard += shift
        if self.since is not None:
            self.since += shift
        if self.own is not None:
            self.own.move(shift, now)
