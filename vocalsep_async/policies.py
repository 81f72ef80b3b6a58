"""Values that decide when requests are sent: poll policies, retries and the rate limit."""

from __future__ import annotations

from typing import Protocol

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async.durations import DurationView
from vocalsep_async.errors import InvalidArgumentError

# Bounds of `Adaptive`, in seconds, or as fractions of the elapsed time or of the age.
_SHORTEST_GAP = 1.0
_SHORTEST_GAP_PER_ELAPSED = 0.01
_LONGEST_GAP = 20.0
_LONGEST_GAP_PER_AGE = 0.25
# Until so many tasks have finished, the guess behind the durations may be far off.
_COLD_COMPLETIONS = 10
_COLD_GAP = 2.0
_COLD_GAP_PER_AGE = 0.5
# Of the cost, while slots of the rate limit are left unused.
_SPARE = 0.2

DEAD_PATH_PATIENCE = 8.0
"""Seconds without an acknowledgement after which a connection counts as dead. Even the system of a
slow server acknowledges what arrives."""
IDLE_CONNECTION_PATIENCE = 15.0
"""Seconds for which a connection to the API is kept open without a request."""
LATE_ARRIVAL = 120.0
"""Seconds for which a system may go on sending a request whose connection was closed, but could not
be aborted. Linux gives up after about 102 s."""
LONG_SILENCE = 10.0
"""Seconds without an answer from which no end of a batch is estimated; most failures are shorter,
and end by a retry."""
STALLED_LOOP = 1.0
"""Seconds after a deadline from which the event loop is taken to have stood still over it."""
HANGING_POLL = 1.0
"""Seconds without an answer after which a poll counts as what made a wait run out of time, although
an earlier one failed in another way."""
FILE_HOST_PATIENCE = 60.0
"""Seconds for which a download may make no progress by default: while its file host is down, or
does not have the file yet."""
FILE_HOST_GAP = 1.0
"""Least seconds between two attempts of a download after those of the `RetryPolicy`."""
FILE_BYTES_PER_MINUTE = 1 << 16
"""Bytes that must arrive of a file in a minute of waiting, by default. Even GPRS brings ten times
as much."""
MAX_RESTING_FILES = 32
"""Files of one call or batch that may wait for their hosts beside those that are transferred; each
holds two descriptors."""
YOUNG_LINK = 600.0
"""Seconds after the end of a task in which its links cannot be past their time."""
EARLY_CALLBACK_PATIENCE = 900.0
"""Seconds for which a callback of a task that nothing waits for is remembered: as long as a wait
goes on by default."""
MAX_EARLY_CALLBACKS = 1_000
"""Callbacks that are remembered so, the newest ones: the tasks that end in that time where the
account may send two requests per second, and each needs two."""
MAX_UPLOAD_BYTES = 20 << 20
"""Most bytes of a file that is uploaded, by default. No provider documents a limit; another client
of the API states 20 MB for the songs that it separates."""
UPLOAD_PATIENCE = 60.0
"""Seconds in which an upload hands over its next 64 KiB, and in which its host answers after the
last of them."""
UPLOAD_LIFETIME = 3 * 86_400.0
"""Seconds for which the providers say that they keep uploads."""
PENDING_SECONDS = 75.0
"""Seconds of the rate limit for whose requests a run of songs has tasks pending, by default: a task
of two minutes, whose end the second poll finds, takes three requests."""
MIN_PENDING, MAX_PENDING = 8, 300
"""The least and most tasks that a run of songs has pending, by default."""
USABLE_UPLOAD = 2 / 3
"""Share of its lifetime in which an uploaded song may still be named to the API, which fetches it
later: two of three days."""
CREATION_PATIENCE = 600.0
"""Seconds, from its first failure, for which a song of a run waits for the end of throttling,
maintenance or an outage of the API or the upload host. Only songs without a task are tried
again."""
CREATION_GAP = 5.0
"""Seconds between two such attempts, after those of the `RetryPolicy`."""
CREATION_ANSWER_PATIENCE = 10.0
"""Seconds for which the creation of a song that was given up waits for the answer to a request that
is under way: the task is billed, and its id would be lost."""
HEARTBEAT_GAP = 10.0
"""Seconds between two heartbeats of a Temporal activity, and so until it learns that it was
cancelled; a third of its heartbeat timeout if that is less."""
HEARTBEAT_CANCEL_PATIENCE = 10.0
"""Seconds for which an activity whose heartbeat was refused waits for its cancellation, which may
be the reason, before it fails."""
MISSING_LINKS_PATIENCE = 60.0
"""Seconds for which a task that has succeeded without a link is polled again, from the first such
record on."""
MISSING_STATUS_PATIENCE = 1.0
"""Seconds after which a second record without a status, whose rest shows an end, ends the task."""
CALLBACK_BODY_PATIENCE = 10.0
"""Seconds in which the whole body of a callback must arrive, by default. Senders of callbacks give
up after 15 s."""
FALSE_CALLBACK_GAP = 5.0
"""Seconds between a poll that a callback brought forward, without finding the end of the task, and
the next poll that a callback may bring forward. After each such poll it is twice as long, and this
longer: 5, 15, 35. A callback may be forged, and must not use up the rate limit."""
REFUSED_CALLBACK_GAP = 3600.0
"""Seconds between two warnings of a receiver about callbacks that it refused for the same reason:
anyone can post to its address, as often as they like."""
STORE_ANSWER_PATIENCE = 1.5
"""Seconds within which the store of a shared budget must answer a question, connecting included."""
STORE_BEAT = 3.0
"""Seconds between two signs of life from a process to that store; a third of the time after which
the store considers the process gone."""
STORE_MEMORY = 10.0
"""Seconds for which a process relies on the number of processes that the store last returned."""
STORE_PATIENCE = 60.0
"""Seconds for which a process continues with its share of the budget while the store is away: the
others may not know of these requests."""
STORE_PROBE_GAP = 0.5
"""Seconds between two attempts to reach the store again."""
STORE_NOTICE = 5.0
"""Seconds after which a process that has never reached the store logs what it is waiting for."""

ABSENCE_PATIENCE = 0.1
"""Seconds for which a slot is kept free for the client of an account whose turn it is, while its
event loop is busy. After that, the next client gets the slot."""
TURN_PATIENCE = 2.0
"""Seconds for which a call of `poll_once` that comes at its time waits for a slot: another request
may be waiting for the same slot."""
LONGEST_SPREAD = 300.0
"""Seconds over which the repetitions of `poll_once` calls that found no slot are spread."""
ACCOUNT_MEMORY = 900.0
"""Seconds for which a process remembers an account after its last client was closed: the requests
sent, what throttling has shown, and how long tasks take."""
MAX_IDLE_ACCOUNTS = 64
"""Number of accounts without a client that are remembered in this way, the most recently used ones.
Accounts whose requests still count against their limits are remembered in any case."""


def _exponential(count: int, *, initial: float, factor: float, maximum: float) -> float:
    """``initial * factor ** count``, at most *maximum*."""
    try:
        # The power overflows after some thousand polls, long after the maximum was reached.
        return min(maximum, initial * float(factor) ** count)
    except OverflowError:
        return maximum


def _jittered(delay: float, jitter: float, draw: float) -> float:
    """Spread *delay* evenly over ``delay * (1 ± jitter)``; *draw* is uniform in [0, 1)."""
    return delay * (1 + jitter * (2 * draw - 1))


def _not_below_initial(instance: object, _attribute: object, value: float) -> None:
    # attrs validates in the order of the fields; with an `initial` that is no number, its own
    # validator has raised before.
    initial = getattr(instance, "initial", value)
    if value < initial:
        raise InvalidArgumentError(f"maximum ({value}) must not be below initial ({initial})")


@frozen(kw_only=True)
class PollContext:
    """What a poll policy is given to decide about the next poll of a task.

    Attributes:
        polls: number of polls of the task so far, at least 1, for all waits that share them.
        elapsed: seconds from the beginning of the first of these waits to the last poll.
        age: seconds from the creation of the task to the last poll; a guess if the time of
            creation is not known.
        durations: how long such tasks take, as learned so far.
        draw: a random number, uniform in [0, 1), for jitter.
        price: expected delay in seconds (see `DurationView.expected_delay`) that a task must have
            reached to be polled now; 0 while the rate limit has room for every poll. The schedule
            applies the price itself, whatever the policy returns.
        spare: whether polls left slots of the rate limit unused lately, so that more of them take
            none from other tasks.
    """

    polls: int
    elapsed: float
    age: float
    durations: DurationView
    draw: float
    price: float = 0.0
    spare: bool = False


class PollPolicy(Protocol):
    """Decides when a pending task is polled again; any object with this method can be ``poll=``."""

    def delay(self, context: PollContext) -> float:
        """Return the seconds from the last poll, which found the task pending, to the next one.

        The value must be a finite number, at least 0. It is the earliest moment: the rate limit
        and more urgent tasks may put the poll off.
        """


@frozen(kw_only=True)
class Adaptive:
    """Poll when it pays off, judged by how long such tasks have taken so far (the default).

    The next poll is wanted when the expected delay D reaches *cost*. With C the duration of the
    task and L its age at the last poll, ``D(a) = E[max(0, a - C) | C > L]`` is the expected number
    of seconds for which the task will have been finished, unnoticed, at age a. So a task is polled
    most often around the ages at which such tasks end, and ever less often once it has outlasted
    them.

    The gap between two polls is at least ``max(1, elapsed / 100)`` and at most ``max(20, age / 4)``
    seconds; until ten tasks have finished, at most ``max(2, age / 2)`` seconds. A task that expects
    a callback (see `TaskRef`) is polled later, from an expected delay of 0.25 s / q on, with q the
    share of callbacks that get lost, as learned so far. No other policy is put off by a callback.

    Attributes:
        cost: expected delay in seconds that justifies a request, above 0; a smaller value polls
            more often. A fifth of it is enough while slots of the rate limit are left unused.

    Raises:
        InvalidArgumentError: *cost* is not a finite number above 0.
    """

    cost: float = field(default=0.1, validator=_validation.above(0))

    def delay(self, context: PollContext) -> float:
        """Return the seconds from the last poll to the next one; see the class."""
        age, durations = context.age, context.durations
        shortest = max(_SHORTEST_GAP, _SHORTEST_GAP_PER_ELAPSED * context.elapsed)
        # The schedule waits until D reaches the price, which is later than until it reaches cost.
        if context.price > self.cost:
            return shortest
        longest = max(_LONGEST_GAP, _LONGEST_GAP_PER_AGE * age)
        if durations.completions < _COLD_COMPLETIONS:
            longest = min(longest, max(_COLD_GAP, _COLD_GAP_PER_AGE * age))
        cost = _SPARE * self.cost if context.spare else self.cost
        return min(max(durations.due(age, cost) - age, shortest), longest)


@frozen(kw_only=True)
class Backoff:
    """Exponential backoff: ``min(maximum, initial * factor ** (polls - 1))`` seconds, with jitter.

    Attributes:
        initial: gap in seconds between the first two polls, above 0.
        factor: growth of the gap from poll to poll, at least 1.
        maximum: longest gap in seconds before jitter, at least *initial*.
        jitter: each gap is spread evenly over ``gap * (1 ± jitter)``; at least 0, below 1.

    Raises:
        InvalidArgumentError: a value is not a finite number, or out of its range.
    """

    initial: float = field(default=2.0, validator=_validation.above(0))
    factor: float = field(default=1.5, validator=_validation.at_least(1))
    maximum: float = field(default=30.0, validator=[_validation.above(0), _not_below_initial])
    jitter: float = field(default=0.2, validator=_validation.fraction)

    def delay(self, context: PollContext) -> float:
        """Return the seconds from the last poll to the next one; see the class."""
        gap = _exponential(
            context.polls - 1, initial=self.initial, factor=self.factor, maximum=self.maximum
        )
        return _jittered(gap, self.jitter, context.draw)


@frozen
class Interval:
    """Poll at a fixed interval.

    Attributes:
        seconds: gap in seconds between two polls, above 0.

    Raises:
        InvalidArgumentError: *seconds* is not a finite number above 0.
    """

    seconds: float = field(validator=_validation.above(0))

    def delay(self, context: PollContext) -> float:  # noqa: ARG002 - the protocol's
        """Return the interval in seconds."""
        return self.seconds


@frozen(kw_only=True)
class RetryPolicy:
    """How often, and after which delays, one poll or call is tried again after a failure.

    Retried are broken connections, 5xx responses and throttled requests. Polls are also retried
    while the API does not know the task (yet), and after an answer that is not one of the API: a
    disturbance, or, for a client that never got another, the sign of a wrong address.

    Before try ``n + 1`` the client waits ``min(maximum, initial * factor ** (n - 1))`` seconds,
    spread evenly by ``± jitter``. After throttling (405/430) it waits for the end of the client's
    pause instead. A wait or a batch goes on past the last try until its own deadline, and a
    download until its patience ends, which is a minute by default.

    Attributes:
        attempts: total number of tries, at least 1, which means no retry.
        initial: delay in seconds before the second try, above 0.
        factor: growth of the delay from try to try, at least 1.
        maximum: longest delay in seconds before jitter, at least *initial*.
        jitter: each delay is spread evenly over ``delay * (1 ± jitter)``; at least 0, below 1.

    Raises:
        InvalidArgumentError: a value is not a finite number (*attempts*: not a whole one), or out
            of its range.
    """

    attempts: int = field(default=4, validator=_validation.whole)
    initial: float = field(default=0.5, validator=_validation.above(0))
    factor: float = field(default=2.0, validator=_validation.at_least(1))
    maximum: float = field(default=8.0, validator=[_validation.above(0), _not_below_initial])
    jitter: float = field(default=0.25, validator=_validation.fraction)

    def delay(self, failures: int, draw: float) -> float:
        """Return the seconds to wait before the next try.

        Args:
            failures: number of failures in a row, at least 1.
            draw: a random number, uniform in [0, 1), which decides the jitter.
        """
        delay = _exponential(
            failures - 1, initial=self.initial, factor=self.factor, maximum=self.maximum
        )
        return _jittered(delay, self.jitter, draw)


@frozen
class RateLimit:
    """The documented rate limit of an account: at most *max_requests* in any *period*.

    Attributes:
        max_requests: number of requests, at least 1.
        period: seconds, above 0.

    Raises:
        InvalidArgumentError: *max_requests* is not a whole number of at least 1, or *period* not a
            finite number above 0.
    """

    max_requests: int = field(default=20, validator=_validation.whole)
    period: float = field(default=10.0, validator=_validation.above(0))
