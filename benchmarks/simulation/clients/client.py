"""What a client is, and what it may touch."""

from __future__ import annotations

import random
from typing import Protocol

from attrs import frozen

from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Limit, RoundTrip, Server
from benchmarks.simulation.timeline import Timeline


@frozen
class World:
    """Where a client lives.

    Attributes:
        timeline: its clock.
        server: whom it asks.
        limit: what it was told about the account.
        round_trip: how long requests take.
        types_known: whether it knows the types of its tasks from the start.
        is_batch: whether all its tasks come at once.
        chance: for its jitter.
    """

    timeline: Timeline
    server: Server
    limit: Limit
    round_trip: RoundTrip
    types_known: bool
    is_batch: bool
    chance: random.Random


class Client(Protocol):
    """Finds out when tasks are finished. It reads of a job only what a client could know."""

    def track(self, job: Job) -> None:
        """Begin with *job*."""
