"""Formats the results as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.simulation.bounds import LOWER_BOUND
from benchmarks.simulation.cost import Case, Cost
from benchmarks.simulation.grid import CLAIRVOYANT, Results, Variant
from benchmarks.simulation.statistics import Summary
from benchmarks.simulation.workloads import ALL_ROWS


def compared(results: Results, rows: Sequence[str], variants: Sequence[Variant]) -> str:
    """Format mean delay, 99th percentile and requests per task of all variants, row by row."""
    table_rows = [
        [
            row,
            *(_brief(results[row, each]) for each in variants if each is not CLAIRVOYANT),
            f"{LOWER_BOUND[row]:g}" if row in LOWER_BOUND else "–",
            _number(results[row, CLAIRVOYANT].mean),
        ]
        for row in rows
    ]
    titles = [each.title for each in variants if each is not CLAIRVOYANT]
    return _table(["workload", *titles, "lower bound", "clairvoyant"], table_rows)


def detailed(results: Results, rows: Sequence[str], variants: Sequence[Variant]) -> str:
    """Format every figure of the summaries."""
    titles = ["workload", "", *_DETAILS]
    table_rows = [
        [row, each.title, *(show(results[row, each]) for show in _DETAILS.values())]
        for row in rows
        for each in variants
    ]
    return _table(titles, table_rows)


def shared(results: Results, rows: Sequence[str], variants: Sequence[Variant]) -> str:
    """Format how the rate limit was divided between the measured client and the other one."""
    table_rows = [
        [row, each.title, *(show(results[row, each]) for show in _SHARES.values())]
        for row in rows
        for each in variants
    ]
    return _table(["workload", "", *_SHARES], table_rows)


def limits(results: Results, rows: Sequence[str], variants: Sequence[Variant]) -> str:
    """Format how much of the rate limit was used."""
    table_rows = [
        [
            row,
            each.title,
            *(show(results[row, each]) for show in _USES.values()),
            f"{results[row, each].ok_rate * limit.period / limit.requests:.0%}",
        ]
        for row in rows
        for each in variants
        for limit in [ALL_ROWS[row].limit]
    ]
    return _table(["server", "", *_USES, "of the limit"], table_rows)


def costs(measured: Mapping[Case, Cost]) -> str:
    """Format the processor time of the schedule."""
    titles = ["tasks", "requests / 10 s", "polls", "per poll", "longest call", "share of a core"]
    table_rows = [
        [
            f"{case.tasks:,}",
            f"{case.limit.requests:,}",
            f"{cost.polls:,}",
            f"{cost.per_poll * 1e6:.0f} µs" if case.is_whole else "–",
            f"{cost.longest * 1e3:.1f} ms",
            f"{cost.share:.3%}" if case.is_whole else "–",
        ]
        for case, cost in measured.items()
    ]
    return _table(titles, table_rows)


def _number(seconds: float) -> str:
    """Format with about three significant digits."""
    return (
        f"{seconds:.2f}"
        if seconds < 10
        else f"{seconds:.1f}"
        if seconds < 100
        else f"{seconds:.0f}"
    )


def _brief(one: Summary) -> str:
    return f"{_number(one.mean)} / {one.p99:.0f} / {one.polls_per_task:.2g}"


_DETAILS: Mapping[str, Callable[[Summary], str]] = {
    "mean": lambda one: _number(one.mean),
    "p50": lambda one: _number(one.p50),
    "p95": lambda one: _number(one.p95),
    "p99": lambda one: _number(one.p99),
    "requests / task": lambda one: f"{one.polls_per_task:.2f}",
    "throttled": lambda one: f"{one.throttled:.1%}",
    "longest gap": lambda one: f"{one.longest_gap:.0f}",
    "x bound": lambda one: "–" if one.times_bound is None else f"{one.times_bound:.2f}",
}
_SHARES: Mapping[str, Callable[[Summary], str]] = {
    "answered per second": lambda one: f"{one.ok_rate:.2f}",
    "throttled": lambda one: f"{one.throttled:.1%}",
    "answered of the other's": lambda one: f"{one.other_success or 0.0:.0%}",
}
_USES: Mapping[str, Callable[[Summary], str]] = {
    "mean": lambda one: "–" if math.isnan(one.mean) else _number(one.mean),
    "answered per second": lambda one: f"{one.ok_rate:.2f}",
    "throttled": lambda one: f"{one.throttled:.1%}",
}


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format *rows* as Markdown, with columns aligned for a terminal."""
    all_rows = [list(titles), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*all_rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_row(each, widths) for each in (all_rows[0], rule, *all_rows[1:]))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
