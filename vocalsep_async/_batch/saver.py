"""Saving of the stems of finished tasks, while other tasks are polled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import attrs

from vocalsep_async.models import DownloadReport, SeparationTask, TaskOutcome

_MAX_TASKS = 4
"""Tasks saved simultaneously. They share the downloader's four connections, so that none of these
is idle while one task waits for its last file."""

Save = Callable[[SeparationTask], Awaitable[DownloadReport]]
OnOutcome = Callable[[TaskOutcome], None]


class StemSaver:
    """Saves stems in order of arrival, a few tasks at a time.

    Args:
        save: saves the stems of one task.
        on_failure: called with an error of *save* itself; failed downloads are in its report.
    """

    def __init__(self, save: Save, on_failure: Callable[[Exception], None]) -> None:
        self._save = save
        self._on_failure = on_failure
        self._waiting: deque[tuple[TaskOutcome, SeparationTask, OnOutcome]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    def save(self, outcome: TaskOutcome, on_saved: OnOutcome) -> None:
        """Save the stems of a task, if it has any, then call *on_saved* with its outcome."""
        if outcome.task is None or not outcome.task.succeeded:
            on_saved(outcome)
            return
        if self._is_stopped:
            return  # the journal may report a written outcome after the block was left
        self._waiting.append((outcome, outcome.task, on_saved))
        if len(self._workers) < _MAX_TASKS:
            worker = asyncio.create_task(self._work(), name="vocalsep saving")
            self._workers.add(worker)

    async def _work(self) -> None:
        try:
            # An eager task factory runs this before `save` has added the task to the workers.
            await asyncio.sleep(0)
            await self._save_waiting()
        finally:
            # Not in a done callback, which runs an iteration of the loop later: an outcome that
            # arrived in between would count on a worker that has ended.
            self._workers.discard(asyncio.current_task())

    async def _save_waiting(self) -> None:
        while self._waiting:
            outcome, task, on_saved = self._waiting.popleft()
            try:
                report = await self._save(task)
            except Exception as error:  # noqa: BLE001 - raised to the consumer of the batch
                self._on_failure(error)
                return
            on_saved(attrs.evolve(outcome, files=report.paths, download_error=report.error))

    def stop(self) -> None:
        """Cancel all downloads; parts of files stay on disk and can be resumed."""
        self._is_stopped = True
        self._waiting.clear()
        for worker in self._workers:
            worker.cancel()

    async def wait_stopped(self) -> None:
        """Wait until the cancelled downloads have ended."""
        if self._workers:
            await asyncio.wait(self._workers)
