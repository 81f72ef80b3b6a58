"""What a client learns from the records it sees, whatever they were asked for."""

from __future__ import annotations

import logging
from collections import OrderedDict

from vocalsep_async._polling.target import PollTarget, is_known, shown
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.models import SeparationTask, SeparationType
from vocalsep_async.providers._records import certain_duration

_logger = logging.getLogger("vocalsep_async")

_MOST_WARNINGS = 20
_REMEMBERED = 10_000
"""Finished tasks that are not learned from twice."""


class DurationLearner:
    """Learns durations, each task's once, and warns of statuses that nobody knows, each once."""

    def __init__(self, hazards: HazardTable) -> None:
        self.hazards = hazards
        self._warned: set[str] = set()
        self._learned: OrderedDict[str, None] = OrderedDict()

    def observe(self, task: SeparationTask, target: PollTarget | None = None) -> SeparationTask:
        """Learn from *task*, which *watch* waited for, and return it."""
        self._warn_of_unknown(task)
        if task.is_final:
            tracked_as, running_at = (target.type, target.running_at) if target else (None, 0.0)
            self._learn(task, tracked_as, running_at)
        return task

    def _learn(
        self, task: SeparationTask, tracked_as: SeparationType | None, running_at: float
    ) -> None:
        """Learn from a finished task, once; up to *running_at* its age was learned from before."""
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
            since=min(running_at, duration),
        )

    def _warn_of_unknown(self, task: SeparationTask) -> None:
        if is_known(task.status):
            return
        status = shown(task.status)
        if status not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(status)
            _logger.warning("unknown status %r is taken for pending", status)
