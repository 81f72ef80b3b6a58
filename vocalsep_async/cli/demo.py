"""The tasks of the demo: how many, of which types, how fast, and how long they take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import cycle, islice
from typing import Any

from vocalsep_async import SeparationType, TaskRef, VocalSepClient
from vocalsep_async.emulator import Emulator

TASKS = 12
TYPES = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)
SPEED = 16.0
"""The emulator's tasks take 20 to 240 s divided by this."""
# With this seed one of the twelve tasks fails, so that the report shows a failure.
SEED = 5
KEY = "demo-key"

_LONGEST = 240 / SPEED
_SAMPLES = 60
"""Finished tasks that are enough to learn how long tasks take."""


async def create_tasks(client: VocalSepClient) -> AsyncIterator[TaskRef]:
    """Create the tasks one by one, as the rate limit allows."""
    for type_ in islice(cycle(TYPES), TASKS):
        yield await client.create_task(
            audio_url="https://example.com/song.mp3",
            callback_url="https://example.com/never-called",
            type=type_,
        )


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
