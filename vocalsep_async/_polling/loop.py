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

from vocalsep_async._limiter import Limiter, Slot
from vocalsep_async._polling.target import PollTarget
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.scheduler import Scheduler

Look = Callable[[PollTarget, Slot], Coroutine[Any, Any, None]]


class PollLoop:
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
        scheduler: Scheduler[PollTarget],
        limiter: Limiter,
        *,
        poll: Look,
        cut_off: Callable[[PollTarget], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._scheduler = scheduler
        self._limiter = limiter
        self._poll = poll
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

    async def wait_closed(self) -> None:
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
        async with self._limiter.turn:
            for _ in range(1 + self._limiter.turn.statistics().tasks_waiting):
                slot = await self._limiter.next_slot()
                target = self._next_wanted(anyio.current_time())
                if target is None:
                    slot.give_back()
                    return
                self._begin_look(target, slot)

    def _next_wanted(self, now: float) -> PollTarget | None:
        while (target := self._scheduler.take(now, self._limiter.budget.rate)) is not None:
            if target.is_wanted(now):
                return target
            target.queue.done_polling()
        return None

    def _begin_look(self, target: PollTarget, slot: Slot) -> None:
        target.begin_poll(anyio.current_time())
        poll = _task(self._poll(target, slot), f"vocalsep look {target.task_id}")
        target.poll = poll
        # A look that is cancelled before it begins never enters its permit's block.
        poll.add_done_callback(slot.give_back)
        poll.add_done_callback(partial(self._looked, target, target.queue))

    def _looked(
        self, target: PollTarget, queue: PollQueue[PollTarget], poll: asyncio.Task[None]
    ) -> None:
        queue.done_polling()
        self._changed.set()
        if poll.cancelled() and target.poll is poll:
            target.poll = None
            self._cut_off(target)


def _task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Make a task that serves all waits: none of them lends it its context variables."""
    return asyncio.create_task(coroutine, name=name, context=contextvars.Context())
