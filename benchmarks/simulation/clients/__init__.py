"""The simulated clients: common polling loops, the package, and an unattainable optimum."""

from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.simulation.clients.clairvoyant import Clairvoyant
from benchmarks.simulation.clients.client import Client, World
from benchmarks.simulation.clients.earliest_due import EarliestDue
from benchmarks.simulation.clients.exhaustive import Exhaustive
from benchmarks.simulation.clients.loops import DoublingGap, FixedGap, Loops
from benchmarks.simulation.clients.ours import Ours

POLICIES: Mapping[str, Callable[[World], Client]] = {
    "fixed": partial(Loops, gap=FixedGap(5.0)),
    "backoff": partial(Loops, gap=DoublingGap(2.0, 60.0)),
    "fixed + bucket": partial(Loops, gap=FixedGap(5.0), has_bucket=True),
    "backoff + bucket": partial(Loops, gap=DoublingGap(2.0, 60.0), has_bucket=True),
    "EDF + rate limiter": EarliestDue,
    "clairvoyant": Clairvoyant,
    "ours": Ours,
    "exhaustive": Exhaustive,
}

__all__ = ["POLICIES", "Client", "World"]
