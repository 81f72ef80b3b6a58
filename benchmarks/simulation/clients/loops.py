"""What people do today: a loop for each task, perhaps behind a token bucket they share."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial

from attrs import frozen

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Answer, Limit
from benchmarks.simulation.timeline import Alarm, Timeline

_MOST_IN_FLIGHT = 10
_JITTER = 0.5

Gap = Callable[[int, random.Random], float]


@frozen
class FixedGap:
    """The same sleep each time."""

    seconds: float

    def __call__(self, _polls: int, _chance: random.Random) -> float:
        """Seconds to sleep."""
        return self.seconds


@frozen
class DoublingGap:
    """Twice the last sleep, up to a cap; jitter takes up to half of it away."""

    initial: float
    longest: float

    def __call__(self, polls: int, chance: random.Random) -> float:
        """Seconds to sleep after so many looks."""
        gap = min(self.longest, self.initial * 2.0 ** min(polls - 1, 30))
        return gap * (1 - _JITTER * chance.random())


class Loops:
    """Ask, sleep, ask again; a refusal counts as "not done"."""

    def __init__(self, world: World, gap: Gap, *, has_bucket: bool = False) -> None:
        self._world = world
        self._gap = gap
        bucket = Bucket(world.limit) if has_bucket else None
        self._queue = Queue(world.timeline, bucket)

    def track(self, job: Job) -> None:
        """Begin with *job*."""
        self._queue.join(partial(self._ask, job))

    def _ask(self, job: Job) -> None:
        self._world.server.poll(job, partial(self._answered, job))

    def _answered(self, job: Job, answer: Answer) -> None:
        self._queue.leave()
        if not answer.done:
            timeline = self._world.timeline
            wake = timeline.now + self._gap(job.polls, self._world.chance)
            timeline.at(wake, partial(self.track, job))


class Queue:
    """First come, first served: so many requests in flight, and the bucket's pace."""

    def __init__(self, timeline: Timeline, bucket: Bucket | None) -> None:
        self._timeline = timeline
        self._bucket = bucket
        self._waiting: deque[Callable[[], None]] = deque()
        self._in_flight = 0
        self._alarm = Alarm(timeline, self._let_in)

    def join(self, action: Callable[[], None]) -> None:
        """Do *action* when its turn comes."""
        self._waiting.append(action)
        self._let_in()

    def leave(self) -> None:
        """A request is over."""
        self._in_flight -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._in_flight < _MOST_IN_FLIGHT:
            wait = 0.0 if self._bucket is None else self._bucket.take(self._timeline.now)
            if wait > 0:
                self._alarm.set(self._timeline.now + wait)
                return
            self._in_flight += 1
            self._waiting.popleft()()


class Bucket:
    """A token bucket that starts full."""

    def __init__(self, limit: Limit) -> None:
        self._capacity = float(limit.requests)
        self._rate = limit.requests / limit.period
        self._tokens = self._capacity
        self._filled_at = 0.0

    def take(self, now: float) -> float:
        """Take a token: 0; or the seconds until there is one."""
        grown = self._tokens + (now - self._filled_at) * self._rate
        self._tokens, self._filled_at = min(self._capacity, grown), now
        if self._tokens < 1 - 1e-9:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0
