"""Run all rows, print what came of them, and draw it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.simulation import plot, table
from benchmarks.simulation.cost import CASES, cost
from benchmarks.simulation.grid import (
    EDF,
    ENTRANTS,
    FIXED,
    FIXED_BUCKET,
    OURS,
    OURS_BLIND,
    Cell,
    Entrant,
    Results,
    results,
)
from benchmarks.simulation.workloads import ALL_ROWS, ROWS, SHARED_ROWS, SLOW_ROWS, Row

_PICTURE = Path("docs/delays.svg")
_SLOW_ENTRANTS = (FIXED_BUCKET, EDF, OURS)
_SHARED_ENTRANTS = (FIXED, FIXED_BUCKET, EDF, OURS)
_QUICK_CASES = 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description="How long finished tasks stay unnoticed: the package against its rivals.",
    )
    parser.add_argument("--rows", nargs="+", choices=ALL_ROWS, metavar="ROW", help="only these")
    parser.add_argument("--seeds", type=int, help="runs of each (default: what the row needs)")
    parser.add_argument("--quick", action="store_true", help="one run of each, and no picture")
    return parser.parse_args()


def _chosen(rows: Iterable[Row], names: Sequence[str] | None) -> list[str]:
    return [row.name for row in rows if not names or row.name in names]


def _cells(rows: Iterable[str], entrants: Iterable[Entrant]) -> list[Cell]:
    entrants = list(entrants)
    return [(row, each) for row in rows for each in entrants]


def _say(title: str, text: str) -> None:
    print(f"\n{title}\n\n{text}", flush=True)


def _report(done: Results, alone: list[str], slow: list[str], beside: list[str]) -> None:
    if alone:
        brief = "Mean delay / 99th percentile / requests for each task (times in seconds)"
        _say(brief, table.compared(done, alone, ENTRANTS))
        _say("In detail", table.detailed(done, alone, (EDF, OURS, OURS_BLIND)))
    if slow:
        _say("Answers take up to 3 s", table.detailed(done, slow, _SLOW_ENTRANTS))
    if beside:
        _say("Beside another client of the account", table.shared(done, beside, _SHARED_ENTRANTS))


def main() -> None:
    """Run, print and draw."""
    options = _arguments()
    alone = _chosen(ROWS, options.rows)
    slow = _chosen(SLOW_ROWS, options.rows)
    beside = _chosen(SHARED_ROWS, options.rows)
    cells = (
        *_cells(alone, ENTRANTS),
        *_cells(slow, _SLOW_ENTRANTS),
        *_cells(beside, _SHARED_ENTRANTS),
    )
    done = results(cells, 1 if options.quick else options.seeds)
    _report(done, alone, slow, beside)
    if options.rows:
        return
    cases = CASES[:_QUICK_CASES] if options.quick else CASES
    _say("What the schedule costs", table.costs({case: cost(case) for case in cases}))
    if not options.quick:
        plot.draw(done, alone, _PICTURE)
        print(f"\nThe picture is in {_PICTURE}.")


if __name__ == "__main__":
    main()
