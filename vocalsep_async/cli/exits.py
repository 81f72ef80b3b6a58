"""What the exit status tells."""

from __future__ import annotations

from enum import IntEnum

from vocalsep_async import (
    AuthenticationError,
    ConfigurationError,
    InsufficientCreditsError,
    InvalidArgumentError,
    JournalError,
    TaskOutcome,
    TaskTimeoutError,
)


class Exit(IntEnum):
    """What the exit status tells."""

    SUCCEEDED = 0
    """All tasks did, and their stems are saved if that was asked for."""
    FAILED = 1
    """Some task did not, or what was asked for could not be had."""
    USAGE = 2
    """The command cannot be carried out as it was given."""
    THROTTLED = 3
    """The account was refused: a dead key, or no credits."""
    TIMED_OUT = 4
    """Some task ran out of time, and nothing worse happened."""
    INTERRUPTED = 130
    """It was stopped by SIGINT or SIGTERM."""


_SEVERITY = (
    Exit.SUCCEEDED,
    Exit.TIMED_OUT,
    Exit.FAILED,
    Exit.USAGE,
    Exit.THROTTLED,
    Exit.INTERRUPTED,
)
_STATUS = {
    AuthenticationError: Exit.THROTTLED,
    InsufficientCreditsError: Exit.THROTTLED,
    ConfigurationError: Exit.USAGE,
    InvalidArgumentError: Exit.USAGE,
    JournalError: Exit.USAGE,
    TaskTimeoutError: Exit.TIMED_OUT,
}


def worse(one: Exit, other: Exit) -> Exit:
    """The one of two that a command with both ends with."""
    return max(one, other, key=_SEVERITY.index)


def status_of(error: BaseException | None) -> Exit:
    """What a command that met *error* ends with."""
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status
    return Exit.FAILED


def judged(outcome: TaskOutcome) -> Exit:
    """What a command ends with for one task."""
    if outcome.succeeded:
        return Exit.SUCCEEDED
    return Exit.FAILED if outcome.error is None else status_of(outcome.error)
