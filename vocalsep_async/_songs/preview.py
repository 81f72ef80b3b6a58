"""What a journal already knows of songs, before anything is uploaded, created or written."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, Self

from attrs import frozen

from vocalsep_async._journal.store import Store
from vocalsep_async._songs.identity import KEY_BYTES, again, identity
from vocalsep_async.models import SeparationType, TaskStatus
from vocalsep_async.songs import Song

SongState = Literal["new", "known", "again", "uncertain", "same"]


@frozen
class SongPreview:
    """A song, and what would become of it.

    Attributes:
        song: the song.
        type: the kind of separation.
        state: "new" has no task, "known" has one, "again" has one that failed and may be created
            again, "uncertain" may have one whose id is not known, and "same" is the same as a song
            that was looked up before.
    """

    song: Song
    type: SeparationType
    state: SongState


class Preview:
    """Looks up songs in a journal, which is only read.

    Args:
        kind: what to make of songs that do not say so.
        resubmit: how often a song that failed is created again.
        store: the journal; None if there is none yet.

    Raises:
        JournalError: the journal cannot be read.
    """

    def __init__(self, kind: SeparationType, resubmit: int, store: Store | None) -> None:
        self._resubmit = resubmit
        self._kind = kind
        # A journal without a secret holds no songs.
        secret = None if store is None else store.meta("secret")
        self._store = None if secret is None else store
        self._key = secrets.token_bytes(KEY_BYTES) if secret is None else bytes.fromhex(secret)
        self._seen: set[str] = set()

    @classmethod
    @contextmanager
    def of(cls, kind: SeparationType, resubmit: int, journal: Path) -> Iterator[Self]:
        """A block that reads the journal at a path, which need not exist.

        Raises:
            JournalError: it cannot be read.
        """
        # An empty file is a journal that a killed process had just begun.
        if not journal.exists() or not journal.stat().st_size:
            yield cls(kind, resubmit, None)
            return
        with closing(Store.read(journal)) as store:
            yield cls(kind, resubmit, store)

    def look_up(self, song: Song) -> SongPreview:
        """What would become of *song*; blocks, and reads a file to its end.

        Raises:
            JournalError: the journal cannot be read.
            OSError: the file cannot be read.
        """
        kind = song.type or self._kind
        known_by = identity(song, kind, song.stem_name, _content(song), self._key)
        if known_by in self._seen:
            return SongPreview(song, kind, "same")
        self._seen.add(known_by)
        state = "new" if self._store is None else self._state(known_by, self._store)
        return SongPreview(song, kind, state)

    def _state(self, known_by: str, store: Store) -> SongState:
        for times in range(self._resubmit + 1):
            claim = store.claim(again(known_by, times))
            if claim is None:
                return "again" if times else "new"
            _number, _began_at, task_id, _error = claim
            if task_id is None:
                return "uncertain"
            row = store.task(task_id)
            status = None if row is None or row.record is None else row.status
            if status == TaskStatus.CREATE_TASK_FAILED:
                # For lack of credits, perhaps: then it is created again.
                return "again"
            if status != TaskStatus.GENERATE_AUDIO_FAILED:
                break
        return "known"


def _content(song: Song) -> str | None:
    """The SHA-256 of what would be uploaded, in hexadecimal; None if that does not matter."""
    if song.key is not None:
        return None
    match song.source:
        case bytes() as data:
            return hashlib.sha256(data).hexdigest()
        case Path() as path:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        case _:
            return None
