"""The arithmetic of `RateLimiter`: a pure state machine that takes ``now``.

Three rules, each a small class below, decide when the next request may start:

* `_Window`, the hard rule: at most ``max_requests`` in any ``period``.
* `_Spacing`, the soft rule: a small burst, then even gaps (generic cell rate algorithm), at the
  *allowed rate*.
* `_Pause`: a throttled request pauses the whole client; then one probe at a time is sent until a
  probe is answered.

Another client may use part of the account's limit. So the allowed rate follows additive increase,
multiplicative decrease (AIMD): the first throttled request of an episode decreases it, further ones
only lengthen the pause, and each answer increases it a little.
"""

from __future__ import annotations

import math
from collections import deque

from vocalsep_async.policies import RateLimit

_MARGIN = 0.010
"""Seconds added to the period: the server's timer and ours do not tick together."""
_SHORTEST_WAIT = 1e-6
"""Seconds; a shorter wait is none, because no timer is that fine."""
_MAX_IN_FLIGHT = 50
"""Requests in flight where no limit is known."""
_DEFAULT_PERIOD = 10.0
"""Seconds; the period of both providers' documented limits, where none is given."""
_BURST = 4.0
"""Requests that may start together after an idle time."""
_DECREASE = 0.65
_FIRST_DECREASE = 0.7
"""Factor of the first decrease without a known limit, which starts from the accepted requests."""
_INCREASE = 0.4
"""Requests per period by which the allowed rate grows in a period full of answers.

Simulated together with the decrease, beside another client that uses 1 or 1.5 of the account's 2
requests/s (evenly, at random or on and off): at most 6 % of our requests are throttled, and the
other client keeps 90 % of its answers.
"""
_SHORTEST_PAUSE = 1.0
_MAINTENANCE_PAUSE = 30.0
_LONGEST_MAINTENANCE_PAUSE = 60.0


class Grant:
    """Permission for one request, to be reported back to the rate limiter exactly once.

    Attributes:
        started: when it was granted.
        gap: seconds by which it delays the starts after it.
    """

    __slots__ = ("gap", "started")

    def __init__(self, started: float, gap: float = 0.0) -> None:
        self.started = started
        self.gap = gap


class RateLimitState:
    """Decides when a client may send its next request.

    All moments are seconds on one clock. Each `Grant` ends with exactly one call of `cancel`,
    `on_answer`, `on_lost`, `on_throttled` or `on_maintenance`.

    Args:
        limit: the documented limit; None if it is not known. Then requests are limited only by
            their number in flight, until the first throttled one, from which the allowed rate is
            learned.
    """

    def __init__(self, limit: RateLimit | None) -> None:
        self._period = _DEFAULT_PERIOD if limit is None else limit.period
        most = math.inf if limit is None else float(limit.max_requests)
        self._window = _Window(
            size=_MAX_IN_FLIGHT if limit is None else limit.max_requests,
            hold=0.0 if limit is None else limit.period + _MARGIN,
        )
        self._allowed = _AllowedRate(most, self._period)
        self._spacing = _Spacing(self._period)
        self._pause: _Pause | None = None
        self.ceiling = most / self._period
        """Requests per second at most; infinity where no limit is known."""
        self.sent = 0
        """Number of requests sent."""
        self.throttled = 0
        """Number of requests that were throttled (405, 430 and their like)."""

    def __str__(self) -> str:
        paused = ", paused" if self.is_paused else ""
        return (
            f"{self.rate:.2f} requests/s, {self.in_flight} in flight, "
            f"{self.sent} sent, {self.throttled} throttled{paused}"
        )

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""
        return self._allowed.value / self._period

    @property
    def in_flight(self) -> int:
        """Number of requests sent and not answered yet."""
        return self._window.in_flight

    @property
    def is_paused(self) -> bool:
        """Whether a pause began and no probe was answered since."""
        return self._pause is not None

    def paused_until(self, now: float) -> float:
        """End of the present pause; *now* if there is none."""
        return now if self._pause is None else max(now, self._pause.until)

    def wait(self, now: float) -> float:
        """Seconds until a request may start; 0 for now, infinity for not before an answer."""
        wait = max(
            self._window.wait(now),
            self._spacing.wait(now, self._allowed.value),
            0.0 if self._pause is None else self._pause.wait(now),
        )
        return wait if wait > _SHORTEST_WAIT else 0.0

    def start(self, now: float) -> Grant:
        """Start a request; only allowed while `wait` is 0."""
        self._window.start()
        grant = Grant(now, self._spacing.start(now, self._allowed.value))
        if self._pause is not None:
            # `wait` lets nothing start during a pause but a probe.
            self._pause.probe = grant
        self.sent += 1
        return grant

    def cancel(self, grant: Grant) -> None:
        """Take *grant* back, as if it had never been given: its request was not sent."""
        self._window.cancel()
        self._spacing.cancel(grant.gap)
        self._end_probe(grant)
        self.sent -= 1

    def on_answer(self, grant: Grant, now: float) -> None:
        """Record an answer that was neither throttling nor maintenance."""
        self._window.end(now)
        if self._end_probe(grant):
            self._pause = None
        self._allowed.increase(now)

    def on_lost(self, grant: Grant, now: float) -> None:
        """Record that no answer came."""
        # The server may have counted the request as late as now, so its slot is held.
        self._window.end(now)
        self._end_probe(grant)

    def on_throttled(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """Pause the client and decrease the allowed rate.

        Args:
            grant: the throttled request.
            now: the present moment.
            retry_after: seconds that the server asked for; None if it did not.
        """
        self.throttled += 1
        # During a pause only probes and requests from before the pause end: those say nothing
        # new about the rate.
        if self._pause is None:
            self._allowed.decrease(now, grant.started)
        # Where the period is short, a second would be longer than the limit requires.
        first = min(_SHORTEST_PAUSE, self._period / 2)
        self._stop(grant, now, first, self._period, retry_after)

    def on_maintenance(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """Pause the client for half a minute, then for one minute at a time.

        Args:
            grant: the request that was answered with maintenance.
            now: the present moment.
            retry_after: seconds that the server asked for; None if it did not.
        """
        self._stop(grant, now, _MAINTENANCE_PAUSE, _LONGEST_MAINTENANCE_PAUSE, retry_after)

    def _stop(
        self, grant: Grant, now: float, first: float, longest: float, retry_after: float | None
    ) -> None:
        self._window.end(now)
        was_probe = self._end_probe(grant)
        if self._pause is None:
            self._pause = _Pause(length=first, until=now + first)
        # Only a probe shows that the pause was too short: the other requests are from before it.
        elif was_probe:
            self._pause.lengthen(now, first, longest)
        if retry_after is not None:
            # A Retry-After of 0 must not shorten the pause.
            self._pause.until = max(self._pause.until, now + retry_after)

    def _end_probe(self, grant: Grant) -> bool:
        """Make room for the next probe if *grant* was the present one; whether it was."""
        if self._pause is None or self._pause.probe is not grant:
            return False
        self._pause.probe = None
        return True


class _Window:
    """Slots in use: requests in flight, and those that ended less than *hold* seconds ago."""

    # A slot is taken at the start of a request and becomes free one period after its answer. The
    # server counts the request at some moment between the two, so it never counts too many,
    # however long requests and answers are on their way.

    def __init__(self, size: int, hold: float) -> None:
        self._size = size
        self._hold = hold
        self._free_at: deque[float] = deque()
        self.in_flight = 0

    def wait(self, now: float) -> float:
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        if self.in_flight + len(self._free_at) < self._size:
            return 0.0
        return self._free_at[0] - now if self._free_at else math.inf

    def start(self) -> None:
        self.in_flight += 1

    def cancel(self) -> None:
        self.in_flight -= 1

    def end(self, now: float) -> None:
        self.in_flight -= 1
        # The deque stays in order, because all slots are held equally long.
        self._free_at.append(now + self._hold)


class _Spacing:
    """Generic cell rate algorithm: a small burst, then a start every ``period / allowed``."""

    # All requests of a period at its start, and silence for the rest of it, would be as many
    # polls, but of less use: tasks end at any time.

    def __init__(self, period: float) -> None:
        self._period = period
        self._next = -math.inf
        """When the next start would be exactly on time; earlier starts use up the burst."""

    def wait(self, now: float, allowed: float) -> float:
        # At a low allowed rate, four requests would be most of a period.
        burst = min(_BURST, max(1.0, allowed / 5))
        return max(0.0, self._next - (burst - 1) * self._period / allowed - now)

    def start(self, now: float, allowed: float) -> float:
        """Start a request; the seconds by which it delays the next ones."""
        gap = self._period / allowed
        self._next = max(self._next, now) + gap
        return gap

    def cancel(self, gap: float) -> None:
        self._next -= gap


class _AllowedRate:
    """Requests per period that the account was found to allow, by AIMD.

    Attributes:
        value: at most *ceiling*; infinity while no limit is known.
    """

    def __init__(self, ceiling: float, period: float) -> None:
        self._ceiling = ceiling
        self._period = period
        self._decreased_at = -math.inf
        # After the first decrease without a known limit the true one is still to be found: the rate
        # then doubles in each period, until the next decrease.
        self._is_doubling = False
        self._answered: deque[float] = deque()
        """When answers came, over the last period; kept only while no limit is known."""
        self.value = ceiling

    def decrease(self, now: float, started: float) -> None:
        """Decrease, unless the throttled request, from *started*, says nothing new."""
        # It says nothing if it started before the last decrease, or if that one has had no full
        # period yet to show.
        if now - self._decreased_at < self._period or started <= self._decreased_at:
            return
        # At least one request per period in both cases: only answers raise the rate again.
        if math.isinf(self.value):
            self._drop_answers_before(now - self._period)
            self._is_doubling = True
            self.value = max(1.0, _FIRST_DECREASE * len(self._answered))
        else:
            self._is_doubling = False
            self.value = max(1.0, _DECREASE * self.value)
        self._decreased_at = now

    def increase(self, now: float) -> None:
        """Increase for one answer."""
        if math.isinf(self.value):
            self._answered.append(now)
            self._drop_answers_before(now - self._period)
            return
        if self.value >= self._ceiling:
            return
        # One step for each of the `value` answers of a period.
        step = 1.0 if self._is_doubling else _INCREASE * self._step_factor(now) / self.value
        self.value = min(self._ceiling, self.value + step)

    def _step_factor(self, now: float) -> int:
        """Factor of the increase: the longer the rate has held, the faster it grows."""
        periods = (now - self._decreased_at) / self._period
        return 4 if periods >= 16 else 2 if periods >= 8 else 1

    def _drop_answers_before(self, moment: float) -> None:
        while self._answered and self._answered[0] < moment:
            self._answered.popleft()


class _Pause:
    """One pause of the client, which lasts until a probe is answered.

    Attributes:
        length: seconds of its last part.
        until: when the next probe may be sent.
        probe: the probe in flight; None if there is none.
    """

    def __init__(self, length: float, until: float) -> None:
        self.length = length
        self.until = until
        self.probe: Grant | None = None

    def wait(self, now: float) -> float:
        if now < self.until:
            return self.until - now
        return 0.0 if self.probe is None else math.inf

    def lengthen(self, now: float, first: float, longest: float) -> None:
        """Double the pause, to between *first* and *longest* seconds."""
        self.length = min(longest, max(first, 2 * self.length))
        self.until = max(self.until, now + self.length)
