"""What was observed about the durations of tasks: completions and running times by age."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

LONGEST = 7200.0
"""Seconds; the last bin begins before it, and holds all greater ages."""
EDGES = (0.0, *(2 * 1.2**k for k in range(45)), LONGEST)
BINS = len(EDGES) - 1
FORGETTING = 0.995
"""Weight of the past at each completion: a memory of about 200 tasks."""
_LARGEST = 1e12
"""Bound of the numbers in saved counts, far above any that can be observed."""


def bin_of(age: float) -> int:
    """The bin of an *age* in seconds."""
    return min(max(bisect_right(EDGES, age) - 1, 0), BINS - 1)


class DurationCounts:
    """Completions and exposure in each bin of age, of tasks of one type.

    Attributes:
        completions: number of finished tasks that were observed.
        completed: completions by bin, the older ones with less weight.
        exposure: seconds for which tasks were known to run, likewise.
    """

    def __init__(self) -> None:
        self.completions: int = 0
        self.completed: list[float] = [0.0] * BINS
        self.exposure: list[float] = [0.0] * BINS

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.completions and not any(self.exposure)

    def observe_running(self, since: float, until: float) -> None:
        """Count a task known to run at age *since* that was still running at age *until*."""
        for index in range(bin_of(since), BINS):
            start, end = max(since, EDGES[index]), min(until, EDGES[index + 1])
            if end <= start:
                break
            self.exposure[index] += end - start

    def observe_completion(self, since: float, duration: float) -> None:
        """Count a task known to run at age *since* that took *duration* seconds."""
        self._forget(FORGETTING)
        self.observe_running(since, duration)
        self.completed[bin_of(duration)] += 1
        self.completions += 1

    def add(self, later: DurationCounts) -> None:
        """Count what *later* counted since, as if it had been observed here."""
        if later.completions:
            self._forget(FORGETTING**later.completions)
        self.completions += later.completions
        self.completed = [a + b for a, b in zip(self.completed, later.completed, strict=True)]
        self.exposure = [a + b for a, b in zip(self.exposure, later.exposure, strict=True)]

    def _forget(self, weight: float) -> None:
        self.completed = [weight * count for count in self.completed]
        self.exposure = [weight * seconds for seconds in self.exposure]

    def copy(self) -> DurationCounts:
        """The same counts, to be changed apart."""
        copied = DurationCounts()
        copied.add(self)
        return copied

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "completions": self.completions,
            "done": self.completed,
            "running": self.exposure,
        }

    @classmethod
    def from_dict(cls, saved: Any) -> DurationCounts:
        """The counts that `to_dict` returned as *saved*.

        Raises:
            ValueError: *saved* is no result of `to_dict`.
        """
        if not isinstance(saved, dict):
            raise ValueError("a model is an object")  # noqa: TRY004 - the file is wrong, not the call
        completions = saved.get("completions")
        if isinstance(completions, bool) or not isinstance(completions, int) or completions < 0:
            raise ValueError("completions must be a whole number")
        counts = cls()
        counts.completions = completions
        counts.completed = _saved_bins(saved.get("done"))
        counts.exposure = _saved_bins(saved.get("running"))
        return counts


def _saved_bins(values: Any) -> list[float]:
    if not isinstance(values, list) or len(values) != BINS:
        raise ValueError(f"a list of {BINS} numbers is expected")
    for value in values:
        usable = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not usable or not 0 <= value <= _LARGEST:
            raise ValueError("counts must be numbers of a sensible size, not negative")
    return [float(value) for value in values]
