"""Who of a batch is open, and what becomes of each."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable

import anyio

from vocalsep_async.batch.cohort import Cohort
from vocalsep_async.batch.stats import BatchStats, Tally
from vocalsep_async.batch.unasked import Unasked
from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType, TaskOutcome, TaskRef, TaskStatus
from vocalsep_async.polling import Poller, Watch, timed_out
from vocalsep_async.schedule import Line, PollPolicy

_logger = logging.getLogger("vocalsep_async")

_SLICE = 500
"""Tasks that are settled in one go, without letting others run."""
_CLOCK_RESOLUTION = 1e-6
"""Seconds; less than this no clock can be asked to wait."""
_SAME_MOMENT = 0.01
"""Seconds; ids that are taken in so closely after each other share a cohort."""


class Roster:
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
        self._open: dict[str, Watch | Cohort] = {}
        """What is known of each id: its watch, or only its cohort before the first look."""
        self._unasked = Unasked(poller.durations, self._unasked_cohort, self._admit)
        self.line: Line[Watch] = poller.gather(self, limit=limit, newcomers=self._unasked)
        self._polls_before: dict[str, int] = {}
        """Looks that were made for others, where there were any."""
        self._cohorts: dict[SeparationType | None, Cohort] = {}
        self._ending: deque[Cohort] = deque()
        self._expired: deque[tuple[str, Cohort]] = deque()
        self._timer: asyncio.Handle | None = None
        self._newest = -math.inf
        self._is_warned = False
        self._left: tuple[str, ...] = ()
        self.tally = Tally()
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
        if isinstance(known, Watch):
            self._poller.tell(known, ref)
        elif known is None:
            self._begin(ref, age)
        elif ref.type is not None or ref.created_at is not None:
            self._watch_now(ref, known)

    def _begin(self, ref: TaskRef, age: float) -> None:
        cohort = self._cohort(ref.type or self._type, anyio.current_time() - age)
        cohort.take_in(ref.task_id)
        self._open[ref.task_id] = cohort
        if ref.created_at is not None and self.line.is_open:
            self._watch(ref, cohort)
        else:
            self._unasked.append(ref.task_id, cohort.type)
            self._wake()
        if self.error is not None:
            self._sweep_soon()

    def _wake(self) -> None:
        if self.line.is_open:
            self._poller.wake()

    def _cohort(self, type_: SeparationType | None, started: float) -> Cohort:
        """The cohort of that moment, which is not before that of the one taken in last."""
        cohort = self._cohorts.get(type_)
        if cohort is None or started - cohort.started > _SAME_MOMENT:
            cohort = self._cohorts[type_] = Cohort(self, type_, started)
            self._newest = started
            if self.timeout < math.inf:
                self._ending.append(cohort)
                self._sweep_later()
        return cohort

    def _watch_now(self, ref: TaskRef, cohort: Cohort) -> None:
        """Have an id wait in line with what is known of it, not among those of whom nothing is."""
        if self.line.is_open:
            self._unasked.has_left()
            self._watch(ref, cohort)

    def _watch(self, ref: TaskRef, cohort: Cohort) -> None:
        before = self._poller.looks_at(ref.task_id)
        ref = ref.merged(TaskRef(ref.task_id, cohort.type))
        self._open[ref.task_id] = self._poller.join(ref, cohort)
        self._note_polls_before(ref.task_id, before)

    def _admit(self, task_id: str, cohort: Cohort) -> Watch | None:
        if cohort.deadline <= anyio.current_time():
            return None  # it ran out of time before this run began, and is settled in a moment
        self._changed()
        self._unasked.has_left()
        before = self._poller.looks_at(task_id)
        watch, needs_look = self._poller.admit(TaskRef(task_id, cohort.type), cohort)
        self._open[task_id] = watch
        self._note_polls_before(task_id, before)
        return watch if needs_look else None

    def _note_polls_before(self, task_id: str, polls: int) -> None:
        if polls:
            self._polls_before[task_id] = polls

    def _unasked_cohort(self, task_id: str) -> Cohort | None:
        known = self._open.get(task_id)
        return known if isinstance(known, Cohort) else None

    def hurry(self, task_id: str) -> bool:
        """Look at that task soon; whether it is open."""
        cohort = self._unasked_cohort(task_id)
        if cohort is not None:
            self._watch_now(TaskRef(task_id), cohort)
        known = self._open.get(task_id)
        if isinstance(known, Watch):
            self._poller.hurry(known)
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

    def looked(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""
        self.tally.looked(error)

    def saw(self, cohort: Cohort, watch: Watch, task: SeparationTask) -> None:
        """A look succeeded."""
        if task.is_final:
            ended = watch.ended_at(task)
            if ended is not None:
                self.tally.learned_of_end(anyio.current_time() - max(ended, cohort.started))
            self._settle(watch.task_id, cohort, task=task)
        elif self._once:
            self._settle(watch.task_id, cohort)
        elif self._note is not None:
            polls = watch.polls - self._polls_before.get(watch.task_id, 0)
            self._note(watch.task_id, task.status, polls)

    def missed(self, cohort: Cohort, watch: Watch, error: VocalSepError) -> None:  # noqa: ARG002
        """A look met *error* and will be repeated, for those who want more than one."""
        if self._once:
            self._settle(watch.task_id, cohort)

    def fail(self, cohort: Cohort, watch: Watch, error: Exception) -> None:
        """There will be no other look, because of *error*."""
        if not isinstance(error, VocalSepError):
            self.failure = error
            self._changed()
        elif self._is_open(watch.task_id, cohort):
            self._settle(watch.task_id, cohort, error=error)

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
        cohort = known if isinstance(known, Cohort) else self._cohort_among(known)
        self._settle(task_id, cohort, error=self.error)
        return True

    def _next_expired(self, now: float) -> str | None:
        while self._ending and self._ending[0].deadline <= now:
            cohort = self._ending.popleft()
            if self._cohorts.get(cohort.type) is cohort:
                # Nobody would end those who joined it from now on.
                del self._cohorts[cohort.type]
            self._expired.extend((task_id, cohort) for task_id in cohort.ids or ())
        while self._expired:
            task_id, cohort = self._expired.popleft()
            if self._is_open(task_id, cohort):
                return task_id
        return None

    def _is_open(self, task_id: str, cohort: Cohort) -> bool:
        """Whether it is open since *cohort*; it may have ended and been added again."""
        known = self._open.get(task_id)
        return known is cohort or (
            isinstance(known, Watch) and any(each is cohort for each in known.followers)
        )

    def _cohort_among(self, watch: Watch) -> Cohort:
        return next(
            each for each in watch.followers if isinstance(each, Cohort) and each.belongs_to(self)
        )

    def _settle(
        self,
        task_id: str,
        cohort: Cohort,
        *,
        task: SeparationTask | None = None,
        error: VocalSepError | None = None,
    ) -> None:
        """The wait for a task is over: with its final record, an error, or out of time."""
        known = self._open.pop(task_id)
        watch = known if isinstance(known, Watch) else None
        polls = 0 if watch is None else watch.polls - self._polls_before.pop(task_id, 0)
        elapsed = anyio.current_time() - cohort.started
        if task is None and error is None:
            error = timed_out(task_id, watch, elapsed=elapsed, polls=polls)
        outcome = TaskOutcome(
            task_id=task_id,
            status=None if watch is None else watch.status,
            task=task,
            error=error,
            polls=polls,
            elapsed=elapsed,
        )
        if watch is None:
            self._unasked.has_left()
        else:
            self._poller.leave(watch, cohort)
        self.tally.ended(outcome)
        self._deliver(outcome)

    def stats(self) -> BatchStats:
        """Sum up."""
        now = anyio.current_time()
        return self.tally.stats(
            pending=len(self._open),
            rate=self._poller.rate,
            newest=now - self._newest,
            model=self._poller.durations.model(self._type),
        )

    def release(self) -> None:
        """End all looks that nobody else waits for; `Poller.ended` waits until they have ended."""
        self._stop_sweeping()
        self._poller.disperse(self.line)
        for known in self._open.values():
            if isinstance(known, Watch):
                self._poller.leave(known, self._cohort_among(known))
        self._left = tuple(self._open)
        self._open.clear()

    def pending(self) -> tuple[str, ...]:
        """The ids that have no outcome, or had none when the tasks were released."""
        return self._left or tuple(self._open)
