"""Progress of a batch at one moment, as a line for logs and as bars for terminals."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import frozen
from rich.console import Group, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from vocalsep_async import BatchStats, ClientStats, DownloadProgress
from vocalsep_async._text import counted

_BAR_WIDTH = 30
_MINUTE, _HOUR = 60, 3600


@frozen(kw_only=True)
class Snapshot:
    """Progress of a batch at one moment.

    Attributes:
        batch: counts of the batch.
        client: counts of its client.
        request_rate: requests per second over the last ten seconds.
        slowest: the ids that have been pending longest, and for how many seconds.
        files: progress of the downloads that are running.
    """

    batch: BatchStats
    client: ClientStats
    request_rate: float
    slowest: tuple[tuple[str, float], ...] = ()
    files: tuple[DownloadProgress, ...] = ()

    @property
    def total(self) -> int:
        """Tasks of the batch so far."""
        return self.batch.pending + self.batch.finished


def format_duration(seconds: float) -> str:
    """A duration such as 8 s, 3:05 min, 2:10 h."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02} min"
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02} h"


def format_line(snapshot: Snapshot) -> str:
    """One line, for logs."""
    return "; ".join(
        (_tasks(snapshot), _time_left(snapshot), _requests(snapshot), *_problems(snapshot))
    )


def render(snapshot: Snapshot) -> RenderableType:
    """Bars and lines, for terminals."""
    return Group(
        _task_bar(snapshot),
        Text(_requests(snapshot), style="dim"),
        *(Text(each, style="yellow") for each in _problems(snapshot)),
        *_slowest(snapshot),
        *_file_bars(snapshot.files),
    )


def _tasks(snapshot: Snapshot) -> str:
    failed = f", {snapshot.batch.failed} failed" if snapshot.batch.failed else ""
    return f"{snapshot.batch.finished} of {snapshot.total} tasks finished{failed}"


def _time_left(snapshot: Snapshot) -> str:
    if not snapshot.batch.pending:
        return "none pending"
    if not math.isfinite(snapshot.batch.eta):
        return "time left unknown"
    return f"about {format_duration(snapshot.batch.eta)} left"


def _requests(snapshot: Snapshot) -> str:
    client = snapshot.client
    allowed = f" of {client.rate:.1f}" if math.isfinite(client.rate) else ""
    return (
        f"{counted(client.requests, 'request')}, {snapshot.request_rate:.1f}{allowed} per second; "
        f"{client.throttled:,} throttled"
    )


def _problems(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.batch.retried:
        yield f"{counted(snapshot.batch.retried, 'failed poll')} retried"
    pause = snapshot.client.paused_for
    if pause > 0:
        # Nothing else pauses a client.
        reason = "throttled" if snapshot.client.throttled else "API under maintenance"
        yield f"paused for {math.ceil(pause)} s: {reason}"


def _slowest(snapshot: Snapshot) -> Iterator[Text]:
    for task_id, seconds in snapshot.slowest:
        yield Text(f"  {task_id}  open for {format_duration(seconds)}", style="dim")


def _task_bar(snapshot: Snapshot) -> RenderableType:
    progress = Progress(
        _text_column("{task.description}"),
        BarColumn(_BAR_WIDTH),
        # Not rich's own estimate, which takes tasks for equally long.
        _text_column("{task.fields[time_left]}"),
        auto_refresh=False,
    )
    progress.add_task(
        _tasks(snapshot),
        total=snapshot.total,
        completed=snapshot.batch.finished,
        time_left=_time_left(snapshot),
    )
    return progress


def _file_bars(files: tuple[DownloadProgress, ...]) -> Iterator[RenderableType]:
    if not files:
        return
    progress = Progress(
        _text_column("  {task.description}"),
        # Without a fixed width: the bars shrink first where names and sizes need the space.
        BarColumn(None, table_column=Column(max_width=_BAR_WIDTH)),
        DownloadColumn(table_column=Column(no_wrap=True)),
        auto_refresh=False,
    )
    for file in files:
        name = f"{file.path.parent.name}/{file.path.name}"
        progress.add_task(name, total=file.total, completed=file.done)
    yield progress


def _text_column(template: str) -> TextColumn:
    # Names of tasks and files are text, never markup.
    return TextColumn(template, markup=False)
