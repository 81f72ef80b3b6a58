"""The backlog of a batch: ids that were never polled and whose age is not known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vocalsep_async._batch.groups import ArrivalGroup
from vocalsep_async._polling.target import PollTarget
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.sibling_ages import SiblingAges
from vocalsep_async.models import SeparationType

_SLACK = 64
"""Stale ids that a type may hold in any case; beyond, at most one for each id that waits."""


class UnpolledIds:
    """Ids in the order of adding for each type; the type with the longest expected delay is first.

    Args:
        hazards: how long tasks take.
        group_of: the group of an id; None if the id no longer waits here.
        admit: starts polling an id; returns its target, None if it needs no poll of its own.

    Attributes:
        siblings: the ages of those that were polled, from which the ages of the others follow.
    """

    # Ids that leave from the middle stay in their deque until they come to its front: removing
    # one would take time proportional to all that wait.
    def __init__(
        self,
        hazards: HazardTable,
        group_of: Callable[[str], ArrivalGroup | None],
        admit: Callable[[str, ArrivalGroup], PollTarget | None],
    ) -> None:
        self.siblings = SiblingAges()
        self._hazards = hazards
        self._group_of = group_of
        self._admit = admit
        self._ids: dict[SeparationType | None, deque[str]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, task_id: str, type_: SeparationType | None) -> None:
        """Add an id behind the others of its type."""
        ids = self._ids.setdefault(type_, deque())
        ids.append(task_id)
        self._count += 1
        if len(ids) > 2 * self._count + _SLACK:
            self._ids[type_] = deque(each for each in ids if self._group_of(each) is not None)

    def on_removed(self) -> None:
        """One id no longer waits here; `group_of` returns None for it from now on."""
        self._count -= 1

    def expected_delay(self, now: float) -> float:
        """Seconds since the first task may be expected to have ended unnoticed."""
        return max((self._expected_delay(type_, now) for type_ in self._ids), default=0.0)

    def delay_growth(self, now: float) -> float:
        """Seconds by which `expected_delay` grows each second: the chance that the task ended."""
        type_ = self._first_type(now)
        group = self._first(type_)
        if group is None:
            return 0.0
        return self.siblings.ended(self._hazards.model(type_), now - group.started)

    def admit(self, now: float) -> PollTarget | None:
        """Take out the first id; None if there is none, or it needs no poll of its own."""
        type_ = self._first_type(now)
        group = self._first(type_)
        if group is None:
            return None
        return self._admit(self._ids[type_].popleft(), group)

    def _first_type(self, now: float) -> SeparationType | None:
        # Not sorted by id: within a type, the one that was added first has waited longest.
        return max(self._ids, key=lambda each: self._expected_delay(each, now), default=None)

    def _expected_delay(self, type_: SeparationType | None, now: float) -> float:
        group = self._first(type_)
        if group is None:
            return 0.0
        return self.siblings.expected_delay(self._hazards.model(type_), now - group.started)

    def _first(self, type_: SeparationType | None) -> ArrivalGroup | None:
        ids = self._ids.get(type_)
        while ids:
            group = self._group_of(ids[0])
            if group is not None:
                return group
            ids.popleft()
        return None
