"""How old the tasks of a batch were when they were added, guessed from their siblings.

Ids that were added together were usually created together, or are in the order of their creation.
So the tasks that were polled already tell how old the others of their type probably are, at the
same end of the list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from statistics import fmean

from vocalsep_async._scheduling.hazards import HazardModel

GUESSED_AGE = 120.0
"""Seconds; the assumed age, when it is added, of a task of which nothing is known."""
_REMEMBERED = 8
"""Siblings; the last ones count, because the next tasks may be younger or older."""
_LARGEST_SPREAD = 60.0
"""Seconds; if their ages differ by more, they say nothing about the other tasks."""


class SiblingAges:
    """The ages of the last tasks whose first poll told them, when they were added.

    Args:
        ages: of the tasks that are known, in seconds, the last one last.
    """

    # The guess counts like one more sibling until so many are known as are remembered: a few equal
    # ages may be chance, and what is believed to be young is not polled and not learned about.

    def __init__(self, ages: Iterable[float] = ()) -> None:
        self._ages: deque[float] = deque(ages, maxlen=_REMEMBERED)

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
    def _likely(self) -> Sequence[float]:
        ages = self._ages
        if not ages or max(ages) - min(ages) > _LARGEST_SPREAD:
            return (GUESSED_AGE,)
        return ages if len(ages) == _REMEMBERED else (*ages, GUESSED_AGE)
