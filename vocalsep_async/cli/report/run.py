"""What a report is about, as frozen values."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from vocalsep_async import RateLimit, TaskOutcome


@frozen
class Arrival:
    """An outcome, and when it was known.

    Attributes:
        outcome: what became of the task.
        at: when this machine knew it, aware.
        title: what a person calls the task; None if it has its id only.
    """

    outcome: TaskOutcome
    at: datetime
    title: str | None = None


@frozen
class Sample:
    """How far the run was at one moment; all counts are totals since it began.

    Attributes:
        at: the moment, aware.
        requests: requests sent, the refused ones among them.
        refused: requests that the API refused as too many.
        pending: tasks without an outcome.
        finished: tasks with one.
    """

    at: datetime
    requests: int
    throttled: int
    pending: int
    finished: int


@frozen
class Run:
    """A run of the command line, from its start to its end.

    Attributes:
        command: what was run, as a person would write it, without secrets.
        api: the host that was asked.
        began_at: when it began, aware.
        ended_at: when it ended, aware.
        arrivals: the outcomes, in the order in which they were known.
        samples: in their order, about one a second; the last one of the end.
        limit: what the account may do.
    """

    command: str
    api: str
    began_at: datetime
    ended_at: datetime
    arrivals: tuple[Arrival, ...]
    samples: tuple[Sample, ...]
    limit: RateLimit

    @property
    def seconds(self) -> float:
        """How long it took; 0 if the clock was set back meanwhile."""
        return max(0.0, (self.ended_at - self.began_at).total_seconds())

    @property
    def unheard(self) -> int:
        """Tasks that were followed and have no outcome, as when somebody stopped the run."""
        return self.samples[-1].pending if self.samples else 0
