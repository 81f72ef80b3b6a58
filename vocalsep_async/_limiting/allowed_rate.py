"""How much of an account's limit a client may use, which another program may use too.

The rate follows additive increase, multiplicative decrease (AIMD), with steps in proportion to the
limit. Some servers throttle a few requests whatever the rate is: lowering the rate does not help
there. So answers earn credit, and a throttled request that is covered by it leaves the rate as it
is. At the limit answers earn most; at half of it, where another program uses the rest, hardly any.
"""

from __future__ import annotations

import math
from collections import deque

_DECREASE = 0.6
_INCREASE = 0.02
"""Share of the limit by which the rate grows in a period full of answers.

Simulated together with the decrease, beside another client that uses 1 or 1.5 of the account's 2
requests/s (evenly, at random or on and off): at most 6 % of our requests are throttled, and the
other client keeps 90 % of its answers.
"""
_CREDIT = 0.08
"""Throttled requests that an answer at the full rate pays for."""
_CREDIT_POWER = 3
"""Power of the used share of the limit with which the credit for an answer falls."""
_MOST_CREDIT = 5.0
"""Throttled requests in a row that answers can have paid for."""
_FIRST_DECREASE = 0.7
"""Factor of the first decrease without a known limit, which starts from the accepted requests."""
_LIKELY_LIMIT = 20.0
"""Requests per 10 s: both providers' documented limit, where nothing better is known."""
_SEARCH = 0.3
"""Share of itself by which the rate grows in a period after the first decrease without a limit."""


class AllowedRate:
    """Requests per period that the account was found to allow.

    Args:
        ceiling: the known limit; infinity if there is none.
        period: of the limit, in seconds.

    Attributes:
        value: at most *ceiling*; infinity while no limit is known.
    """

    def __init__(self, ceiling: float, period: float) -> None:
        self._period = period
        self._is_known = math.isfinite(ceiling)
        self._ceiling = ceiling
        self._decreased_at = -math.inf
        self._credit = _MOST_CREDIT if self._is_known else 0.0
        # After the first decrease without a known limit the true one is still to be found: the rate
        # then grows fast, until the next decrease.
        self._is_searching = False
        self._answered: deque[float] = deque()
        """When answers came, over the last period; kept only while no limit is known."""
        self._reference = ceiling
        """The known limit, or else the rate that was too high; steps are shares of it."""
        self.value = ceiling

    def decrease(self, now: float, started: float) -> None:
        """Decrease, unless the throttled request, from *started*, says nothing new."""
        if self._credit >= 1:
            self._credit -= 1
            return
        # It says nothing if it started before the last decrease, or if that one has had no full
        # period yet to show.
        if now - self._decreased_at < self._period or started <= self._decreased_at:
            return
        self._decreased_at = now
        # At least one request per period in both cases: only answers raise the rate again.
        if math.isinf(self.value):
            self._begin_search(now)
            return
        if not self._is_known:
            self._reference = self.value
        # A search overshoots by what it has grown in the last period.
        factor = 1 / (1 + _SEARCH) if self._is_searching else _DECREASE
        self._is_searching = False
        self.value = max(1.0, factor * self.value)

    def _begin_search(self, now: float) -> None:
        self._drop_answers_before(now - self._period)
        self._is_searching = True
        # Few answers say little: the first request may have met a limit on gaps.
        self._reference = max(len(self._answered), _LIKELY_LIMIT * self._period / 10)
        self.value = max(1.0, _FIRST_DECREASE * self._reference)

    def increase(self, now: float) -> None:
        """Increase for one answer."""
        if math.isinf(self.value):
            self._answered.append(now)
            self._drop_answers_before(now - self._period)
            return
        used = min(1.0, self.value / self._reference)
        self._credit = min(_MOST_CREDIT, self._credit + _CREDIT * used**_CREDIT_POWER)
        if self.value < self._ceiling:
            # One step for each of the `value` answers of a period.
            self.value = min(self._ceiling, self.value + self._growth(now) / self.value)

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        self._decreased_at += shift
        self._answered = deque(moment + shift for moment in self._answered)

    def _growth(self, now: float) -> float:
        """Requests per period by which the rate grows in a period full of answers."""
        if self._is_searching:
            return _SEARCH * self.value
        return _INCREASE * max(self._reference, self.value) * self._step_factor(now)

    def _step_factor(self, now: float) -> int:
        """Factor of the increase: the longer the rate has held, the faster it grows."""
        periods = (now - self._decreased_at) / self._period
        return 4 if periods >= 16 else 2 if periods >= 8 else 1

    def _drop_answers_before(self, moment: float) -> None:
        while self._answered and self._answered[0] < moment:
            self._answered.popleft()
