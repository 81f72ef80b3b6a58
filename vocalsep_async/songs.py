"""Songs: what is to be separated, and the run of many of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote

from attrs import field, frozen
from yarl import URL

from vocalsep_async import _arguments, _validation
from vocalsep_async._text import short_url, unsigned_path
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import (
    SeparationType,
    SeparationTypeName,
    TaskOutcome,
    TaskRef,
    separation_type,
)

Source = str | os.PathLike[str] | URL | bytes | tuple[str, str]
"""A song: the path of its file, its http(s) URL, its bytes, or the music task of the provider that
made it, with the id of one of its tracks."""

_SCHEME = "://"


def _type(value: SeparationTypeName | SeparationType | None) -> SeparationType | None:
    return separation_type(value)


def _source(value: Source) -> Path | str | bytes | tuple[str, str]:
    given: object = value
    match given:
        case bytes() if given:
            return given
        case URL():
            return _url(given)
        case str() if _SCHEME in given:
            return _url(given)
        case str() | os.PathLike():
            return _path(given)
        case (str() as task_id, str() as audio_id):
            return TaskRef(task_id).task_id, _arguments.text(audio_id, "the audio id")
        case _:
            raise InvalidArgumentError(
                "a song is a path, an http(s) URL, bytes, or (task id, audio id), not "
                + ("nothing" if given == b"" else type(given).__name__)
            )


def _url(value: str | URL) -> str:
    # Plain, so that a pickle needs nothing of this package.
    return str.__str__(_arguments.link(value, "the URL of a song"))


def _path(value: str | os.PathLike[str]) -> Path:
    name: object = os.fspath(value)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InvalidArgumentError("the path of a song must be a string that is not blank")
    return Path(name)


def _shown(source: object) -> str:
    """A source without what is secret or long."""
    match source:
        case str():
            return short_url(source)
        case bytes():
            return f"<{len(source):,} bytes>"
        case _:
            return repr(source)


def _name_of(source: object) -> str | None:
    match source:
        case Path():
            name = source.stem
        case str():
            path = unsigned_path(URL(source, encoded=True).raw_path)
            name = unquote(PurePosixPath(path.rpartition("/")[2]).stem)
        case _:
            return None
    try:
        _validation.usable_label(None, None, name)
    except InvalidArgumentError:
        return None
    return name


@frozen(slots=False)
class Song:
    """A song to separate.

    Attributes:
        source: the path of a file, an http(s) URL (a string or a ``yarl.URL``), the bytes of a
            file, or ``(task id, audio id)`` for a song of the provider's own. A path is kept as a
            ``Path``, a URL as a string.
        label: what its stems, its outcome and its errors are called. None takes the name of the
            file, or the last part of the URL's path, without its suffix; bytes and songs of the
            provider then have no label.
        type: what to make of it; None takes the type of the call.
        stem_name: the instrument for ``split_stem_advanced``; None leaves it out.
        key: what makes it the same song as another one, in place of its content, its URL or its
            ids: any text that is not blank. None for those. A URL with another signature is
            another song unless it has a key.

    Raises:
        InvalidArgumentError: an argument is unusable.
    """

    source: Path | str | bytes | tuple[str, str] = field(converter=_source, repr=_shown)
    label: str | None = field(default=None, validator=_validation.usable_label, kw_only=True)
    type: SeparationType | None = field(default=None, converter=_type, kw_only=True)
    stem_name: str | None = field(default=None, kw_only=True)
    key: str | None = field(default=None, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("stem_name", "key"):
            if getattr(self, name) is not None:
                _arguments.text(getattr(self, name), name)

    @classmethod
    def of(cls, song: Song | Source) -> Song:
        """Return *song* itself if it is a `Song`, or a song of that source."""
        return song if isinstance(song, Song) else cls(song)

    @property
    def name(self) -> str | None:
        """The label, or what it is called without one; None if it has no name at all."""
        return self.label or _name_of(self.source)


Songs = Iterable[Song | Source] | AsyncIterable[Song | Source]
"""Many songs; an iterator of them is read only as needed."""

OnUncertain = Literal["report", "create"]
"""What happens to a song whose task may exist, without its id being known.

- "report": it is not created again; the error is a `CreationUncertainError`.
- "create": it is created again, **and billed again** if it exists.
"""


SongStep = Literal["uploading", "creating", "waiting", "saving"]


@frozen(kw_only=True)
class SongProgress:
    """What one song of a run is doing.

    Attributes:
        song: the song.
        state: what has just begun: "uploading" its file, "creating" its task, "waiting" for the
            end of the task, or "saving" its stems. A song skips what it does not need, and one that
            is created again begins anew.
        task_id: its task; None before that is known.
        sent: bytes of the file that were sent; 0 in other states.
        total: bytes of the file; 0 before they are known, and in other states.
    """

    song: Song
    state: SongStep
    task_id: str | None = None
    sent: int = 0
    total: int = 0


OnSongProgress = Callable[[SongProgress], object]
"""A plain function that is called whenever a song advances, and at most ten times a second while it
is uploaded.

It runs in the event loop and should return quickly. Its result is ignored.
"""


@frozen(kw_only=True)
class SongStats:
    """The numbers of a run of many songs.

    Attributes:
        songs: songs that were read from the source so far.
        pending: those without an outcome; ``songs`` is the sum of this and the next four.
        succeeded: songs whose stems are there, and on disk if that was asked for.
        failed: songs whose separation failed, or whose stems could not all be saved.
        uncertain: songs whose task may have been created, without its id being known.
        not_begun: songs that were neither uploaded nor created.
        created: tasks that this run has created.
        joined: songs that share the task of another song or call.
        known: songs whose task the journal had.
        credits_spent: what the tasks that were created, and those that may have been, cost by the
            documented prices; None if one of the prices is not known.
    """

    songs: int
    pending: int
    succeeded: int
    failed: int
    uncertain: int
    not_begun: int
    created: int
    joined: int
    known: int
    credits_spent: float | None


class SongRunner(ABC):
    """Separates many songs; made by `VocalSepClient.separate_many`.

    An async context manager and an async iterator: it yields one `TaskOutcome` for each song, in
    the order in which they become known. Leaving the block early ends uploads and waits; the tasks
    that were created go on at the provider, and the journal has their ids::

        async with client.separate_many(songs, download_to="stems", journal="songs.journal") as run:
            async for outcome in run:
                print(outcome.label, outcome.reason or "done")

    Outcomes are kept until they are fetched, even after the block.
    """

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Open the journal, and begin.

        Raises:
            InvalidArgumentError: a song of a collection is unusable; nothing was sent.
            ConfigurationError: the run was entered before, the client cannot be used in this event
                loop, or *max_credits* was given and a price is not known.
            ClientClosedError: the client was closed.
            JournalError: the journal is unusable.
        """

    @abstractmethod
    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End uploads, waits and downloads, and write the journal.

        A creation whose request is under way is given ten seconds for its answer, so that no id is
        lost.

        Raises:
            JournalError: a write failed.
        """

    @abstractmethod
    def __aiter__(self) -> Self: ...

    @abstractmethod
    async def __anext__(self) -> TaskOutcome:
        """Wait for the next outcome.

        Raises:
            StopAsyncIteration: every song has its outcome.
            ConfigurationError: the run was not entered, or was entered in another event loop.
            JournalError: the journal could not be written; no more tasks are created.
            Exception: the error of the source of songs, once what was begun has ended; or what
                ``on_progress`` raised, here or in the downloads.
        """

    @property
    @abstractmethod
    def stats(self) -> SongStats:
        """The numbers of the run as they are now."""
