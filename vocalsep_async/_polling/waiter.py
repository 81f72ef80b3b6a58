"""One wait for one task."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Awaitable, Callable

import anyio

from vocalsep_async._polling.target import PollTarget, timeout_error
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async.errors import TaskTimeoutError, VocalSepError
from vocalsep_async.models import SeparationTask
from vocalsep_async.policies import PollPolicy

OnUpdate = Callable[[SeparationTask], Awaitable[object] | object]


class Waiter:
    """Somebody who waits for one task.

    Args:
        policy: when this wait wants the task looked at again.
        deadline: when the wait ends, on the event loop's clock; infinity for never.
        once: whether the wait ends with the first look, whatever it saw.
        every_look: whether `next` returns each look, or only the one that saw the end.

    Attributes:
        started: when it began.
        task: the last record seen; None before the first.
    """

    queue: PollQueue[PollTarget]
    """Where its task waits for its looks: with all those that are waited for alone."""

    def __init__(
        self,
        policy: PollPolicy,
        deadline: float = math.inf,
        *,
        once: bool = False,
        every_look: bool = False,
    ) -> None:
        self.policy = policy
        self.deadline = deadline
        self.started = anyio.current_time()
        self.has_ended = False
        self.task: SeparationTask | None = None
        self._once = once
        self._every_look = every_look
        self._untold: SeparationTask | None = None
        self._error: Exception | None = None
        self._arrived = anyio.Event()

    def joins(self, target: PollTarget) -> None:
        """It follows *watch*, whose look under way, if there is one, counts as its first."""
        self._watch = target
        self._polls_before = target.polls - target.is_polling

    def on_poll(self, error: VocalSepError | None) -> None:
        """A look ended: waits for one task count those of the watch."""

    def on_record(self, target: PollTarget, task: SeparationTask) -> None:
        """A look succeeded."""
        self.task = task
        if task.is_final or self._every_look:
            self._untold = task
            self._arrived.set()
        if task.is_final:
            self.has_ended = True
        elif self._once:
            self.on_error(target, self.timeout_error())

    def on_retry(self, target: PollTarget, error: VocalSepError) -> None:  # noqa: ARG002 - the protocol's
        """A look failed and is repeated, for those who wait for more than one."""
        if self._once:
            self.on_error(target, self.timeout_error())

    def on_error(self, target: PollTarget, error: Exception) -> None:  # noqa: ARG002 - the protocol's
        """The wait is over: *error* is raised to whoever waits, unless it was over before."""
        if not self.has_ended:
            self.has_ended = True
            self._error = error
            self._arrived.set()

    async def next(self) -> SeparationTask:
        """Wait for the next look, or for the end, and return the newest record.

        Raises:
            VocalSepError: what ended the wait.
        """
        while True:
            if self._untold is not None:
                task, self._untold = self._untold, None
                return task
            if self._error is not None:
                # One error may end many waits: a copy for each, or tracebacks would pile up.
                ours = isinstance(self._error, VocalSepError)
                raise copy.copy(self._error) if ours else self._error
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def final(self, on_update: OnUpdate | None) -> SeparationTask:
        """Wait for the end, tell *on_update* of each look, and return the final record.

        Raises:
            VocalSepError: what ended the wait.
            Exception: what *on_update* raised.
        """
        while True:
            task = await self.next()
            if on_update is not None and inspect.isawaitable(told := on_update(task)):
                await told
            if task.is_final:
                return task

    @property
    def has_final(self) -> bool:
        """Whether the final record was seen."""
        return self.task is not None and self.task.is_final

    def timeout_error(self) -> TaskTimeoutError:
        """The error of this wait if it ran out of time now."""
        return timeout_error(
            self._watch.task_id,
            self._watch,
            elapsed=anyio.current_time() - self.started,
            polls=self._watch.polls - self._polls_before,
            task=self.task,
        )
