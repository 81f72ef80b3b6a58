"""What each song of a run is doing at the moment."""

from __future__ import annotations

from collections.abc import Callable

from vocalsep_async import SongProgress
from vocalsep_async.cli.activity import SongLine, loop_time

_WORDS = {
    "uploading": "uploading",
    "creating": "creating its task",
    "waiting": "waiting",
    "saving": "saving",
}


class SongBoard:
    """Keeps the songs that are under way, in the order in which they began.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = loop_time) -> None:
        self._clock = clock
        self._songs: dict[str, tuple[SongProgress, float]] = {}

    def on_progress(self, progress: SongProgress) -> None:
        """Record what a song is doing."""
        name = progress.song.name or ""
        known, since = self._songs.get(name, (progress, self._clock()))
        if known.state != progress.state:
            since = self._clock()
        self._songs[name] = progress, since

    def on_outcome(self, label: str | None) -> None:
        """A song is no longer under way."""
        self._songs.pop(label or "", None)

    def lines(self) -> tuple[SongLine, ...]:
        """The songs that are under way."""
        now = self._clock()
        return tuple(
            SongLine(name=name, state=_words(progress), seconds=now - since)
            for name, (progress, since) in self._songs.items()
        )


def _words(progress: SongProgress) -> str:
    words = _WORDS[progress.state]
    if progress.state == "uploading" and progress.total:
        return f"{words} {progress.sent / progress.total:.0%}"
    return words
