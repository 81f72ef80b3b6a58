"""How long tasks take, learned from the tasks that were watched.

Durations of one kind of task are described by a *hazard* h(a): the chance per second that a task
of age a, still running, ends now. It is constant within each of 46 age bins. A bin counts the
completions seen in it and the task-seconds for which tasks were known to run in it; their
quotient estimates the hazard, and a task that is still running counts with exactly the seconds
it is known to have run (censoring). A weak prior, worth three tasks, stands in where nothing was
seen.

From the hazard follows, for a task last seen running at age L, the expected number of seconds
for which it would have been finished unnoticed if the next look came at age a:

    D(L, a) = E[max(0, a - C) | C > L] = integral from L to a of (1 - S(u) / S(L)) du

with S(u) = exp(-integral of h) the survival function. D grows convexly with a, so "look when D
reaches y" has one answer, `HazardModel.due`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from vocalsep_async import _validation
from vocalsep_async.models import SeparationType

_LONGEST = 7200.0
_EDGES = (0.0, *(2 * 1.2**k for k in range(45)), _LONGEST)
_BINS = len(_EDGES) - 1

_FORGETTING = 0.995
"""Weight of the past at each completion: a memory of about 200 tasks."""
_PRIOR_TASKS = 3.0
_PRIOR_SPREAD = 0.8
_PRIOR_MEDIANS: Mapping[SeparationType | None, float] = {
    SeparationType.SEPARATE_VOCAL: 65.0,
    SeparationType.SPLIT_STEM: 140.0,
    SeparationType.SPLIT_STEM_ADVANCED: 140.0,
    None: 75.0,
}
_LARGEST_COUNT = 1e12
_FORMAT = "vocalsep-durations-1"
_HAZARD_RANGE = 100.0
"""No bin's hazard is further than this factor from the mean: nothing is ever written off."""


def _bin(age: float) -> int:
    return min(max(bisect_right(_EDGES, age) - 1, 0), _BINS - 1)


@cache
def _prior(median: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Completions and task-seconds in each bin of a few pseudo-tasks, lognormal about *median*."""

    def survival(age: float) -> float:
        if age <= 0:
            return 1.0
        z = math.log(age / median) / _PRIOR_SPREAD
        return 0.5 * math.erfc(z / math.sqrt(2))

    steps = 8
    done, alive = [], []
    for start, end in pairwise(_EDGES):
        width = (end - start) / steps
        middles = (start + width * (step + 0.5) for step in range(steps))
        done.append(_PRIOR_TASKS * (survival(start) - survival(end)))
        alive.append(_PRIOR_TASKS * width * sum(map(survival, middles)))
    return tuple(done), tuple(alive)


class HazardModel:
    """What is known about how long one kind of task takes.

    The tables are rebuilt after every few completions; `version` then grows, and moments
    computed from the older tables are worth computing again.

    Args:
        median: seconds that a task takes at a guess, at least 1.

    Raises:
        ConfigurationError: *median* is out of its range.
    """

    def __init__(self, median: float = _PRIOR_MEDIANS[None]) -> None:
        self._median = min(_validation.number(median, "median", minimum=1.0), _LONGEST)
        self._done = [0.0] * _BINS
        self._alive = [0.0] * _BINS
        self.completions = 0
        """Finished tasks learned from, in all."""
        self.version = -1
        self._rebuild()

    def __repr__(self) -> str:
        return f"<DurationModel: {self.completions} completions>"

    def observe_running(self, since: float, until: float) -> None:
        """A task known to run at age *since* was still running at age *until* (seconds)."""
        for index in range(_bin(since), _BINS):
            start, end = max(since, _EDGES[index]), min(until, _EDGES[index + 1])
            if end <= start:
                break
            self._alive[index] += end - start

    def observe_completion(self, since: float, duration: float) -> None:
        """A task known to run at age *since* turned out to have taken *duration* seconds."""
        self._done = [_FORGETTING * count for count in self._done]
        self._alive = [_FORGETTING * seconds for seconds in self._alive]
        self.observe_running(since, duration)
        self._done[_bin(duration)] += 1
        self.completions += 1
        self._stale += 1
        if self._stale >= max(4, min(200, self.completions) // 10) or self.completions <= 4:
            self._rebuild()

    def _rebuild(self) -> None:
        self._hazards = self._estimate()
        self._tabulate()
        self._stale = 0
        self.version += 1

    def _tabulate(self) -> None:
        """Note D(0, a) and S(a) at the bins' edges: most waits are asked about from there."""
        unnoticed, running = 0.0, 1.0
        self._unnoticed, self._survival = [], []
        for hazard, (start, end) in zip(self._hazards, pairwise(_EDGES), strict=True):
            self._unnoticed.append(unnoticed)
            self._survival.append(running)
            ended = -math.expm1(-hazard * (end - start))
            unnoticed += end - start - running * ended / hazard
            running -= running * ended

    def _estimate(self) -> list[float]:
        prior_done, prior_alive = _prior(self._median)
        # Scales the prior to the level that was seen; matters only while little was.
        expected = sum(
            alive * a / b for alive, a, b in zip(self._alive, prior_done, prior_alive, strict=True)
        )
        level = min(max((2 + sum(self._done)) / (2 + expected), 0.1), 10.0)
        done = [level * a + seen for a, seen in zip(prior_done, self._done, strict=True)]
        alive = [b + seen for b, seen in zip(prior_alive, self._alive, strict=True)]
        mean = sum(done) / sum(alive)
        low, high = mean / _HAZARD_RANGE, mean * _HAZARD_RANGE
        return [min(max(d / a, low), high) for d, a in zip(done, alive, strict=True)]

    def expected_delay(self, since: float, age: float) -> float:
        """D(since, age): expected seconds finished but unnoticed by *age*; see the module."""
        total, running = 0.0, 1.0
        for index in range(_bin(since), _BINS):
            start = max(since, _EDGES[index])
            end = age if index == _BINS - 1 else min(age, _EDGES[index + 1])
            if end <= start:
                break
            hazard, width = self._hazards[index], end - start
            total += width + running * math.expm1(-hazard * width) / hazard
            running *= math.exp(-hazard * width)
        return total

    def due(self, since: float, expected_delay: float) -> float:
        """The age at which `expected_delay` reaches *worth* seconds, for a task running at *since*."""
        missing, running, start, first = expected_delay, 1.0, since, _bin(since)
        if since == 0:
            first = bisect_right(self._unnoticed, expected_delay) - 1
            missing, running = expected_delay - self._unnoticed[first], self._survival[first]
            start = _EDGES[first]
        for index in range(first, _BINS - 1):
            hazard, width = self._hazards[index], _EDGES[index + 1] - start
            grown = width + running * math.expm1(-hazard * width) / hazard
            if grown >= missing:
                return start + _solve(hazard, running, missing, width)
            missing -= grown
            running *= math.exp(-hazard * width)
            start = _EDGES[index + 1]
        return start + _solve(self._hazards[-1], running, missing, math.inf)

    def remaining(self, since: float, share: float) -> float:
        """Seconds until only *share* of the tasks running at age *since* (seconds) still run."""
        missing, start = -math.log(share), since
        for index in range(_bin(since), _BINS - 1):
            hazards = self._hazards[index] * (_EDGES[index + 1] - start)
            if hazards >= missing:
                return start + missing / self._hazards[index] - since
            missing -= hazards
            start = _EDGES[index + 1]
        return start + missing / self._hazards[-1] - since

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain JSON values."""
        return {"completions": self.completions, "done": self._done, "running": self._alive}

    def update_from(self, saved: Any) -> None:
        """Take over what `to_dict` gave, instead of what was learned so far.

        Raises:
            ValueError: it is not that.
        """
        completions, done, alive = _saved(saved)
        self.completions, self._done, self._alive = completions, done, alive
        self._rebuild()


def _solve(hazard: float, running: float, missing: float, width: float) -> float:
    """The z in [0, width] with ``z - running * (1 - exp(-hazard * z)) / hazard = missing``.

    The left side is convex and grows, so Newton's steps from a point right of the root never
    pass it; ``missing + running / hazard`` is such a point.
    """
    z = min(width, missing + running / hazard)
    for _ in range(40):
        ended = -math.expm1(-hazard * z)
        slope = 1 - running + running * ended
        if slope <= 0:
            break
        step = (z - running * ended / hazard - missing) / slope
        z -= step
        if step <= 1e-9 * z:
            break
    return max(z, 0.0)


def _saved(saved: Any) -> tuple[int, list[float], list[float]]:
    if not isinstance(saved, dict):
        raise ValueError("a model is an object")  # noqa: TRY004 - the file is wrong, not the call
    completions = saved.get("completions")
    if isinstance(completions, bool) or not isinstance(completions, int) or completions < 0:
        raise ValueError("completions must be a whole number")
    return completions, _saved_bins(saved.get("done")), _saved_bins(saved.get("running"))


def _saved_bins(values: Any) -> list[float]:
    if not isinstance(values, list) or len(values) != _BINS:
        raise ValueError(f"a list of {_BINS} numbers is expected")
    for value in values:
        usable = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not usable or not 0 <= value <= _LARGEST_COUNT:
            raise ValueError("counts must be numbers of a sensible size, not negative")
    return [float(value) for value in values]


class HazardTable:
    """One model for each type of task, and one for tasks whose type is not known."""

    def __init__(self) -> None:
        self._models = {type_: HazardModel(median) for type_, median in _PRIOR_MEDIANS.items()}

    def model(self, type_: SeparationType | None) -> HazardModel:
        """The model for tasks of *type_*; None for tasks whose type is not known."""
        return self._models[type_]

    def observe_completion(
        self,
        duration: float,
        *,
        type_: SeparationType | None,
        tracked_as: SeparationType | None = None,
        since: float = 0.0,
    ) -> None:
        """Learn from a finished task.

        Args:
            duration: seconds it took.
            type_: what it turned out to be; None if that is still not known.
            tracked_as: the type under which its running time was reported so far.
            since: the age up to which it was reported there.
        """
        for kind in {type_, None}:
            self._models[kind].observe_completion(since if kind == tracked_as else 0.0, duration)

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain JSON values."""
        models = {_key(kind): model.to_dict() for kind, model in self._models.items()}
        return {"format": _FORMAT, "models": models}

    def update_from(self, saved: Any) -> None:
        """Take over what `to_dict` gave, instead of what was learned so far.

        Raises:
            ValueError: it is not that; nothing is taken over.
        """
        models = _saved_models(saved)
        # Only now that all of them were found usable; a holder of a model sees it change.
        for kind, model in self._models.items():
            model.update_from(models[_key(kind)])


def _saved_models(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT!r}")
    models = content.get("models")
    if not isinstance(models, dict):
        raise ValueError("it has no models")  # noqa: TRY004 - the file is wrong, not the call
    for kind in _PRIOR_MEDIANS:
        _saved(models.get(_key(kind)))
    return models


def _key(kind: SeparationType | None) -> str:
    return "unknown" if kind is None else kind.value
