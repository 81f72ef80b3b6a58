"""The charts of the page, as positions in percent: the timeline, the delays, and the requests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import fmean

from attrs import frozen

from vocalsep_async.cli.report.rows import TaskRow
from vocalsep_async.cli.report.run import Run, Sample

# Axes

_MAX_TIME_TICKS = 6
_MAX_VALUE_TICKS = 5
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)
_DAY = 86_400


@frozen
class Scale:
    """An axis.

    Attributes:
        low: the value at its start.
        high: the value at its end, above *low*.
    """

    low: float
    high: float

    @classmethod
    def between(cls, low: float, high: float) -> Scale:
        """The scale from *low* to *high*, of length 1 if *high* is not above *low*."""
        return cls(low, high if high > low else low + 1.0)

    def percent(self, value: float) -> float:
        """The position of *value*, from 0 to 100; values beyond an end are moved to it."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def times(self) -> tuple[float, ...]:
        """Round times along the axis, in seconds."""
        return self._ticks(_time_step((self.high - self.low) / _MAX_TIME_TICKS))

    def values(self) -> tuple[float, ...]:
        """Round values along the axis."""
        return self._ticks(_step((self.high - self.low) / _MAX_VALUE_TICKS))

    def _ticks(self, step: float) -> tuple[float, ...]:
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return tuple(number * step for number in range(first, last + 1))


def _time_step(minimum: float) -> float:
    longer = (step for step in _TIME_STEPS if step >= minimum)
    return next(longer, _DAY * _step(minimum / _DAY))


def _step(minimum: float) -> float:
    """The first of 1, 2, 5, 10, 20 ... 0.1, 0.2 ... that is not below *minimum*."""
    power = 10.0 ** math.floor(math.log10(minimum))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= minimum)


# The timeline

_TIMELINE_HEIGHT = 440.0
_MAX_ROW_HEIGHT = 20.0
_MIN_ROW_HEIGHT = 1.0
_MAX_LEAD = 0.25
"""The part of the run's length that is shown of the time before the run."""


@frozen
class Bar:
    """One task; x positions are in percent of the chart, y positions in pixels.

    Attributes:
        row: the task.
        y: the top of its row.
        start: its creation.
        done: its completion; its detection if the completion is unknown.
        known: its detection.
    """

    row: TaskRow
    y: float
    start: float
    done: float
    known: float

    @property
    def is_end_unknown(self) -> bool:
        """Whether the completion is unknown, so that the bar ends at the last poll."""
        return self.row.completed_at is None


@frozen
class Timeline:
    """One bar per task whose outcome this run detected.

    Attributes:
        bars: in the order of the tasks' creation.
        row_height: pixels of each row.
        scale: seconds since the start of the run.
    """

    bars: tuple[Bar, ...]
    row_height: float
    scale: Scale

    @property
    def height(self) -> float:
        """Pixels of all rows."""
        return round(self.row_height * len(self.bars), 2)

    @property
    def thickness(self) -> float:
        """Pixels of a bar."""
        return round(self.row_height * 0.6 if self.row_height > 3 else self.row_height, 2)


@frozen
class _Span:
    """A task in seconds since the start of the run."""

    start: float
    done: float
    known: float


def timeline(run: Run, rows: Sequence[TaskRow]) -> Timeline:
    """The timeline of *run*; tasks from long before the run start at its left edge."""
    spans = sorted(
        ((_span(row, row.timed.at, run.began_at), row) for row in rows if row.timed.at is not None),
        key=lambda pair: (pair[0].start, pair[0].known),
    )
    scale = _timeline_scale(run.seconds, [span for span, _ in spans])
    fitting = _TIMELINE_HEIGHT / max(1, len(spans))
    height = round(min(_MAX_ROW_HEIGHT, max(_MIN_ROW_HEIGHT, fitting)), 2)
    bars = (
        Bar(
            row,
            round(height * number, 2),
            scale.percent(span.start),
            scale.percent(span.done),
            scale.percent(span.known),
        )
        for number, (span, row) in enumerate(spans)
    )
    return Timeline(tuple(bars), height, scale)


def _span(row: TaskRow, detected_at: datetime, began_at: datetime) -> _Span:
    known = _seconds_since(began_at, detected_at)
    start = 0.0 if row.created_at is None else _seconds_since(began_at, row.created_at)
    done = known if row.completed_at is None else _seconds_since(began_at, row.completed_at)
    # The provider's clock may differ from this machine's: keep the three times in order.
    start = min(start, known)
    return _Span(start, min(max(start, done), known), known)


def _seconds_since(began_at: datetime, at: datetime) -> float:
    return (at - began_at).total_seconds()


def _timeline_scale(length: float, spans: Sequence[_Span]) -> Scale:
    end = max([length, *(span.known for span in spans)])
    first = min((span.start for span in spans), default=0.0)
    # A part of the time before the run is shown; days of it would squeeze the run itself.
    return Scale.between(max(min(0.0, first), -_MAX_LEAD * end), end)


# The delays


@frozen
class Dot:
    """One task, in percent of the chart from the left and from the top."""

    row: TaskRow
    x: float
    y: float


@frozen
class DelayChart:
    """One dot per task with a known delay; delays are in seconds.

    Attributes:
        dots: from the shortest delay to the longest.
        mean: the mean delay; None without delays.
        p95: the 95th percentile; None without delays.
        scale: from 0 to the longest delay.
    """

    dots: tuple[Dot, ...]
    mean: float | None
    p95: float | None
    scale: Scale


def delay_chart(rows: Sequence[TaskRow]) -> DelayChart:
    """The chart of all tasks whose delay is known."""
    known = sorted(
        ((row.delay, row) for row in rows if row.delay is not None),
        key=lambda pair: pair[0],
    )
    delays = [delay for delay, _ in known]
    scale = Scale.between(0.0, 1.05 * max(delays, default=0.0))
    dots = (
        Dot(row, round(100 * (rank + 0.5) / len(known), 3), round(100 - scale.percent(delay), 3))
        for rank, (delay, row) in enumerate(known)
    )
    return DelayChart(
        tuple(dots), fmean(delays) if delays else None, _percentile(delays, 0.95), scale
    )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    # By nearest rank, and so always a delay that occurred.
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


# The requests

_MAX_WINDOWS = 120


@frozen
class Window:
    """The time between two samples: at most the limit's period, unless samples are further apart.

    Attributes:
        start: seconds since the start of the run.
        end: the same.
        requests: requests sent in the window, including throttled ones.
        throttled: requests throttled in the window.
    """

    start: float
    end: float
    requests: int
    throttled: int


@frozen
class RequestChart:
    """One bar per window.

    Attributes:
        windows: in order; in long runs, each stands for the fullest of several.
        times: seconds since the start of the run.
        counts: requests in a window.
    """

    windows: tuple[Window, ...]
    times: Scale
    counts: Scale


def request_chart(run: Run) -> RequestChart:
    """The chart of *run*."""
    samples = [Sample(run.began_at, 0, 0, 0, 0), *run.samples]
    windows = _merge(tuple(_windows(samples, run.began_at, run.limit.period)))
    highest = max([run.limit.max_requests, *(window.requests for window in windows)])
    end = max([run.seconds, *(window.end for window in windows)])
    return RequestChart(windows, Scale.between(0.0, end), Scale.between(0.0, 1.15 * highest))


def _windows(samples: Sequence[Sample], began_at: datetime, period: float) -> Iterator[Window]:
    # Windows begin and end at samples, where the counts are exact. None is longer than the
    # period if samples permit, so that a client within its limit is never shown above it.
    first = last = samples[0]
    for sample in samples[1:]:
        if last is not first and (sample.at - first.at).total_seconds() > period:
            yield _window(first, last, began_at)
            first = last
        last = sample
    if last is not first:
        yield _window(first, last, began_at)


def _window(first: Sample, last: Sample, began_at: datetime) -> Window:
    # Clocks can be set back during a run.
    start = _seconds_since(began_at, first.at)
    return Window(
        start,
        max(start, _seconds_since(began_at, last.at)),
        max(0, last.requests - first.requests),
        max(0, last.throttled - first.throttled),
    )


def _merge(windows: Sequence[Window]) -> tuple[Window, ...]:
    size = math.ceil(len(windows) / _MAX_WINDOWS) or 1
    groups = (windows[start : start + size] for start in range(0, len(windows), size))
    return tuple(map(_fullest, groups))


def _fullest(group: Sequence[Window]) -> Window:
    return Window(
        group[0].start,
        group[-1].end,
        max(window.requests for window in group),
        max(window.throttled for window in group),
    )
