"""The numbers behind `BatchStats`."""

from __future__ import annotations

import copy
import math

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async.errors import ErrorAction, VocalSepError
from vocalsep_async.models import BatchStats, TaskOutcome
from vocalsep_async.policies import LONG_SILENCE

_STILL_RUNNING = 0.5
"""Tasks expected to be pending at the estimated end: a batch of one ends at its median."""


class BatchCounters:
    """Counts the polls and outcomes of a batch."""

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.polls = 0
        self.throttled = 0
        self.retried = 0
        self._last_error: VocalSepError | None = None
        self._is_answered = False
        self._delays = 0
        self._total_delay = 0.0

    @property
    def finished(self) -> int:
        """Tasks with an outcome."""
        return self.succeeded + self.failed

    def on_poll(self, error: VocalSepError | None = None) -> None:
        """A poll ended; *error* is the reason why it will be retried, None if it will not."""
        self.polls += 1
        if error is not None and error.action is ErrorAction.THROTTLE:
            self.throttled += 1
        elif error is not None:
            self.retried += 1
        if error is not None:
            self.on_error(error)

    def on_record(self) -> None:
        """A poll succeeded."""
        self._is_answered = True
        self._last_error = None

    def on_error(self, error: VocalSepError) -> None:
        """A poll failed."""
        # A copy has no traceback, whose frames would stay in memory.
        self._last_error = copy.copy(error)

    def on_outcome(self, outcome: TaskOutcome) -> None:
        """A task has an outcome."""
        if outcome.succeeded:
            self.succeeded += 1
        else:
            self.failed += 1

    def on_not_saved(self) -> None:
        """The stems of a task that had succeeded could not all be saved."""
        self.succeeded -= 1
        self.failed += 1

    def on_detected(self, delay: float) -> None:
        """A poll detected the end of a task *delay* seconds after it."""
        self._delays += 1
        # Where the server's clock is ahead, a task seems to end after its detection.
        self._total_delay += max(0.0, delay)

    def stats(
        self,
        *,
        pending: int,
        rate: float,
        newest: float,
        model: HazardModel,
        silence: float = 0.0,
        pause: float = 0.0,
    ) -> BatchStats:
        """The numbers as they are now.

        Args:
            pending: tasks without an outcome.
            rate: the allowed rate, in requests per second.
            newest: seconds since the last task was added.
            model: how long tasks of this kind take.
            silence: seconds for which polls have had no answer.
            pause: seconds for which the client sends nothing.
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
            mean_delay=self._total_delay / self._delays if self._delays else None,
            eta=(
                math.inf
                if pending and (not self._is_answered or silence >= LONG_SILENCE)
                else self._eta(pending, rate, newest - silence, model, pause)
            ),
            last_error=self._last_error,
        )

    def _eta(
        self, pending: int, rate: float, known: float, model: HazardModel, pause: float
    ) -> float:
        if not pending:
            return 0.0
        # Two bounds, of which the longer counts: the rate limit, at as many polls per task as
        # before, and the slowest of the pending tasks, by what was known at the last answer.
        polls_per_task = (self.polls + pending) / (self.finished + pending)
        slowest = model.remaining(0.0, min(1.0, _STILL_RUNNING / pending))
        return max(pause + pending * polls_per_task / rate, slowest - known)
