"""The tasks of a batch that were taken in at the same moment."""

from __future__ import annotations

import math
from typing import Protocol

from vocalsep_async._polling.target import PollTarget
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType
from vocalsep_async.policies import PollPolicy


class Batch(Protocol):
    """Who is told what becomes of a cohort's tasks."""

    @property
    def queue(self) -> PollQueue[PollTarget]:
        """Where its tasks wait for their looks; closed once it wants no more."""

    @property
    def policy(self) -> PollPolicy:
        """When its tasks are looked at again."""

    @property
    def timeout(self) -> float:
        """Seconds from taking a task in to the end of its wait; infinity for no end."""

    def on_poll(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""

    def on_record(self, group: ArrivalGroup, target: PollTarget, task: SeparationTask) -> None:
        """A look succeeded."""

    def on_retry(self, group: ArrivalGroup, target: PollTarget, error: VocalSepError) -> None:
        """A look met *error* and will be repeated."""

    def on_error(self, group: ArrivalGroup, target: PollTarget, error: Exception) -> None:
        """There will be no other look."""


class ArrivalGroup:
    """A follower of many tasks, so that none of them needs one of its own.

    Args:
        batch: who is told.
        type_: what kind of separation they are; None if nobody knows.
        started: when they were taken in, on the event loop's clock.
    """

    __slots__ = ("_batch", "ids", "started", "type")

    def __init__(self, batch: Batch, type_: SeparationType | None, started: float) -> None:
        self._batch = batch
        self.type = type_
        self.started = started
        self.ids: list[str] | None = None
        """Who belongs to it; only kept where there is a deadline."""

    @property
    def policy(self) -> PollPolicy:
        """When it wants the next look."""
        return self._batch.policy

    @property
    def deadline(self) -> float:
        """When the waits for its tasks end; infinity for never."""
        return self.started + self._batch.timeout

    @property
    def has_ended(self) -> bool:
        """Whether it wants nothing more."""
        return not self._batch.queue.is_open

    @property
    def queue(self) -> PollQueue[PollTarget]:
        """Where its tasks wait for their looks."""
        return self._batch.queue

    def take_in(self, task_id: str) -> None:
        """One more task belongs to it."""
        if self.ids is not None:
            self.ids.append(task_id)
        elif self._batch.timeout < math.inf:
            self.ids = [task_id]  # most hold one, and an empty list would grow to hold four

    def belongs_to(self, batch: Batch) -> bool:
        """Whether it tells *batch*."""
        return self._batch is batch

    def on_poll(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""
        self._batch.on_poll(error)

    def on_record(self, target: PollTarget, task: SeparationTask) -> None:
        """A look succeeded."""
        self._batch.on_record(self, target, task)

    def on_retry(self, target: PollTarget, error: VocalSepError) -> None:
        """A look met *error*, and there will be another one."""
        self._batch.on_retry(self, target, error)

    def on_error(self, target: PollTarget, error: Exception) -> None:
        """There will be no other look, because of *error*."""
        self._batch.on_error(self, target, error)
