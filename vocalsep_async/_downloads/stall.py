"""Whether a file comes fast enough to wait for it."""

from __future__ import annotations

from vocalsep_async.errors import TransportError

_PERIOD = 60.0
_LEAST = 1 << 16
"""Bytes in a period of so many seconds; a phone at the edge of its net brings ten times as many."""


class StallDetector:
    """Adds up what comes, and the time spent waiting for it."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._bytes = 0

    def gained(self, count: int, seconds: float) -> None:
        """So many bytes came after so many seconds of waiting.

        Raises:
            TransportError: it has been too slow for a whole period.
        """
        self._bytes += count
        self._seconds += seconds
        if self._bytes >= _LEAST:
            self._bytes, self._seconds = 0, 0.0
        elif self._seconds >= _PERIOD:
            raise TransportError(f"fewer than {_LEAST:,} bytes came in {_PERIOD:g} s")
