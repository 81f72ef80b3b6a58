"""What a batch has done so far, and what is left."""

from __future__ import annotations

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async.errors import ErrorAction, VocalSepError
from vocalsep_async.models import BatchStats, TaskOutcome

_STILL_RUNNING = 0.5
"""Tasks that may be expected to run still when a batch is taken to have run to its end."""


class BatchCounters:
    """Counts what a batch meets."""

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.polls = 0
        self.throttled = 0
        self.retried = 0
        self._delays = 0
        self._delay = 0.0

    @property
    def finished(self) -> int:
        """Tasks with an outcome."""
        return self.succeeded + self.failed

    def on_poll(self, error: VocalSepError | None = None) -> None:
        """A look ended; *error* is what it met, if there will be another one for that."""
        self.polls += 1
        if error is not None and error.action is ErrorAction.THROTTLE:
            self.throttled += 1
        elif error is not None:
            self.retried += 1

    def ended(self, outcome: TaskOutcome) -> None:
        """A task has an outcome."""
        if outcome.succeeded:
            self.succeeded += 1
        else:
            self.failed += 1

    def learned_of_end(self, seconds_ago: float) -> None:
        """A task was found to have ended that long ago."""
        self._delays += 1
        self._delay += max(0.0, seconds_ago)

    def stats(self, *, pending: int, rate: float, newest: float, model: HazardModel) -> BatchStats:
        """Sum up.

        Args:
            pending: tasks that are still open.
            rate: requests per second that are allowed.
            newest: the age in seconds of the task that was created last.
            model: how long tasks like it take.
        """
        return BatchStats(
            pending=pending,
            finished=self.finished,
            succeeded=self.succeeded,
            failed=self.failed,
            polls=self.polls,
            throttled=self.throttled,
            retried=self.retried,
            rate=rate,
            mean_delay=self._delay / self._delays if self._delays else None,
            eta=self._eta(pending, rate, newest, model),
        )

    def _eta(self, pending: int, rate: float, newest: float, model: HazardModel) -> float:
        """The longer of two: looking at all that are pending, and waiting for the slowest."""
        if not pending:
            return 0.0
        polls = (self.polls + pending) / (self.finished + pending)
        slowest = model.remaining(0.0, min(1.0, _STILL_RUNNING / pending))
        return max(pending * polls / rate, slowest - newest)
