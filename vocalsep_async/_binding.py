"""`LoopBinding`: the event loop that a client belongs to."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from vocalsep_async.errors import ConfigurationError


class LoopBinding:
    """Binds parts of a client to the event loop in which they are first used.

    Args:
        loop: the loop of a borrowed session, the only one that will do; None for any.
        before: the loop that the parts before these were bound to, which was closed; None if there
            was none.
        on_bind: called in the loop before these parts are bound to it: with the seconds by which
            its clock is ahead of that of the loop before; 0 if there was none.

    Attributes:
        loop: the loop that they belong to; None for none.
        is_bound: whether they were used in a loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None,
        before: asyncio.AbstractEventLoop | None,
        on_bind: Callable[[float], object],
    ) -> None:
        self._is_given = loop is not None
        self._before = before
        self._on_bind = on_bind
        self.is_bound = False
        self._process = os.getpid()
        # Two threads may use a new client simultaneously; only one loop gets it.
        self._binding = threading.Lock()
        self.loop = loop

    @property
    def is_dead(self) -> bool:
        """Whether the parts were bound to a loop that was closed: they are of no more use."""
        return self.is_bound and self.loop is not None and self.loop.is_closed()

    @property
    def may_move(self) -> bool:
        """Whether other parts may be made for another loop, in place of these."""
        # A borrowed session is bound to its loop for good.
        return self.is_dead and not self._is_given

    @property
    def is_unused(self) -> bool:
        """Whether neither these parts nor any before them were bound."""
        return not self.is_bound and self._before is None

    def bind(self) -> None:
        """Bind to the running event loop, unless that was done.

        Raises:
            ConfigurationError: see `check`.
        """
        if self.is_bound:
            self.check()
            return
        with self._binding:
            loop = self.check()
            self._on_bind(0.0 if self._before is None else loop.time() - self._before.time())
            self.loop, self._before, self.is_bound = loop, None, True
            # A client may be made before a fork, and used in the processes after it.
            self._process = os.getpid()

    def release(self) -> None:
        """Belong to no event loop any more: the parts were closed in theirs."""
        self._is_given, self.loop = False, None

    def check(self) -> asyncio.AbstractEventLoop:
        """Check that the caller runs in the right event loop, and return it.

        Raises:
            ConfigurationError: no asyncio event loop is running, or not the one of these parts.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not None and (self.loop is loop or self.loop is None):
            return loop
        raise ConfigurationError(self._problem(loop))

    def reachable(self) -> asyncio.AbstractEventLoop:
        """The event loop that the parts are used in, for a call from any loop or thread.

        Raises:
            ConfigurationError: they are used in none: not yet, no longer, or in another process.
        """
        if not self.is_bound or self.is_dead:
            raise ConfigurationError("the client is not open")
        if self.loop is None:
            raise ConfigurationError("the client was closed")
        if self._process != os.getpid():
            raise ConfigurationError(
                "the client was opened in the process that this one was forked from"
            )
        return self.loop

    def check_thread(self) -> None:
        """Check the same while the event loop runs, for what needs none.

        Raises:
            ConfigurationError: the event loop runs in another thread.
        """
        if self.loop is not None and self.loop.is_running():
            self.check()

    def _problem(self, running: asyncio.AbstractEventLoop | None) -> str:
        """Why nothing can be done in the *running* loop, and what to do."""
        if self.loop is not None and self._process != os.getpid():
            return (
                "the client belongs to an event loop of the process that this one was forked from; "
                "make one client in each process"
            )
        if self.loop is not None and self.loop.is_running():
            return (
                "the client belongs to another event loop, which runs in another thread; from this "
                "one, call loop.call_soon_threadsafe(client.notify, task_id), or "
                "asyncio.run_coroutine_threadsafe(client.get_task(task_id), loop) and its like, "
                "with the client's event loop"
            )
        if running is None:
            return (
                "the client needs asyncio: no asyncio event loop is running; call it in a "
                "coroutine that asyncio.run() runs"
            )
        if self._is_given:
            return (
                "the client belongs to another event loop, in which its borrowed session was made; "
                "borrow a session of this one"
            )
        if self.is_dead:
            return "it belongs to another event loop, which was closed; make another in this one"
        return (
            "the client belongs to another event loop, in which it was used before and which is "
            "not closed; close that loop first, or make one client for each loop"
        )
