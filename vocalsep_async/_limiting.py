"""How fast the account may be asked: a pure state machine that takes ``now``.

Three rules, each a small class below, decide about the next start:

* `_Window`, the hard rule: at most ``max_requests`` in any ``period``. A slot is taken at the
  start of a request and comes free one period after its *answer*. The server counts a request
  somewhere between the two, so whatever the network's delays, it never sees too many.
* `_Spacing`, the soft rule: small bursts, then even gaps (a generic cell rate algorithm), at the
  *allowance*: what the account was found to bear. Twenty requests at once and then silence for a
  whole period would be the same number of looks, worth less.
* `_Pause`: a refusal stops everybody for a while; then one probe at a time goes out until one is
  answered.

Somebody else may spend part of the account's budget. The allowance (requests per period) follows
additive increase, multiplicative decrease: a first refusal cuts it, further ones of the same
episode only lengthen the pause, and each answer raises it a little.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from vocalsep_async.policies import RateLimit

_MARGIN = 0.010
"""Seconds added to the period: the server's timer and ours do not tick together."""
_SHORTEST_WAIT = 1e-6
"""Seconds; less than this no clock can be asked to wait."""
_MOST_IN_FLIGHT = 50
"""Requests at once where no ceiling is known."""
_DEFAULT_PERIOD = 10.0
_BURST = 4.0
_CUT = 0.65
_FIRST_CUT = 0.7
"""The first cut where no ceiling is known: taken from what was accepted, not from a guess."""
_RISE = 0.4
"""Requests per period by which the allowance rises in a period full of answers.

With the cut it is measured beside strangers who take 1 or 1.5 requests/s of 2/s, steadily, at
random or on and off: at most 6 % of ours are refused, and they keep 90 % of their service.
"""
_SHORTEST_PAUSE = 1.0
_MAINTENANCE_PAUSE = 30.0
_LONGEST_MAINTENANCE_PAUSE = 60.0


class Grant:
    """One permitted request; it is reported back to the pacer exactly once.

    Attributes:
        started: when it was permitted.
        spaced: seconds by which it put off the starts after it.
    """

    __slots__ = ("spaced", "started")

    def __init__(self, started: float, spaced: float = 0.0) -> None:
        self.started = started
        self.spaced = spaced


class Budget(Protocol):
    """What the waiting side needs of a pacer, so that a shared one can take its place."""

    def wait(self, now: float) -> float:
        """Seconds until a start may be possible; 0 for now, infinity for "not before an answer"."""

    def start(self, now: float) -> Grant:
        """Take a slot; only allowed when `wait` is 0."""

    def give_back(self, grant: Grant) -> None:
        """The request was never sent."""

    def answered(self, grant: Grant, now: float) -> None:
        """An answer came that was no refusal."""

    def lost(self, grant: Grant, now: float) -> None:
        """No answer came; whether the server counted the request is not known."""

    def on_throttled(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """The account asked too often."""

    def on_maintenance(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """The service is closed for now."""

    def paused_until(self, now: float) -> float:
        """The moment up to which nobody asks; *now* if nobody has to wait."""

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""


class RateLimiter:
    """The budget of one account, for one client.

    Args:
        limit: the known ceiling; None where none is known: then there is no limit until the
            first refusal, and the allowance is learned from there.
    """

    def __init__(self, limit: RateLimit | None) -> None:
        self._period = _DEFAULT_PERIOD if limit is None else limit.period
        ceiling = math.inf if limit is None else float(limit.max_requests)
        self._window = _Window(
            size=_MOST_IN_FLIGHT if limit is None else limit.max_requests,
            hold=0.0 if limit is None else limit.period + _MARGIN,
        )
        self._allowance = _Allowance(ceiling, self._period)
        self._spacing = _Spacing(self._period)
        self._pause: _Pause | None = None
        self.sent = 0
        """Requests that were sent, in all."""
        self.throttled = 0
        """Requests that were refused (405/430 and their like), in all."""

    def __repr__(self) -> str:
        state = "" if self._pause is None else ", paused"
        return (
            f"<Pacer: {self.rate:.2f} requests/s, {self.in_flight} in flight, "
            f"{self.sent} sent, {self.throttled} refused{state}>"
        )

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""
        return self._allowance.value / self._period

    @property
    def in_flight(self) -> int:
        """Requests sent and not answered yet."""
        return self._window.in_flight

    def paused_until(self, now: float) -> float:
        """The moment up to which nobody asks; *now* if nobody has to wait."""
        return now if self._pause is None else max(now, self._pause.until)

    def wait(self, now: float) -> float:
        """Seconds until a start may be possible; 0 for now, infinity for "not before an answer"."""
        wait = max(
            self._window.wait(now),
            self._spacing.wait(now, self._allowance.value),
            0.0 if self._pause is None else self._pause.wait(now),
        )
        return wait if wait > _SHORTEST_WAIT else 0.0

    def start(self, now: float) -> Grant:
        """Take a slot; only allowed when `wait` is 0."""
        self._window.take()
        grant = Grant(now, self._spacing.take(now, self._allowance.value))
        if self._pause is not None:
            self._pause.probe = grant
        self.sent += 1
        return grant

    def give_back(self, grant: Grant) -> None:
        """The request was never sent: its slot is free at once, as if never taken."""
        self._window.give_back()
        self._spacing.give_back(grant.spaced)
        self._was_probe(grant)
        self.sent -= 1

    def answered(self, grant: Grant, now: float) -> None:
        """An answer came that was no refusal."""
        self._window.answered(now)
        if self._was_probe(grant):
            self._pause = None
        self._allowance.rise(now)

    def lost(self, grant: Grant, now: float) -> None:
        """No answer came; the slot is held as if the server had counted the request now."""
        self._window.answered(now)
        self._was_probe(grant)

    def on_throttled(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """The account asked too often: everybody stops, and the allowance is cut.

        Refusals of requests that were sent before the stop say nothing new.
        """
        self.throttled += 1
        if self._pause is None:
            self._allowance.cut(now, grant.started)
        first = min(_SHORTEST_PAUSE, self._period / 2)
        self._stop(grant, now, first, self._period, retry_after)

    def on_maintenance(self, grant: Grant, now: float, retry_after: float | None = None) -> None:
        """The service is closed: everybody stops for half a minute, then for a minute each."""
        self._stop(grant, now, _MAINTENANCE_PAUSE, _LONGEST_MAINTENANCE_PAUSE, retry_after)

    def _stop(
        self, grant: Grant, now: float, first: float, longest: float, asked: float | None
    ) -> None:
        self._window.answered(now)
        probed = self._was_probe(grant)
        if self._pause is None:
            self._pause = _Pause(length=first, until=now + first)
        elif probed:
            self._pause.lengthen(now, first, longest)
        if asked is not None:
            self._pause.until = max(self._pause.until, now + asked)

    def _was_probe(self, grant: Grant) -> bool:
        if self._pause is None or self._pause.probe is not grant:
            return False
        self._pause.probe = None
        return True


class _Window:
    """Slots in use: those in flight, and those answered less than *hold* seconds ago."""

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

    def take(self) -> None:
        self.in_flight += 1

    def give_back(self) -> None:
        self.in_flight -= 1

    def answered(self, now: float) -> None:
        self.in_flight -= 1
        self._free_at.append(now + self._hold)


class _Spacing:
    """A generic cell rate algorithm: a small burst, then one start every ``period / allowance``."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._next = -math.inf
        """When the next start would be exactly on time; earlier ones use up the burst."""

    def wait(self, now: float, allowance: float) -> float:
        burst = min(_BURST, max(1.0, allowance / 5))
        return max(0.0, self._next - (burst - 1) * self._period / allowance - now)

    def take(self, now: float, allowance: float) -> float:
        gap = self._period / allowance
        self._next = max(self._next, now) + gap
        return gap

    def give_back(self, gap: float) -> None:
        self._next -= gap


class _Allowance:
    """Requests per period that the account was found to bear."""

    def __init__(self, ceiling: float, period: float) -> None:
        self._ceiling = ceiling
        self._period = period
        self._last_cut = -math.inf
        self._doubling = False
        """After the first cut without a known ceiling: the true one is still to be found."""
        self._accepted: deque[float] = deque()
        """When answers came, over the last period; kept only while no limit is known."""
        self.value = ceiling

    def cut(self, now: float, sent: float) -> None:
        if now - self._last_cut < self._period or sent <= self._last_cut:
            return
        if math.isinf(self.value):
            self._forget_before(now - self._period)
            self._doubling = True
            self.value = max(1.0, _FIRST_CUT * len(self._accepted))
        else:
            self._doubling = False
            self.value = max(1.0, _CUT * self.value)
        self._last_cut = now

    def rise(self, now: float) -> None:
        if math.isinf(self.value):
            self._accepted.append(now)
            self._forget_before(now - self._period)
            return
        if self.value >= self._ceiling:
            return
        step = 1.0 if self._doubling else _RISE * self._eagerness(now) / self.value
        self.value = min(self._ceiling, self.value + step)

    def _eagerness(self, now: float) -> int:
        """The longer the allowance held, the faster it rises."""
        periods = (now - self._last_cut) / self._period
        return 4 if periods >= 16 else 2 if periods >= 8 else 1

    def _forget_before(self, moment: float) -> None:
        while self._accepted and self._accepted[0] < moment:
            self._accepted.popleft()


class _Pause:
    """One stop of everybody, until a probe is answered."""

    def __init__(self, length: float, until: float) -> None:
        self.length = length
        self.until = until
        self.probe: Grant | None = None

    def wait(self, now: float) -> float:
        if now < self.until:
            return self.until - now
        return 0.0 if self.probe is None else math.inf

    def lengthen(self, now: float, first: float, longest: float) -> None:
        self.length = min(longest, max(first, 2 * self.length))
        self.until = max(self.until, now + self.length)
