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
from vocalsep_async.pacing import Pacer, Ticket

T = TypeVar("T")


class Paced(ABC, Generic[T]):
    """Whoever chooses what to ask next, each time there is room."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pacer = Pacer(RateLimit(world.limit.requests, world.limit.period))
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
    def saw(self, chosen: T, answer: Answer) -> None:
        """An answer came."""

    def wake(self) -> None:
        """Something has changed: ask again who is due, after all else that happens now."""
        self._alarm.set(self.world.timeline.now)

    def _ask(self) -> None:
        now = self.world.timeline.now
        while (wait := self.pacer.wait(now)) == 0:
            chosen = self.choose(now)
            if chosen is None:
                self._alarm.set(self.next_due(now))
                return
            ticket = self.pacer.start(now)
            self.world.server.look(self.job_of(chosen), partial(self._answered, chosen, ticket))
        self._alarm.set(now + wait)

    def _answered(self, chosen: T, ticket: Ticket, answer: Answer) -> None:
        report = self.pacer.refused if answer.refused else self.pacer.answered
        report(ticket, self.world.timeline.now)
        self.saw(chosen, answer)
        self.wake()
