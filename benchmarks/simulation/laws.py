"""How long tasks take: laws that durations are drawn from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from vocalsep_async.models import SeparationType

Law = Callable[[random.Random], float]

_NINETY_FIVE_PERCENT = 1.6449
"""Standard deviations of a normal distribution below which 95 % of it lie."""


def lognormal(low: float, high: float) -> Law:
    """Nine of ten lie between *low* and *high*, the others below and above, half and half."""
    middle = (math.log(low) + math.log(high)) / 2
    deviation = (math.log(high) - math.log(low)) / 2 / _NINETY_FIVE_PERCENT
    return lambda chance: chance.lognormvariate(middle, deviation)


def either(first: Law, second: Law, share: float = 0.5) -> Law:
    """The first law for *share* of the tasks, the second for the others."""
    return lambda chance: (first if chance.random() < share else second)(chance)


def stretched(law: Law, index: float) -> Law:
    """*law* times a Pareto number of that index: at least 1, and now and then far more."""
    return lambda chance: law(chance) * chance.paretovariate(index)


USUAL = {
    SeparationType.SEPARATE_VOCAL: lognormal(20, 90),
    SeparationType.SPLIT_STEM: lognormal(60, 240),
}
"""What songs of usual length take."""
