"""What a journal holds of songs: their creations, and how their tasks ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import evolve

from vocalsep_async._songs.claims import Claimed
from vocalsep_async.models import SeparationTask, SeparationType, TaskOutcome, TaskRef

if TYPE_CHECKING:
    from vocalsep_async._journal.journal import Claim, JournalFile


class SongRecords:
    """The songs of one journal; none without a journal.

    Args:
        file: the journal, open; None without one.
        restore: reads the stored record of a task that had ended.
        secret: what takes the place of the journal's secret without one.
    """

    def __init__(
        self,
        file: JournalFile | None,
        restore: Callable[[TaskRef, Any], SeparationTask],
        secret: bytes,
    ) -> None:
        self.file = file
        self.place = None if file is None else os.path.realpath(file.path)
        self._restore = restore
        self._secret = secret

    async def secret(self) -> bytes:
        """What the identities of songs are made with."""
        return self._secret if self.file is None else await self.file.secret()

    async def find(
        self, identity: str, kind: SeparationType, label: str | None
    ) -> Claimed | Claim | None:
        """The task of a song or, if its id is not known, its creation; None if there is none.

        Raises:
            JournalError: the journal cannot be read.
        """
        file = self.file
        claim = None if file is None else await file.claim(identity)
        if file is None or claim is None or claim.task_id is None:
            return claim
        # SQLite is imported with a journal, because it makes the import of the package slower.
        from vocalsep_async._journal.outcomes import restored_outcome  # noqa: PLC0415

        row = await file.task(claim.task_id)
        if row is None:
            ref = TaskRef(claim.task_id, type=kind, label=label)
            return Claimed(ref, "known", intent=claim.number)
        known = file.known_task(row)
        ref = evolve(known.ref, label=label)
        if row.record is None:
            return Claimed(ref, "known", intent=claim.number, status=known.status)
        outcome = restored_outcome(file.path, row, self._restore, label)
        return Claimed(ref, "known", outcome, claim.number)

    async def save_outcome(self, outcome: TaskOutcome) -> None:
        """Save how a task ended.

        Raises:
            JournalError: it was not saved.
        """
        if self.file is not None:
            await self.file.save_outcome(outcome)

    async def save_files(self, outcome: TaskOutcome) -> None:
        """Save the paths of a task's stems.

        Raises:
            JournalError: they were not saved.
        """
        if self.file is not None:
            await self.file.save_files(outcome)
