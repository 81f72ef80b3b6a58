"""When to look at one task again: policies are frozen values, what is learned lives elsewhere."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async._scheduling.backoff import grown, jittered, not_below_initial
from vocalsep_async._scheduling.hazards import HazardModel

_SHORTEST_GAP = 1.0
_SHORTEST_GAP_PER_WAIT = 0.01
_IDLE_GAP = 20.0
_IDLE_GAP_PER_AGE = 0.25
_COLD_COMPLETIONS = 10
_COLD_GAP = 2.0
_COLD_GAP_PER_AGE = 0.5


class PollContext(NamedTuple):
    """What a policy may know when it decides about the next look.

    Attributes:
        polls: looks made so far, at least 1, by all waits that share them.
        elapsed: seconds since the first of these waits began.
        age: seconds since the task was created, when the last look was sent; a guess where
            nobody knows.
        model: what is known about how long such tasks take.
        draw: a number uniform in [0, 1), for jitter.
        price: seconds of delay that a look costs others now; 0 while the budget has room. The
            schedule itself holds looks back that are not worth it, whatever the policy.
    """

    polls: int
    elapsed: float
    age: float
    model: HazardModel
    draw: float
    price: float = 0.0


class PollPolicy(Protocol):
    """Anything with this one method can be passed as ``poll=``."""

    def delay(self, context: PollContext) -> float:
        """Seconds from the start of the last look, which said PENDING, to the next one."""


@frozen
class Adaptive:
    """Look when a look is worth it, judged by how long such tasks took so far (the default).

    The next look comes when the *expected undetected seconds* D reach *cost*: with C the
    duration of the task and L its age at the last look, ``D(a) = E[max(0, a - C) | C > L]``. A
    task that stays silent is looked at ever less often, and most often around the ages at which
    tasks like it end. The gap is at least ``max(1, elapsed / 100)`` s and at most
    ``max(20, age / 4)`` s; until ten finished tasks were seen, at most ``max(2, age / 2)`` s.

    Attributes:
        cost: seconds of delay that one request is worth, above 0. Smaller looks more often.

    Raises:
        ConfigurationError: *cost* is out of its range.
    """

    cost: float = field(default=0.1, validator=_validation.above(0))

    def delay(self, context: PollContext) -> float:
        """Seconds until the next look; see the class."""
        age, model = context.age, context.model
        shortest = max(_SHORTEST_GAP, _SHORTEST_GAP_PER_WAIT * context.elapsed)
        if context.price > self.cost:
            return shortest
        longest = max(_IDLE_GAP, _IDLE_GAP_PER_AGE * age)
        if model.completions < _COLD_COMPLETIONS:
            longest = min(longest, max(_COLD_GAP, _COLD_GAP_PER_AGE * age))
        return min(max(model.due(age, self.cost) - age, shortest), longest)


@frozen
class Backoff:
    """Exponential growth: ``min(maximum, initial * factor ** (polls - 1))``, spread by jitter.

    Attributes:
        initial: seconds between the first two looks, above 0.
        factor: growth of the gap, at least 1.
        maximum: the longest gap in seconds before jitter, not below *initial*.
        jitter: each gap is spread evenly over ``gap * (1 ± jitter)``; from 0 to below 1.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    initial: float = field(default=2.0, validator=_validation.above(0))
    factor: float = field(default=1.5, validator=_validation.at_least(1))
    maximum: float = field(default=30.0, validator=[_validation.above(0), not_below_initial])
    jitter: float = field(default=0.2, validator=_validation.fraction)

    def delay(self, context: PollContext) -> float:
        """Seconds until the next look; see the class."""
        gap = grown(
            context.polls - 1, initial=self.initial, factor=self.factor, maximum=self.maximum
        )
        return jittered(gap, self.jitter, context.draw)


@frozen
class Interval:
    """The same gap each time.

    Attributes:
        seconds: the gap, above 0.

    Raises:
        ConfigurationError: *seconds* is out of its range.
    """

    seconds: float = field(validator=_validation.above(0))

    def delay(self, context: PollContext) -> float:  # noqa: ARG002 - the protocol's
        """Seconds until the next look: always the same."""
        return self.seconds
