"""The simulated server: a sliding-window rate limit and random network delays."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from attrs import frozen

from benchmarks.simulation.tasks import SimulatedTask
from benchmarks.simulation.timeline import Timeline


@frozen
class Limit:
    """At most *requests* in any *period* seconds; more are throttled and do not count."""

    requests: int = 20
    period: float = 10.0


@frozen
class RoundTrip:
    """Seconds from the start of a request to its answer, uniform, half of them each way."""

    shortest: float = 0.05
    longest: float = 0.2

    def one_way(self, rng: random.Random) -> float:
        """Draw the seconds of one way."""
        return rng.uniform(self.shortest, self.longest) / 2


DOCUMENTED_LIMIT = Limit()
TYPICAL_ROUND_TRIP = RoundTrip()


@frozen
class Answer:
    """An answer to a poll.

    Attributes:
        throttled: whether the rate limit was exceeded.
        done: whether the task has finished; False if throttled.
        created: when the task was created.
        sent: when the request was sent.
        arrived: when the server received it; unknown to a real client.
    """

    throttled: bool
    done: bool
    created: float
    sent: float
    arrived: float


class RateLimiting(Protocol):
    """What a server does with too many requests."""

    def accepts(self, now: float) -> bool:
        """Count a request that arrives at *now*; False if it is throttled."""


class Window:
    """A sliding window, as both providers document it."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._accepted: deque[float] = deque()

    def accepts(self, now: float) -> bool:
        """Count a request that arrives at *now*; False if it exceeds the limit."""
        while self._accepted and self._accepted[0] <= now - self._limit.period:
            self._accepted.popleft()
        if len(self._accepted) >= self._limit.requests:
            return False
        self._accepted.append(now)
        return True


class Gaps:
    """The same rate as a limit on the gap between two requests, without any burst."""

    def __init__(self, limit: Limit) -> None:
        self._gap = limit.period / limit.requests
        self._last = -math.inf

    def accepts(self, now: float) -> bool:
        """Count a request that arrives at *now*; False if it follows too soon."""
        if now - self._last < self._gap:
            return False
        self._last = now
        return True


class Stray:
    """A window that throttles *share* of all requests besides, whatever the rate is."""

    def __init__(self, limit: Limit, share: float) -> None:
        self._window = Window(limit)
        self._share = share
        self._chance = random.Random("stray")

    def accepts(self, now: float) -> bool:
        """Count a request that arrives at *now*; False if it is throttled."""
        return self._chance.random() >= self._share and self._window.accepts(now)


class Server:
    """Answers polls.

    Attributes:
        limiting: the rate limit of the account, which other clients share.
        polls: number of polls that the measured client has sent.
        throttled: number of these that were throttled.
    """

    def __init__(
        self,
        timeline: Timeline,
        limiting: RateLimiting,
        round_trip: RoundTrip,
        rng: random.Random,
    ) -> None:
        self.limiting = limiting
        self.polls = 0
        self.throttled = 0
        self._timeline = timeline
        self._round_trip = round_trip
        self._chance = rng

    def one_way(self) -> float:
        """Draw the seconds for which the next request or answer travels."""
        return self._round_trip.one_way(self._chance)

    def poll(self, task: SimulatedTask, on_answer: Callable[[Answer], None]) -> None:
        """Send a poll of *task* now; *on_answer* is called with the answer when it arrives."""
        sent = self._timeline.now
        task.polls += 1
        self.polls += 1
        self._timeline.at(sent + self.one_way(), partial(self._arrives, task, sent, on_answer))

    def _arrives(
        self, task: SimulatedTask, sent: float, on_answer: Callable[[Answer], None]
    ) -> None:
        now = self._timeline.now
        throttled = not self.limiting.accepts(now)
        self.throttled += throttled
        answer = Answer(
            throttled=throttled,
            done=not throttled and task.finished <= now,
            created=task.created,
            sent=sent,
            arrived=now,
        )
        self._timeline.at(now + self.one_way(), partial(self._answers, task, answer, on_answer))

    def _answers(
        self, task: SimulatedTask, answer: Answer, on_answer: Callable[[Answer], None]
    ) -> None:
        if not answer.throttled:
            task.on_poll(answer.sent)
        if answer.done:
            task.noticed = self._timeline.now
        on_answer(answer)
