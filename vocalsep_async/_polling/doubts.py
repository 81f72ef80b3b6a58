"""Ends that one record does not prove: later polls clear the doubt, or its patience runs out."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict

from vocalsep_async._polling.target import Identity, Verdict, identity_of
from vocalsep_async.models import NO_ERROR, STEMS_READY, SeparationTask, TaskRef, TaskStatus
from vocalsep_async.policies import MISSING_LINKS_PATIENCE, MISSING_STATUS_PATIENCE
from vocalsep_async.providers._routes import Routes

_FIRST_GAP = 1.0
"""Seconds until the first poll that may clear a doubt; from then on the gap grows with its age."""
_REMEMBERED = 10_000
"""Tasks in doubt; a server that never gives links must not fill the memory."""


class Doubts:
    """Remembers since when the end of a task is in doubt, whichever call polls it.

    Two records leave it in doubt: a success without a link to a stem, which may be written before
    its links are, and a record without a status whose rest shows an end.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._since: OrderedDict[Identity, float] = OrderedDict()

    def judge(self, task: SeparationTask, doubted_for: float = 0.0) -> Verdict:
        """Judge the record *task*, which was in doubt for *doubted_for* seconds elsewhere."""
        if lacks_links(task):
            return self._judge_doubtful(task, task, MISSING_LINKS_PATIENCE, doubted_for)
        # Most records of running tasks have no completion time.
        if task.completed_at is not None and task.status == TaskStatus.PENDING:
            ended = self._routes.ended(self._ref(task), task.raw)
            if ended.is_final:
                return self._judge_doubtful(task, ended, MISSING_STATUS_PATIENCE, doubted_for)
        if self._since:
            self._since.pop(identity_of(self._ref(task)), None)
        return Verdict(task, task.is_final)

    def _judge_doubtful(
        self, task: SeparationTask, ended: SeparationTask, patience: float, doubted_for: float
    ) -> Verdict:
        now, identity = asyncio.get_running_loop().time(), identity_of(self._ref(task))
        since = min(self._since.get(identity, now), now - doubted_for)
        self._remember(identity, since)
        age = now - since
        if age >= patience:
            return Verdict(ended, has_ended=True, doubted_for=age)
        # Never past the end of the patience: the poll there has the last word.
        gap = min(max(_FIRST_GAP, age), patience - age)
        return Verdict(task, has_ended=False, doubted_for=age, poll_at=now + gap)

    def give_up(self, ref: TaskRef) -> None:
        """Take the next record of *ref* for the last word, whatever it lacks."""
        self._remember(identity_of(ref), -math.inf)

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        for identity in self._since:
            self._since[identity] += shift

    def _remember(self, identity: Identity, since: float) -> None:
        self._since[identity] = since
        if len(self._since) > _REMEMBERED:
            self._since.popitem(last=False)

    def _ref(self, task: SeparationTask) -> TaskRef:
        return self._routes.ref(TaskRef(task.task_id, type=task.type, route=task.route))


def lacks_links(task: SeparationTask) -> bool:
    """Whether the task has succeeded by its status, and its record has neither link nor error."""
    return task.status in STEMS_READY and not task.succeeded and task.error_code in NO_ERROR
