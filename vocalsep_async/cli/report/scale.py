"""Where a value stands on an axis, and which values are written along it."""

from __future__ import annotations

import math

from attrs import frozen

_MOST_TICKS = 6
_STEPS_OF_TIME = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600)
_DAY = 86_400


@frozen
class Scale:
    """An axis; *low* is below *high*.

    Attributes:
        low: the value at the start of the axis.
        high: the value at its end.
    """

    low: float
    high: float

    @classmethod
    def around(cls, low: float, high: float) -> Scale:
        """The scale from *low* to *high*, of some length also if both are one."""
        return cls(low, high if high > low else low + 1.0)

    def percent(self, value: float) -> float:
        """Where *value* stands, from 0 to 100; at the near end if it is beyond."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def times(self) -> tuple[float, ...]:
        """Round times along the axis, in seconds."""
        return self._every(_step_of_time((self.high - self.low) / _MOST_TICKS))

    def values(self) -> tuple[float, ...]:
        """Round values along the axis."""
        return self._every(_step((self.high - self.low) / 5))

    def _every(self, step: float) -> tuple[float, ...]:
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return tuple(number * step for number in range(first, last + 1))


def _step_of_time(least: float) -> float:
    longer = (step for step in _STEPS_OF_TIME if step >= least)
    return next(longer, _DAY * _step(least / _DAY))


def _step(least: float) -> float:
    """The first of 1, 2, 5, 10, 20 ... 0.1, 0.2 ... that is not below *least*."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least)
