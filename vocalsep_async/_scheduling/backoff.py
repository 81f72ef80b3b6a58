"""Delays that grow, and how often a broken request is tried."""

from __future__ import annotations

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async.errors import ConfigurationError


def grown(count: int, *, initial: float, factor: float, maximum: float) -> float:
    """``initial * factor ** count``, at most *maximum*; never overflows."""
    try:
        return min(maximum, initial * float(factor) ** count)
    except OverflowError:
        return maximum


def jittered(delay: float, jitter: float, draw: float) -> float:
    """Spread *delay* evenly over ``delay * (1 ± jitter)``; *draw* is uniform in [0, 1)."""
    return delay * (1 + jitter * (2 * draw - 1))


def not_below_initial(instance: object, _attribute: object, value: float) -> None:
    """Validate that the longest delay is not shorter than the first."""
    initial = getattr(instance, "initial", value)
    if value < initial:
        raise ConfigurationError(f"maximum ({value}) must not be below initial ({initial})")


@frozen
class RetryPolicy:
    """How often one look is tried when it meets a broken request, a 5xx or a refusal.

    As often is a task looked for that the API does not know (yet), and a 405 without an envelope
    taken for throttling by a client that never understood an answer.

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
        ConfigurationError: a value is out of its range.
    """

    attempts: int = field(default=4, validator=_validation.whole)
    initial: float = field(default=0.5, validator=_validation.above(0))
    factor: float = field(default=2.0, validator=_validation.at_least(1))
    maximum: float = field(default=8.0, validator=[_validation.above(0), not_below_initial])
    jitter: float = field(default=0.25, validator=_validation.fraction)

    def delay(self, failures: int, draw: float) -> float:
        """Seconds to wait after *failures* failures in a row (1 or more).

        *draw* is uniform in [0, 1) and decides the jitter.
        """
        delay = grown(failures - 1, initial=self.initial, factor=self.factor, maximum=self.maximum)
        return jittered(delay, self.jitter, draw)
