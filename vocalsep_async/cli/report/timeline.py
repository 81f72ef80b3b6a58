"""The batch along the time of the run: one bar a task, from its creation until it was known."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from vocalsep_async.cli.report.run import Run
from vocalsep_async.cli.report.scale import Scale
from vocalsep_async.cli.report.story import Story

_HEIGHT = 440.0
_TALLEST_ROW = 20.0
_LOWEST_ROW = 1.0
_LEAD = 0.25


@frozen
class Bar:
    """One task; all widths are in percent of the chart, heights in pixels.

    Attributes:
        story: the task.
        y: where its row begins.
        start: where it was created.
        done: where it ended; where it was known if nobody knows when it ended.
        known: where its end was known.
    """

    story: Story
    y: float
    start: float
    done: float
    known: float

    @property
    def is_vague(self) -> bool:
        """Whether nobody knows when it ended, so that the bar goes on until the last look."""
        return self.story.completed_at is None


@frozen
class Timeline:
    """The chart.

    Attributes:
        bars: by the start of the task.
        row: pixels for each.
        scale: seconds since the run began.
    """

    bars: tuple[Bar, ...]
    row: float
    scale: Scale

    @property
    def height(self) -> float:
        """Pixels of all rows."""
        return round(self.row * len(self.bars), 2)

    @property
    def thickness(self) -> float:
        """Pixels of a bar."""
        return round(self.row * 0.6 if self.row > 3 else self.row, 2)


@frozen
class _Span:
    """A task in seconds since the run began."""

    start: float
    done: float
    known: float


def timeline(run: Run, told: tuple[Story, ...]) -> Timeline:
    """The chart of *run*; what was long before it stands at its edge."""
    spans = sorted(
        ((_span(story, run.began_at), story) for story in told),
        key=lambda pair: (pair[0].start, pair[0].known),
    )
    scale = _scale(run.seconds, [span for span, _ in spans])
    row = round(min(_TALLEST_ROW, max(_LOWEST_ROW, _HEIGHT / max(1, len(spans)))), 2)
    bars = (
        Bar(
            story,
            round(row * number, 2),
            scale.percent(span.start),
            scale.percent(span.done),
            scale.percent(span.known),
        )
        for number, (span, story) in enumerate(spans)
    )
    return Timeline(tuple(bars), row, scale)


def _span(story: Story, began_at: datetime) -> _Span:
    known = _since(began_at, story.arrival.at)
    start = 0.0 if story.created_at is None else _since(began_at, story.created_at)
    done = known if story.completed_at is None else _since(began_at, story.completed_at)
    # Two clocks: what a task did lies between its start and the moment it was known.
    start = min(start, known)
    return _Span(start, min(max(start, done), known), known)


def _since(began_at: datetime, at: datetime) -> float:
    return (at - began_at).total_seconds()


def _scale(length: float, spans: list[_Span]) -> Scale:
    end = max([length, *(span.known for span in spans)])
    first = min((span.start for span in spans), default=0.0)
    # Some of what came before the run is of interest, and old tasks must not fill the chart.
    return Scale.around(max(min(0.0, first), -_LEAD * end), end)
