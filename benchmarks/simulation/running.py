"""Runs one row of the table with one policy."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from benchmarks.simulation.bounds import LOWER_BOUND
from benchmarks.simulation.callbacks import Callbacks
from benchmarks.simulation.clients import POLICIES, Client, World
from benchmarks.simulation.clients.ours import Ours
from benchmarks.simulation.other_clients import OtherTraffic
from benchmarks.simulation.server import (
    DOCUMENTED_LIMIT,
    TYPICAL_ROUND_TRIP,
    Limit,
    RateLimiting,
    RoundTrip,
    Server,
    Window,
)
from benchmarks.simulation.statistics import Measures, Summary, measures, summary
from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timeline
from benchmarks.simulation.workloads import ALL_ROWS, Row

Policy = str | Callable[[World], Client]
"""A name in `POLICIES`, or a function that makes a client."""


def run(
    row: str, policy: Policy = "ours", *, types_known: bool = True, seeds: int | None = None
) -> Summary:
    """Run one row with one policy.

    Args:
        row: a name in `ALL_ROWS`.
        policy: the policy whose delays are measured.
        types_known: whether the client knows the types of its tasks from the start.
        seeds: number of runs that are summarised; None for the number that the row has.
    """
    runs = [
        run_once(row, policy, types_known=types_known, seed=seed)
        for seed in range(seeds or ALL_ROWS[row].seeds)
    ]
    return summary(runs, LOWER_BOUND.get(row))


def run_once(row: str, policy: Policy, *, types_known: bool, seed: int) -> Measures:
    """Run one row with one policy and one seed; all policies are given the same tasks."""
    chosen = ALL_ROWS[row]
    world = new_world(
        types_known=types_known,
        has_dates=chosen.has_dates,
        round_trip=chosen.round_trip,
        limit=chosen.limit,
        limiting=chosen.limiting,
        knows_limit=chosen.knows_limit,
        callbacks=chosen.callbacks,
        seed=seed,
    )
    client = (POLICIES[policy] if isinstance(policy, str) else policy)(world)
    tasks = chosen.draw(random.Random(f"tasks of {row}, {seed}"))
    schedule_tracking(client, tasks, world.timeline)
    if chosen.callbacks is not None and isinstance(client, Ours):
        rng = random.Random(f"callbacks, {seed}")
        chosen.callbacks.schedule(tasks, client.notify, world.timeline, rng)
    traffic = _other_traffic(chosen, world, seed)
    measured = [task for task in tasks if task.is_measured]
    world.timeline.run(Unnoticed([task for task in measured if task.ends]), chosen.ends)
    return measures(measured, world.server, world.timeline.now, traffic)


def new_world(
    *,
    types_known: bool,
    has_dates: bool = True,
    round_trip: RoundTrip = TYPICAL_ROUND_TRIP,
    limit: Limit = DOCUMENTED_LIMIT,
    limiting: Callable[[Limit], RateLimiting] = Window,
    knows_limit: bool = True,
    callbacks: Callbacks | None = None,
    seed: int = 0,
) -> World:
    """Return a new world at moment 0."""
    timeline = Timeline()
    return World(
        timeline=timeline,
        server=Server(timeline, limiting(limit), round_trip, random.Random(f"network, {seed}")),
        limit=limit,
        knows_limit=knows_limit,
        round_trip=round_trip,
        types_known=types_known,
        has_dates=has_dates,
        rng=random.Random(f"client, {seed}"),
        callbacks=callbacks,
    )


def schedule_tracking(client: Client, tasks: list[SimulatedTask], timeline: Timeline) -> None:
    """Have *client* track each task from its moment `tracked`."""
    for task in tasks:
        timeline.at(task.tracked, partial(client.track, task))


def _other_traffic(row: Row, world: World, seed: int) -> OtherTraffic | None:
    if row.other_client is None:
        return None
    rng = random.Random(f"other client, {seed}")
    return OtherTraffic(row.other_client(), world.timeline, world.server, rng)


class Unnoticed:
    """Whether a task is still unnoticed; called after each event."""

    # Noticed tasks are dropped from the end only, so that a call takes constant time on average.

    def __init__(self, tasks: list[SimulatedTask]) -> None:
        self._left = tasks

    def __call__(self) -> bool:
        while self._left and self._left[-1].is_noticed:
            self._left.pop()
        return bool(self._left)
