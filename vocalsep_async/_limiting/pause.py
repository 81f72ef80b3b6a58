"""Pauses of the whole client."""

from __future__ import annotations

import math

from vocalsep_async._limiting.grant import Grant


class Pause:
    """One pause, which lasts until a probe is answered.

    Attributes:
        length: seconds of its last part.
        until: when the next probe may be sent.
        probe: the probe in flight; None if there is none.
        is_outage: whether it began because the service failed.
    """

    def __init__(self, length: float, until: float, *, is_outage: bool = False) -> None:
        self.length = length
        self.until = until
        self.probe: Grant | None = None
        self.is_outage = is_outage

    def wait(self, now: float) -> float:
        """Seconds until a probe may be sent; infinity for not before the present one has ended."""
        if now < self.until:
            return self.until - now
        return 0.0 if self.probe is None else math.inf

    def lengthen(self, now: float, first: float, longest: float) -> None:
        """Double the pause, to between *first* and *longest* seconds."""
        self.length = min(longest, max(first, 2 * self.length))
        self.until = max(self.until, now + self.length)

    def end_probe(self, grant: Grant) -> bool:
        """Make room for the next probe if *grant* was the present one; whether it was."""
        if self.probe is not grant:
            return False
        self.probe = None
        return True

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead; the probe does not end any more."""
        self.until += shift
        self.probe = None
