"""By how much the last poll comes before a deadline."""

from __future__ import annotations

import math

_FIRST, _LONGEST = 0.5, 5.0
"""Seconds: before any answer, and at most."""


class Lead:
    """The time that the last poll before a deadline has: twice the time of an answer.

    Attributes:
        seconds: that time.
    """

    def __init__(self) -> None:
        self.seconds = _FIRST
        self._is_measured = False
        self._last = math.inf, self.seconds, math.inf
        """A deadline, the lead, and the moment of its last poll."""

    def observe(self, answer_time: float) -> None:
        """An answer took *answer_time* seconds."""
        # It falls slowly, because one fast answer proves little.
        self.seconds = min(max(2 * answer_time, 0.8 * self.seconds), _LONGEST)
        self._is_measured = True

    def before(self, deadline: float) -> float:
        """When the last poll before *deadline* is due; infinity for none."""
        # The tasks of a batch share their deadline, and so this number: 24 bytes of each.
        if self._last[:2] != (deadline, self.seconds):
            self._last = deadline, self.seconds, deadline - self.seconds
        return self._last[2]

    @property
    def tells_hanging(self) -> bool:
        """Whether a poll that has taken longer hangs, and a new one would be answered within it."""
        # Where answers take as long as the longest lead, giving one up could only lose it.
        return self._is_measured and self.seconds < _LONGEST
