"""The rules of a rate limiter together."""

from __future__ import annotations

import math

from vocalsep_async._limiting.allowed_rate import AllowedRate
from vocalsep_async._limiting.grant import Grant
from vocalsep_async._limiting.pause import Pause
from vocalsep_async._limiting.spacing import Spacing
from vocalsep_async._limiting.window import Window
from vocalsep_async.policies import RateLimit

_MARGIN = 0.010
"""Seconds added to the period: the server's timer and ours do not tick together."""
_SHORTEST_WAIT = 1e-6
"""Seconds; a shorter wait is none, because no timer is that fine."""
_FIRST_IN_FLIGHT = 2
"""Requests in flight at first where no limit is known."""
_DOUBLING = 1.0
"""Seconds in which their number doubles."""
_MOST_DOUBLINGS = 5.0
_DEFAULT_PERIOD = 10.0
"""Seconds; the period of both providers' documented limits, where none is given."""
_PAUSE_RANGE = (0.1, 1.0)
"""Shortest and longest first pause, in seconds."""
_PAUSED_REQUESTS = 2.0
"""Requests that the limit would allow during the first pause."""
_MAINTENANCE_PAUSES = (30.0, 60.0)
_OUTAGE_PAUSES = (2.0, 24.0)
_OUTAGE = 60.0
"""Seconds of nothing but failures after which only probes are sent."""


class RateLimitState:
    """Decides when a client may send its next request.

    All moments are seconds on one clock. Each `Grant` ends with exactly one call of `cancel`,
    `on_not_sent`, `on_answer`, `on_lost`, `on_failed`, `on_throttled` or `on_maintenance`.

    Args:
        limit: the documented limit; None if it is not known. Then requests are limited only by
            their number in flight, which grows with the answers, until the first throttled one,
            from which the allowed rate is learned.
    """

    def __init__(self, limit: RateLimit | None) -> None:
        self._period = _DEFAULT_PERIOD if limit is None else limit.period
        most = math.inf if limit is None else float(limit.max_requests)
        self._window = Window(
            size=_FIRST_IN_FLIGHT if limit is None else limit.max_requests,
            hold=0.0 if limit is None else limit.period + _MARGIN,
        )
        self._allowed = AllowedRate(most, self._period)
        self._spacing = Spacing(self._period, has_burst=limit is not None)
        self._pause: Pause | None = None
        self._failing_since: float | None = None
        """When the first request failed since the last proper answer; None without one."""
        self._is_ramping = limit is None
        self._began = math.inf
        """When the first request started; infinity before."""
        self.ceiling = most / self._period
        """Requests per second at most; infinity where no limit is known."""
        self.sent = 0
        """Number of requests sent; those for which no connection was made are not counted."""
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
    def period(self) -> float:
        """Seconds of the rate limit; the usual ones where it is not known."""
        return self._period

    @property
    def gap(self) -> float:
        """Seconds between two starts at the allowed rate."""
        return self._period / self._allowed.value

    def is_settled(self, now: float) -> bool:
        """Whether nothing that was sent counts any more."""
        is_paused = self._pause is not None and now < self._pause.until
        return not is_paused and self._window.is_empty(now)

    @property
    def in_flight(self) -> int:
        """Number of requests sent and not answered yet."""
        return self._window.in_flight

    @property
    def is_paused(self) -> bool:
        """Whether a pause began and no probe was answered since."""
        return self._pause is not None

    @property
    def is_outage(self) -> bool:
        """Whether the present pause began because the service failed."""
        return self._pause is not None and self._pause.is_outage

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
        self._began = min(self._began, now)
        self._window.start()
        grant = Grant(now, self._spacing.start(now, self._allowed.value))
        if self._pause is not None:
            # `wait` lets nothing start during a pause but a probe.
            self._pause.probe = grant
        self.sent += 1
        return grant

    def cancel(self, grant: Grant, _now: float = 0.0) -> None:
        """Take *grant* back, as if it had never been given: its request was not sent."""
        self._window.cancel()
        self._spacing.cancel(grant.gap)
        self._end_probe(grant)
        self.sent -= 1

    def on_answer(self, grant: Grant, now: float) -> None:
        """Record an answer that was neither throttling nor maintenance."""
        self._window.end(now)
        self._failing_since = None
        if self._end_probe(grant) or self.is_outage:
            self._pause = None
        self._allowed.increase(now)
        self._open_window(now)

    def _open_window(self, now: float) -> None:
        """Without a known limit, let the requests in flight grow while answers come."""
        if not self._is_ramping:
            return
        doublings = min((now - self._began) / _DOUBLING, _MOST_DOUBLINGS)
        self._window.size = int(_FIRST_IN_FLIGHT * 2**doublings)
        self._is_ramping = doublings < _MOST_DOUBLINGS

    def on_lost(self, grant: Grant, now: float) -> None:
        """Record that the client gave the request up."""
        # The server may have counted the request as late as now, so its slot is held.
        self._window.end(now)
        self._end_probe(grant)

    def on_failed(self, grant: Grant, now: float) -> None:
        """Record that the service failed: no answer came, or one that is not the API's."""
        self._window.end(now)
        self._count_failure(grant, now)

    def on_not_sent(self, grant: Grant, now: float) -> None:
        """Record that no connection was made: the server cannot have counted the request."""
        # The window need not hold the slot, but the spacing stays, so that a host that refuses
        # connections is not tried any faster than the allowed rate.
        self._window.cancel()
        self.sent -= 1
        self._count_failure(grant, now)

    def _count_failure(self, grant: Grant, now: float) -> None:
        if self._failing_since is None:
            self._failing_since = grant.started
        if now - self._failing_since >= _OUTAGE:
            self._stop(grant, now, *_OUTAGE_PAUSES, is_outage=True)
        else:
            self._end_probe(grant)

    def on_throttled(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """Pause the client and decrease the allowed rate.

        Args:
            grant: the throttled request.
            now: the present moment.
            retry_after: seconds that the server asked for; None if it did not.
        """
        self.throttled += 1
        self._allowed.decrease(now, grant.started)
        self._window.end(now)
        self._stop(grant, now, self._first_pause, self._period, retry_after)

    @property
    def _first_pause(self) -> float:
        # A long pause costs a high rate more than it costs a low one.
        shortest, longest = _PAUSE_RANGE
        ceiling = self.ceiling if math.isfinite(self.ceiling) else self.rate
        fitting = min(longest, max(shortest, _PAUSED_REQUESTS / ceiling))
        # Where the period is short, a second would be longer than the limit requires.
        return min(fitting, self._period / 2)

    def on_maintenance(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """Pause the client for half a minute, then for one minute at a time.

        Args:
            grant: the request that was answered with maintenance.
            now: the present moment.
            retry_after: seconds that the server asked for; None if it did not.
        """
        self._window.end(now)
        self._stop(grant, now, *_MAINTENANCE_PAUSES, retry_after)

    def move(self, shift: float, now: float) -> None:
        """Go on with another clock, which is *shift* seconds ahead of the one before.

        Requests in flight are taken for lost: they do not end any more.
        """
        self._window.move(shift, now)
        self._spacing.move(shift)
        self._allowed.move(shift)
        self._began += shift
        if self._failing_since is not None:
            self._failing_since += shift
        if self._pause is not None:
            self._pause.move(shift)

    def _stop(
        self,
        grant: Grant,
        now: float,
        first: float,
        longest: float,
        retry_after: float | None = None,
        *,
        is_outage: bool = False,
    ) -> None:
        if not is_outage:
            self._failing_since = None
        was_probe = self._end_probe(grant)
        if self._pause is None:
            self._pause = Pause(first, now + first, is_outage=is_outage)
        # Only a probe shows that the pause was too short: the other requests are from before it.
        elif was_probe:
            self._pause.is_outage = is_outage
            self._pause.lengthen(now, first, longest)
        if retry_after is not None:
            # A Retry-After of 0 must not shorten the pause.
            self._pause.until = max(self._pause.until, now + retry_after)

    def _end_probe(self, grant: Grant) -> bool:
        return self._pause is not None and self._pause.end_probe(grant)
