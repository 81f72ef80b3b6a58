"""The figures at the top of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from vocalsep_async._text import counted
from vocalsep_async.cli.report.delays import Delays
from vocalsep_async.cli.report.ending import WORDS, Ending
from vocalsep_async.cli.report.run import Run
from vocalsep_async.cli.report.scale import Scale
from vocalsep_async.cli.report.story import Story
from vocalsep_async.cli.report.text import seconds


@frozen
class Fact:
    """A figure, what it is, and what else is to be said of it."""

    label: str
    value: str
    note: str = ""


@frozen
class Share:
    """How many tasks ended in one way, and in percent of the whole where their part is drawn."""

    ending: Ending
    count: int
    x: float
    width: float

    @property
    def word(self) -> str:
        """What the page calls this ending."""
        return WORDS[self.ending]


def shares(told: Sequence[Story], unheard: int) -> tuple[Share, ...]:
    """All endings, also those that no task had; tasks without an outcome are open."""
    counts = Counter(story.ending for story in told)
    counts[Ending.OPEN] += unheard
    scale = Scale.around(0.0, float(counts.total()))
    found, before = [], 0
    for ending in Ending:
        x = scale.percent(before)
        before += counts[ending]
        width = round(scale.percent(before) - x, 3)
        found.append(Share(ending, counts[ending], x, width))
    return tuple(found)


def headline(parts: Sequence[Share]) -> str:
    """What became of the run, in a sentence."""
    total = sum(part.count for part in parts)
    good = parts[0].count
    if total == 0:
        return "No tasks in this run"
    if total == good:
        return "The task succeeded" if total == 1 else f"All {total:,} tasks succeeded"
    if total == 1:
        (only,) = (part for part in parts if part.count)
        return _OF_ONE[only.ending]
    return f"{good or 'None'} of {total:,} tasks succeeded"


_OF_ONE = {
    Ending.UNSAVED: "The task succeeded and was not saved",
    Ending.FAILED: "The task failed",
    Ending.OPEN: "The task is still open",
}


def facts(run: Run, told: Sequence[Story], chart: Delays) -> tuple[Fact, ...]:
    """The figures of *run*."""
    last = run.samples[-1] if run.samples else None
    saved = sum(len(story.stems) for story in told)
    return (
        Fact("Wall time", seconds(run.seconds)),
        Fact("Requests", "–" if last is None else f"{last.requests:,}", _limit(run)),
        Fact("Refused", "–" if last is None else f"{last.throttled:,}", "as too many"),
        Fact("Mean delay", seconds(chart.mean), "from finished to known"),
        Fact("95 % within", seconds(chart.p95), f"of {counted(len(chart.dots), 'delay')}"),
        Fact("Stems saved", f"{saved:,}", _of_tasks(told)),
    )


def _limit(run: Run) -> str:
    return f"at most {run.limit.max_requests:,} in {run.limit.period:g} s"


def _of_tasks(told: Sequence[Story]) -> str:
    return f"of {counted(sum(bool(story.stems) for story in told), 'task')}"
