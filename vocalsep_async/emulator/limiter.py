"""The emulator's judge of too many requests: a sliding window, nothing of the client's in it."""

from __future__ import annotations

from collections import deque


class SlidingWindow:
    """At most *limit* requests are accepted in any window of *period* seconds.

    A window takes in its first moment and leaves out its last: what came exactly *period*
    seconds ago counts no more.

    Args:
        limit: how many; 1 or more.
        period: seconds, more than 0.
        count_refused: whether a refused request takes a place too, so that a caller who keeps
            asking is kept out.
    """

    def __init__(self, limit: int, period: float, *, count_throttled: bool = False) -> None:
        self._period = period
        self._count_refused = count_throttled
        # Older ones than the last `limit` decide nothing.
        self._counted: deque[float] = deque(maxlen=limit)

    def admit(self, now: float) -> bool:
        """Return whether a request at *now* is accepted, and remember it.

        Args:
            now: seconds of a clock that never goes back.
        """
        has_room = len(self._counted) < (self._counted.maxlen or 0)
        accepted = has_room or now - self._counted[0] >= self._period
        if accepted or self._count_refused:
            self._counted.append(now)
        return accepted
