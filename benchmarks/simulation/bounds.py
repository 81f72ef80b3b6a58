"""Lower bounds of the mean delay, for clients that know the distribution of the durations."""

from __future__ import annotations

from collections.abc import Mapping

LOWER_BOUND: Mapping[str, float] = {
    "batch 10": 0.92,
    "batch 100": 9.66,
    "batch 500": 85.7,
    "batch 2000": 458,
    "Poisson .1/s": 1.45,
    "Poisson .5/s": 7.38,
    "Poisson 1/s": 17.1,
    "Poisson 1.5/s": 34.3,
    "bimodal": 4.26,
    "heavy tail": 22.4,
}
"""Mean delay in seconds, by row, as `python -m benchmarks.simulation.bounding` prints it."""
