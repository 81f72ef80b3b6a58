"""Clients that ask whenever the package's pacer has room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Generic, TypeVar

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Answer
from benchmarks.simulation.timeline import Alarm
from vocalsep_async import RateLimit
from vocalsep_async._limiting import Grant, RateLimiter

T = TypeVar("T")


class Paced(ABC, Generic[T]):
    """Whoever chooses what to ask next, each time there is room."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rate_limiter = RateLimiter(RateLimit(world.limit.requests, world.limit.period))
        self._alarm = Alarm(world.timeline, self._ask)

    @abstractmethod
    def choose(self, now: float) -> T | None:
        """Take out whom to ask about now; None for nobody."""

    @abstractmethod
    def next_due(self, now: float) -> float:
        """When `choose` may say something else; infinity for not before something changes."""

    @abstractmethod
    def job_of(self, chosen: T) -> Job:
        """The job that *chosen* stands for."""

    @abstractmethod
    def on_record(self, chosen: T, answer: Answer) -> None:
        """An answer came."""

    def wake(self) -> None:
        """Something has changed: ask again who is due, after all else that happens now."""
        self._alarm.set(self.world.timeline.now)

    def _ask(self) -> None:
        now = self.world.timeline.now
        while (wait := self.rate_limiter.wait(now)) == 0:
            chosen = self.choose(now)
            if chosen is None:
                self._alarm.set(self.next_due(now))
                return
            grant = self.rate_limiter.start(now)
            self.world.server.poll(self.job_of(chosen), partial(self._answered, chosen, grant))
        self._alarm.set(now + wait)

    def _answered(self, chosen: T, grant: Grant, answer: Answer) -> None:
        report = self.rate_limiter.throttled if answer.throttled else self.rate_limiter.answered
        report(grant, self.world.timeline.now)
        self.on_record(chosen, answer)
        self.wake()
