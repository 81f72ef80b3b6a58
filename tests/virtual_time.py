"""An event loop whose clock jumps to the next timer whenever no callback is ready.

An hour of polling takes milliseconds, and nothing in a test depends on the machine's speed. It must
not be used with real sockets: the clock would jump past their answers.
"""

import asyncio
import selectors


class _NeverWaits(selectors.DefaultSelector):
    """Checks the sockets, and moves the clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise AssertionError("deadlock: every task waits and no timer is set")
        self.now += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time."""

    def __init__(self) -> None:
        self._virtual = _NeverWaits()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def jump(self, seconds: float) -> None:
        """Let time pass while nothing runs."""
        self._virtual.now += seconds


VIRTUAL_TIME = ("asyncio", {"loop_factory": VirtualTimeLoop})
"""An ``anyio_backend`` for tests that wait."""
