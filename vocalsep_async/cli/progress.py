"""The progress of a batch, as a line for logs and as bars for terminals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from vocalsep_async import DownloadProgress, TransportError
from vocalsep_async._text import counted, printable, printable_lines
from vocalsep_async.cli.activity import Silence, Snapshot, SongLine, StemCounts
from vocalsep_async.cli.wording import in_options

_BAR_WIDTH = 30
_MAX_SONGS = 8
"""Songs that are shown by name at a time."""
_MINUTE, _HOUR = 60, 3600


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
        filter(
            None,
            (_tasks(snapshot), _time_left(snapshot), _requests(snapshot), *_problems(snapshot)),
        )
    )


def render(snapshot: Snapshot) -> RenderableType:
    """Bars and lines, for terminals."""
    return Group(
        _task_bar(snapshot),
        Text(_requests(snapshot), style="dim"),
        # Wrapped, because the console of a command crops long lines.
        *(
            Text(printable_lines(each), style="yellow", no_wrap=False, overflow="fold")
            for each in _problems(snapshot)
        ),
        *_slowest(snapshot),
        *_songs(snapshot),
        *_file_bars(snapshot.files),
    )


def _tasks(snapshot: Snapshot) -> str:
    batch = snapshot.batch
    # Without failures, the number of those that succeeded would be the same number again.
    results = f": {snapshot.results}" if batch.failed else ""
    return f"{batch.finished:,} of {counted(snapshot.total, snapshot.noun)} done{results}"


def _time_left(snapshot: Snapshot) -> str:
    if not snapshot.batch.pending:
        return "none pending"
    if snapshot.songs is not None:
        return _under_way(snapshot.songs)
    if snapshot.silence is not None and snapshot.silence.task_id is None:
        return "stalled"
    if not math.isfinite(snapshot.batch.eta):
        return "time left unknown"
    return f"about {format_duration(snapshot.batch.eta)} left"


def _requests(snapshot: Snapshot) -> str:
    rate = snapshot.batch.rate
    allowed = f" of at most {rate:.1f}" if math.isfinite(rate) else ""
    return (
        f"{counted(snapshot.requests, 'request')}, {snapshot.request_rate:.1f}{allowed} per second"
    )


def _problems(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.throttled:
        yield f"{counted(snapshot.throttled, 'request')} throttled"
    if snapshot.silence is not None:
        yield _silence(snapshot.silence)
    elif snapshot.batch.retried:
        yield f"{counted(snapshot.batch.retried, 'failed poll')} retried"
    if snapshot.stems.missing:
        yield missing_stems(snapshot.stems)
    if snapshot.pause is not None:
        yield f"paused for {math.ceil(snapshot.pause.seconds)} s: {snapshot.pause.reason}"


def missing_stems(stems: StemCounts) -> str:
    """How many stems are not saved, and why."""
    total = stems.saved + stems.missing
    # Its end is the most specific part, so that it is not cut as server messages are.
    reason = in_options(stems.reason or "").rstrip(". ")
    return f"{stems.saved:,} of {counted(total, 'stem')} saved, {stems.missing:,} not: {reason}"


def _silence(silence: Silence) -> str:
    error = silence.error
    task = "" if silence.task_id is None else f"task {printable(silence.task_id)}: "
    answer = "answer" if error is None or isinstance(error, TransportError) else "usable answer"
    text = f"{task}no {answer} for {format_duration(silence.seconds)}"
    if error is not None:
        text += f": {printable(in_options(str(error)))}"
    if isinstance(error, TransportError) and not error.may_have_arrived:
        text += "; check the network and VOCALSEP_BASE_URL"
    return text


def _slowest(snapshot: Snapshot) -> Iterator[Text]:
    for task_id, seconds in snapshot.slowest:
        yield Text(f"  {printable(task_id)}  polled for {format_duration(seconds)}", style="dim")


def _songs(snapshot: Snapshot) -> Iterator[Text]:
    songs = snapshot.songs or ()
    for song in songs[:_MAX_SONGS]:
        words = f"{song.state} for {format_duration(song.seconds)}"
        yield Text(f"  {printable(song.name)}  {words}", style="dim")
    if len(songs) > _MAX_SONGS:
        yield Text(f"  and {len(songs) - _MAX_SONGS:,} more", style="dim")


def _under_way(songs: Iterable[SongLine]) -> str:
    counts = Counter(song.state.partition(" ")[0] for song in songs)
    return ", ".join(f"{number:,} {word}" for word, number in counts.items())


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
        progress.add_task(printable(name), total=file.total, completed=file.done)
    yield progress


def _text_column(template: str) -> TextColumn:
    # Names of tasks and files are text, never markup.
    return TextColumn(template, markup=False)
