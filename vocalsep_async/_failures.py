"""Failed requests in a row: when the next try is due, and when there is none."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from vocalsep_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    ErrorAction,
    InsufficientCreditsError,
    TaskNotFoundError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.policies import RetryPolicy

_MAX_UNREADABLE = 5
"""Answers in a row that cannot be decoded or have a code without a meaning; so many are the last.

The first of them may come from something in between that writes envelopes of its own.
"""


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

    def is_permanent(self, error: VocalSepError, retry: RetryPolicy) -> bool:
        """Whether *error*, the last one recorded, is the last word of the server.

        *retry* gives the grace of a task unknown to the API, which may be too new to be readable.
        """
        if isinstance(error, DecodeError) or _is_unlisted(error):
            return self.same_kind >= _MAX_UNREADABLE
        if isinstance(error, TaskNotFoundError):
            return self.same_kind >= retry.attempts
        return error.action is ErrorAction.RAISE

    def proves_wrong_address(self, error: VocalSepError, retry: RetryPolicy) -> bool:
        """Whether a client that never got an answer of the API gives up after *error*.

        *retry* gives the grace: what answers may be in the way for a moment only.
        """
        return doubts_address(error) and self.same_kind >= retry.attempts

    def delay(self, error: VocalSepError, retry: RetryPolicy, draw: Callable[[], float]) -> float:
        """Seconds before the next try after *error*, the last one recorded.

        0 after throttling and during maintenance: the pause at the limiter takes its place.
        """
        pauses = error.action in (ErrorAction.THROTTLE, ErrorAction.MAINTENANCE)
        return 0.0 if pauses else retry.delay(self.failures, draw())


def is_foreign(error: VocalSepError) -> bool:
    """Whether *error* is no answer of the API: none came, or one of a proxy, gateway or portal."""
    if isinstance(error, (APIError, DecodeError)):
        return not error.in_envelope
    return isinstance(error, TransportError)


def doubts_address(error: VocalSepError) -> bool:
    """Whether *error* may mean that the API is not at this address.

    Not what passes by itself: no connection, a gateway without its server, throttling. But a 405
    without an envelope may be both.
    """
    if not is_foreign(error):
        return False
    is_405 = isinstance(error, APIError) and error.code == 405
    return is_405 or isinstance(error, DecodeError) or error.action is ErrorAction.RAISE


def is_refusal(error: VocalSepError) -> bool:
    """Whether the API refuses the account, so that no other request can succeed either."""
    is_about_account = isinstance(error, (AuthenticationError, InsufficientCreditsError))
    return is_about_account and not is_foreign(error)


def may_help(error: VocalSepError) -> bool:
    """Whether a call that does not wait for better times is tried again after *error*."""
    # A bad certificate or a proxy that wants a login is a matter of the settings.
    is_setting = isinstance(error, TransportError) and not error.may_have_arrived
    if error.action is ErrorAction.RAISE:
        return _is_unlisted(error) or (is_foreign(error) and not is_setting)
    return error.action is not ErrorAction.MAINTENANCE


def _is_unlisted(error: VocalSepError) -> bool:
    """Whether the provider knows no meaning of the code, which then is perhaps none of its own."""
    is_raised = type(error) is APIError and error.action is ErrorAction.RAISE
    return is_raised and not is_foreign(error)


def address_error(last: VocalSepError) -> VocalSepError:
    """The error of a request that is not sent, because *last* was the last of too many doubts."""
    problem = "no answer was one of this API"
    advice = "Nothing more is sent by this client; check base_url"
    if isinstance(last, APIError):
        more = ": the address does not take this method" if last.code == 405 else ""
        return type(last)(
            problem,
            code=last.code,
            http_status=last.http_status,
            hint=f"{advice}{more}.",
            in_envelope=False,
        )
    if isinstance(last, DecodeError):
        return DecodeError(f"{problem}. {advice}", http_status=last.http_status)
    return TransportError(
        f"{problem}. {advice}. The last one: {last}",
        may_have_arrived=False,
        action=ErrorAction.RAISE,
    )


def _kind_of(error: VocalSepError) -> str:
    if doubts_address(error):
        return "no answer of this API"
    # Without an envelope the status alone distinguishes one failing gateway from another.
    if isinstance(error, APIError) and not error.in_envelope:
        return f"{type(error).__name__} {error.code}"
    return type(error).__name__
