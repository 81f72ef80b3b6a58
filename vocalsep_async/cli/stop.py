"""Being told to stop: once in order, twice at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from vocalsep_async.cli.exits import Exit

_STANDARD_ERROR = 2
_SHOW_CURSOR = b"\x1b[?25h"
"""Undoes what a live display does to a terminal."""


class Stop:
    """Heeds SIGINT and SIGTERM from the moment it is made to the end of the process.

    The first one cancels whatever runs in `scope`. The second one ends the process: whatever is
    written is written whole, and a journal bears this at any moment. Plain handlers and not those
    of the event loop, which go with the loop while the process still winds up.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: anyio.CancelScope | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heed)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Run a block that ends early, in order, at the first signal."""
        with anyio.CancelScope() as scope:
            self._loop, self._scope = asyncio.get_running_loop(), scope
            if self.is_wanted:
                scope.cancel()
            try:
                yield
            finally:
                self._loop = self._scope = None

    def _heed(self, _number: int, _frame: object) -> None:
        if self.is_wanted:  # pragma: no cover - what was covered ends with it
            if os.isatty(_STANDARD_ERROR):
                os.write(_STANDARD_ERROR, _SHOW_CURSOR)
            os._exit(Exit.INTERRUPTED)
        self.is_wanted = True
        if self._loop is not None:
            # Wakes the loop up, too.
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
