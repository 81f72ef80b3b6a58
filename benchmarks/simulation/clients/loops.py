"""Hand-written clients: a polling loop for each task, perhaps behind a shared token bucket."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial

from attrs import frozen

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.server import Answer, Limit
from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timeline, Timer

_MAX_IN_FLIGHT = 10
_JITTER = 0.5

Gap = Callable[[int, random.Random], float]


@frozen
class FixedGap:
    """The same sleep each time."""

    seconds: float

    def __call__(self, _polls: int, _chance: random.Random) -> float:
        """Return the seconds to sleep."""
        return self.seconds


@frozen
class DoublingGap:
    """Twice the last sleep, up to a maximum; jitter subtracts up to half of it."""

    initial: float
    longest: float

    def __call__(self, polls: int, rng: random.Random) -> float:
        """Return the seconds to sleep after so many polls."""
        gap = min(self.longest, self.initial * 2.0 ** min(polls - 1, 30))
        return gap * (1 - _JITTER * rng.random())


class Loops:
    """Poll, sleep, poll again; a throttled poll counts as "not done"."""

    def __init__(self, world: World, gap: Gap, *, has_bucket: bool = False) -> None:
        self._world = world
        self._gap = gap
        bucket = TokenBucket(world.limit) if has_bucket else None
        self._queue = RequestQueue(world.timeline, bucket)

    def track(self, task: SimulatedTask) -> None:
        """Begin to track *task*."""
        self._queue.push(partial(self._send, task))

    def _send(self, task: SimulatedTask) -> None:
        self._world.server.poll(task, partial(self._on_answer, task))

    def _on_answer(self, task: SimulatedTask, answer: Answer) -> None:
        self._queue.on_answer()
        if not answer.done:
            timeline = self._world.timeline
            wake = timeline.now + self._gap(task.polls, self._world.rng)
            timeline.at(wake, partial(self.track, task))


class RequestQueue:
    """First come, first served, with a maximum of requests in flight and the bucket's rate."""

    def __init__(self, timeline: Timeline, bucket: TokenBucket | None) -> None:
        self._timeline = timeline
        self._bucket = bucket
        self._waiting: deque[Callable[[], None]] = deque()
        self._in_flight = 0
        self._timer = Timer(timeline, self._start_waiting)

    def push(self, action: Callable[[], None]) -> None:
        """Queue *action*, which starts a request."""
        self._waiting.append(action)
        self._start_waiting()

    def on_answer(self) -> None:
        """Count one request less in flight."""
        self._in_flight -= 1
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._in_flight < _MAX_IN_FLIGHT:
            wait = 0.0 if self._bucket is None else self._bucket.take(self._timeline.now)
            if wait > 0:
                self._timer.set(self._timeline.now + wait)
                return
            self._in_flight += 1
            self._waiting.popleft()()


class TokenBucket:
    """A token bucket that starts full."""

    def __init__(self, limit: Limit) -> None:
        self._capacity = float(limit.requests)
        self._rate = limit.requests / limit.period
        self._tokens = self._capacity
        self._filled_at = 0.0

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        grown = self._tokens + (now - self._filled_at) * self._rate
        self._tokens, self._filled_at = min(self._capacity, grown), now
        if self._tokens < 1 - 1e-9:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0
