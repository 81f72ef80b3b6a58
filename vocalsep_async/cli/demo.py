"""The songs of the demo: how many, of which types, how fast, and how long they take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import cycle, islice
from typing import Any, cast

from attrs import evolve, frozen

from vocalsep_async import (
    Adaptive,
    DurationView,
    PollContext,
    RateLimit,
    SeparationType,
    TaskRef,
    VocalSepClient,
)
from vocalsep_async.emulator import Emulator

TITLES = (
    *("Glass Harbour", "Paper Lanterns", "Kitchen Waltz", "Night Bus, Row 9"),
    *("Salt and Cedar", "Für Nora", "Nine Volt Heart", "The Long Field"),
    *("Neon Orchard", "Slow Train to Évora", "Half a Moon", "Tin Roof Rain"),
)
TYPES = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)
SPEED = 16.0
"""All times are divided by this: how long tasks take, the period of the limit, gaps of polls."""
# With this seed one of the twelve tasks fails, so that the report shows a failure.
SEED = 5
KEY = "demo-key"
REAL_LIMIT = RateLimit()
LIMIT = RateLimit(REAL_LIMIT.max_requests, REAL_LIMIT.period / SPEED)
TEMPLATE = "{label}/{stem}{ext}"
NOTE = (
    f"This is the demo: the emulator and its rate limit are {SPEED:g} times as fast as the real "
    f"API, whose limit is {REAL_LIMIT.max_requests} requests per {REAL_LIMIT.period:g} s. Multiply "
    f"all times by {SPEED:g}."
)

_LONGEST = 240 / SPEED
_SAMPLES = 240
"""Finished tasks that are enough to learn how long tasks take."""


def emulator() -> Emulator:
    """The API of the demo, not started yet."""
    return Emulator(
        speed=SPEED,
        seed=SEED,
        failure_rate=0.1,
        rate_limit=(LIMIT.max_requests, LIMIT.period),
    )


async def create_tasks(client: VocalSepClient) -> AsyncIterator[TaskRef]:
    """Create a task for each song, one by one, as the rate limit allows."""
    for title, type_ in zip(TITLES, cycle(TYPES), strict=False):
        task = await client.create_task(
            audio_url="https://example.com/song.mp3",
            callback_url="https://example.com/never-called",
            type=type_,
        )
        yield evolve(task, label=title)


async def usual_durations() -> dict[str, Any]:
    """How long tasks take at this speed, as a client learns it, for `Durations.update_from`.

    Without it, the demo would begin with a time left that holds for the real API.
    """
    async with (
        Emulator(speed=SPEED, rate_limit=None) as emulator,
        VocalSepClient(KEY, base_url=emulator.url, rate_limit=None) as client,
    ):
        for type_ in islice(cycle(TYPES), _SAMPLES):
            task_id = emulator.add_task(type=type_, age=_LONGEST)
            await client.get_task(TaskRef(task_id, type=type_))
        return client.durations.to_dict()


@frozen
class FasterPolls:
    """The default policy at another speed.

    Its gaps are made for tasks that take minutes. Tasks of the demo take seconds, and would be
    detected late by as much as they take.

    Attributes:
        speed: by how much everything is faster than the real API, above 0.
    """

    speed: float

    def delay(self, context: PollContext) -> float:
        """Return the seconds from the last poll to the next one."""
        real = evolve(
            context,
            elapsed=context.elapsed * self.speed,
            age=context.age * self.speed,
            price=context.price * self.speed,
            # The two members that the policy reads.
            durations=cast("DurationView", _RealDurations(context.durations, self.speed)),
        )
        return Adaptive().delay(real) / self.speed


@frozen
class _RealDurations:
    """Durations that were learned at *speed*, in the seconds of the real API."""

    _view: DurationView
    _speed: float

    @property
    def completions(self) -> int:
        return self._view.completions

    def due(self, since: float, delay: float) -> float:
        return self._view.due(since / self._speed, delay / self._speed) * self._speed
