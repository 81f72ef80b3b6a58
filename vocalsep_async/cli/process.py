"""The process of a command: its exit code, and the signals that stop it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import anyio

from vocalsep_async import (
    AuthenticationError,
    ConfigurationError,
    InsufficientCreditsError,
    InvalidArgumentError,
    JournalError,
    NotBegunError,
    TaskOutcome,
    TaskTimeoutError,
)

_STANDARD_ERROR = 2
_SHOW_CURSOR = b"\x1b[?25h"


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    SUCCEEDED = 0
    """All tasks succeeded, and their stems are saved if that was asked for."""
    FAILED = 1
    """A task failed, or a request did."""
    USAGE = 2
    """The command cannot be run with these arguments and files."""
    ACCOUNT = 3
    """The API rejects the account: an invalid key, or no credits."""
    TIMED_OUT = 4
    """A task ran out of time, and nothing worse happened."""
    INTERRUPTED = 130
    """SIGINT or SIGTERM stopped the command."""


_SEVERITY = (
    ExitCode.SUCCEEDED,
    ExitCode.TIMED_OUT,
    ExitCode.FAILED,
    ExitCode.USAGE,
    ExitCode.ACCOUNT,
    ExitCode.INTERRUPTED,
)
_EXIT_CODES = {
    AuthenticationError: ExitCode.ACCOUNT,
    InsufficientCreditsError: ExitCode.ACCOUNT,
    ConfigurationError: ExitCode.USAGE,
    InvalidArgumentError: ExitCode.USAGE,
    JournalError: ExitCode.USAGE,
    TaskTimeoutError: ExitCode.TIMED_OUT,
}


def worse(one: ExitCode, other: ExitCode) -> ExitCode:
    """The more severe of two exit codes; the order of severity is not that of the numbers."""
    return max(one, other, key=_SEVERITY.index)


def exit_code_of_error(error: BaseException) -> ExitCode:
    """The exit code of a command that ends with *error*."""
    if isinstance(error, NotBegunError) and error.cause is not None:
        return exit_code_of_error(error.cause)
    for kind, code in _EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


def exit_code_of(outcome: TaskOutcome) -> ExitCode:
    """The exit code for the outcome of one task."""
    if outcome.succeeded:
        return ExitCode.SUCCEEDED
    return ExitCode.FAILED if outcome.error is None else exit_code_of_error(outcome.error)


class StopSignal:
    """Handles SIGINT and SIGTERM from its creation to the end of the process.

    One that is ignored stays so, such as SIGINT in the background of a shell's script. The first
    signal cancels the block in `scope`. The second one ends the process immediately.

    Attributes:
        received: whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.received: bool = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: anyio.CancelScope | None = None
        # Not the event loop's handlers: those are gone while the process still shuts down.
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A block that the first signal cancels, without an error after the block."""
        with anyio.CancelScope() as scope:
            self._loop, self._scope = asyncio.get_running_loop(), scope
            if self.received:
                scope.cancel()
            try:
                yield
            finally:
                self._loop = self._scope = None

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self.received:  # pragma: no cover - coverage data is lost with the process
            # No clean-up is needed: files are replaced as a whole, and a journal survives a kill.
            # Only a live display leaves something behind, the hidden cursor.
            if os.isatty(_STANDARD_ERROR):
                os.write(_STANDARD_ERROR, _SHOW_CURSOR)
            os._exit(ExitCode.INTERRUPTED)
        self.received = True
        if self._loop is not None:
            # Thread-safe although this is the same thread: only that wakes a waiting loop.
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        # The block may have ended between the signal and this call.
        if self._scope is not None:
            self._scope.cancel()
