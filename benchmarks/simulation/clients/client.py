"""The interface of a simulated client, and its surroundings."""

from __future__ import annotations

import random
from typing import Protocol

from attrs import frozen

from benchmarks.simulation.callbacks import Callbacks
from benchmarks.simulation.server import Limit, RoundTrip, Server
from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timeline


@frozen
class World:
    """The surroundings of a client.

    Attributes:
        timeline: virtual time.
        server: the server that it polls.
        limit: the rate limit.
        knows_limit: whether the client knows it.
        round_trip: how long requests take.
        types_known: whether the client knows the types of its tasks from the start.
        has_dates: whether answers say what time it is at the server.
        rng: random numbers for the jitter of the client.
        callbacks: what tells that a task has finished; None for nothing.
    """

    timeline: Timeline
    server: Server
    limit: Limit
    knows_limit: bool
    round_trip: RoundTrip
    types_known: bool
    has_dates: bool
    rng: random.Random
    callbacks: Callbacks | None = None


class Client(Protocol):
    """Polls tasks until they have finished, with no knowledge that a real client could not have."""

    def track(self, task: SimulatedTask) -> None:
        """Begin to track *task*."""
