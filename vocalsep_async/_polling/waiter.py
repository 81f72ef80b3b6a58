"""Waits for one task."""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
from collections.abc import Awaitable, Callable

import anyio

from vocalsep_async._events import new_id
from vocalsep_async._polling.target import PollTarget
from vocalsep_async._polling.unfinished import unfinished_error
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async.errors import VocalSepError
from vocalsep_async.instrumentation import WaitFinished, WaitStarted
from vocalsep_async.models import SeparationTask, TaskStatus
from vocalsep_async.policies import STALLED_LOOP, PollPolicy

OnUpdate = Callable[[SeparationTask], Awaitable[object] | object]


class Waiter:
    """A subscriber that waits for one task.

    Args:
        policy: when it wants the next poll.
        timeout: seconds until it ends; 0 to end with the first poll, whatever that found, and None
            for never.
        every_record: whether `next` returns pending records too, or only the final one.
        pause_cause: returns what began the present pause of the client; None without one.
        label: the label of the task, for events; None if it has none.

    Attributes:
        wait_id: its id in events.
        started: when it began.
        deadline: when it ends, on the event loop's clock; infinity for never.
        task: the last record; None before the first.
    """

    queue: PollQueue[PollTarget]
    """The queue in which its task waits for polls: the one that all waiters share."""

    def __init__(
        self,
        policy: PollPolicy,
        timeout: float | None = None,
        *,
        every_record: bool = False,
        pause_cause: Callable[[], VocalSepError | None] = lambda: None,
        label: str | None = None,
    ) -> None:
        self.policy = policy
        self._label = label
        self.wait_id = new_id("wait")
        self.started = asyncio.get_running_loop().time()
        # 0 has no deadline either: such a wait ends with its first poll.
        self.deadline = self.started + timeout if timeout else math.inf
        self.has_ended = False
        self._is_subscribed = False
        self.task: SeparationTask | None = None
        self._timeout = timeout
        self._once = timeout == 0
        self._once_since = -math.inf
        """The first poll that is sent from then on is the last one, if it is for a single poll."""
        self._every_record = every_record
        self._pause_cause = pause_cause
        self._unread: SeparationTask | None = None
        self._last: SeparationTask | None = None
        """The record that ended the wait."""
        self._error: Exception | None = None
        self._arrived = anyio.Event()

    @property
    def is_for_one_poll(self) -> bool:
        """Whether it ends with its first poll, whatever that finds."""
        return self._once

    def on_subscribed(self, target: PollTarget) -> None:
        """It was subscribed to *target*; a poll under way counts as its first."""
        self._target, self._is_subscribed = target, True
        self._polls_before = target.polls - target.is_polling

    def on_poll(self, error: VocalSepError | None) -> None:
        """A poll ended: the target counts them."""

    def on_record(self, target: PollTarget, task: SeparationTask) -> None:
        """A poll returned the record *task*."""
        self.task = task
        # A single poll is not followed by those that might find links.
        is_last = target.has_ended or (task.is_final and self._is_single(target))
        if is_last or self._every_record:
            # A newer record replaces one that was not read: a slow reader gets the newest.
            self._unread = task
            self._arrived.set()
        if is_last:
            self._last, self.has_ended = task, True
        else:
            self._end_if_single(target)

    def _is_single(self, target: PollTarget) -> bool:
        return self._once and target.sent >= self._once_since

    def _end_if_single(self, target: PollTarget) -> None:
        if self._is_single(target):
            self.on_error(target, self.unfinished_error())

    def on_retry(self, target: PollTarget, error: VocalSepError) -> None:  # noqa: ARG002 - the protocol's
        """A poll failed and will be retried, unless the wait is for a single poll."""
        self._end_if_single(target)

    def has_overslept(self, was_free: Callable[[float], bool]) -> bool:
        """Whether the event loop stood still over the deadline, so that no poll came before it.

        *was_free* says whether a request could have been sent at a moment.
        """
        if asyncio.get_running_loop().time() - self.deadline > STALLED_LOOP:
            return True
        # A short stall shows in the last poll: it was sent too late, or though nothing was in the
        # way it was not sent.
        target = self._target
        is_unsent = target.queue is self.queue and target.latest < self.deadline
        return target.sent >= self.deadline or (is_unsent and was_free(self.deadline))

    def extend(self, seconds: float) -> None:
        """End with one more poll, which has *seconds* to be sent and answered."""
        self._once, self._once_since = True, self.deadline
        self.deadline = asyncio.get_running_loop().time() + seconds

    def on_error(self, target: PollTarget, error: Exception) -> None:  # noqa: ARG002 - the protocol's
        """End the wait with *error*, unless it has ended."""
        if not self.has_ended:
            self.has_ended = True
            self._error = error
            self._arrived.set()

    async def next(self) -> SeparationTask:
        """Wait for the next record or the end, and return the newest record.

        Raises:
            VocalSepError: what ended the wait.
        """
        while True:
            # A record that came before the error is returned first: it may be the final one.
            if self._unread is not None:
                task, self._unread = self._unread, None
                return task
            if self._error is not None:
                # One error may end many waits. Each raises a copy: a shared one would collect
                # the tracebacks of all.
                is_ours = isinstance(self._error, VocalSepError)
                raise copy.copy(self._error) if is_ours else self._error
            # Nothing is awaited between the checks above and this line, so no record is missed.
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def final(self, on_update: OnUpdate | None) -> SeparationTask:
        """Wait for the final record, calling *on_update* with each record, and return it.

        Raises:
            VocalSepError: what ended the wait.
            Exception: what *on_update* raised.
        """
        with anyio.CancelScope(deadline=self.deadline):
            return await self._final(on_update)
        # Either only on_update was cut, or a success whose links had not come.
        if self.task is not None and self.task.is_final:
            return self.task
        raise self.unfinished_error()

    async def _final(self, on_update: OnUpdate | None) -> SeparationTask:
        while True:
            task = await self.next()
            if on_update is not None and inspect.isawaitable(updated := on_update(task)):
                await updated
            if task is self._last:
                return task

    def unfinished_error(self) -> VocalSepError:
        """The error of this wait if it ends now."""
        return unfinished_error(
            self._target.task_id,
            self._target,
            elapsed=self.elapsed,
            polls=self.polls,
            task=self.task,
            pause_cause=self._pause_cause(),
        )

    @property
    def polls(self) -> int:
        """Polls that were made for it, or shared with it."""
        return self._target.polls - self._polls_before if self._is_subscribed else 0

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self.started

    @property
    def status(self) -> TaskStatus | str | None:
        """The last status seen; None before the first."""
        if self.task is not None:
            return self.task.status
        return self._target.status if self._is_subscribed else None

    def started_event(self, task_id: str) -> WaitStarted:
        """The event of its beginning."""
        return WaitStarted(
            wait_id=self.wait_id, task_id=task_id, label=self._label, timeout=self._timeout
        )

    def finished_event(self, error: BaseException | None) -> WaitFinished:
        """The event of its end, with *error* or a record."""
        return WaitFinished(
            wait_id=self.wait_id,
            task_id=self._target.task_id,
            label=self._label,
            duration=self.elapsed,
            polls=self.polls,
            status=self.status,
            error=error,
        )
