"""How much of the rate limit polls have used lately."""

from __future__ import annotations

import math

_MEMORY = 10.0
"""Seconds; the weight of a poll falls by the factor e in that time."""
_LOW = 0.9
"""Share of the allowed rate below which slots are left unused."""


class Load:
    """The rate of polls, as an exponentially weighted mean."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._at = -math.inf
        self._allowed = 0.0

    def on_poll(self, now: float, allowed: float) -> None:
        """Count a poll; *allowed* is how many per second the rate limiter allows."""
        self._rate = self._rate_at(now) + 1 / _MEMORY
        self._at, self._allowed = now, allowed

    def is_low(self, now: float) -> bool:
        """Whether polls leave slots unused; False where none is known."""
        return self._allowed < math.inf and self._rate_at(now) < _LOW * self._allowed

    def _rate_at(self, now: float) -> float:
        return self._rate * math.exp((self._at - now) / _MEMORY)
