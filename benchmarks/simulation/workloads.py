"""The rows of the table: which tasks there are, and when the client begins to track them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice

from attrs import frozen

from benchmarks.simulation.jobs import Job
from benchmarks.simulation.laws import USUAL, Law, either, lognormal, stretched
from benchmarks.simulation.server import USUAL_TRIP, RoundTrip
from benchmarks.simulation.strangers import OnOff, Paced, Poisson, Stranger
from vocalsep_async.models import SeparationType

Draw = Callable[[random.Random], list[Job]]
Kinds = Mapping[SeparationType, Law]

_WARM_UP = 300.0
"""Seconds for which tasks arrive before those that are measured."""
_MEASURED_FOR = 1200.0
"""Seconds for which those arrive that are measured; nobody comes after them."""
_ARRIVING_FOR = _WARM_UP + _MEASURED_FOR
BIMODAL: Kinds = {
    SeparationType.SEPARATE_VOCAL: either(lognormal(20, 34), lognormal(135, 190)),
}
"""Two kinds of tasks under one type; the lower bound of this row belongs to this law."""
HEAVY: Kinds = {kind: stretched(law, 3.5) for kind, law in USUAL.items()}
_OLDEST = 350.0
"""Seconds before the start of tracking up to which late-attached tasks were created."""
_STUCK = 0.05


@frozen
class Row:
    """One workload.

    Attributes:
        name: what the table calls it.
        draw: makes its tasks.
        seeds: how many runs make its means stable.
        is_batch: whether the client is given all tasks at once.
        round_trip: how long requests take.
        stranger: who else uses the account; None for nobody.
        ends: when the run is cut, in seconds; infinity for when all that finishes was noticed.
    """

    name: str
    draw: Draw
    seeds: int = 3
    is_batch: bool = False
    round_trip: RoundTrip = USUAL_TRIP
    stranger: Callable[[], Stranger] | None = None
    ends: float = float("inf")


def _kinds(count: int, chance: random.Random, kinds: Kinds) -> list[SeparationType]:
    """As many of each kind, in random order."""
    drawn = list(islice(cycle(kinds), count))
    chance.shuffle(drawn)
    return drawn


def batch(count: int, chance: random.Random, *, kinds: Kinds = USUAL) -> list[Job]:
    """All are submitted at once."""
    return [Job(kind, 0.0, kinds[kind](chance)) for kind in _kinds(count, chance, kinds)]


def late(count: int, chance: random.Random) -> list[Job]:
    """They run already, or are finished, when the client is given them without their age."""
    return [
        Job(
            kind,
            -chance.uniform(0, _OLDEST),
            USUAL[kind](chance),
            tracked=0.0,
            age_is_known=False,
        )
        for kind in _kinds(count, chance, USUAL)
    ]


def _arrivals(rate: float, chance: random.Random) -> Iterator[float]:
    moment = chance.expovariate(rate)
    while moment < _ARRIVING_FOR:
        yield moment
        moment += chance.expovariate(rate)


def poisson(rate: float, chance: random.Random, *, kinds: Kinds = USUAL) -> list[Job]:
    """They arrive at random, *rate* a second, and are tracked from their creation."""
    moments = list(_arrivals(rate, chance))
    both = zip(_kinds(len(moments), chance, kinds), moments, strict=True)
    jobs = [Job(kind, moment, kinds[kind](chance)) for kind, moment in both]
    for job in jobs:
        job.is_measured = job.created >= _WARM_UP
    return jobs


def stuck(rate: float, chance: random.Random) -> list[Job]:
    """Some never finish."""
    jobs = poisson(rate, chance)
    for job in jobs:
        if chance.random() < _STUCK:
            job.finished = float("inf")
    return jobs


def drift(rate: float, chance: random.Random) -> list[Job]:
    """Midway the service becomes half as fast."""
    jobs = poisson(rate, chance)
    for job in jobs:
        if job.created >= _ARRIVING_FOR / 2:
            job.finished += job.finished - job.created
    return jobs


def _batch_row(count: int, seeds: int) -> Row:
    return Row(f"batch {count}", partial(batch, count), seeds, is_batch=True)


def _poisson_row(rate: float, seeds: int) -> Row:
    return Row(f"Poisson {rate:g}/s".replace("0.", "."), partial(poisson, rate), seeds)


_SLOW = RoundTrip(0.05, 3.0)

ROWS: Sequence[Row] = (
    _batch_row(10, 100),
    _batch_row(100, 30),
    _batch_row(500, 48),
    _batch_row(2000, 4),
    _poisson_row(0.1, 16),
    _poisson_row(0.5, 16),
    _poisson_row(1, 40),
    _poisson_row(1.5, 10),
    Row("late attach 300", partial(late, 300), 10, is_batch=True),
    Row("bimodal", partial(poisson, 0.5, kinds=BIMODAL), 20),
    Row("heavy tail", partial(batch, 200, kinds=HEAVY), 16, is_batch=True),
    Row("stuck 5 %", partial(stuck, 0.5), 10),
    Row("drift x2", partial(drift, 0.5), 10),
)
"""One client alone on its account."""

SLOW_ROWS: Sequence[Row] = (
    Row("batch 500, slow net", partial(batch, 500), 3, is_batch=True, round_trip=_SLOW),
    Row("Poisson .5/s, slow net", partial(poisson, 0.5), 3, round_trip=_SLOW),
)
"""Answers take up to 3 s; a client that knows the limit is still never refused."""


def _shared_row(name: str, stranger: Callable[[], Stranger]) -> Row:
    return Row(
        f"beside {name}", partial(batch, 2000), 3, is_batch=True, stranger=stranger, ends=1200.0
    )


SHARED_ROWS: Sequence[Row] = (
    _shared_row("paced 1/s", partial(Paced, 1.0)),
    _shared_row("Poisson 1/s", partial(Poisson, 1.0)),
    _shared_row("on/off 1.5/s", partial(OnOff, 1.5)),
)
"""More tasks than the account can bear, beside another client of the same account."""

ALL_ROWS: Mapping[str, Row] = {row.name: row for row in (*ROWS, *SLOW_ROWS, *SHARED_ROWS)}
