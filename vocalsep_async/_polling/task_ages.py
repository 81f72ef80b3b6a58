"""How old tasks are, by the clock of the server that created them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from vocalsep_async.models import SeparationTask
from vocalsep_async.providers._decoder import age_of
from vocalsep_async.providers._records import created_by_epoch


class Age(NamedTuple):
    """How old a task is, in seconds; at least that old unless it is exact."""

    seconds: float
    is_exact: bool


class TaskAges:
    """Reads ages from answers, also where these do not say what time it is at the server."""

    # Without a Date the two clocks are compared by the youngest task. No task is younger than 0 s,
    # so the smallest difference between the local moment of an answer and the creation time in it
    # bounds from above by how much the server's clock is behind.

    def __init__(self) -> None:
        self._behind = math.inf
        self._has_date = False

    def of(self, task: SeparationTask, headers: Mapping[str, str], now: float) -> Age | None:
        """How old *task* is; None if that is not known.

        Args:
            task: a record.
            headers: of the answer that brought it.
            now: when it came, on the event loop's clock.
        """
        age = age_of(task, headers)
        if age is not None:
            self._has_date = True
            return Age(age, is_exact=True)
        # A server that sends dates does so with the next answer again.
        if self._has_date or task.created_at is None or not created_by_epoch(task):
            return None
        return Age(self.guess(task.created_at, now), is_exact=False)

    def move(self, shift: float) -> None:
        """Go on with a local clock that is *shift* seconds ahead."""
        self._behind += shift

    def guess(self, created: datetime, now: float) -> float:
        """The least age of a task that was *created* by the server's clock.

        It is too low by the age of the youngest task so far.
        """
        difference = now - created.timestamp()
        self._behind = min(self._behind, difference)
        return difference - self._behind
