"""A client that knows when tasks finish: one request per task, as early as the limit allows."""

from __future__ import annotations

from collections import deque
from functools import partial

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.server import Answer
from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timer


class Clairvoyant:
    """Polls each task once, first finished first; the network delay is known to it, too."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lead = world.round_trip.shortest / 2
        self._ready: deque[SimulatedTask] = deque()
        self._in_flight = 0
        self._free_at: deque[float] = deque()
        self._timer = Timer(world.timeline, self._send)

    def track(self, task: SimulatedTask) -> None:
        """Plan the one poll of *task*."""
        moment = max(self._world.timeline.now, task.ready - self._lead)
        if task.ends:
            self._world.timeline.at(moment, partial(self._is_ready, task))

    def _is_ready(self, task: SimulatedTask) -> None:
        self._ready.append(task)
        self._send()

    def _send(self) -> None:
        now = self._world.timeline.now
        while self._ready and self._has_room(now):
            self._in_flight += 1
            self._world.server.poll(self._ready.popleft(), self._on_answer)
        if self._ready and self._free_at:
            self._timer.set(self._free_at[0])

    def _has_room(self, now: float) -> bool:
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        return self._in_flight + len(self._free_at) < self._world.limit.requests

    def _on_answer(self, answer: Answer) -> None:
        self._in_flight -= 1
        # A little more than a period after the arrival, or rounding would have it throttled.
        self._free_at.append(answer.arrived + self._world.limit.period - self._lead + 1e-6)
        self._send()
