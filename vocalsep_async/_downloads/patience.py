"""How long a download goes on while its file host is away, or does not have the file yet."""

from __future__ import annotations

from collections.abc import Callable

from vocalsep_async._failures import FailureStreak
from vocalsep_async.errors import ErrorAction, TransportError
from vocalsep_async.policies import FILE_HOST_GAP, FILE_HOST_PATIENCE, RetryPolicy

# Less than this is left only by rounding.
_NOTHING = 0.001


class NoFileYetError(TransportError):
    """The file host answered, and will have the file later.

    Attributes:
        retry_after: seconds that it asks to wait; None if it does not.
    """

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class Absence:
    """The requests for a file that failed since its host last sent some of it.

    Args:
        retry: delays, and the least number of tries.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._streak = FailureStreak()
        self._began: float | None = None

    def delay(self, error: TransportError, now: float, draw: Callable[[], float]) -> float:
        """Seconds until the next try after *error*.

        The last try is made when the patience ends.

        Raises:
            TransportError: *error* is permanent, or the patience has ended.
        """
        self._streak = self._streak.record(error)
        self._began = now if self._began is None else self._began
        left = self._began + FILE_HOST_PATIENCE - now
        is_used_up = self._streak.failures >= self._retry.attempts
        if error.action is ErrorAction.RAISE or (is_used_up and left <= _NOTHING):
            raise error
        delay = self._streak.delay(error, self._retry, draw)
        if left <= _NOTHING:
            return delay
        wanted = (error.retry_after if isinstance(error, NoFileYetError) else None) or 0.0
        return min(max(delay, wanted, FILE_HOST_GAP if is_used_up else 0.0), left)
