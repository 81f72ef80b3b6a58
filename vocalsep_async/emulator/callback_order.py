"""The order of callbacks: one that is held lets the next one pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

_LONGEST_HOLD = 5.0
"""Seconds after which a callback is posted although no other one came."""


class CallbackOrder:
    """Lets callbacks overtake each other, two by two."""

    def __init__(self) -> None:
        self._held: anyio.Event | None = None
        """What releases the callback that waits for the next one; None if none waits."""

    @asynccontextmanager
    async def turn(self, *, is_reordered: bool) -> AsyncIterator[None]:
        """A block that posts a callback: one that is reordered waits until the next has passed."""
        # A callback that overtakes one is not held itself: otherwise none would be posted where
        # all are reordered.
        overtaken, self._held = self._held, None
        if is_reordered and overtaken is None:
            await self._let_one_pass()
        try:
            yield
        finally:
            if overtaken is not None:
                overtaken.set()

    async def _let_one_pass(self) -> None:
        mine = self._held = anyio.Event()
        try:
            with anyio.move_on_after(_LONGEST_HOLD):
                await mine.wait()
        finally:
            # Still there if no callback came.
            if self._held is mine:
                self._held = None
