"""Learns how long tasks take from every record that a client receives."""

from __future__ import annotations

import logging
from collections import OrderedDict

from vocalsep_async._polling.target import PollTarget, printable_status
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.models import SeparationTask, SeparationType, TaskStatus
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
        self._learned: OrderedDict[str, None] = OrderedDict()

    def observe(self, task: SeparationTask, target: PollTarget | None = None) -> SeparationTask:
        """Learn from *task* and return it; *target* is None for a poll outside the poller."""
        self._warn_of_unknown(task)
        if task.is_final:
            tracked_as, running_at = (target.type, target.running_at) if target else (None, 0.0)
            self._learn(task, tracked_as, running_at)
        return task

    def _learn(
        self, task: SeparationTask, tracked_as: SeparationType | None, running_at: float
    ) -> None:
        # Several calls may receive the final record of one task.
        if task.task_id in self._learned:
            return
        duration = certain_duration(task)
        if duration is None:
            return
        self._learned[task.task_id] = None
        if len(self._learned) > _REMEMBERED:
            self._learned.popitem(last=False)
        self.hazards.observe_completion(
            duration,
            type_=task.type,
            tracked_as=tracked_as,
            # The seconds up to this age were counted when the task was seen running.
            since=min(running_at, duration),
        )

    def _warn_of_unknown(self, task: SeparationTask) -> None:
        if isinstance(task.status, TaskStatus):
            return
        status = printable_status(task.status)
        if status not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(status)
            _logger.warning("unknown status %r is taken for pending", status)
