"""Callbacks of a simulated server: late, lost, or posted twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

from attrs import frozen

from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timeline

_SHORTEST, _LONGEST = 1.0, 3.0
"""Seconds from the end of a task to its callback, uniform."""
_TWICE = 0.1
"""Share of the callbacks that are posted once more."""


@frozen
class Callbacks:
    """The callbacks of all tasks.

    Attributes:
        came: the share of tasks whose callbacks are not lost.
        trusted: whether the client takes the record of a callback for the outcome, without a poll.
    """

    came: float
    trusted: bool = False

    def schedule(
        self,
        tasks: Iterable[SimulatedTask],
        notify: Callable[[SimulatedTask], None],
        timeline: Timeline,
        rng: random.Random,
    ) -> None:
        """Call *notify* with each of *tasks* at the moments of its callbacks."""
        for task in tasks:
            for moment in self._moments(task, rng):
                timeline.at(moment, partial(notify, task))

    def _moments(self, task: SimulatedTask, rng: random.Random) -> list[float]:
        first, again = (task.finished + rng.uniform(_SHORTEST, _LONGEST) for _ in range(2))
        is_lost, is_repeated = rng.random() >= self.came, rng.random() < _TWICE
        return [] if is_lost else [first, again] if is_repeated else [first]
