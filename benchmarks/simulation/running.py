"""One row of the table, with one policy, over several seeds."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from benchmarks.simulation.bounds import LOWER_BOUND
from benchmarks.simulation.clients import POLICIES, Client, World
from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import USUAL_LIMIT, USUAL_TRIP, Limit, RoundTrip, Server
from benchmarks.simulation.statistics import Measures, Summary, measures, summary
from benchmarks.simulation.strangers import Visits
from benchmarks.simulation.timeline import Timeline
from benchmarks.simulation.workloads import ALL_ROWS, Row

Policy = str | Callable[[World], Client]
"""A name in `POLICIES`, or what makes a client."""


def run(
    row: str, policy: Policy = "ours", *, types_known: bool = True, seeds: int | None = None
) -> Summary:
    """Run one row with one policy.

    Args:
        row: a name in `ALL_ROWS`.
        policy: whose delays are measured.
        types_known: whether the client knows what its tasks are.
        seeds: how many runs are taken together; None for what the row needs.
    """
    runs = [
        run_once(row, policy, types_known=types_known, seed=seed)
        for seed in range(seeds or ALL_ROWS[row].seeds)
    ]
    return summary(runs, LOWER_BOUND.get(row))


def run_once(row: str, policy: Policy, *, types_known: bool, seed: int) -> Measures:
    """Run one row with one policy and one seed; all policies meet the same tasks."""
    chosen = ALL_ROWS[row]
    world = new_world(
        types_known=types_known, is_batch=chosen.is_batch, round_trip=chosen.round_trip, seed=seed
    )
    client = (POLICIES[policy] if isinstance(policy, str) else policy)(world)
    jobs = chosen.draw(random.Random(f"tasks of {row}, {seed}"))
    introduce(client, jobs, world.timeline)
    visits = _visits(chosen, world, seed)
    measured = [job for job in jobs if job.is_measured]
    world.timeline.run(Unnoticed([job for job in measured if job.ends]), chosen.ends)
    return measures(measured, world.server, world.timeline.now, visits)


def new_world(
    *,
    types_known: bool,
    is_batch: bool,
    round_trip: RoundTrip = USUAL_TRIP,
    limit: Limit = USUAL_LIMIT,
    seed: int = 0,
) -> World:
    """Make a world in which nothing has happened yet."""
    timeline = Timeline()
    return World(
        timeline=timeline,
        server=Server(timeline, limit, round_trip, random.Random(f"network, {seed}")),
        limit=limit,
        round_trip=round_trip,
        types_known=types_known,
        is_batch=is_batch,
        chance=random.Random(f"client, {seed}"),
    )


def introduce(client: Client, jobs: list[Job], timeline: Timeline) -> None:
    """Have *client* told of each job when it is to begin with it."""
    for job in jobs:
        timeline.at(job.tracked, partial(client.track, job))


def _visits(row: Row, world: World, seed: int) -> Visits | None:
    if row.stranger is None:
        return None
    chance = random.Random(f"stranger, {seed}")
    return Visits(row.stranger(), world.timeline, world.server, chance)


class Unnoticed:
    """Whether anything is left to notice; asked after each event, so it must be quick."""

    def __init__(self, jobs: list[Job]) -> None:
        self._left = jobs

    def __call__(self) -> bool:
        while self._left and self._left[-1].is_noticed:
            self._left.pop()
        return bool(self._left)
