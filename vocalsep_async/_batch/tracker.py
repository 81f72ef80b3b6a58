"""Who of a batch is open, and what becomes of each."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

import anyio

from vocalsep_async._batch.backlog import UnpolledIds
from vocalsep_async._batch.counters import BatchCounters
from vocalsep_async._batch.groups import ArrivalGroup
from vocalsep_async._polling.poller import Poller
from vocalsep_async._polling.target import PollTarget, timeout_error
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
from vocalsep_async.policies import PollPolicy

_logger = logging.getLogger("vocalsep_async")

_SLICE = 500
"""Tasks that are settled in one go, without letting others run."""
_CLOCK_RESOLUTION = 1e-6
"""Seconds; less than this no clock can be asked to wait."""
_SAME_MOMENT = 0.01
"""Seconds; ids that are taken in so closely after each other share a cohort."""


class BatchTracker:
    """The open tasks of one batch.

    Args:
        poller: who looks.
        type_: what kind of separation the tasks are, where a ref does not say; None if not known.
        limit: looks that may be under way at once.
        timeout: seconds from taking a task in to the end of its wait; 0 for a single look, None
            for no end.
        policy: when to look again.
        deliver: called with each outcome. What ends all waits at once, or a deadline, is
            delivered a slice at a time.
        changed: called when an id is looked at for the first time, and when the batch breaks off.
        note: called with the id, status and polls of a task that a look saw running; None for
            nobody.

    Attributes:
        policy: as given.
        timeout: as given; infinity where there is no deadline.
        line: where the tasks wait for their looks; closed once no more are wanted.
        tally: what it met so far.
        error: what ended the whole batch; None while it goes on.
        failure: what broke it, other than an error of this package; None if nothing did.
    """

    def __init__(
        self,
        poller: Poller,
        *,
        type_: SeparationType | None,
        limit: int,
        timeout: float | None,
        policy: PollPolicy,
        deliver: Callable[[TaskOutcome], None],
        changed: Callable[[], None],
        note: Callable[[str, TaskStatus | str, int], None] | None = None,
    ) -> None:
        self._poller = poller
        self._type = type_
        self.timeout = timeout or math.inf
        self.policy = policy
        self._once = timeout == 0
        self._deliver = deliver
        self._changed = changed
        self._note = note
        self._open: dict[str, PollTarget | ArrivalGroup] = {}
        """What is known of each id: its watch, or only its cohort before the first look."""
        self._unasked = UnpolledIds(poller.hazards, self._unasked_cohort, self._admit)
        self.queue: PollQueue[PollTarget] = poller.open_group(
            self, limit=limit, backlog=self._unasked
        )
        self._polls_before: dict[str, int] = {}
        """Looks that were made for others, where there were any."""
        self._groups: dict[SeparationType | None, ArrivalGroup] = {}
        self._ending: deque[ArrivalGroup] = deque()
        self._expired: deque[tuple[str, ArrivalGroup]] = deque()
        self._timer: asyncio.Handle | None = None
        self._newest = -math.inf
        self._is_warned = False
        self._left: tuple[str, ...] = ()
        self.counters = BatchCounters()
        self.error: VocalSepError | None = None
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unasked(self) -> int:
        """How many ids wait for their first look and nobody knows how old they are."""
        return len(self._unasked)

    # Taking in

    def take_in(self, ref: TaskRef, age: float = 0.0) -> None:
        """Track *ref*; if it is open already, only what is known of it is taken over.

        *age* is how many seconds ago its wait began, in an earlier run.
        """
        known = self._open.get(ref.task_id)
        if isinstance(known, PollTarget):
            self._poller.update(known, ref)
        elif known is None:
            self._begin(ref, age)
        elif ref.type is not None or ref.created_at is not None:
            self._watch_now(ref, known)

    def _begin(self, ref: TaskRef, age: float) -> None:
        group = self._group(ref.type or self._type, anyio.current_time() - age)
        group.take_in(ref.task_id)
        self._open[ref.task_id] = group
        if ref.created_at is not None and self.queue.is_open:
            self._watch(ref, group)
        else:
            self._unasked.append(ref.task_id, group.type)
            self._wake()
        if self.error is not None:
            self._sweep_soon()

    def _wake(self) -> None:
        if self.queue.is_open:
            self._poller.wake()

    def _group(self, type_: SeparationType | None, started: float) -> ArrivalGroup:
        """The cohort of that moment, which is not before that of the one taken in last."""
        group = self._groups.get(type_)
        if group is None or started - group.started > _SAME_MOMENT:
            group = self._groups[type_] = ArrivalGroup(self, type_, started)
            self._newest = started
            if self.timeout < math.inf:
                self._ending.append(group)
                self._sweep_later()
        return group

    def _watch_now(self, ref: TaskRef, group: ArrivalGroup) -> None:
        """Have an id wait in line with what is known of it, not among those of whom nothing is."""
        if self.queue.is_open:
            self._unasked.has_left()
            self._watch(ref, group)

    def _watch(self, ref: TaskRef, group: ArrivalGroup) -> None:
        before = self._poller.polls_of(ref.task_id)
        ref = ref.merged(TaskRef(ref.task_id, type=group.type))
        self._open[ref.task_id] = self._poller.subscribe(ref, group)
        self._note_polls_before(ref.task_id, before)

    def _admit(self, task_id: str, group: ArrivalGroup) -> PollTarget | None:
        if group.deadline <= anyio.current_time():
            return None  # it ran out of time before this run began, and is settled in a moment
        self._changed()
        self._unasked.has_left()
        before = self._poller.polls_of(task_id)
        target, needs_look = self._poller.admit(TaskRef(task_id, type=group.type), group)
        self._open[task_id] = target
        self._note_polls_before(task_id, before)
        return target if needs_look else None

    def _note_polls_before(self, task_id: str, polls: int) -> None:
        if polls:
            self._polls_before[task_id] = polls

    def _unasked_cohort(self, task_id: str) -> ArrivalGroup | None:
        known = self._open.get(task_id)
        return known if isinstance(known, ArrivalGroup) else None

    def poll_soon(self, task_id: str) -> bool:
        """Look at that task soon; whether it is open."""
        group = self._unasked_cohort(task_id)
        if group is not None:
            self._watch_now(TaskRef(task_id), group)
        known = self._open.get(task_id)
        if isinstance(known, PollTarget):
            self._poller.poll_soon(known)
        return known is not None

    def warn_of_too_many(self) -> None:
        """Say once, with the arithmetic, that one look at each takes longer than the timeout."""
        rate = self._poller.rate
        if self._is_warned or len(self._open) <= rate * self.timeout:
            return
        self._is_warned = True
        _logger.warning(
            "%d tasks cannot be looked at within their timeout: one look at each takes "
            "%d / %.3g requests per s = %.0f s, and the timeout is %g s",
            len(self._open),
            len(self._open),
            rate,
            len(self._open) / rate,
            self.timeout,
        )

    # What cohorts tell

    def on_poll(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""
        self.counters.on_poll(error)

    def on_record(self, group: ArrivalGroup, target: PollTarget, task: SeparationTask) -> None:
        """A look succeeded."""
        if task.is_final:
            ended = target.ended_at(task)
            if ended is not None:
                self.counters.learned_of_end(anyio.current_time() - max(ended, group.started))
            self._settle(target.task_id, group, task=task)
        elif self._once:
            self._settle(target.task_id, group)
        elif self._note is not None:
            polls = target.polls - self._polls_before.get(target.task_id, 0)
            self._note(target.task_id, task.status, polls)

    def on_retry(self, group: ArrivalGroup, target: PollTarget, error: VocalSepError) -> None:  # noqa: ARG002
        """A look met *error* and will be repeated, for those who want more than one."""
        if self._once:
            self._settle(target.task_id, group)

    def on_error(self, group: ArrivalGroup, target: PollTarget, error: Exception) -> None:
        """There will be no other look, because of *error*."""
        if not isinstance(error, VocalSepError):
            self.failure = error
            self._changed()
        elif self._is_open(target.task_id, group):
            self._settle(target.task_id, group, error=error)

    def end(self, error: Exception) -> None:
        """Nobody looks any more, because of *error*."""
        if isinstance(error, VocalSepError):
            self.error = error
        else:
            self.failure = error
        self._changed()
        self._sweep_soon()

    # Outcomes

    def _sweep(self) -> None:
        """Settle those whose waits are over, as many as may be without holding others up."""
        # A timer may fire a little before the moment it was set for.
        now = anyio.current_time() + _CLOCK_RESOLUTION
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
        if self._ending and self.error is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._ending[0].deadline, self._sweep)

    def _stop_sweeping(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _settle_next(self, now: float) -> bool:
        """Settle one task whose wait is over, if there is one."""
        if self.error is not None:
            task_id = next(reversed(self._open), None)
        else:
            task_id = self._next_expired(now)
        if task_id is None:
            return False
        known = self._open[task_id]
        group = known if isinstance(known, ArrivalGroup) else self._cohort_among(known)
        self._settle(task_id, group, error=self.error)
        return True

    def _next_expired(self, now: float) -> str | None:
        while self._ending and self._ending[0].deadline <= now:
            group = self._ending.popleft()
            if self._groups.get(group.type) is group:
                # Nobody would end those who joined it from now on.
                del self._groups[group.type]
            self._expired.extend((task_id, group) for task_id in group.ids or ())
        while self._expired:
            task_id, group = self._expired.popleft()
            if self._is_open(task_id, group):
                return task_id
        return None

    def _is_open(self, task_id: str, group: ArrivalGroup) -> bool:
        """Whether it is open since *cohort*; it may have ended and been added again."""
        known = self._open.get(task_id)
        return known is group or (
            isinstance(known, PollTarget) and any(each is group for each in known.subscribers)
        )

    def _cohort_among(self, target: PollTarget) -> ArrivalGroup:
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
        """The wait for a task is over: with its final record, an error, or out of time."""
        known = self._open.pop(task_id)
        target = known if isinstance(known, PollTarget) else None
        polls = 0 if target is None else target.polls - self._polls_before.pop(task_id, 0)
        elapsed = anyio.current_time() - group.started
        if task is None and error is None:
            error = timeout_error(task_id, target, elapsed=elapsed, polls=polls)
        outcome = TaskOutcome(
            task_id=task_id,
            status=None if target is None else target.status,
            task=task,
            error=error,
            polls=polls,
            elapsed=elapsed,
        )
        if target is None:
            self._unasked.has_left()
        else:
            self._poller.unsubscribe(target, group)
        self.counters.ended(outcome)
        self._deliver(outcome)

    def stats(self) -> BatchStats:
        """Sum up."""
        now = anyio.current_time()
        return self.counters.stats(
            pending=len(self._open),
            rate=self._poller.rate,
            newest=now - self._newest,
            model=self._poller.hazards.model(self._type),
        )

    def release(self) -> None:
        """End all looks that nobody else waits for; `Poller.wait_closed` waits until they have ended."""
        self._stop_sweeping()
        self._poller.close_group(self.queue)
        for known in self._open.values():
            if isinstance(known, PollTarget):
                self._poller.unsubscribe(known, self._cohort_among(known))
        self._left = tuple(self._open)
        self._open.clear()

    def pending(self) -> tuple[str, ...]:
        """The ids that have no outcome, or had none when the tasks were released."""
        return self._left or tuple(self._open)
