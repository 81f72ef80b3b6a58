"""What the schedule costs: processor time for each look, and the longest pause it makes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from time import process_time
from typing import TypeVar

from attrs import frozen

from benchmarks.simulation.clients.ours import Ours
from benchmarks.simulation.running import Unnoticed, introduce, new_world
from benchmarks.simulation.server import USUAL_LIMIT, Limit
from benchmarks.simulation.workloads import batch

R = TypeVar("R")


@frozen
class Case:
    """A batch of *tasks*, observed for so many looks at most.

    Where it is not observed to its end, only the longest call tells something: the cost of taking
    in all tasks would fall on few looks.
    """

    tasks: int
    limit: Limit = USUAL_LIMIT
    polls: float = float("inf")

    @property
    def is_whole(self) -> bool:
        """Whether it is observed to its end."""
        return self.polls == float("inf")


@frozen
class Cost:
    """What the schedule took of the processor in one case.

    Attributes:
        looks: how many there were.
        per_look: seconds of processor time for each.
        longest: seconds of processor time of its longest single call.
        share: of one core, in the (virtual) time that the looks took.
    """

    polls: int
    per_look: float
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
    """Adds up what the calls took that were made through it.

    Attributes:
        total: seconds of processor time.
        longest: those of the longest call.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.longest = 0.0

    def __call__(self, call: Callable[..., R], *arguments: object) -> R:
        """Make a call."""
        began = process_time()
        try:
            return call(*arguments)
        finally:
            took = process_time() - began
            self.total += took
            self.longest = max(self.longest, took)


def cost(case: Case) -> Cost:
    """Run *case* and measure."""
    world = new_world(types_known=True, is_batch=False, limit=case.limit)
    client, target = Ours(world), Stopwatch()
    client.timed = target
    jobs = batch(case.tasks, random.Random("cost"))
    introduce(client, jobs, world.timeline)
    unnoticed = Unnoticed(jobs)
    world.timeline.run(lambda: world.server.polls < case.polls and unnoticed(), float("inf"))
    polls = world.server.polls
    return Cost(
        polls=polls,
        per_look=target.total / polls,
        longest=target.longest,
        share=target.total / world.timeline.now,
    )
