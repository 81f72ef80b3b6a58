"""A batch and its journal: what is written down, and what an earlier run left."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import attrs

from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.journal import JournalFile, Known, type_of
from vocalsep_async._journal.store import Row
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._text import printable
from vocalsep_async.errors import DecodeError, JournalError, TaskTimeoutError
from vocalsep_async.models import SeparationTask, TaskOutcome, TaskRef, TaskStatus
from vocalsep_async.providers._decoder import restored_task

_logger = logging.getLogger("vocalsep_async")

_ROWS = 200
"""Outcomes that are read in one go."""
_ENDS_BETWEEN = 20
"""Tasks that end before what was learned is written down again."""

Done = Callable[[TaskOutcome], None]


class BatchRecorder:
    """The journal of one batch.

    Args:
        journal: where to write.
        is_own: whether the batch opens and closes it.
        base_url: which API the tasks are of.
        hazards: what is learned; taken over from the journal by a client that knows nothing.
        broken: called with what went wrong when something could not be written, such as to a
            journal that was closed too early; nobody here could hear it otherwise.
    """

    def __init__(
        self,
        journal: JournalFile,
        *,
        is_own: bool,
        base_url: str,
        hazards: HazardTable,
        broken: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._is_own = is_own
        self._base_url = base_url
        self._hazards = hazards
        self._broken = broken
        self._known: set[str] = set()
        self._ended: set[str] = set()
        self._ended_since: set[str] = set()
        """Tasks whose end this batch has seen: they may be named again, or only now."""
        self._over: set[str] = set()
        """Tasks whose wait is over in this batch, without their end; `again` begins another."""
        self._polls_before: dict[str, Known] = {}
        """Tasks that were looked at in an earlier run."""
        self._ends = 0

    async def open(self) -> list[Known]:
        """Open the journal; what an earlier run left unfinished, oldest first.

        Raises:
            JournalError: it cannot be used.
        """
        if self._is_own:
            await self._journal.open()
        elif self._journal.is_followed:
            raise JournalError(f"the journal {self._journal.path} is in use by another batch")
        self._journal.is_followed = True
        try:
            return await self._take_over()
        except BaseException:
            await self._let_go()
            raise

    async def _let_go(self) -> None:
        self._journal.is_followed = False
        if self._is_own:
            await self._journal.aclose()

    async def _take_over(self) -> list[Known]:
        await self._journal.belongs_to(self._base_url)
        await self._learn()
        await self._warn_of_intents()
        self._journal.take_in()
        # One that is created meanwhile is for the batch it is added to, or the next one.
        known = [each for each in await self._journal.known() if each.added_at is not None]
        self._known = {each.ref.task_id for each in known}
        self._ended = {each.ref.task_id for each in known if each.has_ended}
        left = [each for each in known if not each.has_ended]
        self._polls_before = {each.ref.task_id: each for each in left if each.polls}
        return sorted(left, key=lambda each: each.added_at or 0.0)

    async def _learn(self) -> None:
        told = await self._journal.durations()
        if told is not None and self._hazards.model(None).completions == 0:
            try:
                self._hazards.update_from(told)
            except ValueError as error:
                raise JournalError(f"{self._journal.path}: damaged durations: {error}") from None

    async def _warn_of_intents(self) -> None:
        for intent in await self._journal.intents():
            _logger.warning(
                "a task may have been created and billed at %s without its id being known: %s (%s)",
                intent.began_at.isoformat(timespec="seconds"),
                json.dumps(dict(intent.request)),
                intent.error or "the program ended before the answer",
            )

    async def close(self) -> None:
        """Write what is left; close the journal if it is the batch's own.

        Raises:
            JournalError: it could not be written.
        """
        try:
            if self._journal.is_open:
                self._journal.learned(self._hazards.to_dict())
                await self._journal.flush()
        finally:
            await self._let_go()

    def is_over(self, task_id: str) -> bool:
        """Whether this batch has handed out, or will, what became of it."""
        return any(task_id in ids for ids in (self._ended, self._ended_since, self._over))

    def again(self, task_id: str) -> None:
        """Have another wait for it begin, if one is over; with a deadline of its own."""
        if task_id in self._over:
            self._over.discard(task_id)
            self._known.discard(task_id)

    def add(self, ref: TaskRef) -> None:
        """Write it down, if the journal does not know it."""
        if ref.task_id in self._known:
            return
        self._known.add(ref.task_id)
        try:
            self._journal.add([ref])
        except JournalError as error:
            self._broken(error)

    def note(self, task_id: str, status: TaskStatus | str, polls: int) -> None:
        """A look saw that it has not ended."""
        known = self._polls_before.get(task_id)
        try:
            self._journal.note(task_id, status, polls if known is None else polls + known.polls)
        except JournalError as error:
            self._broken(error)

    def end(self, outcome: TaskOutcome, done: Done) -> None:
        """Write down how it ended, if it did; *done* gets it then, earlier runs included."""
        known = self._polls_before.pop(outcome.task_id, None)
        if known is not None:
            outcome = _with_earlier(outcome, known)
        try:
            if outcome.task is None:
                self._over.add(outcome.task_id)
            else:
                self._ended_since.add(outcome.task_id)
                self._note_durations()
            self._journal.end(outcome, self._when_written(outcome, done))
        except JournalError as error:
            self._broken(error)

    def _note_durations(self) -> None:
        self._ends += 1
        if self._ends % _ENDS_BETWEEN == 0:
            self._journal.learned(self._hazards.to_dict())

    def saved(self, outcome: TaskOutcome, done: Done) -> None:
        """Write down where its stems are; *done* gets it then."""
        try:
            self._journal.saved(outcome, self._when_written(outcome, done))
        except JournalError as error:
            self._broken(error)

    def _when_written(
        self, outcome: TaskOutcome, done: Done
    ) -> Callable[[JournalError | None], None]:
        def told(failure: JournalError | None) -> None:
            if failure is None:
                done(outcome)
            else:
                self._broken(failure)

        return told

    async def outcomes(self) -> AsyncGenerator[TaskOutcome]:
        """Of all tasks that had ended when the batch began.

        Raises:
            JournalError: one of them is damaged.
        """
        after = 0
        while rows := await self._journal.ended(after, _ROWS):
            after = rows[-1].number
            for row in rows:
                if row.task_id in self._ended:
                    yield self._outcome(row)

    def _outcome(self, row: Row) -> TaskOutcome:
        task, files = self._task(row), self._files(row)
        return TaskOutcome(
            task_id=row.task_id,
            status=task.status,
            task=task,
            error=None,
            polls=row.polls,
            elapsed=row.elapsed or 0.0,
            files=files,
        )

    def _files(self, row: Row) -> dict[str, Path]:
        try:
            files = json.loads(row.files or "{}")
            return {stem: Path(path) for stem, path in files.items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
        raise JournalError(f"{self._journal.path}: the files of task {row.task_id!r} are damaged")

    def _task(self, row: Row) -> SeparationTask:
        ref = TaskRef(row.task_id, type=type_of(row))
        try:
            return restored_task(ref, unpacked(row.record or b""))
        except (ValueError, DecodeError) as error:
            raise JournalError(
                f"{self._journal.path}: the record of task {row.task_id!r} is damaged: {error}"
            ) from None


def _with_earlier(outcome: TaskOutcome, known: Known) -> TaskOutcome:
    """*outcome* with what earlier runs saw of its task."""
    polls, status = outcome.polls + known.polls, outcome.status or known.status
    error = outcome.error
    if isinstance(error, TaskTimeoutError):
        error = TaskTimeoutError(
            f"task {outcome.task_id!r} was still {printable(str(status))} after "
            f"{outcome.elapsed:.1f} s and {polls} polls, those of earlier runs included; it goes "
            "on at the provider: wait again with the same id.",
            task_id=outcome.task_id,
            task=None,
            polls=polls,
            last_error=error.last_error,
        )
    return attrs.evolve(outcome, polls=polls, status=status, error=error)
