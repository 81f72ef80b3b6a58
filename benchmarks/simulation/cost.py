"""Processor time of the schedule: per poll, and in its longest single call."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from time import process_time
from typing import TypeVar

from attrs import frozen

from benchmarks.simulation.clients.ours import Ours
from benchmarks.simulation.running import Unnoticed, new_world, schedule_tracking
from benchmarks.simulation.server import DOCUMENTED_LIMIT, Limit
from benchmarks.simulation.workloads import batch

R = TypeVar("R")


@frozen
class Case:
    """A batch of *tasks*, run until all have been noticed, or for *polls* polls.

    In a run that is cut only the longest call is meaningful: the cost of pushing all tasks would
    be divided among few polls.
    """

    tasks: int
    limit: Limit = DOCUMENTED_LIMIT
    polls: float = float("inf")

    @property
    def is_whole(self) -> bool:
        """Whether the run ends when all tasks have been noticed."""
        return self.polls == float("inf")


@frozen
class Cost:
    """Processor time of the schedule in one case.

    Attributes:
        polls: number of polls.
        per_poll: seconds of processor time per poll.
        longest: seconds of processor time of the longest single call.
        share: processor time as a fraction of the virtual time of the run.
    """

    polls: int
    per_poll: float
    longest: float
    share: float


CASES: Sequence[Case] = (
    Case(100),
    Case(500),
    Case(2000),
    Case(10_000),
    Case(10_000, Limit(2000, 10.0)),
    Case(100_000, polls=400),
)


class Stopwatch:
    """Measures the calls that are made through it.

    Attributes:
        total: seconds of processor time of all calls.
        longest: seconds of processor time of the longest call.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.longest = 0.0

    def __call__(self, call: Callable[..., R], *arguments: object) -> R:
        """Make a call and return its result."""
        began = process_time()
        try:
            return call(*arguments)
        finally:
            took = process_time() - began
            self.total += took
            self.longest = max(self.longest, took)


def cost(case: Case) -> Cost:
    """Run *case* and measure."""
    world = new_world(types_known=True, limit=case.limit)
    client, stopwatch = Ours(world), Stopwatch()
    client.timed = stopwatch
    tasks = batch(case.tasks, random.Random("cost"))
    schedule_tracking(client, tasks, world.timeline)
    unnoticed = Unnoticed(tasks)
    world.timeline.run(lambda: world.server.polls < case.polls and unnoticed(), float("inf"))
    polls = world.server.polls
    return Cost(
        polls=polls,
        per_poll=stopwatch.total / polls,
        longest=stopwatch.longest,
        share=stopwatch.total / world.timeline.now,
    )
