"""The loop: whom the scheduler names is looked at, when the gate lets it.

One asyncio task drives all looks of a client while there are any, and one more carries each look
that is under way. A task that waits for its next look costs an entry in the schedule and nothing
else.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from vocalsep_async.polling.gate import Gate, Permit
from vocalsep_async.polling.watching import Watch
from vocalsep_async.schedule import Line, Scheduler

Look = Callable[[Watch, Permit], Coroutine[Any, Any, None]]


class Driver:
    """What keeps the looks of one client going.

    Args:
        scheduler: names who is looked at next.
        gate: says when.
        look: looks at a watch once and tells its followers; raises nothing.
        cut_off: called with a watch whose look was cancelled by somebody else than `break_off`.
        broken: called with what broke the loop, which is then over.
    """

    def __init__(
        self,
        scheduler: Scheduler[Watch],
        gate: Gate,
        *,
        look: Look,
        cut_off: Callable[[Watch], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._scheduler = scheduler
        self._gate = gate
        self._look = look
        self._cut_off = cut_off
        self._broken = broken
        self._loop: asyncio.Task[None] | None = None
        self._broken_off: set[asyncio.Task[None]] = set()
        self._changed = anyio.Event()

    def wake(self) -> None:
        """Somebody is to be looked at, or sooner than was thought."""
        self._changed.set()
        if self._loop is None or self._loop.done():
            self._loop = _task(self._drive(), "vocalsep driver")

    def rest(self) -> None:
        """Nobody is to be looked at, until `wake` is called."""
        self.break_off(self._loop)
        self._loop = None

    def break_off(self, task: asyncio.Task[None] | None) -> None:
        """Cancel a look that nobody waits for any more, if it is under way."""
        if task is not None and not task.done():
            task.cancel()
            self._broken_off.add(task)
            task.add_done_callback(self._broken_off.discard)

    async def ended(self) -> None:
        """Wait until what was broken off has ended."""
        if self._broken_off:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._broken_off)

    async def _drive(self) -> None:
        try:
            # Under an eager task factory this runs before anybody knows the task.
            await asyncio.sleep(0)
            while True:
                await self._until_due()
                await self._look_at_those_due()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            # Whoever waits must learn that nobody looks any more, whatever it was.
            self._broken(error)

    async def _until_due(self) -> None:
        while True:
            self._changed = anyio.Event()
            while self._scheduler.tidy(anyio.current_time()):
                await checkpoint()
            now = anyio.current_time()
            if (wait := self._scheduler.next_due(now) - now) <= 0:
                return
            with anyio.move_on_after(wait):
                await self._changed.wait()

    async def _look_at_those_due(self) -> None:
        """Queue once, for as many looks as there are others who queue: half of the slots."""
        async with self._gate.turn:
            for _ in range(1 + self._gate.turn.statistics().tasks_waiting):
                permit = await self._gate.next_permit()
                watch = self._next_wanted(anyio.current_time())
                if watch is None:
                    permit.give_back()
                    return
                self._begin_look(watch, permit)

    def _next_wanted(self, now: float) -> Watch | None:
        while (watch := self._scheduler.take(now, self._gate.budget.rate)) is not None:
            if watch.is_wanted(now):
                return watch
            watch.line.done_looking()
        return None

    def _begin_look(self, watch: Watch, permit: Permit) -> None:
        watch.begins_look(anyio.current_time())
        look = _task(self._look(watch, permit), f"vocalsep look {watch.task_id}")
        watch.look = look
        # A look that is cancelled before it begins never enters its permit's block.
        look.add_done_callback(permit.give_back)
        look.add_done_callback(partial(self._looked, watch, watch.line))

    def _looked(self, watch: Watch, line: Line[Watch], look: asyncio.Task[None]) -> None:
        line.done_looking()
        self._changed.set()
        if look.cancelled() and watch.look is look:
            watch.look = None
            self._cut_off(watch)


def _task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Make a task that serves all waits: none of them lends it its context variables."""
    return asyncio.create_task(coroutine, name=name, context=contextvars.Context())
