"""The poller: all subscriptions of one client, and the loop that sends their polls.

One asyncio task drives the loop while there is anything to poll, and each poll under way has a
task of its own. A task that waits for its next poll costs one entry in a queue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial

import anyio
from anyio.lowlevel import checkpoint
from attrs import evolve

from vocalsep_async._failures import is_refusal
from vocalsep_async._polling.callbacks import Callbacks
from vocalsep_async._polling.direct import DirectPolls
from vocalsep_async._polling.memory import PollMemory
from vocalsep_async._polling.poll_events import (
    poll_finished,
    poll_started,
    task_finished,
    wait_ids_of,
)
from vocalsep_async._polling.refusals import CONFIRMATION
from vocalsep_async._polling.silence import Silence
from vocalsep_async._polling.stateless import StatelessPoller
from vocalsep_async._polling.target import (
    Identity,
    PollGroup,
    PollTarget,
    Subscriber,
    Verdict,
    identity_of,
)
from vocalsep_async._polling.task_ages import Age
from vocalsep_async._polling.waiter import OnUpdate, Waiter
from vocalsep_async._request_queue import RequestSlot
from vocalsep_async._scheduling.queue import Backlog, PollQueue
from vocalsep_async._scheduling.scheduler import WAITS_YIELD, Scheduler
from vocalsep_async._sender import RequestSender
from vocalsep_async._tasks import set_within, shared_task
from vocalsep_async.errors import ClientClosedError, TaskTimeoutError, VocalSepError
from vocalsep_async.limiter import Bid
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.policies import PollPolicy
from vocalsep_async.providers._routes import Routes


class Poller:
    """Polls the tasks of all waits and batches of one client.

    All subscribers of a task share its polls, and the last one to unsubscribe ends them.

    Args:
        sender: sends the polls.
        routes: of the client.
        memory: what earlier polls have shown.
    """

    # Subscribers get callbacks, and no task group or cancel scope of this package is open in a
    # task of the user: a user's task may then end in any order and be cancelled at any point.

    def __init__(self, sender: RequestSender, routes: Routes, memory: PollMemory) -> None:
        self.hazards = memory.learner.hazards
        self.binding = sender.binding
        self._sender = sender
        self._requests = sender.queue
        self.limiter = sender.queue.limiter
        self._events = sender.events
        self.routes = routes
        self._learner = memory.learner
        self.doubts = memory.doubts
        self._ages = memory.ages
        self._lead = memory.lead
        self._refusals = memory.refusals
        self._direct = DirectPolls(sender, routes)
        self._scheduler: Scheduler[PollTarget] = Scheduler(random.random, memory.losses)
        self._single_waits = self._scheduler.queue(yields=WAITS_YIELD)
        self._targets: dict[Identity, PollTarget] = {}
        self._waiters: dict[Waiter, PollTarget] = {}
        self._groups: dict[PollQueue[PollTarget], PollGroup] = {}
        self.silence = Silence()
        self.callbacks = Callbacks(routes, self._claimed, self.poll_soon, self._receive, memory)
        self.stateless = StatelessPoller(
            sender,
            self._direct,
            self.hazards,
            self._receive,
            self._refusals,
            early_end=self.callbacks.early_end,
        )
        self._loop: asyncio.Task[None] | None = None
        self._cancelled: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""
        return self.limiter.rate

    def pause_cause(self) -> VocalSepError | None:
        """What began the present pause of the client; None without one."""
        return self._requests.pause_cause()

    async def poll_with_retries(
        self,
        ref: TaskRef,
        timeout: float | None = None,  # noqa: ASYNC109 - the field's name for a whole call
    ) -> SeparationTask:
        """Poll *ref* once, in as many tries as the `RetryPolicy` and *timeout* allow.

        Raises:
            InvalidArgumentError: the client cannot poll on the route of *ref*.
            VocalSepError: the last try failed; maintenance is not waited out.
        """
        ref = self.routes.ref(ref)
        task, _ = await self._direct.send_with_retries(ref, timeout)
        return self._receive(ref, task).task

    def _receive(self, ref: TaskRef, task: SeparationTask, doubted_for: float = 0.0) -> Verdict:
        """Judge a record that a call outside the loop received; it is handled as one of a poll."""
        verdict = self.doubts.judge(task, doubted_for)
        target = self._claimed(ref) if verdict.has_ended else None
        self._observe(verdict, target)
        if target is not None:
            target.on_record(verdict)
            self._end_with(target, verdict.task)
        return verdict

    def _observe(self, verdict: Verdict, target: PollTarget | None) -> None:
        self._refusals.on_success()
        if verdict.has_ended:
            self._scheduler.observe_end(asyncio.get_running_loop().time())
        if self._learner.observe(verdict.task, target, has_ended=verdict.has_ended):
            now = asyncio.get_running_loop().time()
            self._events.emit(task_finished(verdict.task, target, now))

    def _claimed(self, ref: TaskRef) -> PollTarget | None:
        """The target of a task; None if it is not waited for."""
        for group in self._groups.values():
            group.claim(ref.task_id)
        return self._targets.get(identity_of(ref))

    # Subscribing

    def waiter(
        self,
        ref: TaskRef,
        policy: PollPolicy,
        timeout: float | None,
        *,
        every_record: bool = False,
    ) -> Waiter:
        """A waiter for `wait`, whose wait begins now."""
        return Waiter(
            policy,
            timeout,
            every_record=every_record,
            pause_cause=self._requests.pause_cause,
            label=ref.label,
        )

    async def wait(
        self, ref: TaskRef, waiter: Waiter, on_update: OnUpdate | None = None
    ) -> SeparationTask:
        """Wait for the final record of a task; see `VocalSepClient.wait_for_task`."""
        if waiter.is_for_one_poll:
            ref = evolve(ref, expects_callback=False)  # the single poll is not left to a callback
        async with self.subscription(ref, waiter) as target:
            try:
                return await waiter.final(on_update)
            except TaskTimeoutError:
                if not waiter.has_overslept(self._requests.was_free):
                    raise
            # What happened meanwhile is not known: a process that was stopped polls once more.
            waiter.extend(self._sender.request_timeout)
            self.poll_soon(target)
            return await waiter.final(on_update)

    @asynccontextmanager
    async def subscription(self, ref: TaskRef, waiter: Waiter) -> AsyncIterator[PollTarget]:
        """Subscribe *waiter* to *ref* until the block is left; the first poll is immediate.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
            InvalidArgumentError: the client cannot poll on the route of *ref*.
        """
        ref = self.routes.ref(ref)
        self._sender.bind()
        self._events.emit(waiter.started_event(ref.task_id))
        waiter.queue = self._single_waits
        target = self._waiters[waiter] = self.subscribe(ref, waiter)
        waiter.on_subscribed(target)
        try:
            try:
                yield target
            finally:
                del self._waiters[waiter]
                self.unsubscribe(target, waiter)
                # The end of a poll that is cancelled comes before that of its wait.
                await self.wait_closed()
        except BaseException as error:
            self._events.emit(waiter.finished_event(error))
            raise
        self._events.emit(waiter.finished_event(None))

    def subscribe(self, ref: TaskRef, subscriber: Subscriber) -> PollTarget:
        """Subscribe *subscriber* to *ref*, which waits in the subscriber's queue for its polls."""
        target = self._targets.get(identity_of(ref))
        if target is None:
            target = self._begin(ref, subscriber)
            self._enter(target)
        else:
            self._share(target, ref, subscriber)
        return target

    def admit(self, ref: TaskRef, subscriber: Subscriber) -> tuple[PollTarget, bool]:
        """Subscribe as `subscribe` does, for a poll that begins now; False if one is not needed."""
        if identity_of(ref) in self._targets:
            return self.subscribe(ref, subscriber), False
        return self._begin(ref, subscriber), True

    def _begin(self, ref: TaskRef, subscriber: Subscriber) -> PollTarget:
        target = PollTarget(ref, self.hazards, asyncio.get_running_loop().time())
        target.queue = subscriber.queue
        target.subscribe(subscriber)
        target.poll_by(self._lead.before(subscriber.deadline))
        self._targets[target.identity] = target
        self.callbacks.on_begin(target)
        return target

    def _share(self, target: PollTarget, ref: TaskRef, subscriber: Subscriber) -> None:
        now = asyncio.get_running_loop().time()
        target.update(ref, self.hazards, now)
        target.subscribe(subscriber)
        target.poll_by(self._lead.before(subscriber.deadline))
        # A poll under way serves the new subscriber, too.
        if target.is_polling:
            self._watch(target)
        else:
            if not (ref.expects_callback and target.leaves_polls_to_callback(subscriber.policy)):
                target.poll_soon(now)
            self._enter(target)

    def update(self, target: PollTarget, ref: TaskRef) -> None:
        """Add what a subscriber knows of the task."""
        target.update(ref, self.hazards, asyncio.get_running_loop().time())
        if target.waits:
            target.queue.update(target)

    def polls_of(self, ref: TaskRef) -> int:
        """Polls of a task that have ended."""
        target = self._targets.get(identity_of(ref))
        return 0 if target is None else target.polls - target.is_polling

    def poll_soon(self, target: PollTarget, *, is_called: bool = False) -> None:
        """Poll the task soon, because something happened to it; *is_called*: a callback came."""
        target.poll_soon(asyncio.get_running_loop().time(), is_called=is_called)
        if target.waits:
            target.queue.update(target)
            self.wake()
        # Taken, but not polled, because no subscriber wanted a poll any more.
        elif not target.is_polling and self._targets.get(target.identity) is target:
            self._enter(target)

    def unsubscribe(self, target: PollTarget, subscriber: Subscriber) -> None:
        """Remove *subscriber*; without any subscriber left, the poll under way is cancelled."""
        target.unsubscribe(subscriber)
        if not target.subscribers:
            self._drop(target)
            self._cancel(target.poll)
            self._stop_if_idle()
        # The one that left may have owned the queue, and wanted the next poll.
        elif target.waits:
            self._enter(target)

    def _drop(self, target: PollTarget) -> None:
        target.queue.remove(target)
        if self._targets.get(target.identity) is target:
            del self._targets[target.identity]

    def _enter(self, target: PollTarget) -> None:
        """Have *target* wait for its next poll, in the queue of the newest subscriber."""
        target.queue.remove(target)
        queues = (subscriber.queue for subscriber in reversed(target.subscribers))
        next((queue for queue in queues if queue.is_open), self._single_waits).push(target)
        self.wake()

    # Groups

    def open_group(
        self, group: PollGroup, *, limit: float, backlog: Backlog[PollTarget]
    ) -> PollQueue[PollTarget]:
        """Open a queue for *group*; close it with `close_group`.

        Args:
            group: receives the error that ends polling for the whole group.
            limit: polls of the group that may be under way simultaneously.
            backlog: its tasks that were never polled.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
        """
        self._sender.bind()
        queue = self._scheduler.queue(limit=limit, backlog=backlog)
        self._groups[queue] = group
        return queue

    def close_group(self, queue: PollQueue[PollTarget]) -> None:
        """Close the queue of a group, whose tasks are not polled again; may be called again."""
        if self._groups.pop(queue, None) is not None:
            self._scheduler.close(queue)
            self._stop_if_idle()

    # The loop

    def wake(self) -> None:
        """Have the loop read the schedule again, because it may have changed."""
        self._changed.set()
        self._requests.wake()
        is_idle = not self._targets and not self._groups
        if not is_idle and (self._loop is None or self._loop.done()):
            self._loop = shared_task(self._run(), "vocalsep poll loop")
            self._loop.add_done_callback(self._on_loop_done)

    def _on_loop_done(self, loop: asyncio.Task[None]) -> None:
        # Cancelled from outside, as polls may be: the subscribers still want records.
        if loop is self._loop and loop.cancelled():
            self.wake()

    def _stop_if_idle(self) -> None:
        # An idle client leaves no asyncio task behind.
        if not self._targets and not self._groups:
            self._cancel(self._loop)
            self._loop = None

    def _cancel(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and not task.done():
            task.cancel()
            self._cancelled.add(task)
            task.add_done_callback(self._cancelled.discard)

    async def wait_closed(self) -> None:
        """Wait until the cancelled polls have ended."""
        if self._cancelled:
            # Shielded: a caller that is itself cancelled must leave no request behind.
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._cancelled)

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`."""
        self._requests.close()
        # Copied first: `_end_all` removes the targets whose polls are cancelled below.
        targets = list(self._targets.values())
        self._end_all(ClientClosedError("the client was closed while a wait was under way"))
        for target in targets:
            self._drop(target)
            self._cancel(target.poll)
        self._stop_if_idle()
        await self.wait_closed()

    async def _run(self) -> None:
        try:
            # An eager task factory runs this line before `_loop` is set.
            await asyncio.sleep(0)
            while True:
                await self._until_due()
                await self._start_due_poll()
        except Exception as error:  # noqa: BLE001 - handed to the subscribers
            # Without the loop no subscriber would be notified any more, so each gets the error.
            self._end_all(error)

    async def _until_due(self) -> None:
        while True:
            # Before the schedule is read, so that no change meanwhile is missed.
            self._changed.clear()
            while self._scheduler.refresh(asyncio.get_running_loop().time()):
                await checkpoint()
            now = asyncio.get_running_loop().time()
            if (wait := self._scheduler.next_due(now) - now) <= 0:
                return
            await set_within(self._changed, min(wait, self._scheduler.next_change - now))

    async def _start_due_poll(self) -> None:
        # The slot comes first: which poll is the most urgent one is decided when it can be sent.
        slot = await self._requests.acquire_for_polls(self._bid)
        try:
            target = self._next_wanted(asyncio.get_running_loop().time())
        except BaseException:
            slot.release()
            raise
        if target is None:
            slot.release()
            # What was due may be about to be settled, by a callback that has to run.
            await checkpoint()
        elif target.is_polling:
            self._give_up(target)
            slot.release()
        else:
            self._start_poll(target, slot)

    def _bid(self) -> Bid:
        """What the next slot is worth to the polls at this moment."""
        poll = self._scheduler.peek(asyncio.get_running_loop().time(), self.rate)
        return Bid(queued=0) if poll is None else Bid(**poll._asdict())

    def _next_wanted(self, now: float) -> PollTarget | None:
        while (target := self._scheduler.take(now, self.rate)) is not None:
            if target.is_wanted(now):
                return target
            target.queue.end_poll()
        return None

    def _give_up(self, target: PollTarget) -> None:
        """Have another poll, the last one before a deadline, take the place of one that hangs."""
        target.queue.end_poll()
        self.silence.on_error(target.on_given_up(asyncio.get_running_loop().time()), target.sent)
        self._sender.distrust_connections()
        # At its end it enters the queue again, where it is overdue.
        self._cancel(target.poll)

    def _start_poll(self, target: PollTarget, slot: RequestSlot) -> None:
        target.on_sent(asyncio.get_running_loop().time())
        self.silence.on_sent(target.sent)
        context = Context()
        poll = shared_task(self._poll(target, slot), f"vocalsep poll {target.task_id}", context)
        target.poll = poll
        # A cancelled poll reports those that it was sent for: they may have left.
        wait_ids = wait_ids_of(target) if self._events else ()
        # The queue is bound now: the target may move to another one while it is polled.
        on_done = partial(self._on_poll_done, target, slot, target.queue, wait_ids)
        poll.add_done_callback(on_done, context=context)
        self._watch(target)
        # Last, because a listener may have another batch share this poll.
        if self._events:
            context.run(self._events.emit, poll_started(target, wait_ids))

    def _watch(self, target: PollTarget) -> None:
        """Have the poll under way not take the place of the last one before a deadline."""
        moment = self._lead.before(target.next_deadline(self._lead.seconds))
        may_hang = moment < target.sent + self._sender.request_timeout
        if target.poll is not None and may_hang and self._lead.tells_hanging:
            timer = asyncio.get_running_loop().call_at(moment, self._plan, target)
            target.poll.add_done_callback(lambda _: timer.cancel())

    def _on_poll_done(
        self,
        target: PollTarget,
        slot: RequestSlot,
        queue: PollQueue[PollTarget],
        wait_ids: tuple[str, ...],
        poll: asyncio.Task[None],
    ) -> None:
        # A poll that is cancelled before it begins never enters the slot's block.
        slot.release()
        if queue.end_poll():
            self._changed.set()
        if poll.cancelled() and target.poll is poll:
            target.poll = None
            self.silence.on_cancelled(target.sent)
            self._plan(target)  # if it was cancelled from outside: subscribers want a record
            self._report(target, wait_ids, error=asyncio.CancelledError())

    # What polls find

    async def _poll(self, target: PollTarget, slot: RequestSlot) -> None:
        if target.poll is None:  # run by an eager task factory, before the start was reported
            await asyncio.sleep(0)
        try:
            task, age = await self._sender.send(
                slot,
                self.routes.poll_request(target.task_id, target.route),
                partial(self._decode, target),
            )
            # Before the subscribers are notified: when the last one leaves, its poll is cancelled,
            # which is the task that runs here.
            target.poll = None
            self._on_record(target, task, age)
        except VocalSepError as error:
            target.poll = None
            self._on_error(target, error)
        except Exception as error:  # noqa: BLE001 - handed to the subscribers
            # A user's tracing hook failed: the subscribers get that very error.
            target.poll = None
            wait_ids = wait_ids_of(target)
            self._end(target, error)
            self._report(target, wait_ids, error=error)

    def _decode(
        self, target: PollTarget, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, Age | None]:
        """The record in an answer, and the task's age if that was not known before."""
        # The type is read now: a new subscriber may have supplied it.
        task = self.routes.decoder(target.route).task(target, status, headers, body)
        if target.age_is_known:
            return task, None
        return task, self._ages.of(task, headers, asyncio.get_running_loop().time())

    def _report(
        self,
        target: PollTarget,
        wait_ids: tuple[str, ...],
        *,
        task: SeparationTask | None = None,
        error: BaseException | None = None,
    ) -> None:
        now, until = asyncio.get_running_loop().time(), self._requests.paused_until()
        self._events.emit(
            poll_finished(target, wait_ids, now, paused_until=until, task=task, error=error)
        )

    def _on_record(self, target: PollTarget, task: SeparationTask, age: Age | None) -> None:
        now = asyncio.get_running_loop().time()
        self._lead.observe(now - target.sent)
        self.silence.end()
        verdict = self.doubts.judge(task)
        target.on_record(verdict)
        if age is not None:
            target.learn_age(age.seconds, now, is_exact=age.is_exact)
        self._observe(verdict, target)
        # A poll that failed is reported in any case: the log warns of the first one.
        wait_ids = wait_ids_of(target) if self._events else None
        for subscriber in target.subscribers:
            subscriber.on_poll(None)
        if verdict.has_ended:
            self._end_with(target, verdict.task)
        else:
            self._go_on(target, verdict.task)
        if wait_ids is not None:
            self._report(target, wait_ids, task=verdict.task)

    def _end_with(self, target: PollTarget, task: SeparationTask) -> None:
        # Before the subscribers are notified: one that subscribes again gets a new target.
        self._drop(target)
        self.callbacks.on_end(target, task)
        # Another call may have received the record: an older one must not follow it.
        self._cancel(target.poll)
        for subscriber in target.subscribers:
            subscriber.on_record(target, task)

    def _go_on(self, target: PollTarget, task: SeparationTask) -> None:
        for subscriber in target.subscribers:
            subscriber.on_record(target, task)
        if target.subscribers:
            target.on_running()
            self._plan(target)

    def _on_error(self, target: PollTarget, error: VocalSepError) -> None:
        streak = target.on_error(error)
        self.silence.on_error(error, target.sent)
        wait_ids = wait_ids_of(target)
        is_refused = is_refusal(error)
        now = asyncio.get_running_loop().time()
        is_confirmed = is_refused and self._refusals.confirms(target.sent, now)
        is_doubtful = is_refused and not is_confirmed and streak.same_kind == 1
        # These concern the account or the client, so no other poll can succeed either.
        ends_all = is_confirmed or isinstance(error, ClientClosedError)
        if not is_doubtful and (ends_all or self._sender.is_permanent(error, streak)):
            for subscriber in target.subscribers:
                subscriber.on_poll(None)
            self._end(target, error)
        elif target.subscribers:
            delay = streak.delay(error, self._sender.retry, random.random)
            target.retry_at = now + (CONFIRMATION if is_doubtful else delay)
            for subscriber in target.subscribers:
                subscriber.on_poll(error)
                subscriber.on_retry(target, error)
            self._plan(target)
        self._report(target, wait_ids, error=error)
        if ends_all:
            self._end_all(error)

    def _plan(self, target: PollTarget) -> None:
        # The last subscriber may have left when it received what the poll found.
        if self._targets.get(target.identity) is not target:
            return
        target.poll_by(self._lead.before(target.next_deadline(self._lead.seconds)))
        self._enter(target)

    # Giving up

    def _end(self, target: PollTarget, error: Exception) -> None:
        self._drop(target)
        for subscriber in target.subscribers:
            subscriber.on_error(target, error)

    def _end_all(self, error: Exception) -> None:
        for queue, group in list(self._groups.items()):
            self.close_group(queue)
            group.end(error)
        for target in list(self._waiters.values()):
            self._end(target, error)
