"""The summary at the top of the page: a headline, shares of each status, and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from vocalsep_async._text import counted
from vocalsep_async.cli.report.charts import DelayChart, Scale
from vocalsep_async.cli.report.rows import TaskRow
from vocalsep_async.cli.report.run import Run
from vocalsep_async.cli.report.status import LABELS, RowStatus
from vocalsep_async.cli.report.text import format_seconds


@frozen
class Figure:
    """A labelled value with a note."""

    label: str
    value: str
    note: str = ""


@frozen
class StatusShare:
    """How many tasks have a status, and their segment of the bar in percent."""

    status: RowStatus
    count: int
    x: float
    width: float

    @property
    def label(self) -> str:
        """The label of the status."""
        return LABELS[self.status]


def status_shares(rows: Sequence[TaskRow], unfinished: int) -> tuple[StatusShare, ...]:
    """One share per status, empty ones included; *unfinished* tasks without a row are open."""
    counts = Counter(row.status for row in rows)
    counts[RowStatus.OPEN] += unfinished
    scale = Scale.between(0.0, float(counts.total()))
    shares, before = [], 0
    for status in RowStatus:
        x = scale.percent(before)
        before += counts[status]
        # The difference of rounded positions, so that segments meet without a gap.
        width = round(scale.percent(before) - x, 3)
        shares.append(StatusShare(status, counts[status], x, width))
    return tuple(shares)


def headline(shares: Sequence[StatusShare], noun: str = "task") -> str:
    """The result of the run in a sentence, where its tasks are called *noun*."""
    total = sum(share.count for share in shares)
    # The first status is SUCCEEDED.
    succeeded = shares[0].count
    done = "separated" if noun == "song" else "succeeded"
    if total == 0:
        return f"No {noun}s in this run"
    if total == 1:
        (only,) = (share for share in shares if share.count)
        return _HEADLINES_OF_ONE[noun][only.status]
    if total == succeeded:
        return f"All {total:,} {noun}s {done}"
    unsaved = sum(share.count for share in shares if share.status is RowStatus.UNSAVED)
    counts = f"{succeeded + unsaved or 'None'} of {total:,} {noun}s {done}"
    return f"{counts}, {unsaved:,} not saved" if unsaved else counts


_HEADLINES_OF_ONE = {
    "task": {
        RowStatus.SUCCEEDED: "The task succeeded",
        RowStatus.UNSAVED: "The task succeeded but was not saved",
        RowStatus.FAILED: "The task failed",
        RowStatus.OPEN: "The task is still open",
    },
    "song": {
        RowStatus.SUCCEEDED: "The song is separated",
        RowStatus.UNSAVED: "The song is separated but not saved",
        RowStatus.FAILED: "The song could not be separated",
        RowStatus.OPEN: "The song is still open",
    },
}


def figures(
    run: Run, rows: Sequence[TaskRow], chart: DelayChart, noun: str = "task"
) -> tuple[Figure, ...]:
    """The figures of *run*, whose tasks are called *noun*."""
    last = run.samples[-1] if run.samples else None
    saved = sum(len(row.stems) for row in rows)
    missing = sum(len(row.outcome.not_saved) for row in rows)
    saved_tasks = sum(bool(row.stems) for row in rows)
    saved_note = f"of {saved + missing:,}, " if missing else ""
    limit = f"at most {run.limit.max_requests:,} per {run.limit.period:g} s"
    return (
        Figure("Wall time", format_seconds(run.seconds)),
        Figure("Requests", "–" if last is None else f"{last.requests:,}", limit),
        Figure("Throttled", "–" if last is None else f"{last.throttled:,}", "too many requests"),
        Figure("Mean delay", format_seconds(chart.mean), "from finished to detected"),
        Figure(
            "95th percentile", format_seconds(chart.p95), f"of {counted(len(chart.dots), 'delay')}"
        ),
        Figure("Stems saved", f"{saved:,}", f"{saved_note}from {counted(saved_tasks, noun)}"),
    )
