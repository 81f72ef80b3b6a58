"""What new tasks are drawn from."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from types import MappingProxyType

from vocalsep_async.emulator.tasks import Ending
from vocalsep_async.models import SeparationType, TaskStatus

_USUAL_SECONDS: Mapping[SeparationType, tuple[float, float]] = MappingProxyType(
    {
        SeparationType.SEPARATE_VOCAL: (20.0, 90.0),
        SeparationType.SPLIT_STEM: (60.0, 240.0),
        SeparationType.SPLIT_STEM_ADVANCED: (60.0, 240.0),
    }
)
"""Nine tasks of ten take between these; the others less or more, half and half."""

_NINETY_FIVE_PERCENT = 1.6449  # of a normal distribution lie below so many deviations
_FAILED = Ending(
    TaskStatus.GENERATE_AUDIO_FAILED, 500, "The separation failed, please try again later."
)


class Sampler:
    """The chance in the emulator; the same seed draws the same things in the same order.

    Args:
        seed: any whole number.
        speed: durations are divided by it.
        failure_rate: the share of failures, from 0 to 1.
    """

    def __init__(self, seed: int, *, speed: float, failure_rate: float) -> None:
        # Nothing secret is drawn here, and a seed is the point of it.
        self._random = random.Random(seed)
        self._speed = speed
        self._failure_rate = failure_rate

    def task_id(self) -> str:
        """Return a new id: 32 hexadecimal digits."""
        return f"{self._random.getrandbits(128):032x}"

    def duration(self, type: SeparationType) -> float:  # noqa: A002
        """Return the seconds that a task of *type* takes in this run."""
        low, high = map(math.log, _USUAL_SECONDS[type])
        deviation = (high - low) / 2 / _NINETY_FIVE_PERCENT
        return self._random.lognormvariate((low + high) / 2, deviation) / self._speed

    def ending(self) -> Ending:
        """Return success or, as often as was asked for, a failure."""
        failed = self._random.random() < self._failure_rate
        return _FAILED if failed else Ending(TaskStatus.SUCCESS)
