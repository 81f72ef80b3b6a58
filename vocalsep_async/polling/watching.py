"""One task that somebody waits for: what is known of it, and who follows it."""

from __future__ import annotations

import asyncio
import copy
import math
import random

import anyio

from vocalsep_async import _check
from vocalsep_async._text import printable
from vocalsep_async.errors import (
    DecodeError,
    TaskNotFoundError,
    TaskTimeoutError,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask, TaskOutcome, TaskRef, TaskStatus
from vocalsep_async.schedule import DurationModel, PollPolicy, Situation, before_deadline

_UNREADABLE_IN_A_ROW = 5
"""Answers that do not decode; after so many the address is not this API's."""
_GUESSED_AGE = 120.0
"""Seconds; the age of a task at the first look while nobody says when it was created."""
_LONGEST_AGE = 7200.0
"""Seconds; an age beyond this is rather a wrong clock or zone than a task so slow."""


class Follower:
    """Somebody who waits for one task.

    Args:
        task_id: the task.
        policy: when this follower wants it looked at again.
        deadline: when the wait ends, on the event loop's clock; infinity for never.
        once: whether the wait ends with the first look, whatever it saw.
        every_look: whether `next` returns each look, or only the one that saw the end.

    Attributes:
        polls: looks made since it follows.
        task: the last record seen; None before the first.
        last_error: what the last look met; None if it succeeded.
    """

    def __init__(
        self,
        task_id: str,
        policy: PollPolicy,
        deadline: float = math.inf,
        *,
        once: bool = False,
        every_look: bool = False,
    ) -> None:
        self.task_id = task_id
        self.policy = policy
        self.deadline = deadline
        self.polls = 0
        self.task: SeparationTask | None = None
        self.last_error: VocalSepError | None = None
        self._once = once
        self._every_look = every_look
        self._started = anyio.current_time()
        self._ended: float | None = None
        self._untold: SeparationTask | None = None
        self._error: Exception | None = None
        self._arrived = anyio.Event()

    def saw(self, task: SeparationTask) -> None:
        """A look succeeded."""
        self.task, self.last_error = task, None
        if task.is_final and not self.has_ended:
            self._end()
        if task.is_final or self._every_look:
            self._untold = task
            self._arrived.set()
        if self._once:
            self.fail(self.timeout_error())

    def met(self, error: VocalSepError) -> None:
        """A look failed; where another one is of no use, `fail` follows."""
        self.last_error = error

    def will_be_repeated(self) -> None:
        """The look that failed is repeated, for those who wait for more than one."""
        if self._once:
            self.fail(self.timeout_error())

    def fail(self, error: Exception) -> None:
        """The wait is over: *error* is raised to whoever follows, unless it was over before."""
        if not self.has_ended:
            self._error = error
            self._end()

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self._ended is not None

    def _end(self) -> None:
        self._ended = anyio.current_time()
        self._arrived.set()

    async def next(self) -> SeparationTask:
        """Wait for the next look, or for the end, and return the newest record.

        Raises:
            VocalSepError: what ended the wait.
        """
        while True:
            if self._untold is not None:
                task, self._untold = self._untold, None
                return task
            if self._error is not None:
                # One error may end many waits: a copy for each, or tracebacks would pile up.
                ours = isinstance(self._error, VocalSepError)
                raise copy.copy(self._error) if ours else self._error
            self._arrived = anyio.Event()
            await self._arrived.wait()

    @property
    def has_final(self) -> bool:
        """Whether the final record was seen."""
        return self.task is not None and self.task.is_final

    def timeout_error(self) -> TaskTimeoutError:
        """The error of a wait that ran out of time, as things stand now."""
        seen = None if self.task is None else printable(str(self.task.status), 60)
        status = "never seen" if seen is None else f"still {seen}"
        polls = "1 poll" if self.polls == 1 else f"{self.polls} polls"
        met = "" if self.last_error is None else f" The last look met: {self.last_error}"
        return TaskTimeoutError(
            f"task {self.task_id!r} was {status} after {self._elapsed():.1f} s and {polls}; it "
            f"goes on at the provider: wait again with the same id.{met}",
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
            elapsed=self._elapsed(),
        )

    def _elapsed(self) -> float:
        return (anyio.current_time() if self._ended is None else self._ended) - self._started


class Watch:
    """What is known of one task that is looked at.

    Args:
        ref: the task.
        age: how old it is in seconds; None if nobody knows.
        now: the event loop's clock.

    Attributes:
        ref: the task, with all that anybody who follows knows of it.
        created: when it was created, on the event loop's clock.
        age_is_known: whether *created* is more than a guess.
        began: when the first look was asked for.
        running_at: the age up to which the model of its type knows that it ran.
        sent: when the last look was sent; minus infinity before the first.
        polls: looks sent.
        look: the look that is under way; None if there is none.
        followers: who waits for it.
        failures: looks in a row that failed.
    """

    def __init__(self, ref: TaskRef, age: float | None, now: float) -> None:
        self.ref = ref
        self.created = now - _GUESSED_AGE
        self.age_is_known = False
        self.began = now
        self.running_at = 0.0
        self.sent = -math.inf
        self.polls = 0
        self.look: asyncio.Task[None] | None = None
        self.followers: list[Follower] = []
        self.failures = 0
        self._of_a_kind = 0
        self._last_failure: type[VocalSepError] | None = None
        if age is not None:
            self.learned_age(max(age, 0.0), now)

    def told(self, ref: TaskRef, age: float | None, now: float) -> None:
        """Somebody else who follows knows *ref* of it, and perhaps its age."""
        known = self.ref.merged(ref)
        if known.type is not self.ref.type:
            self.running_at = 0.0
        self.ref = known
        if age is not None:
            self.learned_age(max(age, 0.0), now)

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
        """The task is *age* seconds old, as the server or somebody who follows it says."""
        if not self.age_is_known and age <= _LONGEST_AGE:
            self.created, self.age_is_known = now - age, True

    def still_runs(self, model: DurationModel) -> None:
        """The last look said so: tell the model, and forget earlier failures."""
        age = self.sent - self.created
        if self.age_is_known and age > self.running_at:
            model.saw_running(self.running_at, age)
            self.running_at = age
        self.failures, self._last_failure = 0, None

    def failed(self, error: VocalSepError) -> int:
        """A look met *error*; return how many in a row met its kind."""
        kind = type(error)
        self.failures += 1
        self._of_a_kind = self._of_a_kind + 1 if kind is self._last_failure else 1
        self._last_failure = kind
        return self._of_a_kind

    def next_look(self, model: DurationModel, lead: float) -> float:
        """The moment of the next look: the earliest that any follower's policy wants."""
        situation = Situation(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=max(self.sent - self.created, 0.0),
            model=model,
            draw=random.random(),
        )
        wanted = (_wanted_by(each, situation, self.sent, lead) for each in self.followers)
        return min(wanted, default=math.inf)

    def repeats_at(self, delay: float, now: float, lead: float) -> float:
        """The moment of the next try after a failure, for which *delay* seconds are due."""
        return min(before_deadline(now, delay, each.deadline, lead) for each in self.followers)


def _wanted_by(follower: Follower, situation: Situation, sent: float, lead: float) -> float:
    """When *follower* wants the next look; infinity if its wait is over."""
    if follower.has_ended:
        return math.inf
    try:
        delay = follower.policy.delay(situation)
        delay = _check.number(delay, "the delay of a poll policy", minimum=0.0)
    except Exception as error:  # noqa: BLE001 - a user's policy; its owner alone gets the error
        follower.fail(error)
        return math.inf
    return before_deadline(sent, delay, follower.deadline, lead)


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
