"""The ids of a batch that nobody looked at yet and whose age nobody knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vocalsep_async._batch.groups import ArrivalGroup
from vocalsep_async._polling.target import PollTarget
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.queue import GUESSED_AGE
from vocalsep_async.models import SeparationType

_SLACK = 64
"""Ids that left and are kept in any case; beyond, at most one for each that waits."""


class UnpolledIds:
    """First come, first served within a type; between types, who is worth more.

    Args:
        hazards: what is known about how long tasks take.
        cohort_of: gives the cohort of an id; None if it does not wait here any more.
        admit: takes an id that was first; returns its watch, None if it needs no look of its own.
    """

    def __init__(
        self,
        hazards: HazardTable,
        cohort_of: Callable[[str], ArrivalGroup | None],
        admit: Callable[[str, ArrivalGroup], PollTarget | None],
    ) -> None:
        self._hazards = hazards
        self._cohort_of = cohort_of
        self._admit = admit
        self._ids: dict[SeparationType | None, deque[str]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, task_id: str, type_: SeparationType | None) -> None:
        """Add an id at the end of its type."""
        ids = self._ids.setdefault(type_, deque())
        ids.append(task_id)
        self._count += 1
        if len(ids) > 2 * self._count + _SLACK:
            self._ids[type_] = deque(each for each in ids if self._cohort_of(each) is not None)

    def has_left(self) -> None:
        """One id does not wait here any more, and `cohort_of` says so when it is asked."""
        self._count -= 1

    def expected_delay(self, now: float) -> float:
        """Seconds for which one of them may have been finished, unnoticed, by *now*."""
        return max((self._expected_delay(type_, now) for type_ in self._ids), default=0.0)

    def admit(self, now: float) -> PollTarget | None:
        """Begin to watch the one that is worth most; None if it needs no look of its own."""
        type_ = max(self._ids, key=lambda each: self._expected_delay(each, now), default=None)
        group = self._first(type_)
        if group is None:
            return None
        return self._admit(self._ids[type_].popleft(), group)

    def _expected_delay(self, type_: SeparationType | None, now: float) -> float:
        group = self._first(type_)
        if group is None:
            return 0.0
        waited = now - group.started
        return self._hazards.model(type_).expected_delay(0.0, GUESSED_AGE + waited)

    def _first(self, type_: SeparationType | None) -> ArrivalGroup | None:
        ids = self._ids.get(type_)
        while ids:
            group = self._cohort_of(ids[0])
            if group is not None:
                return group
            ids.popleft()
        return None
