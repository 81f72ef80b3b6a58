"""The server and the way to it: a sliding window, and answers that take their time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial

from attrs import frozen

from benchmarks.simulation.jobs import Job
from benchmarks.simulation.timeline import Timeline


@frozen
class Limit:
    """At most *requests* in any *period* seconds; more are refused and do not count."""

    requests: int = 20
    period: float = 10.0


@frozen
class RoundTrip:
    """Seconds from the start of a request to its answer: uniform, half of it each way."""

    shortest: float = 0.05
    longest: float = 0.2

    def one_way(self, chance: random.Random) -> float:
        """Seconds of one way."""
        return chance.uniform(self.shortest, self.longest) / 2


USUAL_LIMIT = Limit()
USUAL_TRIP = RoundTrip()


@frozen
class Answer:
    """What the client is told.

    Attributes:
        refused: whether the request was one too many; then nothing else is told.
        done: whether the task is finished.
        created: when the task was created.
        sent: when the request was sent.
        arrived: when the server got it; no real client knows that.
    """

    throttled: bool
    done: bool
    created: float
    sent: float
    arrived: float


class Window:
    """The server's limiter."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._accepted: deque[float] = deque()

    def accepts(self, now: float) -> bool:
        """Count a request that arrives *now*; False if it is one too many."""
        while self._accepted and self._accepted[0] <= now - self._limit.period:
            self._accepted.popleft()
        if len(self._accepted) >= self._limit.requests:
            return False
        self._accepted.append(now)
        return True


class Server:
    """Answers looks.

    Attributes:
        window: its limiter; other clients of the account meet the same one.
        looks: requests that our client sent.
        refused: how many of them were refused.
    """

    def __init__(
        self, timeline: Timeline, limit: Limit, round_trip: RoundTrip, chance: random.Random
    ) -> None:
        self.window = Window(limit)
        self.polls = 0
        self.throttled = 0
        self._timeline = timeline
        self._round_trip = round_trip
        self._chance = chance

    def one_way(self) -> float:
        """Seconds that the next request or answer is on its way."""
        return self._round_trip.one_way(self._chance)

    def poll(self, job: Job, answered: Callable[[Answer], None]) -> None:
        """Ask about *job* now; *answered* is called with the answer when it is there."""
        sent = self._timeline.now
        job.polls += 1
        self.polls += 1
        self._timeline.at(sent + self.one_way(), partial(self._arrives, job, sent, answered))

    def _arrives(self, job: Job, sent: float, answered: Callable[[Answer], None]) -> None:
        now = self._timeline.now
        throttled = not self.window.accepts(now)
        self.throttled += throttled
        answer = Answer(
            throttled=throttled,
            done=not throttled and job.finished <= now,
            created=job.created,
            sent=sent,
            arrived=now,
        )
        self._timeline.at(now + self.one_way(), partial(self._answers, job, answer, answered))

    def _answers(self, job: Job, answer: Answer, answered: Callable[[Answer], None]) -> None:
        if not answer.throttled:
            job.looked_at(answer.sent)
        if answer.done:
            job.noticed = self._timeline.now
        answered(answer)
