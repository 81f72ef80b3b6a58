"""The tasks of a batch that were taken in at the same moment."""

from __future__ import annotations

import math
from typing import Protocol

from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType
from vocalsep_async.polling import Watch
from vocalsep_async.schedule import Line, PollPolicy


class Batch(Protocol):
    """Who is told what becomes of a cohort's tasks."""

    @property
    def line(self) -> Line[Watch]:
        """Where its tasks wait for their looks; closed once it wants no more."""

    def looked(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""

    def saw(self, cohort: Cohort, watch: Watch, task: SeparationTask) -> None:
        """A look succeeded."""

    def missed(self, cohort: Cohort, watch: Watch, error: VocalSepError) -> None:
        """A look met *error* and will be repeated."""

    def fail(self, cohort: Cohort, watch: Watch, error: Exception) -> None:
        """There will be no other look."""


class Cohort:
    """A follower of many tasks, so that none of them needs one of its own.

    Args:
        batch: who is told.
        policy: when it wants the next look.
        type_: what kind of separation they are; None if nobody knows.
        started: when they were taken in, on the event loop's clock.
        deadline: when their waits end; infinity for never.
    """

    __slots__ = ("_batch", "deadline", "ids", "policy", "started", "type")

    def __init__(
        self,
        batch: Batch,
        policy: PollPolicy,
        type_: SeparationType | None,
        started: float,
        deadline: float,
    ) -> None:
        self._batch = batch
        self.policy = policy
        self.type = type_
        self.started = started
        self.deadline = deadline
        self.ids: list[str] | None = None if math.isinf(deadline) else []
        """Who belongs to it; only kept where there is a deadline."""

    @property
    def has_ended(self) -> bool:
        """Whether it wants nothing more."""
        return not self._batch.line.is_open

    @property
    def line(self) -> Line[Watch]:
        """Where its tasks wait for their looks."""
        return self._batch.line

    def belongs_to(self, batch: Batch) -> bool:
        """Whether it tells *batch*."""
        return self._batch is batch

    def looked(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""
        self._batch.looked(error)

    def saw(self, watch: Watch, task: SeparationTask) -> None:
        """A look succeeded."""
        self._batch.saw(self, watch, task)

    def missed(self, watch: Watch, error: VocalSepError) -> None:
        """A look met *error*, and there will be another one."""
        self._batch.missed(self, watch, error)

    def fail(self, watch: Watch, error: Exception) -> None:
        """There will be no other look, because of *error*."""
        self._batch.fail(self, watch, error)
