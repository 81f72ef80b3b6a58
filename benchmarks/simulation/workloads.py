"""The workloads, which are the rows of the table: tasks, and when each is tracked from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice

from attrs import frozen

from benchmarks.simulation.callbacks import Callbacks
from benchmarks.simulation.distributions import TYPICAL, Distribution, either, lognormal, stretched
from benchmarks.simulation.other_clients import OnOff, OtherClient, Poisson, Steady
from benchmarks.simulation.server import (
    DOCUMENTED_LIMIT,
    TYPICAL_ROUND_TRIP,
    Gaps,
    Limit,
    RateLimiting,
    RoundTrip,
    Stray,
    Window,
)
from benchmarks.simulation.tasks import SimulatedTask
from vocalsep_async.models import SeparationType

Draw = Callable[[random.Random], list[SimulatedTask]]
Kinds = Mapping[SeparationType, Distribution]

_WARM_UP = 300.0
"""Seconds for which tasks arrive before the measured ones."""
_MEASURED_FOR = 1200.0
"""Seconds for which measured tasks arrive; no tasks arrive after them."""
_ARRIVING_FOR = _WARM_UP + _MEASURED_FOR
BIMODAL: Kinds = {
    SeparationType.SEPARATE_VOCAL: either(lognormal(20, 34), lognormal(135, 190)),
}
"""Two groups of tasks with one type; the lower bound of the row is for this distribution."""
HEAVY: Kinds = {kind: stretched(distribution, 3.5) for kind, distribution in TYPICAL.items()}
_OLDEST = 350.0
"""Seconds; the greatest age of a task of "late attach" when tracking begins."""
_STUCK = 0.05
"""Fraction of the tasks of "stuck" that never finish."""


@frozen
class Row:
    """One workload.

    Attributes:
        name: its name in the table.
        draw: returns its tasks.
        seeds: number of runs that makes its means stable.
        has_dates: whether answers say what time it is at the server.
        round_trip: how long requests take.
        limit: the rate limit of the account.
        limiting: what the server does about requests beyond it.
        knows_limit: whether the client knows the limit.
        other_client: makes another client of the account; None for none.
        callbacks: what tells the client that a task has finished; None for nothing.
        ends: seconds after which the run is cut; infinity to run until all finished tasks have
            been noticed.
    """

    name: str
    draw: Draw
    seeds: int = 3
    has_dates: bool = True
    round_trip: RoundTrip = TYPICAL_ROUND_TRIP
    limit: Limit = DOCUMENTED_LIMIT
    limiting: Callable[[Limit], RateLimiting] = Window
    knows_limit: bool = True
    other_client: Callable[[], OtherClient] | None = None
    callbacks: Callbacks | None = None
    ends: float = float("inf")


def _kinds(count: int, rng: random.Random, kinds: Kinds) -> list[SeparationType]:
    """Equally many of each type, in random order."""
    drawn = list(islice(cycle(kinds), count))
    rng.shuffle(drawn)
    return drawn


def batch(count: int, rng: random.Random, *, kinds: Kinds = TYPICAL) -> list[SimulatedTask]:
    """One batch of tasks that are created simultaneously."""
    return [
        SimulatedTask(kind, 0.0, kinds[kind](rng), batch="all")
        for kind in _kinds(count, rng, kinds)
    ]


def by_type(count: int, rng: random.Random) -> list[SimulatedTask]:
    """As `batch`, but with one batch for each type."""
    tasks = batch(count, rng)
    for task in tasks:
        task.batch = task.type.value
    return tasks


def beside_waits(
    count: int, waits: int, rng: random.Random, *, measured: str | None, over: float = 0.0
) -> list[SimulatedTask]:
    """A batch of *count* tasks beside *waits* single waits; one of the two is measured.

    The waits begin, with their tasks, at random moments of *over* seconds.
    """
    tasks = batch(count + waits, rng)
    for task in tasks[:waits]:
        task.batch = None
        task.created = task.tracked = rng.uniform(0, over)
        task.finished += task.created
    for task in tasks:
        task.is_measured = task.batch == measured
    return tasks


def bare(
    count: int, rng: random.Random, *, age: float = 0.0, batch: str | None = "all"
) -> list[SimulatedTask]:
    """Ids of tasks whose age is not known: all were created *age* seconds before."""
    return [
        SimulatedTask(kind, -age, TYPICAL[kind](rng), tracked=0.0, age_is_known=False, batch=batch)
        for kind in _kinds(count, rng, TYPICAL)
    ]


def crowd(count: int, rng: random.Random) -> list[SimulatedTask]:
    """Single waits that use every slot: their tasks take longer than the run."""
    return [SimulatedTask(kind, 0.0, 1e4) for kind in _kinds(count, rng, TYPICAL)]


def half_old(count: int, rng: random.Random) -> list[SimulatedTask]:
    """Ids without ages: half of the tasks were just created, half of them before."""
    tasks = [*late(count // 2, rng), *bare(count - count // 2, rng)]
    rng.shuffle(tasks)
    return tasks


def new_first(count: int, rng: random.Random) -> list[SimulatedTask]:
    """As `half_old`, but the tasks that were just created come first."""
    return [*bare(count - count // 2, rng), *late(count // 2, rng)]


def newest_first(count: int, rng: random.Random) -> list[SimulatedTask]:
    """As `late`, but in the order of creation, the last one first."""
    return sorted(late(count, rng), key=lambda task: task.created, reverse=True)


def late(count: int, rng: random.Random) -> list[SimulatedTask]:
    """Tasks of unknown age, which run or have finished before tracking begins."""
    return [
        SimulatedTask(
            kind,
            -rng.uniform(0, _OLDEST),
            TYPICAL[kind](rng),
            tracked=0.0,
            age_is_known=False,
            batch="all",
        )
        for kind in _kinds(count, rng, TYPICAL)
    ]


def _arrivals(rate: float, rng: random.Random) -> Iterator[float]:
    moment = rng.expovariate(rate)
    while moment < _ARRIVING_FOR:
        yield moment
        moment += rng.expovariate(rate)


def poisson(rate: float, rng: random.Random, *, kinds: Kinds = TYPICAL) -> list[SimulatedTask]:
    """Tasks arrive at random, *rate* per second, and are tracked from their creation."""
    moments = list(_arrivals(rate, rng))
    both = zip(_kinds(len(moments), rng, kinds), moments, strict=True)
    tasks = [SimulatedTask(kind, moment, kinds[kind](rng)) for kind, moment in both]
    for task in tasks:
        task.is_measured = task.created >= _WARM_UP
    return tasks


def stuck(rate: float, rng: random.Random) -> list[SimulatedTask]:
    """As `poisson`, but some tasks never finish."""
    tasks = poisson(rate, rng)
    for task in tasks:
        if rng.random() < _STUCK:
            task.finished = float("inf")
    return tasks


def drift(rate: float, rng: random.Random) -> list[SimulatedTask]:
    """As `poisson`, but halfway through the service becomes half as fast."""
    tasks = poisson(rate, rng)
    for task in tasks:
        if task.created >= _ARRIVING_FOR / 2:
            task.finished += task.finished - task.created
    return tasks


def _batch_row(count: int, seeds: int) -> Row:
    return Row(f"batch {count}", partial(batch, count), seeds)


def _poisson_row(rate: float, seeds: int) -> Row:
    return Row(f"Poisson {rate:g}/s".replace("0.", "."), partial(poisson, rate), seeds)


def _arriving_row(name: str, measured: str | None) -> Row:
    return Row(name, partial(beside_waits, 300, 20, measured=measured, over=300.0), 20)


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
    Row("bare ids 60", partial(bare, 60), 20),
    Row("bare ids 200", partial(bare, 200), 10),
    Row("bare ids 300", partial(bare, 300), 10),
    Row("bare ids 200, 60 s old", partial(bare, 200, age=60.0), 10),
    Row("half old 300", partial(half_old, 300), 10),
    Row("new first, old behind 100", partial(new_first, 100), 20),
    Row("new first, old behind 300", partial(new_first, 300), 10),
    Row("newest first 300", partial(newest_first, 300), 10),
    Row("bare ids 60, no Date", partial(bare, 60), 20, has_dates=False),
    Row("300 waits", partial(bare, 300, batch=None), 10),
    Row("300 waits, no Date", partial(bare, 300, batch=None), 10, has_dates=False),
    Row("two batches by type", partial(by_type, 400), 10),
    Row("batch 300 + 20 waits", partial(beside_waits, 300, 20, measured="all"), 10),
    Row("20 waits + batch 300", partial(beside_waits, 300, 20, measured=None), 10),
    _arriving_row("batch 300 + arriving waits", "all"),
    _arriving_row("arriving waits + batch 300", None),
    Row("late attach 300", partial(late, 300), 10),
    Row("bimodal", partial(poisson, 0.5, kinds=BIMODAL), 20),
    Row("heavy tail", partial(batch, 200, kinds=HEAVY), 16),
    Row("stuck 5 %", partial(stuck, 0.5), 10),
    Row("drift x2", partial(drift, 0.5), 10),
)
"""One client alone on its account."""

SLOW_ROWS: Sequence[Row] = (
    Row("batch 500, slow net", partial(batch, 500), 3, round_trip=_SLOW),
    Row("Poisson .5/s, slow net", partial(poisson, 0.5), 3, round_trip=_SLOW),
)
"""Answers take up to 3 s."""


def _shared_row(name: str, other_client: Callable[[], OtherClient]) -> Row:
    return Row(
        f"beside {name}",
        partial(batch, 2000),
        3,
        other_client=other_client,
        ends=1200.0,
    )


SHARED_ROWS: Sequence[Row] = (
    _shared_row("steady 1/s", partial(Steady, 1.0)),
    _shared_row("Poisson 1/s", partial(Poisson, 1.0)),
    _shared_row("on/off 1.5/s", partial(OnOff, 1.5)),
)
"""More tasks than the rate limit has room for, beside another client of the same account."""


def _stray_row(requests: int) -> Row:
    return Row(
        f"2 % stray, {requests} / 10 s",
        partial(crowd, 2 * requests),
        3,
        limit=Limit(requests),
        limiting=partial(Stray, share=0.02),
        ends=300.0,
    )


LIMIT_ROWS: Sequence[Row] = (
    *(_stray_row(requests) for requests in (20, 200, 1000)),
    Row("gaps, limit known", partial(batch, 100), 10, limiting=Gaps),
    Row("gaps, limit unknown", partial(batch, 100), 10, limiting=Gaps, knows_limit=False),
    Row("window, limit unknown", partial(batch, 100), 10, knows_limit=False),
)
"""Servers that throttle in other ways than documented, and clients that do not know the limit."""


def _callback_row(count: int, came: float, *, trusted: bool) -> Row:
    return Row(
        f"batch {count}, {came * 100:g} %{', trusted' if trusted else ''}",
        partial(batch, count),
        60 if count == 100 else 10,
        callbacks=Callbacks(came, trusted=trusted),
    )


_SHARES_CAME = (0.0, 0.5, 0.9, 0.99)
CALLBACK_ROWS: Sequence[Row] = (
    *(
        _callback_row(count, came, trusted=trusted)
        for count in (100, 500)
        for trusted in (False, True)
        for came in _SHARES_CAME
    ),
    *(
        Row(
            f"Poisson .5/s, {came * 100:g} %",
            partial(poisson, 0.5),
            16,
            callbacks=Callbacks(came),
        )
        for came in _SHARES_CAME
    ),
)
"""Tasks whose ends callbacks tell, but for those that get lost."""

ALL_ROWS: Mapping[str, Row] = {
    row.name: row for row in (*ROWS, *SLOW_ROWS, *SHARED_ROWS, *LIMIT_ROWS, *CALLBACK_ROWS)
}
