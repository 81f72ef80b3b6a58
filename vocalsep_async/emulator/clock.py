"""Two kinds of time: one to measure with, one to print."""

from __future__ import annotations

import time

from attrs import field, frozen


def _offset() -> float:
    return time.time() - time.monotonic()


@frozen
class Clock:
    """Monotonic seconds, with the wall clock read once.

    Printed times are the monotonic ones moved by a fixed offset, so that the difference of two
    printed times is a true duration also when somebody sets the wall clock.
    """

    _offset: float = field(factory=_offset, init=False)

    def now(self) -> float:
        """Return monotonic seconds; every deadline is in these."""
        return time.monotonic()

    def wall(self, at: float) -> float:
        """Return the seconds since 1970 that belong to the monotonic time *at*."""
        return at + self._offset

    def milliseconds(self, at: float) -> int:
        """Return `wall` as the records print it."""
        return round(self.wall(at) * 1000)
