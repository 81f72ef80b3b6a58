"""The handler that the environment variable ``VOCALSEP_LOG`` asks for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
"""The values of ``VOCALSEP_LOG``."""

_ROOT = logging.getLogger("vocalsep_async")


class StderrHandler(logging.Handler):
    """Writes to the error output what no handler of the application takes."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        # An application that shows the record anyway would show it twice.
        if any(self._takes(each, record) for each in _handlers_of(record.name)):
            return
        try:
            # Read for each record: tests and terminals replace the error output.
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - `handleError` decides what is shown, as in any handler
            self.handleError(record)

    def _takes(self, handler: logging.Handler, record: logging.LogRecord) -> bool:
        is_real = handler is not self and not isinstance(handler, logging.NullHandler)
        return is_real and record.levelno >= handler.level


def _handlers_of(name: str) -> Iterator[logging.Handler]:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def show_from(level: int | None) -> None:
    """Write what the package logs from *level* on to the error output; None changes nothing."""
    if level is None:
        return
    _ROOT.setLevel(level)
    if not any(isinstance(each, StderrHandler) for each in _ROOT.handlers):
        _ROOT.addHandler(StderrHandler())
