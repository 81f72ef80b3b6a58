"""Base of the clients that send through the rate limiter of the package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Generic, TypeVar

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.server import Answer
from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timer
from vocalsep_async import RateLimit
from vocalsep_async._limiting import Grant, RateLimitState

T = TypeVar("T")


class Paced(ABC, Generic[T]):
    """Chooses a task each time that the rate limiter allows a request."""

    def __init__(self, world: World) -> None:
        self.world = world
        limit = RateLimit(world.limit.requests, world.limit.period)
        self.rate_limiter = RateLimitState(limit if world.knows_limit else None)
        self._timer = Timer(world.timeline, self._send)

    @abstractmethod
    def choose(self, now: float) -> T | None:
        """Remove and return what to poll at *now*; None if nothing is due."""

    @abstractmethod
    def next_due(self, now: float) -> float:
        """When `choose` may return something; infinity for not before a change."""

    @abstractmethod
    def task_of(self, chosen: T) -> SimulatedTask:
        """Return the simulated task of *chosen*."""

    @abstractmethod
    def on_record(self, chosen: T, answer: Answer) -> None:
        """Process the answer to a poll of *chosen*."""

    def wake(self) -> None:
        """Send what is due, after all other events of this moment."""
        self._timer.set(self.world.timeline.now)

    def _send(self) -> None:
        now = self.world.timeline.now
        while (wait := self.rate_limiter.wait(now)) == 0:
            chosen = self.choose(now)
            if chosen is None:
                self._timer.set(self.next_due(now))
                return
            grant = self.rate_limiter.start(now)
            self.world.server.poll(self.task_of(chosen), partial(self._on_answer, chosen, grant))
        self._timer.set(now + wait)

    def _on_answer(self, chosen: T, grant: Grant, answer: Answer) -> None:
        limiter = self.rate_limiter
        report = limiter.on_throttled if answer.throttled else limiter.on_answer
        report(grant, self.world.timeline.now)
        self.on_record(chosen, answer)
        self.wake()
