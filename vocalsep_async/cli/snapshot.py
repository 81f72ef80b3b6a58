"""How a batch stands at one moment, in words and bars."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import frozen
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vocalsep_async import BatchStats, ClientStats, DownloadProgress

_BAR = 30
_MINUTE, _HOUR = 60, 3600
_MEGABYTE = 1e6


@frozen(kw_only=True)
class Snapshot:
    """How a batch stands at one moment.

    Attributes:
        batch: what it has done.
        client: what its client has done.
        used: requests a second, over the last ten seconds.
        slowest: ids that have been open longest, and for how many seconds.
        files: how far the files are that are being fetched.
    """

    batch: BatchStats
    client: ClientStats
    used: float
    slowest: tuple[tuple[str, float], ...] = ()
    files: tuple[DownloadProgress, ...] = ()

    @property
    def total(self) -> int:
        """Tasks that are known so far."""
        return self.batch.pending + self.batch.finished


def duration(seconds: float) -> str:
    """A length of time for people: 8 s, 3:05 min, 2:10 h."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02} min"
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02} h"


def plain(shot: Snapshot) -> str:
    """One line, for logs."""
    return "; ".join((_counts(shot), _eta(shot), _budget(shot), *_troubles(shot)))


def rendered(shot: Snapshot) -> RenderableType:
    """Some lines with bars, for terminals."""
    return Group(
        _row(_counts(shot), shot.batch.finished, shot.total, _eta(shot)),
        Text(_budget(shot), style="dim"),
        *(Text(each, style="yellow") for each in _troubles(shot)),
        *_slowest(shot),
        *(_file(each) for each in shot.files),
    )


def _counts(shot: Snapshot) -> str:
    failed = f", {shot.batch.failed} failed" if shot.batch.failed else ""
    return f"{shot.batch.finished} of {shot.total} known{failed}"


def _eta(shot: Snapshot) -> str:
    if not shot.batch.pending:
        return "all known"
    if not math.isfinite(shot.batch.eta):
        return "no end in sight"
    return f"about {duration(shot.batch.eta)} left"


def _budget(shot: Snapshot) -> str:
    allowed = f" of {shot.client.rate:.1f}" if math.isfinite(shot.client.rate) else ""
    return (
        f"{shot.client.requests} requests, {shot.used:.1f}{allowed} a second; "
        f"{shot.client.throttled} refused"
    )


def _troubles(shot: Snapshot) -> Iterator[str]:
    """Why it takes longer than it should."""
    if shot.batch.retried:
        yield f"{shot.batch.retried} looks met an error and were repeated"
    pause = shot.client.paused_for
    if pause > 0:
        why = "the account was refused" if shot.client.throttled else "the API asked for patience"
        yield f"paused {math.ceil(pause)} s: {why}"


def _slowest(shot: Snapshot) -> Iterator[Text]:
    for task_id, seconds in shot.slowest:
        yield Text(f"  {task_id}  waiting for {duration(seconds)}", style="dim")


def _file(progress: DownloadProgress) -> RenderableType:
    name = f"  {progress.path.parent.name}/{progress.path.name}"
    size = f"{progress.done / _MEGABYTE:.1f} MB"
    return _row(name, progress.done, progress.total, size)


def _row(name: str, done: int, total: int | None, after: str) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_row(Text(name), ProgressBar(total=total, completed=done, width=_BAR), Text(after))
    return row
