"""A recorded run: the input of a report, as frozen values."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from vocalsep_async import RateLimit, TaskOutcome


@frozen
class TimedOutcome:
    """The outcome of a task, and when it was known.

    Attributes:
        outcome: the outcome.
        at: when this run detected it, aware; None if an earlier one did, and the journal had it.
    """

    outcome: TaskOutcome
    at: datetime | None


@frozen
class Sample:
    """The counts of a run at one moment; all are totals since its start.

    Attributes:
        at: the moment, aware.
        requests: requests sent, including throttled ones.
        throttled: requests that the API throttled.
        pending: tasks without an outcome.
        finished: tasks with an outcome.
    """

    at: datetime
    requests: int
    throttled: int
    pending: int
    finished: int


@frozen
class Run:
    """A run of the command line.

    Attributes:
        command: the command line, without secrets.
        api: the host of the API.
        began_at: when the run started, aware.
        ended_at: when the run ended, aware.
        outcomes: the outcomes, in the order in which the run had them.
        samples: about one per second, in order; the last one is from the end of the run.
        limit: the rate limit of the account.
        note: what is said about the run beside its figures; "" for nothing.
    """

    command: str
    api: str
    began_at: datetime
    ended_at: datetime
    outcomes: tuple[TimedOutcome, ...]
    samples: tuple[Sample, ...]
    limit: RateLimit
    note: str = ""

    @property
    def seconds(self) -> float:
        """The length of the run; 0 if the clock was set back during the run."""
        return max(0.0, (self.ended_at - self.began_at).total_seconds())

    @property
    def unfinished(self) -> int:
        """Tasks that had no outcome at the end, for example after an interruption."""
        return self.samples[-1].pending if self.samples else 0
