"""Runs rows with policies in several processes."""

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
class Variant:
    """One column of the table: a policy, and whether it knows the types of its tasks."""

    title: str
    policy: str
    types_known: bool = True


FIXED = Variant("5 s loops", "fixed")
BACKOFF = Variant("back-off loops", "backoff")
FIXED_BUCKET = Variant("5 s, bucket", "fixed + bucket")
BACKOFF_BUCKET = Variant("back-off, bucket", "backoff + bucket")
EDF = Variant("EDF 5 s, rate limiter", "EDF + rate limiter")
OURS = Variant("ours", "ours")
OURS_BLIND = Variant("ours, types unknown", "ours", types_known=False)
EXHAUSTIVE = Variant("ours, without heap", "exhaustive")
CLAIRVOYANT = Variant("clairvoyant", "clairvoyant")

VARIANTS = (
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

Cell = tuple[str, Variant]
Results = Mapping[Cell, Summary]


def results(cells: Iterable[Cell], seeds: int | None) -> Results:
    """Run all *cells*, each with *seeds* seeds; None for the number that its row has."""
    runs: dict[Cell, list[Measures]] = {cell: [] for cell in cells}
    todo = [(cell, seed) for cell in runs for seed in range(seeds or ALL_ROWS[cell[0]].seeds)]
    # Long runs first, so that no process is idle at the end.
    todo.sort(key=lambda each: _weight(each[0]), reverse=True)
    for cell, measured in _in_parallel(todo):
        runs[cell].append(measured)
    return {cell: summary(each, LOWER_BOUND.get(cell[0])) for cell, each in runs.items()}


def _weight(cell: Cell) -> float:
    """Rough length of a run: rows with many tasks and clients with many polls take longest."""
    row, variant = cell
    return (100.0 if "1.5" in row or "2000" in row or "beside" in row else 1.0) * (
        10.0 if variant in (FIXED, OURS, OURS_BLIND, EXHAUSTIVE) else 1.0
    )


def _in_parallel(todo: Sequence[tuple[Cell, int]]) -> Iterator[tuple[Cell, Measures]]:
    with multiprocessing.Pool(_PROCESSES) as pool:
        for count, done in enumerate(pool.imap_unordered(_one, todo), start=1):
            _show_progress(count, len(todo))
            yield done


def _one(task: tuple[Cell, int]) -> tuple[Cell, Measures]:
    cell, seed = task
    row, variant = cell
    return cell, run_once(row, variant.policy, types_known=variant.types_known, seed=seed)


def _show_progress(count: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if count == total else ""
        print(f"\r{count} of {total} runs", end=end, file=sys.stderr, flush=True)
