"""How long tasks take, learned from finished and running tasks: hazards and the expected delay.

The durations of one type of task are described by a *hazard* h(a): the chance per second that a
task of age a, still running, ends now. It is constant within each of 46 age bins. A bin counts the
completions in it and the task-seconds for which tasks were known to run in it (their *exposure*);
the quotient of the two estimates the hazard. A task that is still running counts too, with exactly
the seconds for which it is known to have run (censoring). A weak prior of three tasks stands
in where nothing was observed.

From the hazard follows the *expected delay* D (the age of information): for a task last seen
running at age L, the expected number of seconds for which it will have been finished, unnoticed, if
the next poll comes at age a. With C the duration of the task,

    D(L, a) = E[max(0, a - C) | C > L] = integral from L to a of (1 - S(u) / S(L)) du

where S(u) = exp(-integral of h from 0 to u) is the survival function: the share of tasks that run
longer than u. D grows with a, ever faster, so "poll when D reaches y seconds" has one answer,
`HazardModel.due`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

from vocalsep_async import _validation
from vocalsep_async._scheduling.counts import BINS, EDGES, LONGEST, DurationCounts, bin_of
from vocalsep_async.models import SeparationType

_PRIOR_TASKS = 3.0
_PRIOR_SPREAD = 0.8
"""Standard deviation of the logarithm of the durations in the prior."""
_PRIOR_MEDIANS: Mapping[SeparationType | None, float] = {
    SeparationType.SEPARATE_VOCAL: 65.0,
    SeparationType.SPLIT_STEM: 140.0,
    SeparationType.SPLIT_STEM_ADVANCED: 140.0,
    None: 75.0,
}
"""Seconds; None is for tasks of unknown type."""
_FORMAT = "vocalsep-durations-1"
_HAZARD_RANGE = 100.0
"""Largest factor between a bin's hazard and the mean: a task that outlasts all others is polled."""


def are_enough(new: int, completions: int) -> bool:
    """Whether *new* ones of so many completions are worth another estimate of the hazards."""
    return new >= max(4, min(200, completions) // 10) or completions <= 4


@cache
def _prior(median: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Completions and exposure in each bin of the prior's tasks, lognormal about *median*."""

    def survival(age: float) -> float:
        if age <= 0:
            return 1.0
        z = math.log(age / median) / _PRIOR_SPREAD
        return 0.5 * math.erfc(z / math.sqrt(2))

    steps = 8
    completed, exposure = [], []
    for start, end in pairwise(EDGES):
        width = (end - start) / steps
        middles = (start + width * (step + 0.5) for step in range(steps))
        completed.append(_PRIOR_TASKS * (survival(start) - survival(end)))
        exposure.append(_PRIOR_TASKS * width * sum(map(survival, middles)))
    return tuple(completed), tuple(exposure)


class HazardModel:
    """What is known about how long one type of task takes.

    Ages are seconds since the creation of a task.

    Args:
        median: assumed median duration in seconds, at least 1; above 7200 it is taken for 7200.

    Attributes:
        version: grows each time that the hazards are estimated again, which happens after every
            few completions; whatever was computed at an older version is outdated.

    Raises:
        InvalidArgumentError: *median* is not a finite number, or below 1.
    """

    def __init__(self, median: float = _PRIOR_MEDIANS[None]) -> None:
        self._median = min(_validation.number(median, "median", minimum=1.0), LONGEST)
        self._counts = DurationCounts()
        self._new: DurationCounts | None = None
        """What was observed since it was last shared; None while nothing is shared."""
        self.version: int = -1
        self._rebuild()

    def __repr__(self) -> str:
        return f"<HazardModel: {self.completions} completions>"

    @property
    def completions(self) -> int:
        """Number of finished tasks learned from."""
        return self._counts.completions

    def observe_running(self, since: float, until: float) -> None:
        """Learn that a task known to run at age *since* was still running at age *until*."""
        self._counts.observe_running(since, until)
        if self._new is not None:
            self._new.observe_running(since, until)

    def observe_completion(self, since: float, duration: float) -> None:
        """Learn that a task known to run at age *since* took *duration* seconds."""
        self._counts.observe_completion(since, duration)
        if self._new is not None:
            self._new.observe_completion(since, duration)
        self._not_estimated += 1
        # Each new version outdates the keys of a whole queue, so not every completion makes one.
        # The first four do: they change the most.
        if are_enough(self._not_estimated, self.completions):
            self._rebuild()

    def begin_sharing(self) -> None:
        """Keep apart what is observed from now on, for `take_new`."""
        self._new = DurationCounts()

    def take_new(self) -> DurationCounts | None:
        """What was observed since the last call; None if there is nothing to share."""
        if self._new is None or self._new.is_empty:
            return None
        taken, self._new = self._new, DurationCounts()
        return taken

    def end_sharing(self) -> None:
        """Keep nothing apart any more."""
        self._new = None

    @property
    def counts(self) -> DurationCounts:
        """What was observed so far."""
        return self._counts

    def replace(self, counts: DurationCounts) -> None:
        """Know *counts* from now on, in place of what was observed so far."""
        self._counts = counts
        self._rebuild()

    def _rebuild(self) -> None:
        self._hazards = self._estimate()
        self._first_due = (-1.0, 0.0)
        self._tabulate()
        self._not_estimated = 0
        self.version += 1

    def _tabulate(self) -> None:
        """Compute D(0, a) and S(a) at the lower edges of the bins."""
        # In a large batch most tasks have not been polled yet, so most calls of `due` start from
        # age 0: with this table they are a bisection.
        expected_delay, survival = 0.0, 1.0
        self._delay_at_edge, self._survival_at_edge = [], []
        for hazard, (start, end) in zip(self._hazards, pairwise(EDGES), strict=True):
            self._delay_at_edge.append(expected_delay)
            self._survival_at_edge.append(survival)
            ended = -math.expm1(-hazard * (end - start))
            expected_delay += end - start - survival * ended / hazard
            survival -= survival * ended

    def _estimate(self) -> list[float]:
        """The hazard of each bin: completions divided by exposure, prior included."""
        prior_completed, prior_exposure = _prior(self._median)
        # Scale the prior to the level of what was observed: by the completions, relative to those
        # that the prior's hazards predict for the observed exposure.
        predicted = sum(
            seconds * c / e
            for seconds, c, e in zip(
                self._counts.exposure, prior_completed, prior_exposure, strict=True
            )
        )
        level = min(max((2 + sum(self._counts.completed)) / (2 + predicted), 0.1), 10.0)
        completed = [
            level * c + count
            for c, count in zip(prior_completed, self._counts.completed, strict=True)
        ]
        exposure = [
            e + seconds for e, seconds in zip(prior_exposure, self._counts.exposure, strict=True)
        ]
        mean = sum(completed) / sum(exposure)
        low, high = mean / _HAZARD_RANGE, mean * _HAZARD_RANGE
        return [min(max(c / e, low), high) for c, e in zip(completed, exposure, strict=True)]

    def expected_delay(self, since: float, age: float) -> float:
        """D(since, age) in seconds, for a task last seen running at age *since*; see the module."""
        total, survival, first = 0.0, 1.0, bin_of(since)
        if since == 0 < age:
            # What was never polled is asked about most often, and has a table.
            first = bin_of(age)
            total, survival = self._delay_at_edge[first], self._survival_at_edge[first]
            since = EDGES[first]
        for index in range(first, BINS):
            start = max(since, EDGES[index])
            end = age if index == BINS - 1 else min(age, EDGES[index + 1])
            if end <= start:
                break
            hazard, width = self._hazards[index], end - start
            total += width + survival * math.expm1(-hazard * width) / hazard
            survival *= math.exp(-hazard * width)
        return total

    def ended(self, since: float, age: float) -> float:
        """Probability that a task last seen running at age *since* has ended by *age*.

        It is the rate at which the expected delay grows, in seconds per second: the derivative by
        a of ``D(L, a) = integral from L to a of (1 - S(u) / S(L)) du`` is ``1 - S(a) / S(L)``.
        """
        cumulative = 0.0
        for index in range(bin_of(since), BINS):
            start = max(since, EDGES[index])
            end = age if index == BINS - 1 else min(age, EDGES[index + 1])
            if end <= start:
                break
            cumulative += self._hazards[index] * (end - start)
        return -math.expm1(-cumulative)

    def due(self, since: float, expected_delay: float) -> float:
        """The age at which a task last seen running at *since* reaches *expected_delay*."""
        if since != 0:
            return self._due(since, expected_delay)
        # In a large batch most tasks were never polled, and all of them are asked at one price.
        if self._first_due[0] != expected_delay:
            self._first_due = expected_delay, self._due(since, expected_delay)
        return self._first_due[1]

    def _due(self, since: float, expected_delay: float) -> float:
        missing, survival, start, first = expected_delay, 1.0, since, bin_of(since)
        if since == 0:
            first = bisect_right(self._delay_at_edge, expected_delay) - 1
            missing = expected_delay - self._delay_at_edge[first]
            survival, start = self._survival_at_edge[first], EDGES[first]
        for index in range(first, BINS - 1):
            hazard, width = self._hazards[index], EDGES[index + 1] - start
            grown = width + survival * math.expm1(-hazard * width) / hazard
            if grown >= missing:
                return start + _solve(hazard, survival, missing, width)
            missing -= grown
            survival *= math.exp(-hazard * width)
            start = EDGES[index + 1]
        return start + _solve(self._hazards[-1], survival, missing, math.inf)

    def remaining(self, since: float, share: float) -> float:
        """Seconds until only *share* (above 0, at most 1) of the tasks of age *since* still run."""
        # Solves for the integral of h, since the share is its exponential.
        missing, start = -math.log(share), since
        for index in range(bin_of(since), BINS - 1):
            grown = self._hazards[index] * (EDGES[index + 1] - start)
            if grown >= missing:
                return start + missing / self._hazards[index] - since
            missing -= grown
            start = EDGES[index + 1]
        return start + missing / self._hazards[-1] - since

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as JSON values."""
        return self._counts.to_dict()

    def update_from(self, saved: Any) -> None:
        """Replace what was learned by *saved*, a result of `to_dict`.

        Raises:
            ValueError: *saved* is no result of `to_dict`; nothing has changed.
        """
        self.replace(DurationCounts.from_dict(saved))


def _solve(hazard: float, survival: float, missing: float, width: float) -> float:
    """The z in [0, width] with ``z - survival * (1 - exp(-hazard * z)) / hazard = missing``.

    This is the time within one bin in which D grows by *missing*.
    """
    # The left side is convex and grows, so Newton's steps from a point right of the root never
    # pass it; ``missing + survival / hazard`` is such a point.
    z = min(width, missing + survival / hazard)
    for _ in range(40):
        ended = -math.expm1(-hazard * z)
        slope = 1 - survival + survival * ended
        if slope <= 0:
            break
        step = (z - survival * ended / hazard - missing) / slope
        z -= step
        if step <= 1e-9 * z:
            break
    # Where z is next to 0, rounding may have taken a step past the root.
    return max(z, 0.0)


Counts = dict[SeparationType | None, DurationCounts]
"""For each type of task; None for tasks of unknown type."""


class Sharing(Protocol):
    """Shares what a table learns with others."""

    def exchange(self) -> None:
        """A task has ended, which the table has learned from."""

    def replace(self) -> None:
        """What the table knew was replaced."""


class HazardTable:
    """A hazard model for each type of task, and one for tasks of unknown type."""

    KINDS = tuple(_PRIOR_MEDIANS)
    """The types of task; None is for tasks of unknown type."""

    def __init__(self) -> None:
        self._models = {type_: HazardModel(median) for type_, median in _PRIOR_MEDIANS.items()}
        self._sharing: Sharing | None = None

    def model(self, type_: SeparationType | None) -> HazardModel:
        """The model for tasks of *type_*; None for tasks of unknown type."""
        return self._models[type_]

    def observe_completion(
        self,
        duration: float,
        *,
        type_: SeparationType | None,
        tracked_as: SeparationType | None = None,
        since: float = 0.0,
    ) -> None:
        """Learn from a finished task, in the model of its type and in that of unknown types.

        Args:
            duration: seconds that the task took.
            type_: the type of the task; None if it is still not known.
            tracked_as: the type whose model has learned its running time so far.
            since: the age up to which that model has learned it.
        """
        # A model that has learned part of the running time must not count it twice.
        for kind in {type_, None}:
            self._models[kind].observe_completion(since if kind == tracked_as else 0.0, duration)
        if self._sharing is not None:
            self._sharing.exchange()

    def begin_sharing(self, sharing: Sharing) -> None:
        """Tell *sharing* of what is learned from now on."""
        self._sharing = sharing
        for model in self._models.values():
            model.begin_sharing()

    def end_sharing(self, sharing: Sharing) -> None:
        """Tell *sharing* no more."""
        if self._sharing is sharing:
            self._sharing = None
            for model in self._models.values():
                model.end_sharing()

    def take_new(self) -> Counts:
        """What was observed since the last call; types of which nothing was are left out."""
        new = {kind: model.take_new() for kind, model in self._models.items()}
        return {kind: counts for kind, counts in new.items() if counts is not None}

    def counts(self) -> Counts:
        """What was observed so far."""
        return {kind: model.counts for kind, model in self._models.items()}

    def replace(self, counts: Counts) -> None:
        """Know *counts* from now on, in place of what was observed of their types so far."""
        for kind, each in counts.items():
            self._models[kind].replace(each)

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as JSON values."""
        models = {_key(kind): model.to_dict() for kind, model in self._models.items()}
        return {"format": _FORMAT, "models": models}

    def update_from(self, saved: Any) -> None:
        """Replace what was learned by *saved*, a result of `to_dict`.

        Raises:
            ValueError: *saved* is no result of `to_dict`; nothing has changed.
        """
        models = _saved_models(saved)
        # Only after all models were found usable. They are changed in place, because polled tasks
        # and views hold them.
        for kind, model in self._models.items():
            model.update_from(models[_key(kind)])
        if self._sharing is not None:
            self._sharing.replace()


def _saved_models(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT!r}")
    models = content.get("models")
    if not isinstance(models, dict):
        raise ValueError("it has no models")  # noqa: TRY004 - the file is wrong, not the call
    for kind in _PRIOR_MEDIANS:
        DurationCounts.from_dict(models.get(_key(kind)))
    return models


def _key(kind: SeparationType | None) -> str:
    return "unknown" if kind is None else kind.value
