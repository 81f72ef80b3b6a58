"""One request that waits for a slot of the store: asked again and again, with one id."""

from __future__ import annotations

import math
from collections.abc import Callable

from vocalsep_async.contrib._redis.budget import Taken
from vocalsep_async.contrib._redis.protocol import Reply
from vocalsep_async.errors import ConfigurationError
from vocalsep_async.limiter import Bid

_NEWS = 0.001
"""Seconds by which a bid that is worth more is asked before its time."""


class Question:
    """A request that waits for a slot.

    Args:
        slot: id of the slot, in every question, so that no lost answer costs a second one.
        bid: returns what the slot is worth.

    Attributes:
        value: the last bid that was asked with.
        is_under_way: whether the store is being asked.
        is_abandoned: whether the slot is not wanted any more.
        is_doubtful: whether the store may have granted the slot without this process's knowledge.
        taken: the slot, once it is granted.
        refusal: why it is never granted.
    """

    def __init__(self, slot: str, bid: Callable[[], Bid]) -> None:
        self.slot = slot
        self.bid = bid
        self.value = Bid()
        self.is_under_way = self.is_abandoned = self.is_doubtful = False
        self.taken: Taken | None = None
        self.refusal: ConfigurationError | None = None
        self._answered_at = self._ask_at = -math.inf

    def on_reply(self, reply: Reply | None, now: float) -> None:
        """The store has answered; None if no answer came."""
        self.is_doubtful = reply is None
        self._answered_at = now
        self._ask_at = -math.inf if reply is None else now + reply.wait

    def ask_at(self, now: float) -> float:
        """When to ask again: as the store said, or now for a bid higher than it was."""
        if now >= self._ask_at:
            return self._ask_at
        before, bid = self.value, self.bid()
        expected = before.worth + before.growth * (now - self._answered_at) + _NEWS
        outbids = (bid.must and not before.must) or bid.worth > expected
        return -math.inf if outbids else self._ask_at
