"""What was asked in each period of the limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from attrs import frozen

from vocalsep_async.cli.report.run import Run, Sample
from vocalsep_async.cli.report.scale import Scale

_MOST_BARS = 120


@frozen
class Window:
    """A stretch between two samples, no longer than the period unless samples are rarer.

    Attributes:
        start: seconds since the run began.
        end: the same.
        requests: sent in it, the refused ones among them.
        refused: refused in it.
    """

    start: float
    end: float
    requests: int
    throttled: int


@frozen
class Requests:
    """The chart.

    Attributes:
        windows: in their order; where there are many, the fullest of each few.
        times: seconds since the run began.
        counts: requests in a window.
    """

    windows: tuple[Window, ...]
    times: Scale
    counts: Scale


def requests(run: Run) -> Requests:
    """The chart of *run*."""
    samples = [Sample(run.began_at, 0, 0, 0, 0), *run.samples]
    windows = _thinned(tuple(_windows(samples, run.began_at, run.limit.period)))
    most = max([run.limit.max_requests, *(window.requests for window in windows)])
    end = max([run.seconds, *(window.end for window in windows)])
    return Requests(windows, Scale.around(0.0, end), Scale.around(0.0, 1.15 * most))


def _windows(samples: Sequence[Sample], began_at: datetime, period: float) -> Iterator[Window]:
    """Cut at samples only: between two of them the count is exact, elsewhere it would be a guess.

    A window is as long as samples let it be within the period, so none that obeyed the limit can
    show more than the limit.
    """
    first = last = samples[0]
    for sample in samples[1:]:
        if last is not first and (sample.at - first.at).total_seconds() > period:
            yield _between(first, last, began_at)
            first = last
        last = sample
    if last is not first:
        yield _between(first, last, began_at)


def _between(first: Sample, last: Sample, began_at: datetime) -> Window:
    start = (first.at - began_at).total_seconds()
    return Window(
        start,
        max(start, (last.at - began_at).total_seconds()),
        max(0, last.requests - first.requests),
        max(0, last.throttled - first.throttled),
    )


def _thinned(windows: Sequence[Window]) -> tuple[Window, ...]:
    few = -(-len(windows) // _MOST_BARS) or 1
    groups = (windows[start : start + few] for start in range(0, len(windows), few))
    return tuple(map(_fullest, groups))


def _fullest(group: Sequence[Window]) -> Window:
    return Window(
        group[0].start,
        group[-1].end,
        max(window.requests for window in group),
        max(window.throttled for window in group),
    )
