"""Every row with every policy, on all cores."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from benchmarks.simulation.bounds import LOWER_BOUND
from benchmarks.simulation.running import run_once
from benchmarks.simulation.statistics import Measures, Summary, summary
from benchmarks.simulation.workloads import ALL_ROWS

_PROCESSES = 2


@frozen
class Entrant:
    """One column: a policy, and whether it knows the types of its tasks."""

    title: str
    policy: str
    types_known: bool = True


FIXED = Entrant("5 s loops", "fixed")
BACKOFF = Entrant("back-off loops", "backoff")
FIXED_BUCKET = Entrant("5 s, bucket", "fixed + bucket")
BACKOFF_BUCKET = Entrant("back-off, bucket", "backoff + bucket")
EDF = Entrant("EDF 5 s, pacer", "EDF + pacer")
OURS = Entrant("ours", "ours")
OURS_BLIND = Entrant("ours, types unknown", "ours", types_known=False)
EXHAUSTIVE = Entrant("ours, without heap", "exhaustive")
CLAIRVOYANT = Entrant("clairvoyant", "clairvoyant")

ENTRANTS = (
    FIXED,
    BACKOFF,
    FIXED_BUCKET,
    BACKOFF_BUCKET,
    EDF,
    OURS,
    OURS_BLIND,
    EXHAUSTIVE,
    CLAIRVOYANT,
)

Cell = tuple[str, Entrant]
Results = Mapping[Cell, Summary]


def results(cells: Iterable[Cell], seeds: int | None) -> Results:
    """Run all *cells*; *seeds* runs of each, or as many as its row needs."""
    runs: dict[Cell, list[Measures]] = {cell: [] for cell in cells}
    todo = [(cell, seed) for cell in runs for seed in range(seeds or ALL_ROWS[cell[0]].seeds)]
    # The long ones first, so that no core is idle at the end.
    todo.sort(key=lambda each: _weight(each[0]), reverse=True)
    for cell, measured in _in_parallel(todo):
        runs[cell].append(measured)
    return {cell: summary(each, LOWER_BOUND.get(cell[0])) for cell, each in runs.items()}


def _weight(cell: Cell) -> float:
    """How long a run takes, roughly: the rows with most tasks, and the clients that look most."""
    row, entrant = cell
    return (100.0 if "1.5" in row or "2000" in row or "beside" in row else 1.0) * (
        10.0 if entrant in (FIXED, OURS, OURS_BLIND, EXHAUSTIVE) else 1.0
    )


def _in_parallel(todo: Sequence[tuple[Cell, int]]) -> Iterator[tuple[Cell, Measures]]:
    with multiprocessing.Pool(_PROCESSES) as pool:
        for count, done in enumerate(pool.imap_unordered(_one, todo), start=1):
            _tell(count, len(todo))
            yield done


def _one(task: tuple[Cell, int]) -> tuple[Cell, Measures]:
    cell, seed = task
    row, entrant = cell
    return cell, run_once(row, entrant.policy, types_known=entrant.types_known, seed=seed)


def _tell(count: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if count == total else ""
        print(f"\r{count} of {total} runs", end=end, file=sys.stderr, flush=True)
