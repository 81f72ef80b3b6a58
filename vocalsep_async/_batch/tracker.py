"""The open tasks of a batch: they are added, polled, and settled with an outcome."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

from anyio.lowlevel import checkpoint
from attrs import evolve

from vocalsep_async._batch.backlog import UnpolledIds
from vocalsep_async._batch.counters import BatchCounters
from vocalsep_async._batch.groups import ArrivalGroup, Kind
from vocalsep_async._polling.doubts import lacks_links
from vocalsep_async._polling.poller import Poller
from vocalsep_async._polling.target import PollTarget
from vocalsep_async._polling.unfinished import unfinished_error
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import (
    BatchStats,
    SeparationTask,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.policies import STALLED_LOOP, PollPolicy

_logger = logging.getLogger("vocalsep_async.batches")

_SLICE = 500
"""Tasks that are settled, or left, before the event loop may run other tasks."""
_CLOCK_RESOLUTION = 1e-6
"""Seconds by which a timer of the event loop may fire early."""
_SAME_MOMENT = 0.01
"""Seconds within which tasks that are added share a group, and so a deadline."""


class BatchTracker:
    """The open tasks of one batch.

    Args:
        poller: polls the tasks.
        wait_id: the id of the batch in events.
        type_: the kind of separation of tasks whose ref has none; None if not known.
        limit: polls that may be under way simultaneously.
        timeout: seconds from adding a task to its deadline; 0 for a single poll, None for no
            deadline.
        policy: when a pending task is polled again.
        counters: counts the polls and outcomes.
        on_outcome: called with each outcome; in slices of 500 where many tasks end simultaneously.
        on_change: called when an id leaves the backlog, and when the batch fails.
        on_pending: called with the id, status and polls of a task that a poll found pending.

    Attributes:
        wait_id: as given.
        policy: as given.
        timeout: seconds as given; infinity where there is no deadline.
        queue: the queue for the polls; closed once no more are wanted.
        counters: as given.
        error: the error that became the outcome of all open tasks; None while the batch works.
        failure: an error to raise to the consumer, such as one of a user's hook; None if none.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        wait_id: str,
        type_: SeparationType | None,
        limit: int,
        timeout: float | None,
        policy: PollPolicy,
        counters: BatchCounters,
        on_outcome: Callable[[TaskOutcome], None],
        on_change: Callable[[], None],
        on_pending: Callable[[str, TaskStatus | str, int], None],
    ) -> None:
        self.wait_id = wait_id
        self._poller = poller
        self._type = type_
        self.timeout = timeout or math.inf
        self.policy = policy
        self._once = timeout == 0
        self._on_outcome = on_outcome
        self._on_change = on_change
        self._on_pending = on_pending
        self._open: dict[str, PollTarget | ArrivalGroup] = {}
        """The target of each id, or only its group while it is in the backlog."""
        self._backlog = UnpolledIds(poller.hazards, self._group_in_backlog, self._admit)
        self.queue: PollQueue[PollTarget] = poller.open_group(
            self, limit=limit, backlog=self._backlog
        )
        self._labels: dict[str, str] = {}
        """Of those open tasks that have one."""
        self._polls_before: dict[str, int] = {}
        """Polls of a shared target from before this batch subscribed, unless there were none."""
        self._groups: dict[Kind, ArrivalGroup] = {}
        """The group of each kind that takes new tasks."""
        self.overdue: dict[ArrivalGroup, float] = {}
        """Groups whose deadline passed while nothing could be polled, with the moment from which a
        poll of theirs is the last one."""
        self._deadlines: deque[ArrivalGroup] = deque()
        """Groups in the order of their deadlines."""
        self._expired: deque[tuple[str, ArrivalGroup]] = deque()
        self._timer: asyncio.Handle | None = None
        self._newest = -math.inf
        self._is_warned = False
        self._pending_at_release: tuple[str, ...] = ()
        self._left: list[PollTarget] = []
        """Targets that were open at the release, and to which the batch is still subscribed."""
        self.counters = counters
        self.error: VocalSepError | None = None
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def never_polled(self) -> int:
        """Ids in the backlog: never polled, and of unknown age."""
        return len(self._backlog)

    # Adding

    def add(self, ref: TaskRef, age: float = 0.0) -> None:
        """Track *ref*; if it is open already, only add what the ref knows.

        *age* is how many seconds ago its wait began, in an earlier run.
        """
        if ref.label is not None:
            self._labels[ref.task_id] = ref.label
        if self._once and ref.expects_callback:
            ref = evolve(ref, expects_callback=False)  # the single poll is not left to a callback
        known = self._open.get(ref.task_id)
        if isinstance(known, PollTarget):
            self._poller.update(known, ref)
        elif known is None:
            self._track(ref, age)
        elif ref != TaskRef(ref.task_id):
            self._leave_backlog(ref, known)

    def _track(self, ref: TaskRef, age: float) -> None:
        group = self._group_for(ref, asyncio.get_running_loop().time() - age)
        # Only expiry needs the ids: without a timeout an endless batch would collect all of
        # them.
        if self.timeout < math.inf:
            group.ids.append(ref.task_id)
        self._open[ref.task_id] = group
        # A known age has a place of its own in the queue, and so has a task whose callback came;
        # unknown ages hardly differ.
        is_known = ref.created_at is not None or ref.task_id in self._poller.callbacks.early
        if is_known and self.queue.is_open:
            self._subscribe(ref, group)
        else:
            self._backlog.append(ref.task_id, group.type)
            self._wake()
        if self.error is not None:
            self._sweep_soon()  # the error is this task's outcome too

    def _wake(self) -> None:
        if self.queue.is_open:
            self._poller.wake()

    def _group_for(self, ref: TaskRef, started: float) -> ArrivalGroup:
        """The group for tasks added at *started*, which must not be before the last call's."""
        kind = Kind(ref.type or self._type, ref.route, ref.expects_callback)
        group = self._groups.get(kind)
        if group is None or started - group.started > _SAME_MOMENT:
            # One value for all groups of a kind: each may have a single task.
            kind = kind if group is None else group.kind
            group = self._groups[kind] = ArrivalGroup(self, kind, started)
            self._newest = started
            # A wait that goes on after its deadline gets a poll before it may time out.
            if group.deadline <= asyncio.get_running_loop().time():
                self.overdue[group] = -math.inf
            if group.deadline < math.inf:
                self._deadlines.append(group)
                self._sweep_later()
        return group

    def _leave_backlog(self, ref: TaskRef, group: ArrivalGroup) -> None:
        """Move an id to the poll queue, where what is known of it decides its place."""
        if self.queue.is_open:
            self._backlog.on_removed()
            self._subscribe(ref, group)

    def _subscribe(self, ref: TaskRef, group: ArrivalGroup) -> None:
        # Polls that ended before this batch subscribed do not count for it.
        ref = ref.merged(group.ref(ref.task_id))
        before = self._poller.polls_of(ref)
        self._open[ref.task_id] = self._poller.subscribe(ref, group)
        self._keep_polls_before(ref.task_id, before)

    def _admit(self, task_id: str, group: ArrivalGroup) -> PollTarget | None:
        if group.deadline <= asyncio.get_running_loop().time():
            return None  # the sweep is about to settle it
        self._on_change()
        self._backlog.on_removed()
        ref = group.ref(task_id)
        before = self._poller.polls_of(ref)
        target, needs_poll = self._poller.admit(ref, group)
        self._open[task_id] = target
        self._keep_polls_before(task_id, before)
        return target if needs_poll else None

    def _keep_polls_before(self, task_id: str, polls: int) -> None:
        if polls:
            self._polls_before[task_id] = polls

    def _group_in_backlog(self, task_id: str) -> ArrivalGroup | None:
        known = self._open.get(task_id)
        return known if isinstance(known, ArrivalGroup) else None

    def claim(self, task_id: str) -> None:
        """If the task is in the backlog, subscribe to it now."""
        group = self._group_in_backlog(task_id)
        if group is not None:
            self._leave_backlog(TaskRef(task_id), group)

    def poll_soon(self, task_id: str) -> bool:
        """Poll a task soon; whether it is open."""
        self._poller.binding.check()
        self.claim(task_id)
        known = self._open.get(task_id)
        if isinstance(known, PollTarget):
            self._poller.callbacks.on_called(known)
        return known is not None

    def warn_of_too_many(self) -> None:
        """Warn once if a single poll of each task takes longer than the timeout."""
        rate = self._poller.rate
        if self._is_warned or len(self._open) <= rate * self.timeout:
            return
        self._is_warned = True
        _logger.warning(
            "%d tasks cannot be polled within their timeout: one poll of each takes "
            "%d / %.3g requests per s = %.0f s, and the timeout is %g s",
            len(self._open),
            len(self._open),
            rate,
            len(self._open) / rate,
            self.timeout,
        )

    # Called by groups and by the poller; after the release only until all is unsubscribed

    def on_poll(self, error: VocalSepError | None) -> None:
        """A poll ended; *error* is the reason why it will be retried, None if it will not."""
        if self._open:
            self.counters.on_poll(error)

    def on_record(self, group: ArrivalGroup, target: PollTarget, task: SeparationTask) -> None:
        """A poll succeeded."""
        if not self._open:
            return
        self.counters.on_record()
        if target.polls == 1 and target.age_is_known:
            age = group.started - target.created
            self._backlog.observe(target.task_id, group.type, age)
        if target.has_ended and not lacks_links(task):
            ended = target.ended_at(task)
            # Of a task that had ended before it was added, no poll could have been in time.
            if ended is not None and ended > group.started:
                self.counters.on_detected(asyncio.get_running_loop().time() - ended)
            self._settle(target.task_id, group, task=task)
        elif target.has_ended or self._is_last(group, target):
            self._settle(target.task_id, group)
        else:
            polls = target.polls - self._polls_before.get(target.task_id, 0)
            self._on_pending(target.task_id, task.status, polls)

    def on_retry(self, group: ArrivalGroup, target: PollTarget, error: VocalSepError) -> None:  # noqa: ARG002
        """A poll failed with *error* and will be retried, unless a single poll was wanted."""
        if self._open and self._is_last(group, target):
            self._settle(target.task_id, group)

    def on_error(self, group: ArrivalGroup, target: PollTarget, error: Exception) -> None:
        """The task will not be polled again, because of *error*."""
        # A policy or hook of the user failed: that is a bug to be raised and no outcome.
        if not isinstance(error, VocalSepError):
            self.failure = error
            self._on_change()
        # The error of a policy arrives deferred: the task may have been settled meanwhile.
        elif self._is_open(target.task_id, group):
            self.counters.on_error(error)
            self._settle(target.task_id, group, error=error)

    def end(self, error: Exception) -> None:
        """No task will be polled again, because of *error*."""
        if isinstance(error, VocalSepError):
            self.error = error
        else:
            self.failure = error
        self._on_change()
        self._sweep_soon()

    # Outcomes

    def _sweep(self) -> None:
        """Settle a slice of the tasks whose waits are over, and schedule the next slice."""
        now = asyncio.get_running_loop().time() + _CLOCK_RESOLUTION
        for _ in range(_SLICE):
            if not self._settle_next(now):
                self._sweep_later()
                return
        self._sweep_soon()

    def _sweep_soon(self) -> None:
        self._stop_sweeping()
        self._timer = asyncio.get_running_loop().call_soon(self._sweep)

    def _sweep_later(self) -> None:
        if self._expired:
            self._sweep_soon()
            return
        self._stop_sweeping()
        if self._deadlines and self.error is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._deadlines[0].deadline, self._sweep)

    def _stop_sweeping(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _settle_next(self, now: float) -> bool:
        """Settle one task whose wait is over, if there is one."""
        if self.error is not None:
            # From the end: a dict searches for its first key past all that were removed.
            task_id = next(reversed(self._open), None)
        else:
            task_id = self._next_expired(now)
        if task_id is None:
            return False
        known = self._open[task_id]
        group = known if isinstance(known, ArrivalGroup) else self._group_of(known)
        self._settle(task_id, group, error=self.error)
        return True

    def _next_expired(self, now: float) -> str | None:
        while self._deadlines and self._deadlines[0].deadline <= now:
            group = self._deadlines.popleft()
            if self._groups.get(group.kind) is group:
                # A task that joined it from now on would miss its deadline.
                del self._groups[group.kind]
            if now - group.deadline > STALLED_LOOP:
                self._poll_once_more(group)
            else:
                self._expired.extend((task_id, group) for task_id in group.ids)
        while self._expired:
            task_id, group = self._expired.popleft()
            if self._is_open(task_id, group):
                return task_id
        return None

    def _is_last(self, group: ArrivalGroup, target: PollTarget) -> bool:
        """Whether the poll that ended is the last one, whatever it found."""
        # A poll from before the loop stood still says nothing about the time since.
        return self._once or target.sent >= self.overdue.get(group, math.inf)

    def _poll_once_more(self, group: ArrivalGroup) -> None:
        """Poll the open tasks of *group*, whose deadline passed while the loop stood still."""
        self.overdue[group] = asyncio.get_running_loop().time()
        for task_id in group.ids:
            known = self._open.get(task_id)
            if isinstance(known, PollTarget) and self._is_open(task_id, group):
                self._poller.poll_soon(known)

    def _is_open(self, task_id: str, group: ArrivalGroup) -> bool:
        """Whether it is open in *group*: it may have ended and been added again in another."""
        known = self._open.get(task_id)
        return known is group or (
            isinstance(known, PollTarget) and any(each is group for each in known.subscribers)
        )

    def _group_of(self, target: PollTarget) -> ArrivalGroup:
        return next(
            each
            for each in target.subscribers
            if isinstance(each, ArrivalGroup) and each.belongs_to(self)
        )

    def _settle(
        self,
        task_id: str,
        group: ArrivalGroup,
        *,
        task: SeparationTask | None = None,
        error: VocalSepError | None = None,
    ) -> None:
        """End the wait for a task: with its final record, an error, or what its absence means."""
        known = self._open.pop(task_id)
        target = known if isinstance(known, PollTarget) else None
        polls = 0 if target is None else target.polls - self._polls_before.pop(task_id, 0)
        elapsed = asyncio.get_running_loop().time() - group.started
        if task is None and error is None:
            error = unfinished_error(
                task_id,
                target,
                elapsed=elapsed,
                polls=polls,
                pause_cause=self._poller.pause_cause(),
            )
        outcome = TaskOutcome(
            task_id=task_id,
            status=None if target is None else target.status,
            task=task,
            error=error,
            polls=polls,
            elapsed=elapsed,
            label=self._labels.pop(task_id, None),
        )
        if target is None:
            self._backlog.on_removed()
        else:
            self._poller.unsubscribe(target, group)
        self.counters.on_outcome(outcome)
        self._on_outcome(outcome)

    def stats(self) -> BatchStats:
        """The numbers as they are now."""
        now = asyncio.get_running_loop().time()
        paused_until = self._poller.limiter.snapshot().paused_until or now
        return self.counters.stats(
            pending=len(self._open),
            rate=self._poller.rate,
            newest=now - self._newest,
            model=self._poller.hazards.model(self._type),
            silence=self._poller.silence.lasts(now),
            pause=max(0.0, paused_until - now),
        )

    def release(self) -> None:
        """Stop polling for this batch, once; `forget` unsubscribes from its tasks."""
        self._stop_sweeping()
        self._poller.close_group(self.queue)
        # `pending_ids` also works after the block.
        self._pending_at_release = tuple(self._open)
        self._left = [known for known in self._open.values() if isinstance(known, PollTarget)]
        self._open.clear()

    async def forget(self) -> None:
        """Unsubscribe from the tasks that were open, without holding up the event loop.

        `Poller.wait_closed` waits for the polls that are cancelled.
        """
        while self._left:
            for target in self._left[-_SLICE:]:
                self._poller.unsubscribe(target, self._group_of(target))
            del self._left[-_SLICE:]
            await checkpoint()

    def pending(self) -> tuple[str, ...]:
        """The ids without an outcome, or those without one at the release."""
        return self._pending_at_release or tuple(self._open)
