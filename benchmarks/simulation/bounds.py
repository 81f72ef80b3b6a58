"""What no client can beat that does not know when tasks finish.

The bound is for a client that knows the true law of the durations. Prices for requests, chosen
for each window of the limiter, turn the problem into one of single tasks, each solved exactly by
dynamic programming; by weak duality any prices give a bound, and these are the best that were
found. It lets the budget hold on average only, so it is loose for few tasks.
"""

from __future__ import annotations

from collections.abc import Mapping

LOWER_BOUND: Mapping[str, float] = {
    "batch 10": 0.88,
    "batch 100": 9.24,
    "batch 200": 22.6,
    "batch 300": 40.4,
    "batch 500": 83.5,
    "batch 2000": 449.9,
    "Poisson .1/s": 1.45,
    "Poisson .5/s": 7.38,
    "Poisson 1/s": 17.14,
    "Poisson 1.5/s": 34.3,
    "bimodal": 4.24,
    "heavy tail": 21.3,
}
"""Mean delay in seconds, by row."""
