"""Failed requests in a row: when the next try is due, and when there is none."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from vocalsep_async.errors import (
    APIError,
    DecodeError,
    ErrorAction,
    TaskNotFoundError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.policies import RetryPolicy

_MAX_UNREADABLE = 5
"""Answers in a row that cannot be decoded; after so many the server is not this API."""


@frozen
class FailureStreak:
    """The requests for one thing that failed since the last one that succeeded.

    Attributes:
        failures: how many.
        same_kind: how many of the last ones failed with the same kind of error.
        kind: that kind; None before the first failure.
    """

    failures: int = 0
    same_kind: int = 0
    kind: str | None = None

    # The error itself is not kept: its traceback refers to the frame that holds the streak.

    def record(self, error: VocalSepError) -> FailureStreak:
        """Return the streak with one more failure."""
        kind = _kind_of(error)
        same_kind = self.same_kind + 1 if kind == self.kind else 1
        return FailureStreak(self.failures + 1, same_kind, kind)

    def is_permanent(
        self,
        error: VocalSepError,
        retry: RetryPolicy,
        *,
        in_doubt: bool = False,
        is_understood: bool = False,
    ) -> bool:
        """Whether a wait ends with *error*, the last one recorded.

        Args:
            error: why the last request failed.
            retry: its attempts are also the grace of a task unknown to the API, and of an
                address in doubt.
            in_doubt: whether *error* may mean that the API is not at this address.
            is_understood: whether any answer came from this API. Then one that comes from
                something in between is a disturbance, which is waited out.
        """
        if is_understood and _is_foreign(error):
            return False
        if error.action is ErrorAction.RAISE:
            return True
        if isinstance(error, DecodeError):
            return self.same_kind >= _MAX_UNREADABLE
        # A new task may not be readable yet, and a 405 may be true throttling.
        has_grace = isinstance(error, TaskNotFoundError) or in_doubt
        return has_grace and self.same_kind >= retry.attempts

    def delay(self, error: VocalSepError, retry: RetryPolicy, draw: Callable[[], float]) -> float:
        """Seconds before the next try after *error*, the last one recorded.

        0 after throttling and during maintenance: the pause at the limiter takes its place.
        """
        pauses = error.action in (ErrorAction.THROTTLE, ErrorAction.MAINTENANCE)
        return 0.0 if pauses else retry.delay(self.failures, draw())


def _is_foreign(error: VocalSepError) -> bool:
    """Whether *error* is no answer of the API: none came, or one of a proxy, gateway or portal."""
    if isinstance(error, (APIError, DecodeError)):
        return not error.in_envelope
    return isinstance(error, TransportError)


def _kind_of(error: VocalSepError) -> str:
    # Without an envelope the status alone distinguishes one failing gateway from another.
    if isinstance(error, APIError) and not error.in_envelope:
        return f"{type(error).__name__} {error.code}"
    return type(error).__name__
