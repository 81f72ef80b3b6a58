"""What nobody can do: one request for each task, at the moment at which it finishes."""

from __future__ import annotations

from collections import deque
from functools import partial

from benchmarks.simulation.clients.client import World
from benchmarks.simulation.jobs import Job
from benchmarks.simulation.server import Answer
from benchmarks.simulation.timeline import Alarm


class Clairvoyant:
    """First finished, first asked; knows even when its requests reach the server."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lead = world.round_trip.shortest / 2
        self._ready: deque[Job] = deque()
        self._in_flight = 0
        self._free_at: deque[float] = deque()
        self._alarm = Alarm(world.timeline, self._ask)

    def track(self, job: Job) -> None:
        """Sleep until *job* can be found finished."""
        moment = max(self._world.timeline.now, job.ready - self._lead)
        if job.ends:
            self._world.timeline.at(moment, partial(self._is_ready, job))

    def _is_ready(self, job: Job) -> None:
        self._ready.append(job)
        self._ask()

    def _ask(self) -> None:
        now = self._world.timeline.now
        while self._ready and self._has_room(now):
            self._in_flight += 1
            self._world.server.poll(self._ready.popleft(), self._answered)
        if self._ready and self._free_at:
            self._alarm.set(self._free_at[0])

    def _has_room(self, now: float) -> bool:
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        return self._in_flight + len(self._free_at) < self._world.limit.requests

    def _answered(self, answer: Answer) -> None:
        self._in_flight -= 1
        # A little more than the period after its arrival, or rounding would have it refused.
        self._free_at.append(answer.arrived + self._world.limit.period - self._lead + 1e-6)
        self._ask()
