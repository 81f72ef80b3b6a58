"""How long it took until an end was known: one dot a task, the quickest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from attrs import frozen

from vocalsep_async.cli.report.scale import Scale
from vocalsep_async.cli.report.story import Story


@frozen
class Dot:
    """One task, in percent of the chart from the left and from the top."""

    story: Story
    x: float
    y: float


@frozen
class Delays:
    """The chart, and what is said of it; delays are in seconds.

    Attributes:
        dots: from the shortest delay to the longest.
        mean: None if no delay is known.
        p95: what 95 % of the tasks do not exceed; None if no delay is known.
        scale: from 0 to the longest delay.
    """

    dots: tuple[Dot, ...]
    mean: float | None
    p95: float | None
    scale: Scale


def delays(told: Sequence[Story]) -> Delays:
    """The chart of all tasks whose delay is known."""
    known = sorted(
        ((story.delay, story) for story in told if story.delay is not None),
        key=lambda pair: pair[0],
    )
    values = [delay for delay, _ in known]
    scale = Scale.around(0.0, 1.05 * max(values, default=0.0))
    dots = (
        Dot(story, round(100 * (rank + 0.5) / len(known), 3), round(100 - scale.percent(delay), 3))
        for rank, (delay, story) in enumerate(known)
    )
    return Delays(tuple(dots), fmean(values) if values else None, _percentile(values, 0.95), scale)


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest rank: always a delay that occurred."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
