"""The figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.simulation.bounds import LOWER_BOUND
from benchmarks.simulation.cost import Case, Cost
from benchmarks.simulation.grid import CLAIRVOYANT, Entrant, Results
from benchmarks.simulation.statistics import Summary


def compared(results: Results, rows: Sequence[str], entrants: Sequence[Entrant]) -> str:
    """Mean delay, its 99th percentile and requests for each task: all entrants, row by row."""
    queues = [
        [
            row,
            *(_brief(results[row, each]) for each in entrants if each is not CLAIRVOYANT),
            f"{LOWER_BOUND[row]:g}" if row in LOWER_BOUND else "–",
            _number(results[row, CLAIRVOYANT].mean),
        ]
        for row in rows
    ]
    titles = [each.title for each in entrants if each is not CLAIRVOYANT]
    return _table(["workload", *titles, "lower bound", "clairvoyant"], queues)


def detailed(results: Results, rows: Sequence[str], entrants: Sequence[Entrant]) -> str:
    """All that was measured."""
    titles = ["workload", "", *_DETAILS]
    queues = [
        [row, each.title, *(show(results[row, each]) for show in _DETAILS.values())]
        for row in rows
        for each in entrants
    ]
    return _table(titles, queues)


def shared(results: Results, rows: Sequence[str], entrants: Sequence[Entrant]) -> str:
    """How the account is divided between our client and another."""
    queues = [
        [row, each.title, *(show(results[row, each]) for show in _SHARES.values())]
        for row in rows
        for each in entrants
    ]
    return _table(["workload", "", *_SHARES], queues)


def costs(measured: Mapping[Case, Cost]) -> str:
    """Processor time of the schedule."""
    titles = ["tasks", "requests / 10 s", "looks", "a look", "longest call", "share of a core"]
    queues = [
        [
            f"{case.tasks:,}",
            f"{case.limit.requests:,}",
            f"{cost.polls:,}",
            f"{cost.per_look * 1e6:.0f} µs" if case.is_whole else "–",
            f"{cost.longest * 1e3:.1f} ms",
            f"{cost.share:.3%}" if case.is_whole else "–",
        ]
        for case, cost in measured.items()
    ]
    return _table(titles, queues)


def _number(seconds: float) -> str:
    """Three figures, no more."""
    return (
        f"{seconds:.2f}"
        if seconds < 10
        else f"{seconds:.1f}"
        if seconds < 100
        else f"{seconds:.0f}"
    )


def _brief(one: Summary) -> str:
    return f"{_number(one.mean)} / {one.p99:.0f} / {one.looks_per_task:.2g}"


_DETAILS: Mapping[str, Callable[[Summary], str]] = {
    "mean": lambda one: _number(one.mean),
    "p50": lambda one: _number(one.p50),
    "p95": lambda one: _number(one.p95),
    "p99": lambda one: _number(one.p99),
    "requests / task": lambda one: f"{one.looks_per_task:.2f}",
    "throttled": lambda one: f"{one.throttled:.1%}",
    "longest gap": lambda one: f"{one.longest_gap:.0f}",
    "x bound": lambda one: "–" if one.times_bound is None else f"{one.times_bound:.2f}",
}
_SHARES: Mapping[str, Callable[[Summary], str]] = {
    "answered a second": lambda one: f"{one.ok_rate:.2f}",
    "throttled": lambda one: f"{one.throttled:.1%}",
    "answered of the other's": lambda one: f"{one.other_success or 0.0:.0%}",
}


def _table(titles: Sequence[str], queues: Iterable[Sequence[str]]) -> str:
    """Lay out *lines* as Markdown, with columns that line up in a terminal, too."""
    all_lines = [list(titles), *map(list, queues)]
    widths = [max(map(len, column)) for column in zip(*all_lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(each, widths) for each in (all_lines[0], rule, *all_lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
