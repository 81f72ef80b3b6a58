"""Other clients of the same account, who know nothing of ours."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Protocol

from attrs import frozen

from benchmarks.simulation.server import Server
from benchmarks.simulation.timeline import Timeline


class Stranger(Protocol):
    """When another client's requests arrive."""

    def gaps(self, chance: random.Random) -> Iterator[float]:
        """Seconds from one request to the next, without end."""


@frozen
class Paced:
    """*rate* requests a second, evenly."""

    rate: float

    def gaps(self, chance: random.Random) -> Iterator[float]:
        """Seconds from one request to the next."""
        yield chance.random() / self.rate
        while True:
            yield 1 / self.rate


@frozen
class Poisson:
    """*rate* requests a second, at random."""

    rate: float

    def gaps(self, chance: random.Random) -> Iterator[float]:
        """Seconds from one request to the next."""
        while True:
            yield chance.expovariate(self.rate)


@frozen
class OnOff:
    """*rate* requests a second for a while, then as long a silence."""

    rate: float
    seconds: float = 60.0

    def gaps(self, chance: random.Random) -> Iterator[float]:
        """Seconds from one request to the next."""
        yield chance.uniform(0, self.seconds)
        while True:
            for _ in range(round(self.rate * self.seconds)):
                yield 1 / self.rate
            yield self.seconds


class Visits:
    """A stranger at the server.

    Attributes:
        sent: its requests.
        refused: how many of them were refused.
    """

    def __init__(
        self, stranger: Stranger, timeline: Timeline, server: Server, chance: random.Random
    ) -> None:
        self.sent = 0
        self.throttled = 0
        self._timeline = timeline
        self._server = server
        self._gaps = stranger.gaps(chance)
        self._plan()

    def _plan(self) -> None:
        self._timeline.at(self._timeline.now + next(self._gaps), self._sends)

    def _sends(self) -> None:
        self.sent += 1
        self._timeline.at(self._timeline.now + self._server.one_way(), self._arrives)
        self._plan()

    def _arrives(self) -> None:
        self.throttled += not self._server.window.accepts(self._timeline.now)
