"""The log of the package on the terminal of a command, above its progress."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vocalsep_async.cli.output import Output

_PACKAGE = logging.getLogger("vocalsep_async")
_LOG_VARIABLE = "VOCALSEP_LOG"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def log_shown_by(output: Output) -> Iterator[None]:
    """A block in which *output* shows what the package logs, in place of Python and the client."""
    handler = _Handler(output, shows_all=bool(os.environ.get(_LOG_VARIABLE, "").strip()))
    _PACKAGE.addHandler(handler)
    try:
        yield
    finally:
        _PACKAGE.removeHandler(handler)


class _Handler(logging.Handler):
    """Shows records as messages: warnings, or what ``VOCALSEP_LOG`` asks for.

    The level is that of the logger, which the client sets.
    """

    def __init__(self, output: Output, *, shows_all: bool) -> None:
        super().__init__()
        self._output = output
        self._shows_all = shows_all
        self.setFormatter(logging.Formatter(_FORMAT if shows_all else "warning: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if not self._shows_all and self._is_shown_elsewhere(record):
            return
        try:
            self._output.warn(self.format(record))
        except Exception:  # noqa: BLE001 - `handleError` decides what is shown, as in any handler
            self.handleError(record)

    def _is_shown_elsewhere(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "vocalsep_event", "")
        # The progress says for how long polls have been failing, and why. A request that fails in
        # all its tries ends its command with the reason.
        is_in_progress = event == "poll.finished" and self._output.shows_progress
        return is_in_progress or event == "request.retried"
