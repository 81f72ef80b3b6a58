"""Delivers outcomes of a batch: each is written to the journal and its stems are saved first."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, cast

import attrs

from vocalsep_async._batch.counters import BatchCounters
from vocalsep_async.models import DownloadReport, SeparationTask, TaskOutcome

if TYPE_CHECKING:
    from vocalsep_async._batch.recorder import BatchRecorder

_MAX_SAVING = 16
"""Tasks whose stems are saved simultaneously. They share the downloader's connections, so that none
of these is idle while one task waits for its last file, or for a file host that is away."""
_MAX_RECORDING = 500
"""Deliveries under way, without those that save stems. When 100,000 tasks reach their deadline
together, an asyncio task for each would take 200 MB and wake up in one iteration of the loop."""

Save = Callable[[SeparationTask, float, str | None], Awaitable[DownloadReport]]
"""Saves the stems of a task; the second argument is the moment of the event loop's clock up to
which the wait for the task has time, the third one the label of the task."""


class Deliveries:
    """The outcomes of a batch that its consumer has not fetched yet.

    Args:
        recorder: writes outcomes to the journal; None without a journal.
        save: saves the stems of one task; None to save none.
        counters: counts the outcomes whose stems could not all be saved.
        timeout: seconds that each task has from when it was added; None for no limit.

    Attributes:
        ready: what the consumer may fetch, in order.
        failure: why an outcome will not be ready; None while all is well.
        changed: set when an outcome is ready, and when a delivery ended.
    """

    def __init__(
        self,
        recorder: BatchRecorder | None,
        save: Save | None,
        counters: BatchCounters,
        timeout: float | None = None,
    ) -> None:
        self._recorder = recorder
        self._save = save
        self._counters = counters
        self._timeout = timeout
        self._waiting: deque[TaskOutcome] = deque()
        """New outcomes whose delivery has not begun."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._saving: set[asyncio.Task[None]] = set()
        """Deliveries that save stems, or wait for their turn to do so."""
        self._turns = asyncio.Semaphore(_MAX_SAVING)
        self._is_stopped = False
        self._unfetched: set[str] = set()
        """The tasks whose outcomes these are: `ready` alone would be searched from end to end."""
        self.context = Context()
        """The one in which deliveries run; each in a copy."""
        self.ready: deque[TaskOutcome] = deque()
        self.failure: BaseException | None = None
        self.changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self.ready) + len(self._under_way) + len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        """Whether a task has an outcome that is still to be fetched."""
        return task_id in self._unfetched

    def take(self) -> TaskOutcome:
        """Take out the first outcome that is ready."""
        outcome = self.ready.popleft()
        self._unfetched.remove(outcome.task_id)
        return outcome

    def add(self, outcome: TaskOutcome) -> None:
        """Deliver a new outcome."""
        if self._recorder is None:
            self.add_recorded(outcome)
            return
        self._unfetched.add(outcome.task_id)
        self._waiting.append(self._recorder.settle(outcome))
        self._begin_waiting()

    def add_recorded(self, outcome: TaskOutcome) -> None:
        """Deliver an outcome that needs no write: the journal has it, or there is none."""
        self._unfetched.add(outcome.task_id)
        if self._save is None or not outcome.succeeded:
            self._hand_out(outcome)
        else:
            self._begin(outcome, is_recorded=True)

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._under_way) - len(self._saving) < _MAX_RECORDING:
            self._begin(self._waiting.popleft(), is_recorded=False)

    def _begin(self, outcome: TaskOutcome, *, is_recorded: bool) -> None:
        delivery = self._deliver(outcome, is_recorded=is_recorded)
        # Not in the context of the poll that found the end: that one may serve other callers, too.
        context = self.context.copy()
        task = asyncio.create_task(delivery, name="vocalsep delivery", context=context)
        self._under_way.add(task)
        task.add_done_callback(self._on_end)

    async def _deliver(self, outcome: TaskOutcome, *, is_recorded: bool) -> None:
        """Hand out an outcome once a kill can lose nothing of it."""
        if self._recorder is not None and not is_recorded:
            await self._recorder.save_outcome(outcome)
        if self._save is not None and outcome.succeeded:
            outcome = await self._with_stems(outcome, self._save)
            if self._recorder is not None:
                await self._recorder.save_files(outcome)
        self._hand_out(outcome)

    async def _with_stems(self, outcome: TaskOutcome, save: Save) -> TaskOutcome:
        if self._is_stopped:
            raise asyncio.CancelledError  # the block was left while the journal was written
        task = cast("asyncio.Task[None]", asyncio.current_task())
        until = self._end_of_wait(outcome)
        self._saving.add(task)
        self._begin_waiting()
        try:
            async with self._turns:
                report = await save(outcome.result(), until, outcome.label)
        finally:
            self._saving.discard(task)
        return attrs.evolve(outcome, files=report.paths, download_error=report.error)

    def _end_of_wait(self, outcome: TaskOutcome) -> float:
        # Without a timeout there is no such moment, and a file host is not waited for without end.
        if self._timeout is None:
            return -math.inf
        return asyncio.get_running_loop().time() + self._timeout - outcome.elapsed

    def _hand_out(self, outcome: TaskOutcome) -> None:
        if outcome.download_error is not None:
            # The counters agree with `TaskOutcome.succeeded`, and counted it before its stems.
            self._counters.on_not_saved()
        self.ready.append(outcome)
        self.changed.set()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
        self._begin_waiting()
        self.changed.set()

    def fail(self, error: BaseException) -> None:
        """Raise *error* to the consumer, unless there was one before."""
        self.failure = self.failure or error
        self.changed.set()

    def stop(self) -> None:
        """Save no more stems; parts of files stay on disk and can be resumed.

        Outcomes without stems are still written, and are ready afterwards.
        """
        self._is_stopped = True
        for task in self._saving:
            task.cancel()

    async def wait_ended(self) -> None:
        """Wait until no delivery is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)
