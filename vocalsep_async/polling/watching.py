"""One task that somebody waits for: what is known of it, and who follows it."""

from __future__ import annotations

import asyncio
import copy
import math
import random
from collections import deque

import anyio
from attrs import define, field

from vocalsep_async import _check
from vocalsep_async.errors import (
    DecodeError,
    TaskNotFoundError,
    TaskTimeoutError,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask, TaskOutcome, TaskRef, TaskStatus
from vocalsep_async.schedule import DurationModel, PollPolicy, Situation, next_look

_UNREADABLE_IN_A_ROW = 5
"""Answers that do not decode; after so many the address is not this API's."""
_GUESSED_AGE = 120.0
"""Seconds; the age of a task at the first look while nobody says when it was created."""
_LONGEST_AGE = 7 * 86_400.0
"""Seconds; an age beyond this is a wrong clock."""


class Follower:
    """Somebody who waits for one task.

    Attributes:
        task_id: the task.
        policy: when this follower wants it looked at again.
        deadline: when the wait ends, on the event loop's clock; infinity for never.
        polls: looks made since it follows.
        task: the last record seen; None before the first.
        last_error: what the last look met; None if it succeeded.
    """

    def __init__(self, task_id: str, policy: PollPolicy, deadline: float) -> None:
        self.task_id = task_id
        self.policy = policy
        self.deadline = deadline
        self.polls = 0
        self.task: SeparationTask | None = None
        self.last_error: VocalSepError | None = None
        self._started = self._ended = anyio.current_time()
        self._news: deque[SeparationTask | Exception] = deque()
        self._arrived = anyio.Event()

    def saw(self, task: SeparationTask) -> None:
        """A look succeeded."""
        self.task, self.last_error = task, None
        self._put(task)

    def met(self, error: VocalSepError) -> None:
        """A look failed and will be repeated."""
        self.last_error = error

    def fail(self, error: Exception) -> None:
        """The wait is over: *error* is raised to whoever follows."""
        self._put(error)

    def _put(self, news: SeparationTask | Exception) -> None:
        self._ended = anyio.current_time()
        self._news.append(news)
        self._arrived.set()

    @property
    def has_news(self) -> bool:
        """Whether `next` returns or raises at once."""
        return bool(self._news)

    async def next(self) -> SeparationTask:
        """Wait for the next look and return what it saw.

        Raises:
            VocalSepError: what ended the wait.
        """
        while not self._news:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        news = self._news.popleft()
        if isinstance(news, Exception):
            # One error may end many waits; each raises its own, so that tracebacks do not pile up.
            raise copy.copy(news) if isinstance(news, VocalSepError) else news
        return news

    async def final(self) -> SeparationTask:
        """Wait until the task is final and return it.

        Raises:
            VocalSepError: what ended the wait.
        """
        while not (task := await self.next()).is_final:
            pass
        return task

    def timeout_error(self) -> TaskTimeoutError:
        """The error of a wait that ran out of time, as things stand now."""
        status = "never seen" if self.task is None else f"still {self.task.status}"
        seconds = anyio.current_time() - self._started
        cause = "" if self.last_error is None else f"; the last look met: {self.last_error}"
        return TaskTimeoutError(
            f"task {self.task_id!r} was {status} after {seconds:.1f} s and {self.polls} polls"
            f"{cause}. It goes on at the provider: wait again with the same id.",
            task_id=self.task_id,
            task=self.task,
            polls=self.polls,
            last_error=self.last_error,
        )

    def outcome(self, error: VocalSepError | None) -> TaskOutcome:
        """How the wait ended; *error* is what ended it, None for a final record."""
        return TaskOutcome(
            task_id=self.task_id,
            status=None if self.task is None else self.task.status,
            task=self.task if error is None else None,
            error=error,
            polls=self.polls,
            elapsed=self._ended - self._started,
        )


@define(eq=False)
class Watch:
    """What is known of one task that is looked at.

    Attributes:
        ref: the task.
        created: when it was created, on the event loop's clock; a guess at first.
        began: when the first look was asked for.
        running_at: the age up to which it is known to have run, as reported to *model*.
        sent: when the last look was sent; minus infinity before the first.
        polls: looks sent.
        look: the look that is under way; None if there is none.
    """

    ref: TaskRef
    created: float
    age_is_known: bool
    began: float
    running_at: float = 0.0
    sent: float = -math.inf
    polls: int = 0
    look: asyncio.Task[None] | None = None
    followers: list[Follower] = field(factory=list)
    _failures: int = 0
    _last_failure: type[VocalSepError] | None = None

    @classmethod
    def of(cls, ref: TaskRef, age: float | None, now: float) -> Watch:
        """A watch on *ref*, which is *age* seconds old; None if nobody knows."""
        known = age is not None and age <= _LONGEST_AGE
        created = now - (max(age, 0.0) if known and age is not None else _GUESSED_AGE)
        return cls(ref=ref, created=created, age_is_known=known, began=now)

    @property
    def is_looked_at(self) -> bool:
        """Whether a look is under way."""
        return self.look is not None and not self.look.done()

    def begins_look(self, now: float) -> None:
        """A look is sent now."""
        self.sent = now
        self.polls += 1
        for follower in self.followers:
            follower.polls += 1

    def learned_age(self, age: float, now: float) -> None:
        """The server says that the task is *age* seconds old."""
        if not self.age_is_known and age <= _LONGEST_AGE:
            self.created, self.age_is_known = now - age, True

    def still_runs(self, model: DurationModel) -> None:
        """The last look said so: tell the model, and forget earlier failures."""
        age = self.sent - self.created
        if self.age_is_known and age > self.running_at:
            model.saw_running(self.running_at, age)
            self.running_at = age
        self._failures, self._last_failure = 0, None

    def failed(self, error: VocalSepError) -> int:
        """A look met *error*; return how many in a row met its kind."""
        kind = type(error)
        self._failures = self._failures + 1 if kind is self._last_failure else 1
        self._last_failure = kind
        return self._failures

    def next_look(self, model: DurationModel, lead: float) -> float:
        """The moment of the next look: the earliest that any follower's policy wants."""
        situation = Situation(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=self.sent - self.created,
            model=model,
            draw=random.random(),
        )
        return min(
            next_look(self.sent, _delay(each.policy, situation), each.deadline, lead)
            for each in self.followers
        )

    def repeats_at(self, delay: float, now: float, lead: float) -> float:
        """The moment of the next try after a failure, for which *delay* seconds are due."""
        return min(next_look(now, delay, each.deadline, lead) for each in self.followers)


def _delay(policy: PollPolicy, situation: Situation) -> float:
    return _check.number(policy.delay(situation), "the delay of a poll policy", minimum=0.0)


def is_hopeless(error: VocalSepError, in_a_row: int, attempts: int) -> bool:
    """Whether a wait ends with *error*, met that many times in a row.

    Args:
        error: what the look met; one that asking again may change.
        in_a_row: how many looks in a row met this kind.
        attempts: the tries of one look, which is also the grace of a task nobody knows yet.
    """
    if isinstance(error, DecodeError):
        return in_a_row >= _UNREADABLE_IN_A_ROW
    return isinstance(error, TaskNotFoundError) and in_a_row >= attempts


def is_known(status: TaskStatus | str) -> bool:
    """Whether the status is one that the API documents."""
    return isinstance(status, TaskStatus)
