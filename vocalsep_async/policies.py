"""When to look at one task again: policies are frozen values, what is learned lives elsewhere."""

from __future__ import annotations

from typing import Protocol

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async.durations import DurationView
from vocalsep_async.errors import InvalidArgumentError

_SHORTEST_GAP = 1.0
_SHORTEST_GAP_PER_WAIT = 0.01
_IDLE_GAP = 20.0
_IDLE_GAP_PER_AGE = 0.25
_COLD_COMPLETIONS = 10
_COLD_GAP = 2.0
_COLD_GAP_PER_AGE = 0.5


def _grown(count: int, *, initial: float, factor: float, maximum: float) -> float:
    """``initial * factor ** count``, at most *maximum*; never overflows."""
    try:
        return min(maximum, initial * float(factor) ** count)
    except OverflowError:
        return maximum


def _jittered(delay: float, jitter: float, draw: float) -> float:
    """Spread *delay* evenly over ``delay * (1 ± jitter)``; *draw* is uniform in [0, 1)."""
    return delay * (1 + jitter * (2 * draw - 1))


def _not_below_initial(instance: object, _attribute: object, value: float) -> None:
    """Validate that the longest delay is not shorter than the first."""
    initial = getattr(instance, "initial", value)
    if value < initial:
        raise InvalidArgumentError(f"maximum ({value}) must not be below initial ({initial})")


@frozen(kw_only=True)
class PollContext:
    """What a policy may know when it decides about the next look.

    Attributes:
        polls: looks made so far, at least 1, by all waits that share them.
        elapsed: seconds since the first of these waits began.
        age: seconds since the task was created, when the last look was sent; a guess where
            nobody knows.
        durations: what is known about how long such tasks take.
        draw: a number uniform in [0, 1), for jitter.
        price: seconds of delay that a look costs others now; 0 while the budget has room. The
            schedule itself holds looks back that are not worth it, whatever the policy.
    """

    polls: int
    elapsed: float
    age: float
    durations: DurationView
    draw: float
    price: float = 0.0


class PollPolicy(Protocol):
    """Anything with this one method can be passed as ``poll=``."""

    def delay(self, context: PollContext) -> float:
        """Seconds from the start of the last look, which said PENDING, to the next one."""


@frozen(kw_only=True)
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
        InvalidArgumentError: *cost* is out of its range.
    """

    cost: float = field(default=0.1, validator=_validation.above(0))

    def delay(self, context: PollContext) -> float:
        """Seconds until the next look; see the class."""
        age, durations = context.age, context.durations
        shortest = max(_SHORTEST_GAP, _SHORTEST_GAP_PER_WAIT * context.elapsed)
        if context.price > self.cost:
            return shortest
        longest = max(_IDLE_GAP, _IDLE_GAP_PER_AGE * age)
        if durations.completions < _COLD_COMPLETIONS:
            longest = min(longest, max(_COLD_GAP, _COLD_GAP_PER_AGE * age))
        return min(max(durations.due(age, self.cost) - age, shortest), longest)


@frozen(kw_only=True)
class Backoff:
    """Exponential growth: ``min(maximum, initial * factor ** (polls - 1))``, spread by jitter.

    Attributes:
        initial: seconds between the first two looks, above 0.
        factor: growth of the gap, at least 1.
        maximum: the longest gap in seconds before jitter, not below *initial*.
        jitter: each gap is spread evenly over ``gap * (1 ± jitter)``; from 0 to below 1.

    Raises:
        InvalidArgumentError: a value is out of its range.
    """

    initial: float = field(default=2.0, validator=_validation.above(0))
    factor: float = field(default=1.5, validator=_validation.at_least(1))
    maximum: float = field(default=30.0, validator=[_validation.above(0), _not_below_initial])
    jitter: float = field(default=0.2, validator=_validation.fraction)

    def delay(self, context: PollContext) -> float:
        """Seconds until the next look; see the class."""
        gap = _grown(
            context.polls - 1, initial=self.initial, factor=self.factor, maximum=self.maximum
        )
        return _jittered(gap, self.jitter, context.draw)


@frozen
class Interval:
    """The same gap each time.

    Attributes:
        seconds: the gap, above 0.

    Raises:
        InvalidArgumentError: *seconds* is out of its range.
    """

    seconds: float = field(validator=_validation.above(0))

    def delay(self, context: PollContext) -> float:  # noqa: ARG002 - the protocol's
        """Seconds until the next look: always the same."""
        return self.seconds


@frozen(kw_only=True)
class RetryPolicy:
    """How often one look is tried when it meets a broken request, a 5xx or a refusal.

    As often a task is polled that the API does not know (yet), and so is a 405 without an envelope,
    which a client that never understood an answer takes for throttling.

    Before try ``n + 1`` it waits ``min(maximum, initial * factor ** (n - 1))`` seconds, spread
    evenly by ``± jitter``; after a refusal (405/430) the pacer's pause takes the place of that
    delay. A wait or a batch goes on past the last try until its own deadline.

    Attributes:
        attempts: tries of one look in all, at least 1.
        initial: seconds before the second try, above 0.
        factor: growth of the delay, at least 1.
        maximum: the longest delay in seconds, not below *initial*.
        jitter: spread of each delay as a fraction, from 0 to below 1.

    Raises:
        InvalidArgumentError: a value is out of its range.
    """

    attempts: int = field(default=4, validator=_validation.whole)
    initial: float = field(default=0.5, validator=_validation.above(0))
    factor: float = field(default=2.0, validator=_validation.at_least(1))
    maximum: float = field(default=8.0, validator=[_validation.above(0), _not_below_initial])
    jitter: float = field(default=0.25, validator=_validation.fraction)

    def delay(self, failures: int, draw: float) -> float:
        """Seconds to wait after *failures* failures in a row (1 or more).

        *draw* is uniform in [0, 1) and decides the jitter.
        """
        delay = _grown(failures - 1, initial=self.initial, factor=self.factor, maximum=self.maximum)
        return _jittered(delay, self.jitter, draw)


@frozen
class RateLimit:
    """What the account may do, as the provider words it.

    Attributes:
        max_requests: requests in any *period*, at least 1.
        period: seconds, above 0.

    Raises:
        InvalidArgumentError: a value is out of its range.
    """

    max_requests: int = field(default=20, validator=_validation.whole)
    period: float = field(default=10.0, validator=_validation.above(0))
