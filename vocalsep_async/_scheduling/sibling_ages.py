"""How old the tasks of a batch were when they were added, guessed from their siblings.

Ids that were added together were usually created together. So the tasks that were polled already
tell how old the others probably are.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean

from vocalsep_async._scheduling.hazards import HazardModel

GUESSED_AGE = 120.0
"""Seconds; the assumed age, when it is added, of a task of which nothing is known."""
_REMEMBERED = 16
"""Siblings; the last ones count, because tasks that are added later may be younger or older."""
_LARGEST_SPREAD = 60.0
"""Seconds; if their ages differ by more, they say nothing about the other tasks."""


class SiblingAges:
    """The ages of the last tasks of a batch whose first poll told them, when they were added."""

    def __init__(self) -> None:
        self._ages: deque[float] = deque(maxlen=_REMEMBERED)

    def observe(self, age: float) -> None:
        """Learn that a task was *age* seconds old when it was added."""
        self._ages.append(age)

    def expected_delay(self, model: HazardModel, waited: float) -> float:
        """Expected delay of a first poll *waited* seconds after its task was added.

        Each sibling's age is as likely as the other ones.
        """
        return fmean(model.expected_delay(0.0, age + waited) for age in self._likely)

    def ended(self, model: HazardModel, waited: float) -> float:
        """Probability that a task that was added *waited* seconds ago has ended."""
        return fmean(model.ended(0.0, age + waited) for age in self._likely)

    @property
    def _likely(self) -> deque[float] | tuple[float]:
        ages = self._ages
        return ages if ages and max(ages) - min(ages) <= _LARGEST_SPREAD else (GUESSED_AGE,)
