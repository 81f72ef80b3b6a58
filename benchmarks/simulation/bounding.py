"""Computes lower bounds of the mean delay, for clients that know the distribution of the durations.

Such a client does not know when a task ends. A task is a chain of decisions: last seen running at
age L, poll next at age a. That costs a request and, on average, D(L, a) seconds for which the task
was finished, unnoticed; with probability S(a) / S(L) it still runs, and the chain goes on from a.
Tasks are coupled by the rate limit of the account alone. The bound requires that limit to hold on
average only, so it is loose for few tasks.

* Tasks that begin simultaneously share their clock. "At most 20 requests in 10 s" is one condition
  for each place of the window, and the best chains solve a linear programme over all pairs (L, a).
* Tasks that arrive at random share the mean number of requests per task. A price for requests makes
  every task a problem of its own, solved backwards (dynamic programming). By weak duality each
  price gives a bound, and the best is taken.

Polls are at whole steps of a grid. Half the step lowers no bound by more than 0.02 s (not measured
for batch 10 and batch 100).

    python -m benchmarks.simulation.bounding
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize_scalar
from scipy.sparse import block_diag, coo_array, csr_array, hstack

from benchmarks.simulation.distributions import TYPICAL, Distribution, either
from benchmarks.simulation.server import DOCUMENTED_LIMIT, TYPICAL_ROUND_TRIP
from benchmarks.simulation.workloads import BIMODAL, HEAVY, Kinds
from vocalsep_async.models import SeparationType

Array = NDArray[np.float64]

_DRAWS = 400_000
_RARE = 1e-5
"""Least survival on the grid: tasks that outlast it cost nothing more."""
_OLDEST = 600.0
"""Seconds; the grid has no polls of older tasks."""
_MEAN_TRIP = (TYPICAL_ROUND_TRIP.shortest + TYPICAL_ROUND_TRIP.longest) / 2
_HELD = DOCUMENTED_LIMIT.period + 0.010 + _MEAN_TRIP
"""Seconds between two uses of a slot that the package's rate limiter holds past its answer."""
_WAY_BACK = _MEAN_TRIP / 2
"""Seconds; the mean time that an answer travels."""


@frozen
class Chain:
    """The pairs (L, a) of one type, in the order of their grid points.

    Attributes:
        since: index of L in the grid, for each pair.
        then: index of a in the grid.
        expected_delay: D(L, a) in seconds.
        running: S(a) / S(L).
    """

    since: NDArray[np.int64]
    then: NDArray[np.int64]
    expected_delay: Array
    running: Array


def chain_of(distribution: Distribution, ages: Array) -> Chain:
    """All pairs of *ages*, with D and S estimated from a large sample of *distribution*."""
    rng = random.Random("durations")
    drawn = np.sort([distribution(rng) for _ in range(_DRAWS)])
    ended = np.searchsorted(drawn, ages, side="right")
    survival = np.maximum(1 - ended / _DRAWS, _RARE)
    lived = (np.concatenate([[0], np.cumsum(drawn)])[ended] + ages * (_DRAWS - ended)) / _DRAWS
    since, then = np.triu_indices(len(ages), k=1)
    running = survival[then] / survival[since]
    expected_delay = ages[then] - ages[since] - (lived[then] - lived[since]) / survival[since]
    return Chain(since, then, np.maximum(expected_delay, 0), running)


def batch(
    count: int,
    *,
    step: float,
    longest: float,
    kinds: Kinds = TYPICAL,
    period: float = DOCUMENTED_LIMIT.period,
) -> float:
    """The bound in seconds for tasks that begin simultaneously.

    Args:
        count: number of tasks.
        step: seconds between two ages of the grid; *period* is a multiple.
        longest: seconds after which no task is polled.
        kinds: the distributions of the durations, with equally many tasks of each.
        period: seconds in which the documented number of requests is allowed.
    """
    ages = np.arange(0, longest, step)
    chains = [chain_of(distribution, ages) for distribution in kinds.values()]
    begins = np.eye(1, len(ages) - 1)[0] / len(chains)
    solved = linprog(
        np.concatenate([each.expected_delay for each in chains]),
        A_ub=hstack([_requests(each, ages, period) for each in chains]),
        b_ub=np.full(len(ages), DOCUMENTED_LIMIT.requests / count),
        A_eq=block_diag([_flow(each, len(ages)) for each in chains]),
        b_eq=np.tile(begins, len(chains)),
        method="highs-ipm",
    )
    return float(solved.fun) + _WAY_BACK


def _requests(chain: Chain, ages: Array, period: float) -> coo_array:
    """A row for each window of *period* seconds that ends at one of *ages*: its requests."""
    pairs = np.arange(len(chain.then))
    inside = [
        (row[row < len(ages)], pairs[row < len(ages)])
        for row in (chain.then + late for late in range(round(period / ages[1])))
    ]
    rows, columns = (np.concatenate(part) for part in zip(*inside, strict=True))
    return coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(ages), len(pairs)))


def _flow(chain: Chain, count: int) -> csr_array:
    """A row for each age but the last: the chains that leave it minus those that reach it."""
    pairs = np.arange(len(chain.then))
    leave = coo_array((np.ones(len(pairs)), (chain.since, pairs)), shape=(count, len(pairs)))
    arrive = coo_array((chain.running, (chain.then, pairs)), shape=(count, len(pairs)))
    return csr_array(leave - arrive)[:-1]


def arrivals(rate: float, *, step: float, kinds: Kinds = TYPICAL) -> float:
    """The bound in seconds for tasks that arrive at random, *rate* per second."""
    chains = [chain_of(each, np.arange(0, _OLDEST, step)) for each in kinds.values()]
    polls = DOCUMENTED_LIMIT.requests / DOCUMENTED_LIMIT.period / rate

    def negated_bound(price: float) -> float:
        return price * polls - float(np.mean([_cheapest(chain, price) for chain in chains]))

    return -float(minimize_scalar(negated_bound, bounds=(0, 500), method="bounded").fun) + _WAY_BACK


def _cheapest(chain: Chain, price: float) -> float:
    """Cost in seconds of the best chain from age 0, at *price* seconds for each request."""
    first = np.searchsorted(chain.since, np.arange(chain.then[-1] + 1))
    ahead = np.zeros(len(first))
    for index in range(len(first) - 2, -1, -1):
        pairs = slice(first[index], first[index + 1])
        later = chain.running[pairs] * ahead[index + 1 :]
        ahead[index] = price + np.min(chain.expected_delay[pairs] + later)
    return float(ahead[0])


_MIXED: Kinds = {SeparationType.SEPARATE_VOCAL: either(*TYPICAL.values())}
"""What a client knows that is not told the types: the durations of all tasks together."""

BOUNDS: Mapping[str, Callable[[], float]] = {
    "batch 10": partial(batch, 10, step=0.5, longest=400),
    "batch 100": partial(batch, 100, step=1, longest=400),
    "batch 500": partial(batch, 500, step=2, longest=500),
    "batch 500, slots held": partial(batch, 500, step=_HELD / 5, longest=500, period=_HELD),
    "batch 2000": partial(batch, 2000, step=5, longest=1300),
    "Poisson .1/s": partial(arrivals, 0.1, step=0.25),
    "Poisson .5/s": partial(arrivals, 0.5, step=0.5),
    "Poisson 1/s": partial(arrivals, 1, step=1),
    "Poisson 1.5/s": partial(arrivals, 1.5, step=1),
    "bimodal": partial(arrivals, 0.5, step=0.5, kinds=BIMODAL),
    "heavy tail": partial(batch, 200, step=2, longest=700, kinds=HEAVY),
    "batch 100, types unknown": partial(batch, 100, step=1, longest=400, kinds=_MIXED),
    "batch 500, types unknown": partial(batch, 500, step=2, longest=500, kinds=_MIXED),
    "batch 2000, types unknown": partial(batch, 2000, step=5, longest=1300, kinds=_MIXED),
    "Poisson .5/s, types unknown": partial(arrivals, 0.5, step=0.5, kinds=_MIXED),
    "Poisson 1/s, types unknown": partial(arrivals, 1, step=1, kinds=_MIXED),
}

if __name__ == "__main__":
    for row, bound in BOUNDS.items():
        print(f'    "{row}": {bound():.4g},', flush=True)
