"""What each song of a run is doing."""

from __future__ import annotations

from vocalsep_async import Song, SongProgress
from vocalsep_async.cli.activity import SongLine
from vocalsep_async.cli.songs.board import SongBoard
from vocalsep_async.songs import SongStep


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(label: str, state: SongStep, sent: int = 0, total: int = 0) -> SongProgress:
    return SongProgress(song=Song("a.mp3", label=label), state=state, sent=sent, total=total)


def test_a_board_shows_the_state_of_each_song_and_since_when() -> None:
    clock = Clock()
    board = SongBoard(clock)
    board.on_progress(progress("a", "uploading"))
    board.on_progress(progress("b", "creating"))
    clock.now = 3.0
    board.on_progress(progress("b", "waiting"))
    clock.now = 5.0
    board.on_progress(progress("a", "uploading", 450, 1000))
    assert board.lines() == (
        SongLine(name="a", state="uploading 45%", seconds=5.0),
        SongLine(name="b", state="waiting", seconds=2.0),
    )


def test_a_board_shows_no_song_that_has_an_outcome() -> None:
    board = SongBoard(Clock())
    board.on_progress(progress("a", "saving"))
    board.on_progress(progress("b", "creating"))
    board.on_outcome("a")
    board.on_outcome("unknown")
    board.on_outcome(None)
    assert board.lines() == (SongLine(name="b", state="creating its task", seconds=0.0),)
