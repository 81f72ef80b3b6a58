"""Distributions of the durations of tasks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from vocalsep_async.models import SeparationType

Distribution = Callable[[random.Random], float]

_NINETY_FIVE_PERCENT = 1.6449
"""95th percentile of the normal distribution, in standard deviations."""


def lognormal(low: float, high: float) -> Distribution:
    """Lognormal, with the 5th and the 95th percentile at *low* and *high* seconds."""
    middle = (math.log(low) + math.log(high)) / 2
    deviation = (math.log(high) - math.log(low)) / 2 / _NINETY_FIVE_PERCENT
    return lambda rng: rng.lognormvariate(middle, deviation)


def either(first: Distribution, second: Distribution, share: float = 0.5) -> Distribution:
    """A mixture: *first* with probability *share*, otherwise *second*."""
    return lambda rng: (first if rng.random() < share else second)(rng)


def stretched(distribution: Distribution, index: float) -> Distribution:
    """*distribution* times a Pareto variable (at least 1) of that index, for a heavy tail."""
    return lambda rng: distribution(rng) * rng.paretovariate(index)


TYPICAL = {
    SeparationType.SEPARATE_VOCAL: lognormal(20, 90),
    SeparationType.SPLIT_STEM: lognormal(60, 240),
}
"""Assumed durations of songs of usual length."""
