"""The backlog of a batch: ids that were never polled and whose age is not known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from vocalsep_async._batch.groups import ArrivalGroup
from vocalsep_async._polling.target import PollTarget
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.sibling_ages import SiblingAges
from vocalsep_async.models import SeparationType

_SLACK = 64
"""Stale ids that a type may hold in any case; beyond, at most one for each id that waits."""
_FIRST_POLLS = 1024
"""First polls that are remembered until their answers tell ages."""

End = Literal[0, -1]
"""The index of the first and of the last id."""


class _Line:
    """The ids of one type in the order of adding, with the ages that first polls told.

    Attributes:
        ids: those that wait, and stale ones.
        siblings: the ages of tasks that were polled, for each end.
    """

    def __init__(self) -> None:
        self.ids: deque[str] = deque()
        self.siblings: dict[End, SiblingAges] = {0: SiblingAges(), -1: SiblingAges()}

    def pop(self, end: End) -> str:
        """Take out the id at one end."""
        return self.ids.pop() if end else self.ids.popleft()


class _Offer(NamedTuple):
    """The id at one end of a line, with its group and the expected delay of its poll."""

    expected_delay: float
    type: SeparationType | None
    end: End
    group: ArrivalGroup


class UnpolledIds:
    """Ids in the order of adding for each type; the end with the longest expected delay is first.

    The ids of a type are polled from both ends. A list in the order of creation, or of tasks that
    were created in two goes, has its oldest tasks at one end, and the ages that were told show at
    which.

    Args:
        hazards: how long tasks take.
        group_of: the group of an id; None if the id no longer waits here.
        admit: starts polling an id; returns its target, None if it needs no poll of its own.
    """

    # Ids that leave from the middle stay in their deque until they come to its front: removing
    # one would take time proportional to all that wait.
    def __init__(
        self,
        hazards: HazardTable,
        group_of: Callable[[str], ArrivalGroup | None],
        admit: Callable[[str, ArrivalGroup], PollTarget | None],
    ) -> None:
        self._hazards = hazards
        self._group_of = group_of
        self._admit = admit
        self._lines: dict[SeparationType | None, _Line] = {}
        self._from_back: dict[str, None] = {}
        """Ids that were taken from the end of their line and have not told their age."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, task_id: str, type_: SeparationType | None) -> None:
        """Add an id behind the others of its type."""
        line = self._lines.setdefault(type_, _Line())
        line.ids.append(task_id)
        self._count += 1
        if len(line.ids) > 2 * self._count + _SLACK:
            line.ids = deque(each for each in line.ids if self._group_of(each) is not None)

    def on_removed(self) -> None:
        """One id no longer waits here; `group_of` returns None for it from now on."""
        self._count -= 1

    def observe(self, task_id: str, type_: SeparationType | None, age: float) -> None:
        """Learn that a task was *age* seconds old when it was added."""
        end: End = -1 if task_id in self._from_back else 0
        self._from_back.pop(task_id, None)
        self._lines.setdefault(type_, _Line()).siblings[end].observe(age)

    def expected_delay(self, now: float) -> float:
        """Seconds since the first task may be expected to have ended unnoticed."""
        offer = self._first(now)
        return 0.0 if offer is None else offer.expected_delay

    def delay_growth(self, now: float) -> float:
        """Seconds by which `expected_delay` grows each second: the chance that the task ended."""
        offer = self._first(now)
        if offer is None:
            return 0.0
        siblings = self._lines[offer.type].siblings[offer.end]
        return siblings.ended(self._hazards.model(offer.type), now - offer.group.started)

    def admit(self, now: float) -> PollTarget | None:
        """Take out the first id; None if there is none, or it needs no poll of its own."""
        offer = self._first(now)
        if offer is None:
            return None
        task_id = self._lines[offer.type].pop(offer.end)
        if offer.end:
            self._remember(task_id)
        return self._admit(task_id, offer.group)

    def _remember(self, task_id: str) -> None:
        # Not every poll tells an age.
        if len(self._from_back) >= _FIRST_POLLS:
            del self._from_back[next(iter(self._from_back))]
        self._from_back[task_id] = None

    def _first(self, now: float) -> _Offer | None:
        # Of equal offers the front's is first: within a type, its id has waited longest.
        return max(self._offers(now), key=lambda each: each.expected_delay, default=None)

    def _offers(self, now: float) -> Iterator[_Offer]:
        for type_, line in self._lines.items():
            model = self._hazards.model(type_)
            for end, siblings in line.siblings.items():
                group = self._group_at(line, end)
                if group is not None:
                    delay = siblings.expected_delay(model, now - group.started)
                    yield _Offer(delay, type_, end, group)

    def _group_at(self, line: _Line, end: End) -> ArrivalGroup | None:
        """The group of the id at one end, once stale ids are dropped from there."""
        while line.ids:
            group = self._group_of(line.ids[end])
            if group is not None:
                return group
            line.pop(end)
        return None
