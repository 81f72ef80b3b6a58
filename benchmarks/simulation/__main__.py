"""Command line: run all rows, print their tables and draw the picture."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.simulation import plot, table
from benchmarks.simulation.cost import CASES, cost
from benchmarks.simulation.grid import (
    EDF,
    FIXED,
    FIXED_BUCKET,
    OURS,
    OURS_BLIND,
    VARIANTS,
    Cell,
    Results,
    Variant,
    results,
)
from benchmarks.simulation.workloads import (
    ALL_ROWS,
    CALLBACK_ROWS,
    LIMIT_ROWS,
    ROWS,
    SHARED_ROWS,
    SLOW_ROWS,
    Row,
)

_PICTURE = Path("docs/explanation/delays.svg")
_SLOW_VARIANTS = (FIXED_BUCKET, EDF, OURS)
_SHARED_VARIANTS = (FIXED, FIXED_BUCKET, EDF, OURS)
_LIMIT_VARIANTS = (EDF, OURS)
_CALLBACK_VARIANTS = (OURS,)
_QUICK_CASES = 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description="Simulate the delays until finished tasks are noticed.",
    )
    parser.add_argument(
        "--rows", nargs="+", choices=ALL_ROWS, metavar="ROW", help="run these rows only"
    )
    parser.add_argument(
        "--seeds", type=int, help="number of runs of each row (default: depends on the row)"
    )
    parser.add_argument("--quick", action="store_true", help="one run of each row, and no picture")
    return parser.parse_args()


def _chosen(rows: Iterable[Row], names: Sequence[str] | None) -> list[str]:
    return [row.name for row in rows if not names or row.name in names]


def _cells(rows: Iterable[str], variants: Iterable[Variant]) -> list[Cell]:
    variants = list(variants)
    return [(row, each) for row in rows for each in variants]


def _print_section(title: str, text: str) -> None:
    print(f"\n{title}\n\n{text}", flush=True)


def _report(
    done: Results,
    alone: list[str],
    slow: list[str],
    beside: list[str],
    limited: list[str],
    *,
    called: list[str],
) -> None:
    if alone:
        brief = "Mean delay / 99th percentile / requests per task (times in seconds)"
        _print_section(brief, table.compared(done, alone, VARIANTS))
        _print_section("Details", table.detailed(done, alone, (EDF, OURS, OURS_BLIND)))
    if slow:
        _print_section("Answers take up to 3 s", table.detailed(done, slow, _SLOW_VARIANTS))
    if beside:
        _print_section(
            "Beside another client of the account", table.shared(done, beside, _SHARED_VARIANTS)
        )
    if limited:
        _print_section("Other rate limits", table.limits(done, limited, _LIMIT_VARIANTS))
    if called:
        _print_section(
            "With callbacks, of which so many come",
            table.detailed(done, called, _CALLBACK_VARIANTS),
        )


def main() -> None:
    """Run, print and draw what the options ask for."""
    options = _arguments()
    alone = _chosen(ROWS, options.rows)
    slow = _chosen(SLOW_ROWS, options.rows)
    beside = _chosen(SHARED_ROWS, options.rows)
    limited = _chosen(LIMIT_ROWS, options.rows)
    called = _chosen(CALLBACK_ROWS, options.rows)
    cells = (
        *_cells(alone, VARIANTS),
        *_cells(slow, _SLOW_VARIANTS),
        *_cells(beside, _SHARED_VARIANTS),
        *_cells(limited, _LIMIT_VARIANTS),
        *_cells(called, _CALLBACK_VARIANTS),
    )
    done = results(cells, 1 if options.quick else options.seeds)
    _report(done, alone, slow, beside, limited, called=called)
    if options.rows:
        return
    cases = CASES[:_QUICK_CASES] if options.quick else CASES
    _print_section(
        "Processor time of the schedule", table.costs({case: cost(case) for case in cases})
    )
    if not options.quick:
        plot.draw(done, alone, _PICTURE)
        print(f"\nThe picture is in {_PICTURE}.")


if __name__ == "__main__":
    main()
