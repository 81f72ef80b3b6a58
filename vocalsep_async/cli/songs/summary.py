"""What became of the songs of a run, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vocalsep_async import CreationUncertainError, SongStats
from vocalsep_async._text import counted, printable
from vocalsep_async.cli.activity import Snapshot
from vocalsep_async.cli.progress import missing_stems
from vocalsep_async.cli.songs.quote import amount


def summary(stats: SongStats, snapshot: Snapshot) -> Iterator[str]:
    """The counts of a run that has ended."""
    counts = (
        (stats.succeeded, "done"),
        (stats.failed - snapshot.timed_out, "failed"),
        (snapshot.timed_out, "timed out"),
        (stats.uncertain, "uncertain"),
        (stats.not_begun, "not begun"),
        (snapshot.batch.pending, "pending"),
    )
    yield f"{counted(snapshot.total, 'song')}: {_listed(counts)}"
    tasks = ((stats.created, "created"), (stats.joined, "joined"), (stats.known, "known"))
    yield f"tasks: {_listed(tasks)}; {_stems(snapshot)}{_requests(snapshot)}"


def _listed(counts: Sequence[tuple[int, str]]) -> str:
    # The first one always, so that none of a kind is not an empty list.
    return (
        ", ".join(f"{number:,} {word}" for number, word in counts if number) or f"0 {counts[0][1]}"
    )


def _stems(snapshot: Snapshot) -> str:
    if snapshot.stems.missing:
        return f"{missing_stems(snapshot.stems)}; "
    return f"{counted(snapshot.stems.saved, 'stem')} saved; " if snapshot.stems.saved else ""


def _requests(snapshot: Snapshot) -> str:
    return f"{counted(snapshot.requests, 'request')}, {snapshot.throttled:,} throttled"


def cost(spent: float | None, before: float | None, after: float | None) -> str:
    """What a run cost, by the documented prices and by the account.

    Args:
        spent: credits by the prices; None if one of them is not known.
        before: credits of the account before the run; None if they are not known.
        after: those after it, likewise.
    """
    said = (
        "credits spent: the price is not known" if spent is None else f"about {amount(spent)} spent"
    )
    if after is None:
        return said
    has = f"{said}; the account has {amount(after)}"
    if before is None or before == after == before - (spent or 0):
        return has
    fell = before - after
    change = f"{has}, {amount(abs(fell))} {'less' if fell >= 0 else 'more'} than before"
    if spent is None or fell == spent:
        return change
    off = f"{amount(abs(fell - spent))} {'more' if fell > spent else 'less'} than counted"
    return (
        f"{change}, and {off}: another program may use the account, tasks that failed may have "
        "been refunded, or prices may have changed"
    )


def uncertain_songs(errors: Sequence[CreationUncertainError]) -> Iterator[str]:
    """The songs whose tasks may exist, and what to do about them."""
    if not errors:
        return
    yield f"{counted(len(errors), 'song')} may have been created and billed, with unknown ids:"
    for error in errors:
        why = error.reason or "the program ended before the answer"
        began = error.began_at.isoformat(" ", "seconds")
        yield f"  {printable(error.label or 'a song')}: {began}, {printable(why)}"
    yield (
        "Look for them in the provider's list of tasks. The same command leaves them alone; with "
        "--on-uncertain create it creates them again, and they may be billed twice"
    )


def interruption(stats: SongStats | None, journal: Path) -> str:
    """What a run leaves that was ended by a signal."""
    if stats is None:
        return "interrupted before anything was sent; run the same command again"
    return (
        f"interrupted; progress is kept in {journal}: run the same command again to continue, and "
        "nothing is paid for twice"
    )
