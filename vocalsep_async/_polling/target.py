"""One task that is polled: what is known of it, its subscribers, and when its next poll is due."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from vocalsep_async import _validation
from vocalsep_async._failures import FailureStreak
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.queue_entry import QueueEntry
from vocalsep_async._scheduling.sibling_ages import GUESSED_AGE
from vocalsep_async._text import printable
from vocalsep_async.durations import view_of
from vocalsep_async.errors import RequestTimeoutError, VocalSepError
from vocalsep_async.models import SeparationTask, SeparationType, TaskRef, TaskStatus
from vocalsep_async.policies import FALSE_CALLBACK_GAP, Adaptive, PollContext, PollPolicy

_SHORTEST_GAP = 1.0
"""Seconds between two polls, at least, where a new subscriber brings the second one forward."""
LONGEST_AGE = 7200.0
"""Seconds; a greater age points to a wrong clock or time zone, not to so slow a task."""
_SHOWN_STATUS = 60
"""Characters of a status that a message shows."""
_NO_FAILURES = FailureStreak()


class Subscriber(Protocol):
    """Receives what polls find; one subscriber may subscribe to many tasks."""

    @property
    def wait_id(self) -> str:
        """The id of its wait or batch in events."""

    @property
    def policy(self) -> PollPolicy:
        """When it wants the next poll."""

    @property
    def deadline(self) -> float:
        """When it ends, on the event loop's clock; infinity for never."""

    @property
    def queue(self) -> PollQueue[PollTarget]:
        """The queue in which its tasks wait for their polls."""

    @property
    def has_ended(self) -> bool:
        """Whether it wants no more polls."""

    def on_poll(self, error: VocalSepError | None) -> None:
        """A poll ended; *error* is the reason if it will be retried."""

    def on_record(self, target: PollTarget, task: SeparationTask) -> None:
        """A poll returned the record *task*; `PollTarget.has_ended` says whether it is the last."""

    def on_retry(self, target: PollTarget, error: VocalSepError) -> None:
        """A poll failed with *error* and will be retried."""

    def on_error(self, target: PollTarget, error: Exception) -> None:
        """Polling ended with *error*."""


Identity = str | tuple[str, str]


def identity_of(ref: TaskRef) -> Identity:
    """The key of a task within a client: its id, with its route if that is not the client's own."""
    # A pair for each task would cost memory that hardly any client needs.
    return ref.task_id if ref.route is None else (ref.route, ref.task_id)


class Verdict(NamedTuple):
    """What a record means.

    Attributes:
        task: the record; without a status of its own, with the one that its rest shows, once that
            is certain.
        has_ended: whether no later record is expected to tell more.
        doubted_for: seconds since a record first left this in doubt; None without a doubt.
        poll_at: when to poll to clear the doubt, on the event loop's clock; None without one.
    """

    task: SeparationTask
    has_ended: bool
    doubted_for: float | None = None
    poll_at: float | None = None


class PollGroup(Protocol):
    """A group of tasks that share a queue, such as a batch."""

    def claim(self, task_id: str) -> None:
        """If the task is open and has no target yet, subscribe to it now."""

    def end(self, error: Exception) -> None:
        """None of its tasks will be polled again, because of *error*."""


class PollTarget(QueueEntry):
    """One task that is polled.

    Args:
        ref: the task.
        hazards: what is known about how long tasks take.
        now: the event loop's clock.

    Attributes:
        identity: its place among the targets of a client, see `identity_of`.
        type: what kind of separation it is; None if not known.
        called_at: when a callback that was expected came; None before.
        polls: polls sent.
        poll: the poll under way; None if there is none.
        subscribers: they receive what polls find, in the order in which they came.
        last_error: of the last poll; None if it returned a record.
        retry_at: when the next poll is due after one that failed.
    """

    __slots__ = (
        "_age_is_exact",
        "_calls",
        "_seen",
        "_streak",
        "called_at",
        "identity",
        "last_error",
        "poll",
        "polls",
        "retry_at",
        "subscribers",
        "type",
    )

    queue: PollQueue[PollTarget]

    def __init__(self, ref: TaskRef, hazards: HazardTable, now: float) -> None:
        super().__init__(hazards.model(ref.type), now - GUESSED_AGE, now)
        self.identity = identity_of(ref)
        self.type: SeparationType | None = ref.type
        self.awaits_callback = ref.expects_callback
        self.called_at: float | None = None
        # Polls that callbacks have brought forward.
        self._calls = 0
        # One slot for both questions about the age; None while it is not known.
        self._age_is_exact: bool | None = None
        self.polls = 0
        self.poll: asyncio.Task[None] | None = None
        # A tuple that is replaced as a whole: subscribers come and go while the poller iterates
        # over it.
        self.subscribers: tuple[Subscriber, ...] = ()
        # Most records tell the status alone, and a slot for each would cost a batch memory.
        self._seen: Verdict | TaskStatus | str | None = None
        self.last_error: VocalSepError | None = None
        self._streak = _NO_FAILURES
        self.retry_at = -math.inf
        self._learn_creation(ref, now)

    @property
    def failures(self) -> int:
        """Polls that failed since the last one that returned a record."""
        return self._streak.failures

    @property
    def status(self) -> TaskStatus | str | None:
        """The status of the last record; None before the first."""
        return self._seen.task.status if isinstance(self._seen, Verdict) else self._seen

    @property
    def verdict(self) -> Verdict | None:
        """That on the last record, if it tells more than that the task is running."""
        return self._seen if isinstance(self._seen, Verdict) else None

    @property
    def has_ended(self) -> bool:
        """Whether the last record says so beyond doubt."""
        return self.verdict is not None and self.verdict.has_ended

    @property
    def task_id(self) -> str:
        """The task."""
        return self.identity if isinstance(self.identity, str) else self.identity[1]

    @property
    def route(self) -> str | None:
        """Its route; None for that of the client's provider."""
        return None if isinstance(self.identity, str) else self.identity[0]

    @property
    def ref(self) -> TaskRef:
        """The task with its route, and its type as far as that is known."""
        return TaskRef(self.task_id, type=self.type, route=self.route)

    # What callers know

    def update(self, ref: TaskRef, hazards: HazardTable, now: float) -> None:
        """Take over what *ref* knows and was not known."""
        if ref.expects_callback and self.called_at is None:
            self.awaits_callback = True
        if self.type is None and ref.type is not None:
            self.type, self.model = ref.type, hazards.model(ref.type)
            # The model of this type has not counted the seconds for which the task ran.
            self.running_at = self.uncalled_at = 0.0
        self._learn_creation(ref, now)

    def _learn_creation(self, ref: TaskRef, now: float) -> None:
        if ref.created_at is not None:
            # The wall clock is read once; from here on the event loop's clock counts.
            age = (datetime.now(UTC) - ref.created_at).total_seconds()
            self.learn_age(max(age, 0.0), now)

    def learn_age(self, age: float, now: float, *, is_exact: bool = True) -> None:
        """The task is *age* seconds old; the first age that can be true is kept."""
        # What the model has counted so far is based on the first age.
        if not self.age_is_known and age <= LONGEST_AGE:
            self.created, self._age_is_exact = now - age, is_exact

    @property
    def age_is_known(self) -> bool:
        """Whether `created` is more than the general guess."""
        return self._age_is_exact is not None

    @property
    def age_is_exact(self) -> bool:
        """Whether `created` is the true moment, and not only a moment when the task existed."""
        return self._age_is_exact is True

    def subscribe(self, subscriber: Subscriber) -> None:
        """Add *subscriber*."""
        self.subscribers = (*self.subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove *subscriber*."""
        self.subscribers = tuple(each for each in self.subscribers if each is not subscriber)

    def is_wanted(self, now: float) -> bool:
        """Whether a subscriber still wants a poll."""
        return any(now <= each.deadline and not each.has_ended for each in self.subscribers)

    # What callbacks tell

    def on_called(self, now: float) -> None:
        """A callback came at *now*; another one is not expected."""
        if self.expected_callback:
            self.called_at, self.awaits_callback = now, False

    @property
    def called_age(self) -> float | None:
        """How old the task was when its callback came; None if that is not known."""
        return (
            None
            if self.called_at is None or not self.age_is_exact
            else self.called_at - self.created
        )

    @property
    def expected_callback(self) -> bool:
        """Whether a callback is, or was, expected."""
        return self.awaits_callback or self.called_at is not None

    def leaves_polls_to_callback(self, policy: PollPolicy) -> bool:
        """Whether a poll that *policy* wants may be left to the callback."""
        # A policy that the user has chosen decides by itself, except by weighing costs.
        return self.awaits_callback and isinstance(policy, Adaptive)

    # What polls find

    @property
    def is_polling(self) -> bool:
        """Whether a poll is under way."""
        return self.poll is not None and not self.poll.done()

    def on_sent(self, now: float) -> None:
        """A poll is sent."""
        self.sent, self.latest = now, math.inf
        self.polls += 1

    def on_record(self, verdict: Verdict) -> None:
        """A poll returned a record."""
        task = verdict.task
        self.last_error, self._streak = None, _NO_FAILURES
        is_doubtful = verdict.doubted_for is not None
        has_error = task.error_code is not None or task.error_message is not None
        # The others are not kept: a hundred thousand records would fill the memory.
        self._seen = verdict if task.is_final or is_doubtful or has_error else task.status
        if verdict.poll_at is not None:
            self.poll_by(verdict.poll_at)

    def on_running(self) -> None:
        """The task was still running at the last poll, unless that is in doubt: learn its age."""
        age = self.sent - self.created
        is_doubtful = self.verdict is not None and self.verdict.doubted_for is not None
        if not is_doubtful and self.age_is_known:
            self.observe_running(age)

    def observe_uncalled(self, now: float) -> None:
        """Learn that the task has very likely been running, if its age is known."""
        if self.age_is_known:
            super().observe_uncalled(now)

    def on_given_up(self, now: float) -> RequestTimeoutError:
        """The poll under way is given up, because it hangs; return the error for that."""
        seconds = now - self.sent
        error = RequestTimeoutError(f"no answer came to a poll within {seconds:.1f} s")
        self.last_error = error
        return error

    def on_error(self, error: VocalSepError) -> FailureStreak:
        """A poll failed with *error*; return the streak that it belongs to."""
        # Without its traceback, which would keep the frames of the poll alive.
        self.last_error = error.with_traceback(None)
        self._streak = self._streak.record(error)
        return self._streak

    def ended_at(self, task: SeparationTask) -> float | None:
        """When the finished *task* ended, on the event loop's clock; None if not known."""
        duration = task.duration if self.age_is_exact else None
        return None if duration is None else self.created + duration

    # When the next poll is due

    def wants(self, price: float) -> float:
        """When the first of its subscribers wants the next poll."""
        # A failed poll says nothing about the task, so that no policy is asked.
        if self.last_error is not None:
            return self.retry_at
        if not self.polls:
            return self._first_wanted() if self.awaits_callback else self.began
        context = PollContext(
            polls=self.polls,
            elapsed=self.sent - self.began,
            age=max(self.sent - self.created, 0.0),
            durations=view_of(self.model),
            draw=self.draw,
            price=price,
            spare=price == 0 and self.queue.has_spare(self.sent),
        )
        return min((self._wanted_by(each, context) for each in self.subscribers), default=math.inf)

    def _wanted_by(self, subscriber: Subscriber, context: PollContext) -> float:
        if subscriber.has_ended:
            return math.inf
        try:
            delay = subscriber.policy.delay(context)
            wanted = _validation.number(delay, "the delay of a poll policy", minimum=0.0)
            moment = self.sent + wanted
            return self._when_worth(moment, subscriber.policy) if self.awaits_callback else moment
        except Exception as error:  # noqa: BLE001 - a user's policy; only its owner gets the error
            # Deferred: the queue calls this while it moves the target, and must not be reentered.
            asyncio.get_running_loop().call_soon(subscriber.on_error, self, error)
            return math.inf

    def _first_wanted(self) -> float:
        wanted = (self._when_worth(self.began, each.policy) for each in self.subscribers)
        return min(wanted, default=self.began)

    def _when_worth(self, wanted: float, policy: PollPolicy) -> float:
        """The moment *wanted*, or later if the poll may be left to the callback until then."""
        cost = self.queue.callback_cost if self.leaves_polls_to_callback(policy) else 0.0
        return max(wanted, self.due_at(cost)) if cost else wanted

    def poll_soon(self, now: float, *, is_called: bool = False) -> None:
        """Poll as soon as the gap after the last poll is long enough, whatever policies want.

        Args:
            now: the event loop's clock.
            is_called: whether a callback is the reason. It may be false, and its poll takes a slot
                from other tasks: the gap grows with the polls that callbacks have brought forward.
        """
        gap = FALSE_CALLBACK_GAP * (2**self._calls - 1) if is_called else 0.0
        is_earlier = self.poll_by(max(now, self.sent + max(gap, _SHORTEST_GAP)))
        if is_called and is_earlier:
            self._calls += 1

    def next_deadline(self, lead: float) -> float:
        """The next deadline that a poll comes *lead* seconds before; infinity for none."""
        # A last poll is not followed by another one because answers became faster meanwhile.
        ends = (each.deadline for each in self.subscribers if each.deadline - self.sent > 2 * lead)
        return min(ends, default=math.inf)

    def poll_by(self, moment: float) -> bool:
        """Poll at *moment* at the latest, whatever policies want and the queue's price is.

        Returns:
            Whether that is earlier than before.
        """
        # The last poll has served every moment before it.
        is_earlier = self.sent < moment < self.latest
        if is_earlier:
            self.latest = moment
        return is_earlier


def printable_status(status: TaskStatus | str) -> str:
    """The status as a message shows it: cut, with control characters escaped."""
    return printable(str(status), _SHOWN_STATUS)
