"""The tasks of a batch that were added simultaneously, as one subscriber."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple, Protocol

from vocalsep_async._polling.target import PollTarget
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType, TaskRef
from vocalsep_async.policies import PollPolicy


class Kind(NamedTuple):
    """What the tasks of a group have in common, as their refs tell it.

    Attributes:
        type: their kind of separation; None if not known.
        route: their route; None for that of the client's provider.
        expects_callback: whether callbacks are expected to tell their ends.
    """

    type: SeparationType | None = None
    route: str | None = None
    expects_callback: bool = False


class Batch(Protocol):
    """The batch that a group belongs to, and reports to."""

    @property
    def wait_id(self) -> str:
        """The id of the batch in events."""

    @property
    def queue(self) -> PollQueue[PollTarget]:
        """The queue for the polls of its tasks; closed once it wants no more."""

    @property
    def policy(self) -> PollPolicy:
        """When a pending task is polled again."""

    @property
    def overdue(self) -> Collection[ArrivalGroup]:
        """The groups that are overdue."""

    @property
    def timeout(self) -> float:
        """Seconds from adding a task to its deadline; infinity for none."""

    def on_poll(self, error: VocalSepError | None) -> None:
        """A poll ended; *error* is the reason why it will be retried, None if it will not."""

    def on_record(self, group: ArrivalGroup, target: PollTarget, task: SeparationTask) -> None:
        """A poll of a task of *group* succeeded."""

    def on_retry(self, group: ArrivalGroup, target: PollTarget, error: VocalSepError) -> None:
        """A poll failed with *error* and will be retried."""

    def on_error(self, group: ArrivalGroup, target: PollTarget, error: Exception) -> None:
        """The task will not be polled again, because of *error*."""


class ArrivalGroup:
    """The subscriber of all tasks of one kind that a batch was given simultaneously.

    Args:
        batch: the batch that is notified.
        kind: what its tasks have in common.
        started: when they were added, on the event loop's clock.

    Attributes:
        ids: the tasks, those with an outcome included.
    """

    # One for many tasks, because a subscriber for each took more memory than all else about them.
    __slots__ = ("_batch", "ids", "kind", "started")

    def __init__(self, batch: Batch, kind: Kind, started: float) -> None:
        self._batch = batch
        self.kind = kind
        self.started = started
        self.ids: list[str] = []

    @property
    def wait_id(self) -> str:
        """The id of the batch in events."""
        return self._batch.wait_id

    @property
    def type(self) -> SeparationType | None:
        """The tasks' kind of separation; None if not known."""
        return self.kind.type

    def ref(self, task_id: str) -> TaskRef:
        """The ref of one of its tasks."""
        return TaskRef(task_id, **self.kind._asdict())

    @property
    def policy(self) -> PollPolicy:
        """When a pending task is polled again."""
        return self._batch.policy

    @property
    def is_overdue(self) -> bool:
        """Whether their deadline passed while nothing could be polled.

        That is between two runs, or while the event loop stood still. Then each task gets one more
        poll, and has no deadline until then.
        """
        return self in self._batch.overdue

    @property
    def deadline(self) -> float:
        """When the tasks' waits end, on the event loop's clock; infinity for never."""
        return math.inf if self.is_overdue else self.started + self._batch.timeout

    @property
    def has_ended(self) -> bool:
        """Whether the batch wants no more polls."""
        return not self._batch.queue.is_open

    @property
    def queue(self) -> PollQueue[PollTarget]:
        """The queue for the polls of its tasks."""
        return self._batch.queue

    def belongs_to(self, batch: Batch) -> bool:
        """Whether *batch* is notified."""
        return self._batch is batch

    def on_poll(self, error: VocalSepError | None) -> None:
        """A poll ended; *error* is the reason why it will be retried, None if it will not."""
        self._batch.on_poll(error)

    def on_record(self, target: PollTarget, task: SeparationTask) -> None:
        """A poll succeeded."""
        self._batch.on_record(self, target, task)

    def on_retry(self, target: PollTarget, error: VocalSepError) -> None:
        """A poll failed with *error* and will be retried."""
        self._batch.on_retry(self, target, error)

    def on_error(self, target: PollTarget, error: Exception) -> None:
        """The task will not be polled again, because of *error*."""
        self._batch.on_error(self, target, error)
