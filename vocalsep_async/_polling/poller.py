"""Who is followed, and what becomes of them.

A wait, or a batch for many, follows a watch; all who follow a task share its looks, and whoever
leaves last ends them. Users never hold a task group or a cancel scope of this package open.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import anyio

from vocalsep_async._limiter import Slot
from vocalsep_async._polling.learner import DurationLearner
from vocalsep_async._polling.loop import PollLoop
from vocalsep_async._polling.stateless import StatelessPoller
from vocalsep_async._polling.target import FailureStreak, PollTarget, Subscriber, record_request
from vocalsep_async._polling.waiter import Waiter
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.queue import Backlog, PollQueue
from vocalsep_async._scheduling.scheduler import Scheduler
from vocalsep_async._sender import RequestSender
from vocalsep_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ErrorAction,
    InsufficientCreditsError,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.providers._decoder import Decoder, age_of

_FIRST_LEAD, _LONGEST_LEAD = 0.5, 5.0
"""Seconds that an answer is given before a deadline: at first, and at most."""


class PollGroup(Protocol):
    """Many who wait together."""

    def end(self, error: Exception) -> None:
        """Nobody looks for any of them any more, because of *error*."""


class Poller:
    """All waits of one client."""

    def __init__(self, sender: RequestSender, decoder: Decoder, hazards: HazardTable) -> None:
        self.hazards = hazards
        self._sender = sender
        self._decoder = decoder
        self._learner = DurationLearner(hazards)
        self.stateless = StatelessPoller(sender, decoder, self._learner)
        self._scheduler: Scheduler[PollTarget] = Scheduler(random.random)
        self._waits_alone = self._scheduler.queue()
        self._targets: dict[str, PollTarget] = {}
        self._waits: dict[Waiter, PollTarget] = {}
        self._groups: dict[PollQueue[PollTarget], PollGroup] = {}
        self._lead = _FIRST_LEAD
        self._loop_ = PollLoop(
            self._scheduler,
            sender.limiter,
            poll=self._poll,
            cut_off=self._was_cut_off,
            broken=self._end_all,
        )
        sender.limiter.on_pause = self._give_up_behind

    @property
    def rate(self) -> float:
        """Requests per second that the budget allows now; infinity while no limit is known."""
        return self._sender.limiter.budget.rate

    # Looking once

    async def poll_with_retries(self, ref: TaskRef) -> SeparationTask:
        """Look at *ref*, in as many tries as the `RetryPolicy` gives.

        Raises:
            VocalSepError: what the last try met; maintenance is not waited out.
        """
        return self._learner.observe(
            await self._sender.send_with_retries(
                record_request(ref.task_id),
                partial(self._decoder.task, ref),
                lambda error: error.action in (ErrorAction.RETRY, ErrorAction.THROTTLE),
            )
        )

    # Following

    @asynccontextmanager
    async def subscription(self, ref: TaskRef, wait: Waiter) -> AsyncIterator[Waiter]:
        """Have *ref* looked at, at once and then as *wait* wants, until the block is left.

        All who follow a task share its looks.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
        """
        self._sender.bind()
        wait.queue = self._waits_alone
        target = self._waits[wait] = self.subscribe(ref, wait)
        wait.joins(target)
        self._give_up(wait, target, self._sender.limiter.paused_until())
        try:
            yield wait
        finally:
            del self._waits[wait]
            self.unsubscribe(target, wait)
            await self.wait_closed()

    def open_group(
        self, group: PollGroup, *, limit: float, backlog: Backlog[PollTarget]
    ) -> PollQueue[PollTarget]:
        """Open a line for *crowd*; close it with `close_group`.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
        """
        self._sender.bind()
        queue = self._scheduler.queue(limit=limit, backlog=backlog)
        self._groups[queue] = group
        return queue

    def close_group(self, queue: PollQueue[PollTarget]) -> None:
        """Close *line*: nobody in it is looked at any more; it may be called again."""
        if self._groups.pop(queue, None) is not None:
            self._scheduler.close(queue)
            self._rest_if_idle()

    def subscribe(self, ref: TaskRef, subscriber: Subscriber) -> PollTarget:
        """Have *follower* told of *ref*, which waits in its line for its looks."""
        target = self._targets.get(ref.task_id)
        if target is None:
            target = self._begin(ref, subscriber)
            self._enter(target)
        else:
            self._share(target, ref, subscriber)
        return target

    def admit(self, ref: TaskRef, subscriber: Subscriber) -> tuple[PollTarget, bool]:
        """As `subscribe`, for a look that begins now; whether it needs one of its own."""
        if ref.task_id in self._targets:
            return self.subscribe(ref, subscriber), False
        return self._begin(ref, subscriber), True

    def _begin(self, ref: TaskRef, subscriber: Subscriber) -> PollTarget:
        now = anyio.current_time()
        target = PollTarget(ref, self.hazards, _age_now(ref), now)
        target.queue = subscriber.queue
        target.subscribe(subscriber)
        target.poll_before(subscriber.deadline - self._lead)
        self._targets[ref.task_id] = target
        return target

    def _share(self, target: PollTarget, ref: TaskRef, subscriber: Subscriber) -> None:
        now = anyio.current_time()
        target.told(ref, self.hazards, _age_now(ref), now)
        target.subscribe(subscriber)
        target.poll_before(subscriber.deadline - self._lead)
        if not target.is_polling:
            target.is_wanted_soon(now)
            self._enter(target)

    def update(self, target: PollTarget, ref: TaskRef) -> None:
        """Somebody who follows it already knows more of it."""
        target.told(ref, self.hazards, _age_now(ref), anyio.current_time())
        if target.waits:
            target.queue.move(target)

    def polls_of(self, task_id: str) -> int:
        """Looks at a task that its followers have seen the end of."""
        target = self._targets.get(task_id)
        return 0 if target is None else target.polls - target.is_polling

    def poll_soon(self, target: PollTarget) -> None:
        """Something happened to the task: look at it soon."""
        target.is_wanted_soon(anyio.current_time())
        if target.waits:
            target.queue.move(target)
            self.wake()

    def unsubscribe(self, target: PollTarget, subscriber: Subscriber) -> None:
        """Take *follower* out; a look that nobody waits for any more is broken off."""
        target.unsubscribe(subscriber)
        if not target.subscribers:
            self._drop(target)
            self._loop_.break_off(target.poll)
            self._rest_if_idle()
        elif target.waits:
            self._enter(target)

    def _rest_if_idle(self) -> None:
        if not self._targets and not self._groups:
            self._loop_.rest()

    def _drop(self, target: PollTarget) -> None:
        target.queue.leave(target)
        if self._targets.get(target.task_id) is target:
            del self._targets[target.task_id]

    def _enter(self, target: PollTarget) -> None:
        """Let it wait for its next look in the line of who follows it newest."""
        target.queue.leave(target)
        queues = (subscriber.queue for subscriber in reversed(target.subscribers))
        next((queue for queue in queues if queue.is_open), self._waits_alone).enter(target)
        self.wake()

    def wake(self) -> None:
        """Somebody is to be looked at, or sooner than was thought."""
        self._loop_.wake()

    async def wait_closed(self) -> None:
        """Wait until the looks that were broken off have ended."""
        await self._loop_.wait_closed()

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`."""
        self._sender.limiter.close()
        targets = list(self._targets.values())
        self._end_all(ClientClosedError("the client was closed while a wait was under way"))
        for target in targets:
            self._drop(target)
            self._loop_.break_off(target.poll)
        self._rest_if_idle()
        await self.wait_closed()

    # What looks bring

    async def _poll(self, target: PollTarget, slot: Slot) -> None:
        try:
            task, age = await self._sender.send(
                slot, record_request(target.task_id), partial(self._sighting, target)
            )
            target.poll = None
            self._saw(target, task, age)
        except VocalSepError as error:
            target.poll = None
            self._met(target, error)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            # A user's tracing hook failed: whoever waits gets that very error.
            target.poll = None
            self._end(target, error)

    def _sighting(
        self, target: PollTarget, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, float | None]:
        task = self._decoder.task(TaskRef(target.task_id, type=target.type), status, headers, body)
        return task, None if task.is_final else age_of(task, headers)

    def _saw(self, target: PollTarget, task: SeparationTask, age: float | None) -> None:
        now = anyio.current_time()
        self._lead = min(max(2 * (now - target.sent), 0.8 * self._lead), _LONGEST_LEAD)
        target.status, target.streak = task.status, None
        if age is not None:
            target.learn_age(age, now)
        self._learner.observe(task, target)
        if task.is_final:
            self._drop(target)
        for subscriber in target.subscribers:
            subscriber.on_poll(None)
            subscriber.on_record(target, task)
        if not task.is_final and target.subscribers:
            target.still_runs()
            self._plan(target)
            self._give_up_behind(self._sender.limiter.paused_until())

    def _met(self, target: PollTarget, error: VocalSepError) -> None:
        streak = target.failed(error)
        ends_all = isinstance(
            error, (AuthenticationError, InsufficientCreditsError, ClientClosedError)
        )
        if ends_all or self._sender.is_permanent(error, streak.same_kind):
            for subscriber in target.subscribers:
                subscriber.on_poll(None)
            self._end(target, error)
        elif target.subscribers:
            streak.retry_at = anyio.current_time() + self._delay_after(streak)
            self._plan(target)
            self._tell_of_repetition(target, error)
        if ends_all:
            self._end_all(error)

    def _delay_after(self, streak: FailureStreak) -> float:
        """Seconds before the next try; after a refusal there is everybody's pause instead."""
        if streak.error.action is not ErrorAction.RETRY:
            return 0.0
        return self._sender.retry.delay(streak.failures, random.random())

    def _was_cut_off(self, target: PollTarget) -> None:
        """Whoever cancelled a look from outside did not mean those who wait for it."""
        if self._targets.get(target.task_id) is target:
            self._plan(target)

    def _plan(self, target: PollTarget) -> None:
        target.hold_last_polls(self._lead)
        self._enter(target)

    def _tell_of_repetition(self, target: PollTarget, error: VocalSepError) -> None:
        for subscriber in target.subscribers:
            subscriber.on_poll(error)
            subscriber.on_retry(target, error)
        self._give_up_behind(self._sender.limiter.paused_until())

    # Giving up

    def _give_up_behind(self, pause_end: float) -> None:
        """End the waits whose deadline comes before anybody may ask again."""
        for wait, target in self._waits.items():
            self._give_up(wait, target, pause_end)

    def _give_up(self, wait: Waiter, target: PollTarget, pause_end: float) -> None:
        # A look that is under way may still bring the end of its task.
        if wait.deadline < pause_end and not target.is_polling:
            wait.on_error(target, wait.timeout_error())

    def _end(self, target: PollTarget, error: Exception) -> None:
        self._drop(target)
        for subscriber in target.subscribers:
            subscriber.on_error(target, error)

    def _end_all(self, error: Exception) -> None:
        for queue, group in list(self._groups.items()):
            self.close_group(queue)
            group.end(error)
        for target in list(self._waits.values()):
            self._end(target, error)


def _age_now(ref: TaskRef) -> float | None:
    """Seconds since the creation, if the caller knows it; from here on the loop's clock runs."""
    if ref.created_at is None:
        return None
    return (datetime.now(UTC) - ref.created_at).total_seconds()
