"""Connects a batch to its journal: saves outcomes, and loads those of earlier runs."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator

import attrs

from vocalsep_async._events import Events, timed_write
from vocalsep_async._journal.journal import JournalFile, KnownTask
from vocalsep_async._journal.outcomes import Restore, restored_outcome
from vocalsep_async._polling.unfinished import error_in
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._text import printable
from vocalsep_async.errors import JournalError, TaskTimeoutError
from vocalsep_async.instrumentation import JournalClosed, JournalOpened
from vocalsep_async.models import TaskOutcome, TaskRef, TaskStatus

_logger = logging.getLogger("vocalsep_async.journal")

_PAGE = 200
"""Outcomes of one query."""
_ENDS_PER_SAVE = 20
"""Finished tasks between two saves of the durations."""


class BatchRecorder:
    """The journal of one batch.

    Args:
        journal: the journal.
        is_own: whether the batch opens and closes it.
        base_url: the API that the tasks belong to.
        hazards: the client's durations; loaded from the journal if the client has learned none.
        restore: reads the stored record of a task that had ended.
        events: of the client.
    """

    def __init__(
        self,
        journal: JournalFile,
        *,
        is_own: bool,
        base_url: str,
        hazards: HazardTable,
        restore: Restore,
        events: Events,
    ) -> None:
        self._journal = journal
        self._is_own = is_own
        self._base_url = base_url
        self._hazards = hazards
        self._restore = restore
        self._events = events
        self._known: set[str] = set()
        """Tasks in the journal."""
        self._ended_before: set[str] = set()
        """Tasks with a final record from an earlier run."""
        self._ended: set[str] = set()
        """Tasks with a final record from this batch."""
        self._gave_up: set[str] = set()
        """Tasks whose outcome in this batch is an error; `reopen` lets them wait again."""
        self._polled_before: dict[str, KnownTask] = {}
        """Pending tasks that were polled in an earlier run."""
        self._labels: dict[str, str] = {}
        """Of those tasks in the journal that have one."""
        self._ends = 0

    async def open(self) -> list[KnownTask]:
        """Open the journal, and return the pending tasks of earlier runs, oldest first.

        Raises:
            JournalError: the journal is unusable.
        """
        if self._is_own:
            await self._journal.open()
            self._events.emit(JournalOpened(path=self._journal.path))
        elif self._journal.has_batch:
            raise JournalError(f"the journal {self._journal.path} is in use by another batch")
        self._journal.has_batch = True
        try:
            return await self._load()
        # A cancellation, too, must leave the journal free for another batch.
        except BaseException:
            await self._release()
            raise

    async def _release(self) -> None:
        self._journal.has_batch = False
        if self._is_own:
            try:
                await self._journal.aclose()
            finally:
                self._events.emit(JournalClosed(path=self._journal.path))

    async def _load(self) -> list[KnownTask]:
        # First, so that the journal of another account changes nothing in the client.
        await self._journal.check_owner(self._base_url)
        await self._load_durations()
        await self._warn_of_intents()
        # Before the list is read: tasks created since the last run belong to this batch.
        self._journal.add_created()
        # A task that is created from here on has no `added_at`: it belongs to the batch that it
        # is added to, or to the next one.
        known = [each for each in await self._journal.known() if each.added_at is not None]
        self._known = {each.ref.task_id for each in known}
        self._labels = {each.ref.task_id: each.ref.label for each in known if each.ref.label}
        self._ended_before = {each.ref.task_id for each in known if each.has_ended}
        pending = [each for each in known if not each.has_ended]
        self._polled_before = {each.ref.task_id: each for each in pending if each.polls}
        # The tracker takes tasks in the order of their deadlines.
        return sorted(pending, key=lambda each: each.added_at or 0.0)

    async def _load_durations(self) -> None:
        durations = await self._journal.durations()
        # What this client has learned by itself is newer.
        if durations is not None and self._hazards.model(None).completions == 0:
            try:
                self._hazards.update_from(durations)
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
            JournalError: a write failed.
        """
        try:
            # The user may have closed a journal of their own within the block.
            if self._journal.is_open:
                self._journal.save_durations(self._hazards.to_dict())
                await self._journal.flush()
        finally:
            await self._release()

    def has_outcome(self, task_id: str) -> bool:
        """Whether this batch hands out an outcome of the task anyway, or has done so."""
        return any(task_id in ids for ids in (self._ended_before, self._ended, self._gave_up))

    def reopen(self, task_id: str) -> None:
        """Let a task whose outcome was an error wait again, with a new deadline."""
        if task_id in self._gave_up:
            self._gave_up.discard(task_id)
            self._known.discard(task_id)

    def add(self, ref: TaskRef) -> None:
        """Save a task that the journal does not know, or another label of one that it does.

        Raises:
            JournalError: the journal was closed too early.
        """
        label = self._new_label(ref)
        # Saved once more, its wait would begin again.
        if ref.task_id not in self._known:
            self._known.add(ref.task_id)
            self._journal.add([ref])
        elif label is not None:
            self._journal.save_label(ref.task_id, label)

    def _new_label(self, ref: TaskRef) -> str | None:
        """The label of *ref*, remembered from now on; None if the journal has it."""
        if ref.label is None or ref.label == self._labels.get(ref.task_id):
            return None
        self._labels[ref.task_id] = ref.label
        return ref.label

    def save_status(self, task_id: str, status: TaskStatus | str, polls: int) -> None:
        """Save the status of a pending task, and the polls that this batch made for it.

        Raises:
            JournalError: the journal was closed too early.
        """
        known = self._polled_before.get(task_id)
        total = polls if known is None else polls + known.polls
        self._journal.save_status(task_id, status, total)

    def settle(self, outcome: TaskOutcome) -> TaskOutcome:
        """Return a task's outcome, the polls of earlier runs included.

        From here on this batch gives the task no other one.
        """
        if outcome.task is None:
            # Not among those that ended, because `reopen` lets it be tracked again.
            self._gave_up.add(outcome.task_id)
        else:
            self._ended.add(outcome.task_id)
        known = self._polled_before.pop(outcome.task_id, None)
        return outcome if known is None else _with_earlier(outcome, known)

    async def save_outcome(self, outcome: TaskOutcome) -> None:
        """Save an outcome that was settled.

        Raises:
            JournalError: it was not saved.
        """
        if outcome.task is not None:
            self._save_durations_regularly()
        with timed_write(self._events, self._journal.path):
            await self._journal.save_outcome(outcome)

    def _save_durations_regularly(self) -> None:
        self._ends += 1
        if self._ends % _ENDS_PER_SAVE == 0:
            self._journal.save_durations(self._hazards.to_dict())

    async def save_files(self, outcome: TaskOutcome) -> None:
        """Save the paths of a task's stems.

        Raises:
            JournalError: they were not saved.
        """
        with timed_write(self._events, self._journal.path):
            await self._journal.save_files(outcome)

    async def earlier_outcomes(self) -> AsyncGenerator[TaskOutcome]:
        """The outcomes of all tasks that ended in earlier runs.

        Raises:
            JournalError: one of them is damaged.
        """
        after = 0
        # Page by page: the records of a large batch would fill the memory.
        while rows := await self._journal.ended(after, _PAGE):
            after = rows[-1].number
            for row in rows:
                # Tasks that end meanwhile get their outcomes from the tracker.
                if row.task_id in self._ended_before:
                    label = self._labels.get(row.task_id)
                    yield restored_outcome(self._journal.path, row, self._restore, label)


def _with_earlier(outcome: TaskOutcome, known: KnownTask) -> TaskOutcome:
    """*outcome* with the polls and the status of earlier runs."""
    # A task that was polled in an earlier run alone keeps the status of that run.
    polls, status = outcome.polls + known.polls, outcome.status or known.status
    error = outcome.error
    if isinstance(error, TaskTimeoutError):
        error = TaskTimeoutError(
            f"task {outcome.task_id!r} has no final status after {outcome.elapsed:.1f} s and "
            f"{polls} polls, those of earlier runs included: last seen {printable(str(status))}"
            f"{error_in(error.task)}. Wait again with the same id.",
            task_id=outcome.task_id,
            task=error.task,
            polls=polls,
            last_error=error.last_error,
        )
    return attrs.evolve(outcome, polls=polls, status=status, error=error)
