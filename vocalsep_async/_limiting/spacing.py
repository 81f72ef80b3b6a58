"""The soft rule: starts are spread evenly (generic cell rate algorithm)."""

from __future__ import annotations

import math

_BURST = 4.0
"""Requests that may start together after an idle time."""


class Spacing:
    """A small burst, then a start every ``period / allowed`` seconds.

    Args:
        period: of the rate limit, in seconds.
        has_burst: whether requests may start together; not where the limit is not known, since it
            may be one on the gaps between requests.
    """

    # All requests of a period at its start, and silence for the rest of it, would be as many
    # polls, but of less use: tasks end at any time.

    def __init__(self, period: float, *, has_burst: bool) -> None:
        self._period = period
        self._burst = _BURST if has_burst else 1.0
        self._next = -math.inf
        """When the next start would be exactly on time; earlier starts use up the burst."""

    def wait(self, now: float, allowed: float) -> float:
        """Seconds until the next start, at *allowed* requests per period."""
        # At a low allowed rate, four requests would be most of a period.
        burst = min(self._burst, max(1.0, allowed / 5))
        return max(0.0, self._next - (burst - 1) * self._period / allowed - now)

    def start(self, now: float, allowed: float) -> float:
        """Start a request; the seconds by which it delays the next ones."""
        gap = self._period / allowed
        self._next = max(self._next, now) + gap
        return gap

    def cancel(self, gap: float) -> None:
        """Take back a start that delayed the next ones by *gap* seconds."""
        self._next -= gap

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        self._next += shift
