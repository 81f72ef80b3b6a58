"""One task that somebody waits for: what is known of it, and who follows it."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from vocalsep_async import _validation
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.queue import GUESSED_AGE, PollQueue
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._text import counted, printable
from vocalsep_async._transport.api import Request
from vocalsep_async.durations import DurationView
from vocalsep_async.errors import APIError, TaskTimeoutError, VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType, TaskRef, TaskStatus
from vocalsep_async.policies import PollContext, PollPolicy

_RECORD_INFO = "/api/v1/vocal-removal/record-info"
_SHORTEST_GAP = 1.0
"""Seconds; somebody who joins brings the next look forward, but not closer than this."""
LONGEST_AGE = 7200.0
"""Seconds; an age beyond this is rather a wrong clock or zone than a task so slow."""
_SHOWN_STATUS = 60
"""Characters of a status that are worth showing."""


class Subscriber(Protocol):
    """Somebody who is told what becomes of a task; one follower may follow many."""

    @property
    def policy(self) -> PollPolicy:
        """When it wants the next look."""

    @property
    def deadline(self) -> float:
        """When it ends, on the event loop's clock; infinity for never."""

    @property
    def queue(self) -> PollQueue[PollTarget]:
        """Where its tasks wait for their looks."""

    @property
    def has_ended(self) -> bool:
        """Whether it wants nothing more."""

    def on_poll(self, error: VocalSepError | None) -> None:
        """A look ended; *error* is what it met, if it is repeated for that."""

    def on_record(self, target: PollTarget, task: SeparationTask) -> None:
        """A look succeeded."""

    def on_retry(self, target: PollTarget, error: VocalSepError) -> None:
        """A look met *error*, and there will be another one."""

    def on_error(self, target: PollTarget, error: Exception) -> None:
        """There will be no other look, because of *error*."""


class FailureStreak:
    """What a look met, and those that failed before it.

    Attributes:
        failures: looks in a row that failed.
        of_a_kind: how many of the last ones met this kind of error.
        error: what the last one met.
        repeated_at: when the next one is wanted.
    """

    __slots__ = ("error", "failures", "retry_at", "same_kind")

    def __init__(self, error: VocalSepError, before: FailureStreak | None) -> None:
        same = before is not None and kind_of(error) == kind_of(before.error)
        self.failures: int = 1 if before is None else before.failures + 1
        self.same_kind: int = before.same_kind + 1 if before is not None and same else 1
        # Without its traceback, which would keep the frames of the look alive.
        self.error: VocalSepError = error.with_traceback(None)
        self.retry_at = -math.inf


class PollTarget(QueueEntry):
    """What is known of one task that is looked at.

    Args:
        ref: the task.
        hazards: what is known about how long tasks take.
        age: how old it is in seconds; None if nobody knows.
        now: the event loop's clock.

    Attributes:
        task_id: the task.
        type: what kind of separation it is; None if nobody knows.
        age_is_known: whether `created` is more than a guess.
        polls: looks sent.
        look: the look that is under way; None if there is none.
        followers: who waits for it.
        status: the last one seen; None before the first.
        trouble: what the last looks met; None if the last one succeeded.
    """

    __slots__ = (
        "age_is_known",
        "poll",
        "polls",
        "status",
        "streak",
        "subscribers",
        "task_id",
        "type",
    )

    queue: PollQueue[PollTarget]

    def __init__(self, ref: TaskRef, hazards: HazardTable, age: float | None, now: float) -> None:
        super().__init__(hazards.model(ref.type), now - GUESSED_AGE, now)
        self.task_id = ref.task_id
        self.type: SeparationType | None = ref.type
        self.age_is_known = False
        self.polls = 0
        self.poll: asyncio.Task[None] | None = None
        self.subscribers: tuple[Subscriber, ...] = ()
        self.status: TaskStatus | str | None = None
        self.streak: FailureStreak | None = None
        if age is not None:
            self.learn_age(max(age, 0.0), now)

    # Who follows

    def told(self, ref: TaskRef, hazards: HazardTable, age: float | None, now: float) -> None:
        """Somebody else who follows knows *ref* of it, and perhaps its age."""
        if self.type is None and ref.type is not None:
            self.type, self.model = ref.type, hazards.model(ref.type)
            self.running_at = 0.0
        if age is not None:
            self.learn_age(max(age, 0.0), now)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *follower*."""
        self.subscribers = (*self.subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Take *follower* out."""
        self.subscribers = tuple(each for each in self.subscribers if each is not subscriber)

    def is_wanted(self, now: float) -> bool:
        """Whether anybody still waits for it."""
        return any(now <= each.deadline and not each.has_ended for each in self.subscribers)

    # Looks

    @property
    def is_polling(self) -> bool:
        """Whether a look is under way."""
        return self.poll is not None and not self.poll.done()

    def begin_poll(self, now: float) -> None:
        """A look is sent now."""
        self.sent, self.latest = now, math.inf
        self.polls += 1

    def learn_age(self, age: float, now: float) -> None:
        """The task is *age* seconds old, as the server or somebody who follows it says."""
        if not self.age_is_known and age <= LONGEST_AGE:
            self.created, self.age_is_known = now - age, True

    def still_runs(self) -> None:
        """The last look said so: learn from it."""
        age = self.sent - self.created
        if self.age_is_known and age > self.running_at:
            self.model.observe_running(self.running_at, age)
            self.running_at = age
        self.streak = None

    def failed(self, error: VocalSepError) -> FailureStreak:
        """A look met *error*."""
        self.streak = FailureStreak(error, self.streak)
        return self.streak

    def is_wanted_soon(self, now: float) -> None:
        """Somebody joined, or something happened to the task."""
        self.poll_before(max(now, self.sent + _SHORTEST_GAP))

    def ended_at(self, task: SeparationTask) -> float | None:
        """When it ended, on the event loop's clock; None if nobody knows."""
        duration = task.duration if self.age_is_known else None
        return None if duration is None else self.created + duration

    # The schedule

    def wants(self, price: float) -> float:
        """When the first of its followers wants the next look."""
        if self.streak is not None:
            return self.streak.retry_at
        if not self.polls:
            return self.began
        context = PollContext(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=max(self.sent - self.created, 0.0),
            durations=DurationView(self.model),
            draw=self.draw,
            price=price,
        )
        return min((self._wanted_by(each, context) for each in self.subscribers), default=math.inf)

    def _wanted_by(self, subscriber: Subscriber, context: PollContext) -> float:
        """When *follower* wants the next look; infinity if its wait is over."""
        if subscriber.has_ended:
            return math.inf
        try:
            delay = subscriber.policy.delay(context)
            return self.sent + _validation.number(delay, "the delay of a poll policy", minimum=0.0)
        except Exception as error:  # noqa: BLE001 - a user's policy; its owner alone gets the error
            # Not at once: the schedule asks for this while it puts the watch in its place.
            asyncio.get_running_loop().call_soon(subscriber.on_error, self, error)
            return math.inf

    def hold_last_polls(self, lead: float) -> None:
        """Hold one more look for just before each deadline, *lead* seconds for its answer."""
        for subscriber in self.subscribers:
            # The one that was held is not followed by another, though answers became quicker.
            if subscriber.deadline - self.sent > 2 * lead:
                self.poll_before(subscriber.deadline - lead)

    def poll_before(self, moment: float) -> None:
        """Hold one more look for that moment, whatever others are worth."""
        if self.sent < moment < self.latest:
            self.latest = moment


def timeout_error(
    task_id: str,
    target: PollTarget | None,
    *,
    elapsed: float,
    polls: int,
    task: SeparationTask | None = None,
) -> TaskTimeoutError:
    """The error of a wait that ran out of time, as things stand now.

    Args:
        task_id: the task.
        watch: what is known of it; None if it was never looked at.
        elapsed: seconds for which was waited.
        polls: looks made meanwhile.
        task: the last record, where it was kept.
    """
    seen = None if target is None else target.status
    error = None if target is None or target.streak is None else target.streak.error
    status = "never seen" if seen is None else f"still {shown(seen)}"
    met = "" if error is None else f" The last poll met: {error}"
    return TaskTimeoutError(
        f"task {task_id!r} was {status} after {elapsed:.1f} s and {counted(polls, 'poll')}; it "
        f"goes on at the provider: wait again with the same id.{met}",
        task_id=task_id,
        task=task,
        polls=polls,
        last_error=error,
    )


def record_request(task_id: str) -> Request:
    """The request that looks at a task."""
    return Request("GET", _RECORD_INFO, query={"taskId": task_id})


def kind_of(error: VocalSepError) -> str:
    """What counts as the same trouble when it is met again."""
    if isinstance(error, APIError) and not error.in_envelope:
        return f"{type(error).__name__} {error.code}"
    return type(error).__name__


def is_known(status: TaskStatus | str) -> bool:
    """Whether the status is one that the API documents."""
    return isinstance(status, TaskStatus)


def shown(status: TaskStatus | str) -> str:
    """The status, as far as it is worth showing."""
    return printable(str(status), _SHOWN_STATUS)
