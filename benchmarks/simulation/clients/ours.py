"""The package: its scheduler, its hazard models and its default policy."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.clients.paced import Paced
from benchmarks.simulation.server import Answer
from benchmarks.simulation.tasks import SimulatedTask
from vocalsep_async._polling.task_ages import TaskAges
from vocalsep_async._scheduling.callbacks import CallbackLosses
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._scheduling.scheduler import WAITS_YIELD, Scheduler
from vocalsep_async._scheduling.sibling_ages import GUESSED_AGE, SiblingAges
from vocalsep_async.durations import view_of
from vocalsep_async.policies import Adaptive, PollContext, PollPolicy

R = TypeVar("R")

_BATCH_POLLS_IN_FLIGHT = 8
"""Polls of one batch in flight, as in the client by default."""
_SHORTEST_GAP = 1.0
"""Seconds between two polls of a task, at least, where its callback brings one forward."""
_RETRY_AFTER = 0.05
"""Seconds until the next call of a scheduler that is due but returned no task."""


class Tracked(QueueEntry):
    """A task in the scheduler."""

    __slots__ = (
        "age_is_known",
        "called",
        "policy",
        "polls",
        "siblings",
        "task",
        "type",
        "was_throttled",
    )

    def __init__(
        self,
        task: SimulatedTask,
        hazards: HazardTable,
        policy: PollPolicy,
        now: float,
        *,
        type_known: bool,
        awaits_callback: bool = False,
    ) -> None:
        self.type = task.type if type_known else None
        created = task.created if task.age_is_known else now - GUESSED_AGE
        super().__init__(hazards.model(self.type), created, began=now)
        self.task = task
        self.policy = policy
        self.polls = 0
        self.siblings: SiblingAges | None = None
        self.was_throttled = False
        self.age_is_known = task.age_is_known
        self.awaits_callback = awaits_callback
        self.called = False

    def wants(self, price: float) -> float:
        """When the policy wants the next poll; immediately for the first and after throttling."""
        if self.was_throttled:
            return self.waiting_since
        cost = self.queue.callback_cost if self.awaits_callback else 0.0
        is_worth_it = self.due_at(cost) if cost else self.waiting_since
        if not self.polls:
            return max(self.waiting_since, is_worth_it)
        context = PollContext(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=max(self.sent - self.created, 0.0),
            durations=view_of(self.model),
            draw=self.draw,
            price=price,
            spare=isinstance(self.queue, PollQueue) and self.queue.has_spare(self.sent),
        )
        return max(self.sent + self.policy.delay(context), is_worth_it)

    def still_runs(self) -> None:
        """Learn from the last poll, which found the task running."""
        self.observe_running(self.sent - self.created)


class Line:
    """The tasks of one type that were never polled, with the ages that first polls told.

    Attributes:
        tasks: in the order of adding.
        siblings: for the front and for the back.
    """

    def __init__(self) -> None:
        self.tasks: deque[Tracked] = deque()
        self.siblings = (SiblingAges(), SiblingAges())

    def offers(self, now: float) -> Iterator[tuple[float, Line, bool]]:
        """Expected delays of the first and of the last task; True for the last."""
        if self.tasks:
            for is_back, siblings in enumerate(self.siblings):
                tracked = self.tasks[-is_back]
                delay = siblings.expected_delay(tracked.model, now - tracked.began)
                yield delay, self, bool(is_back)


class TypedBacklog:
    """Tasks of unknown age that were never polled, taken from both ends of each type's."""

    def __init__(self) -> None:
        self._lines: dict[object, Line] = defaultdict(Line)

    def __len__(self) -> int:
        return sum(len(line.tasks) for line in self._lines.values())

    def add(self, tracked: Tracked) -> None:
        """Let *tracked* wait for its first poll."""
        self._lines[tracked.type].tasks.append(tracked)

    def expected_delay(self, now: float) -> float:
        """Expected delay in seconds of the task that `admit` returns."""
        return self._best(now)[0]

    def delay_growth(self, now: float) -> float:
        """Growth of the expected delay of the task that `admit` returns."""
        _, line, is_back = self._best(now)
        first = line.tasks[-is_back]
        return line.siblings[is_back].ended(first.model, now - first.began)

    def admit(self, now: float) -> Tracked | None:
        """Remove and return the task with the largest expected delay, of those at the ends."""
        _, line, is_back = self._best(now)
        tracked = line.tasks.pop() if is_back else line.tasks.popleft()
        tracked.siblings = line.siblings[is_back]
        return tracked

    def _best(self, now: float) -> tuple[float, Line, bool]:
        offers = (offer for line in self._lines.values() for offer in line.offers(now))
        return max(offers, key=lambda each: each[0])


class Ours(Paced[Tracked]):
    """A poll queue for each batch and one for all single waits, as the client has them."""

    def __init__(self, world: World, policy: PollPolicy | None = None) -> None:
        super().__init__(world)
        self.timed: Callable[..., Any] = _untimed
        self._policy = policy or Adaptive()
        self._hazards = HazardTable()
        self._ages = TaskAges()
        self._backlogs: dict[str | None, TypedBacklog] = defaultdict(TypedBacklog)
        self._queues: dict[str | None, PollQueue[Tracked]] = {}
        self._losses = CallbackLosses()
        self._scheduler: Scheduler[Tracked] = Scheduler(world.rng.random, self._losses)
        self._tracked: dict[SimulatedTask, Tracked] = {}

    def track(self, task: SimulatedTask) -> None:
        """Begin to track *task*."""
        tracked = self._tracked[task] = Tracked(
            task,
            self._hazards,
            self._policy,
            self.world.timeline.now,
            type_known=self.world.types_known,
            awaits_callback=self.world.callbacks is not None,
        )
        queue = self._queue_of(tracked)
        if task.age_is_known:
            self.timed(queue.push, tracked)
        else:
            self._backlogs[task.batch].add(tracked)
        self.wake()

    def _queue_of(self, tracked: Tracked) -> PollQueue[Tracked]:
        batch = tracked.task.batch
        if batch not in self._queues:
            self._queues[batch] = self.open_queue(batch, self._backlogs[batch])
        return self._queues[batch]

    def open_queue(self, batch: str | None, backlog: TypedBacklog) -> PollQueue[Tracked]:
        """Open the queue of a batch; None for the single waits."""
        if batch is None:
            return self._scheduler.queue(backlog=backlog, yields=WAITS_YIELD)
        return self._scheduler.queue(limit=_BATCH_POLLS_IN_FLIGHT, backlog=backlog)

    def choose(self, now: float) -> Tracked | None:
        """Take a task from the scheduler, after refreshing its outdated keys."""
        while self.timed(self._scheduler.refresh, now):
            pass
        chosen: Tracked | None = self.timed(self._scheduler.take, now, self.rate_limiter.rate)
        if chosen is not None:
            chosen.sent, chosen.latest = now, math.inf
            chosen.polls += 1
        return chosen

    def next_due(self, now: float) -> float:
        """When the scheduler may return a task."""
        due: float = self.timed(self._scheduler.next_due, now)
        return min(due, self._scheduler.next_change) if due > now else now + _RETRY_AFTER

    def task_of(self, chosen: Tracked) -> SimulatedTask:
        """Return the simulated task of *chosen*."""
        return chosen.task

    def on_record(self, chosen: Tracked, answer: Answer) -> None:
        """Learn from *answer*, and push the task again unless it has finished."""
        self.timed(self._learn, chosen, answer)

    def _learn(self, chosen: Tracked, answer: Answer) -> None:
        queue = self._queue_of(chosen)
        queue.end_poll()
        # A callback may have told the end while the poll was under way.
        if chosen.task not in self._tracked:
            return
        if not (answer.throttled or chosen.age_is_known):
            self._learn_age(chosen, answer)
        if answer.done:
            self._finished(chosen, answer)
            return
        chosen.was_throttled = answer.throttled
        if not answer.throttled:
            chosen.still_runs()
        queue.push(chosen)

    def _learn_age(self, chosen: Tracked, answer: Answer) -> None:
        now = self.world.timeline.now
        chosen.created, chosen.age_is_known = answer.created, True
        if not self.world.has_dates:
            created = datetime.fromtimestamp(answer.created, UTC)
            chosen.created = now - self._ages.guess(created, now)
        if chosen.siblings is not None:
            chosen.siblings.observe(chosen.began - chosen.created)

    def _finished(self, chosen: Tracked, answer: Answer) -> None:
        duration = chosen.task.finished - answer.created
        self._learn_duration(chosen, duration)
        self._end(chosen)
        if self.world.callbacks is None:
            return
        if chosen.called:
            self._losses.on_callback()
        else:
            self._losses.on_end(chosen.task, chosen.task.finished)

    def _learn_duration(self, tracked: Tracked, duration: float) -> None:
        self._scheduler.observe_end(self.world.timeline.now)
        since = min(tracked.counted_at, duration)
        self._hazards.observe_completion(
            duration, type_=tracked.task.type, tracked_as=tracked.type, since=since
        )

    def _end(self, tracked: Tracked) -> None:
        self._queue_of(tracked).remove(tracked)
        del self._tracked[tracked.task]

    # Callbacks

    def notify(self, task: SimulatedTask) -> None:
        """A callback of *task* came."""
        now = self.world.timeline.now
        tracked = self._tracked.get(task)
        if tracked is None:
            self._losses.on_late(task, now)
        elif self.world.callbacks is not None and self.world.callbacks.trusted:
            self._trust(tracked, now)
        else:
            tracked.called, tracked.awaits_callback = True, False
            tracked.latest = max(now, tracked.sent + _SHORTEST_GAP)
            if tracked.waits:
                tracked.queue.update(tracked)
        self.wake()

    def _trust(self, tracked: Tracked, now: float) -> None:
        self._losses.on_callback()
        # Its record does not say when the task ended.
        self._learn_duration(tracked, now - tracked.created)
        self._end(tracked)
        tracked.task.noticed = now


def _untimed(call: Callable[..., R], *arguments: Any) -> R:
    return call(*arguments)
