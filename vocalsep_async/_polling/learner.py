"""Learns how long tasks take from every record that a client receives."""

from __future__ import annotations

import logging
from collections import OrderedDict

from vocalsep_async._polling.target import PollTarget, printable_status
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.models import SeparationTask, TaskRef, TaskStatus
from vocalsep_async.providers._records import certain_duration

_logger = logging.getLogger("vocalsep_async.polls")

# A server that sends ever new words must not fill the log.
_MAX_WARNINGS = 20
_REMEMBERED = 10_000
"""Finished tasks that are remembered, so that none is learned from twice."""


class DurationLearner:
    """Learns the duration of each finished task once, and warns of each unknown status once."""

    def __init__(self, hazards: HazardTable) -> None:
        self.hazards = hazards
        self._warned: set[str] = set()
        self._ended: OrderedDict[tuple[str | None, str], None] = OrderedDict()

    def observe(self, task: SeparationTask, target: PollTarget | None, *, has_ended: bool) -> bool:
        """Learn from *task*; whether this is the first record after which it *has_ended*.

        *target* is None for a task that no subscriber waits for.
        """
        self._warn_of_unknown(task)
        # Several calls may receive the final record of one task.
        key = (task.route, task.task_id)
        if not has_ended or key in self._ended:
            return False
        self._ended[key] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        self._learn(task, target)
        return True

    def has_ended(self, ref: TaskRef, route: str | None) -> bool:
        """Whether the task is known to have ended, on its *route* as records name it."""
        return (route, ref.task_id) in self._ended

    def _learn(self, task: SeparationTask, target: PollTarget | None) -> None:
        duration = certain_duration(task)
        if duration is None and target is not None:
            duration = target.called_age
        if duration is None:
            return
        self.hazards.observe_completion(
            duration,
            type_=task.type,
            tracked_as=None if target is None else target.type,
            # The seconds up to this age were counted when the task was seen running.
            since=0.0 if target is None else min(target.counted_at, duration),
        )

    def _warn_of_unknown(self, task: SeparationTask) -> None:
        if isinstance(task.status, TaskStatus):
            return
        status = printable_status(task.status)
        if status not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(status)
            meaning = "the end of the task" if task.is_final else "pending"
            _logger.warning("unknown status %r is taken for %s", status, meaning)
