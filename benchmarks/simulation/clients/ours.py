"""The package: its scheduler, its hazard models and its default policy."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.clients.paced import Paced
from benchmarks.simulation.server import Answer
from benchmarks.simulation.tasks import SimulatedTask
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.queue import GUESSED_AGE
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._scheduling.scheduler import Scheduler
from vocalsep_async.durations import view_of
from vocalsep_async.policies import Adaptive, PollContext, PollPolicy

R = TypeVar("R")

_BATCH_POLLS_IN_FLIGHT = 8
"""Polls of one batch in flight, as in the client by default."""
_RETRY_AFTER = 0.05
"""Seconds until the next call of a scheduler that is due but returned no task."""


class Tracked(QueueEntry):
    """A task in the scheduler."""

    __slots__ = ("policy", "polls", "task", "type", "was_throttled")

    def __init__(
        self,
        task: SimulatedTask,
        hazards: HazardTable,
        policy: PollPolicy,
        now: float,
        *,
        type_known: bool,
    ) -> None:
        self.type = task.type if type_known else None
        created = task.created if task.age_is_known else now - GUESSED_AGE
        super().__init__(hazards.model(self.type), created, began=now)
        self.task = task
        self.policy = policy
        self.polls = 0
        self.was_throttled = False

    def wants(self, price: float) -> float:
        """When the policy wants the next poll; immediately for the first and after throttling."""
        if not self.polls or self.was_throttled:
            return self.waiting_since
        context = PollContext(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=max(self.sent - self.created, 0.0),
            durations=view_of(self.model),
            draw=self.draw,
            price=price,
        )
        return self.sent + self.policy.delay(context)

    def still_runs(self, answer: Answer) -> None:
        """Learn from *answer*, which found the task running."""
        self.created = answer.created
        age = self.sent - self.created
        if age > self.running_at:
            self.model.observe_running(self.running_at, age)
            self.running_at = age


class TypedBacklog:
    """Tasks of unknown age that were never polled, first come, first served within a type."""

    def __init__(self) -> None:
        self._fresh: dict[object, deque[Tracked]] = defaultdict(deque)

    def __len__(self) -> int:
        return sum(map(len, self._fresh.values()))

    def add(self, tracked: Tracked) -> None:
        """Let *tracked* wait for its first poll."""
        self._fresh[tracked.type].append(tracked)

    def expected_delay(self, now: float) -> float:
        """Expected delay in seconds of the task that `admit` returns."""
        return self._best(now)[0].expected_delay(now)

    def delay_growth(self, now: float) -> float:
        """Growth of the expected delay of the task that `admit` returns."""
        return self._best(now)[0].delay_growth(now)

    def admit(self, now: float) -> Tracked | None:
        """Remove and return the task with the largest expected delay, the first of its type."""
        return self._best(now).popleft()

    def _best(self, now: float) -> deque[Tracked]:
        waiting = [queue for queue in self._fresh.values() if queue]
        return max(waiting, key=lambda queue: queue[0].expected_delay(now))


class Ours(Paced[Tracked]):
    """One poll queue, as the client has it for a batch or for all single waits."""

    def __init__(self, world: World, policy: PollPolicy | None = None) -> None:
        super().__init__(world)
        self.timed: Callable[..., Any] = _untimed
        self._policy = policy or Adaptive()
        self._hazards = HazardTable()
        self._backlog = TypedBacklog()
        self._scheduler: Scheduler[Tracked] = Scheduler(world.rng.random)
        limit = _BATCH_POLLS_IN_FLIGHT if world.is_batch else math.inf
        self._queue = self._scheduler.queue(limit=limit, backlog=self._backlog)

    def track(self, task: SimulatedTask) -> None:
        """Begin to track *task*."""
        now = self.world.timeline.now
        known = self.world.types_known
        tracked = Tracked(task, self._hazards, self._policy, now, type_known=known)
        if task.age_is_known:
            self.timed(self._queue.push, tracked)
        else:
            self._backlog.add(tracked)
        self.wake()

    def choose(self, now: float) -> Tracked | None:
        """Take a task from the scheduler, after refreshing its outdated keys."""
        while self.timed(self._scheduler.refresh, now):
            pass
        chosen: Tracked | None = self.timed(self._scheduler.take, now, self.rate_limiter.rate)
        if chosen is not None:
            chosen.sent = now
            chosen.polls += 1
        return chosen

    def next_due(self, now: float) -> float:
        """When the scheduler may return a task."""
        due: float = self.timed(self._scheduler.next_due, now)
        return due if due > now else now + _RETRY_AFTER

    def task_of(self, chosen: Tracked) -> SimulatedTask:
        """Return the simulated task of *chosen*."""
        return chosen.task

    def on_record(self, chosen: Tracked, answer: Answer) -> None:
        """Learn from *answer*, and push the task again unless it has finished."""
        self.timed(self._learn, chosen, answer)

    def _learn(self, chosen: Tracked, answer: Answer) -> None:
        self._queue.end_poll()
        if answer.done:
            self._finished(chosen, answer)
            return
        chosen.was_throttled = answer.throttled
        if not answer.throttled:
            chosen.still_runs(answer)
        self._queue.push(chosen)

    def _finished(self, chosen: Tracked, answer: Answer) -> None:
        duration = chosen.task.finished - answer.created
        since = min(chosen.running_at, duration)
        self._hazards.observe_completion(
            duration, type_=chosen.task.type, tracked_as=chosen.type, since=since
        )
        self._queue.remove(chosen)


def _untimed(call: Callable[..., R], *arguments: Any) -> R:
    return call(*arguments)
