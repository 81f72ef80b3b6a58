"""Where a command's text goes: results to standard output, what is for people beside them."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from rich.console import Console
from rich.live import Live

from vocalsep_async.cli.snapshot import Snapshot, plain, rendered

_LIVE_GAP = 0.25
_PLAIN_GAP = 5.0


class Screen:
    """Standard output and standard error of a command.

    Args:
        is_quiet: whether only results and errors are shown.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        # Ids and names of files are no markup.
        self._console = Console(
            stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True
        )

    def result(self, result: str | Mapping[str, Any]) -> None:
        """Put a line, or a JSON object as one, on standard output.

        Raises:
            OSError: it is closed, or takes nothing more.
        """
        text = result if isinstance(result, str) else json.dumps(result)
        if sys.stdout is None:
            raise _about_output(errno.EBADF)
        try:
            # Not click's echo: it goes past a live display on the same terminal.
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError as error:
            _give_up_output()
            raise _about_output(error.errno) from error

    def say(self, text: str) -> None:
        """Tell people something, unless they want to be left alone."""
        if not self._is_quiet:
            self._console.print(text)

    def warn(self, text: str) -> None:
        """Tell people what went wrong."""
        self._console.print(text)

    async def show(self, snapshot: Callable[[], Snapshot]) -> None:
        """Show how things go, until cancelled."""
        if self._is_quiet:
            return
        if self._console.is_terminal:
            await self._show_live(snapshot)
        else:
            await self._show_lines(snapshot)

    async def _show_live(self, snapshot: Callable[[], Snapshot]) -> None:
        # Results go above it where both are on one terminal, and past it where they are not.
        with Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            redirect_stderr=False,
        ) as live:
            while True:
                live.update(rendered(snapshot()), refresh=True)
                await anyio.sleep(_LIVE_GAP)

    async def _show_lines(self, snapshot: Callable[[], Snapshot]) -> None:
        while True:
            await anyio.sleep(_PLAIN_GAP)
            self._console.print(plain(snapshot()))


def _about_output(number: int | None) -> OSError:
    return OSError(number, os.strerror(number or errno.EIO), "standard output")


def _give_up_output() -> None:
    """Throw away what is in the buffer: written at exit, it would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
