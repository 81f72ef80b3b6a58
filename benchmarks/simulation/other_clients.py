"""Other clients of the same account, with request patterns of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Protocol

from attrs import frozen

from benchmarks.simulation.server import Server
from benchmarks.simulation.timeline import Timeline


class OtherClient(Protocol):
    """The request pattern of another client."""

    def gaps(self, rng: random.Random) -> Iterator[float]:
        """Yield the seconds from one request to the next, endlessly."""


@frozen
class Steady:
    """*rate* requests per second, evenly spaced."""

    rate: float

    def gaps(self, rng: random.Random) -> Iterator[float]:
        """Yield the seconds from one request to the next."""
        yield rng.random() / self.rate
        while True:
            yield 1 / self.rate


@frozen
class Poisson:
    """*rate* requests per second, at random."""

    rate: float

    def gaps(self, rng: random.Random) -> Iterator[float]:
        """Yield the seconds from one request to the next."""
        while True:
            yield rng.expovariate(self.rate)


@frozen
class OnOff:
    """*rate* requests per second for *seconds*, then none for as long, in turn."""

    rate: float
    seconds: float = 60.0

    def gaps(self, rng: random.Random) -> Iterator[float]:
        """Yield the seconds from one request to the next."""
        yield rng.uniform(0, self.seconds)
        while True:
            for _ in range(round(self.rate * self.seconds)):
                yield 1 / self.rate
            yield self.seconds


class OtherTraffic:
    """The requests of another client at the server.

    Attributes:
        sent: number of requests.
        throttled: number of these that were throttled.
    """

    def __init__(
        self, other_client: OtherClient, timeline: Timeline, server: Server, rng: random.Random
    ) -> None:
        self.sent = 0
        self.throttled = 0
        self._timeline = timeline
        self._server = server
        self._gaps = other_client.gaps(rng)
        self._schedule_next()

    def _schedule_next(self) -> None:
        self._timeline.at(self._timeline.now + next(self._gaps), self._send)

    def _send(self) -> None:
        self.sent += 1
        self._timeline.at(self._timeline.now + self._server.one_way(), self._arrive)
        self._schedule_next()

    def _arrive(self) -> None:
        self.throttled += not self._server.limiting.accepts(self._timeline.now)
