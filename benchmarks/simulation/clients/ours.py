"""The package: its scheduler, its duration models and its default policy."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.clients.paced import Paced
from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Answer
from vocalsep_async._scheduling.queue import GUESSED_AGE
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._scheduling.scheduler import Scheduler
from vocalsep_async.durations import Durations
from vocalsep_async.policies import Adaptive, PollContext, PollPolicy

R = TypeVar("R")

_LOOKS_OF_A_BATCH = 8
"""How many looks of one batch are under way at once."""
_RESTLESS = 0.05
"""Seconds; a schedule that wants to be asked at once, and then names nobody, is asked so soon."""


class Tracked(QueueEntry):
    """A job as the package sees it."""

    __slots__ = ("job", "policy", "polls", "type", "was_refused")

    def __init__(
        self, job: Job, durations: Durations, policy: PollPolicy, now: float, *, type_known: bool
    ) -> None:
        self.type = job.type if type_known else None
        created = job.created if job.age_is_known else now - GUESSED_AGE
        super().__init__(durations.model(self.type), created, began=now)
        self.job = job
        self.policy = policy
        self.polls = 0
        self.was_refused = False

    def wants(self, price: float) -> float:
        """When its policy wants the next look; at once before the first and after a refusal."""
        if not self.polls or self.was_refused:
            return self.waiting_since
        context = PollContext(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=max(self.sent - self.created, 0.0),
            model=self.model,
            draw=self.draw,
            price=price,
        )
        return self.sent + self.policy.delay(context)

    def still_runs(self, answer: Answer) -> None:
        """Learn from an answer that says so."""
        self.created = answer.created
        age = self.sent - self.created
        if age > self.running_at:
            self.model.observe_running(self.running_at, age)
            self.running_at = age


class Waiting:
    """Jobs that nobody looked at yet and whose age nobody knows."""

    def __init__(self) -> None:
        self._fresh: dict[object, deque[Tracked]] = defaultdict(deque)

    def __len__(self) -> int:
        return sum(map(len, self._fresh.values()))

    def add(self, tracked: Tracked) -> None:
        """Let *tracked* wait for its first look."""
        self._fresh[tracked.type].append(tracked)

    def expected_delay(self, now: float) -> float:
        """Seconds for which the best of them may have been finished, unnoticed, by *now*."""
        return self._best(now)[0].expected_delay(now)

    def admit(self, now: float) -> Tracked | None:
        """Take the best one out: the first of its type."""
        return self._best(now).popleft()

    def _best(self, now: float) -> deque[Tracked]:
        waiting = [queue for queue in self._fresh.values() if queue]
        return max(waiting, key=lambda queue: queue[0].expected_delay(now))


class Ours(Paced[Tracked]):
    """One line of tasks, as the client has it for a batch or for all single waits."""

    def __init__(self, world: World, policy: PollPolicy | None = None) -> None:
        super().__init__(world)
        self.timed: Callable[..., Any] = _untimed
        self._policy = policy or Adaptive()
        self._durations = Durations()
        self._waiting = Waiting()
        self._scheduler: Scheduler[Tracked] = Scheduler(world.chance.random)
        limit = _LOOKS_OF_A_BATCH if world.is_batch else math.inf
        self._line = self._scheduler.queue(limit=limit, backlog=self._waiting)

    def track(self, job: Job) -> None:
        """Begin with *job*."""
        now = self.world.timeline.now
        known = self.world.types_known
        tracked = Tracked(job, self._durations, self._policy, now, type_known=known)
        if job.age_is_known:
            self.timed(self._line.enter, tracked)
        else:
            self._waiting.add(tracked)
        self.wake()

    def choose(self, now: float) -> Tracked | None:
        """Whom the scheduler takes, after all that it had to bring up to date."""
        while self.timed(self._scheduler.tidy, now):
            pass
        chosen: Tracked | None = self.timed(self._scheduler.take, now, self.rate_limiter.rate)
        if chosen is not None:
            chosen.sent = now
            chosen.polls += 1
        return chosen

    def next_due(self, now: float) -> float:
        """When the scheduler may name somebody."""
        due: float = self.timed(self._scheduler.next_due, now)
        return due if due > now else now + _RESTLESS

    def job_of(self, chosen: Tracked) -> Job:
        """The job that is tracked."""
        return chosen.job

    def on_record(self, chosen: Tracked, answer: Answer) -> None:
        """Learn, and let it wait for its next look unless it is done."""
        self.timed(self._learn, chosen, answer)

    def _learn(self, chosen: Tracked, answer: Answer) -> None:
        self._line.done_polling()
        if answer.done:
            self._finished(chosen, answer)
            return
        chosen.was_refused = answer.throttled
        if not answer.throttled:
            chosen.still_runs(answer)
        self._line.enter(chosen)

    def _finished(self, chosen: Tracked, answer: Answer) -> None:
        duration = chosen.job.finished - answer.created
        since = min(chosen.running_at, duration)
        self._durations.observe_completion(
            duration, type_=chosen.job.type, tracked_as=chosen.type, since=since
        )
        self._line.leave(chosen)


def _untimed(call: Callable[..., R], *arguments: Any) -> R:
    return call(*arguments)
