"""The stems of a batch's tasks go to disk, some at a time, while the looks go on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import attrs

from vocalsep_async.models import DownloadReport, SeparationTask, TaskOutcome

_TASKS_AT_ONCE = 4
"""Whose files share the places: so none is empty while one task waits for its last file."""

Save = Callable[[SeparationTask], Awaitable[DownloadReport]]
Done = Callable[[TaskOutcome], None]


class StemSaver:
    """Outcomes whose stems are being saved.

    Args:
        save: saves the stems of one task.
        broken: called with what broke one of the savings, other than an error of this package.
    """

    def __init__(self, save: Save, broken: Callable[[Exception], None]) -> None:
        self._save = save
        self._broken = broken
        self._waiting: deque[tuple[TaskOutcome, SeparationTask, Done]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._is_released = False

    def save(self, outcome: TaskOutcome, done: Done) -> None:
        """Save the stems of a task, if it has some; *done* gets its outcome then."""
        if outcome.task is None or not outcome.task.succeeded:
            done(outcome)
            return
        if self._is_released:
            return  # it was still being written down when the block was left
        self._waiting.append((outcome, outcome.task, done))
        if len(self._workers) < _TASKS_AT_ONCE:
            worker = asyncio.create_task(self._work(), name="vocalsep saving")
            self._workers.add(worker)

    async def _work(self) -> None:
        try:
            # Under an eager task factory this runs before anybody knows the task.
            await asyncio.sleep(0)
            await self._work_off()
        finally:
            # Here, not when the loop gets round to a callback: who comes in between would wait for
            # a worker that has ended.
            self._workers.discard(asyncio.current_task())

    async def _work_off(self) -> None:
        while self._waiting:
            outcome, task, done = self._waiting.popleft()
            try:
                report = await self._save(task)
            except Exception as error:  # noqa: BLE001 - handed to whoever iterates
                self._broken(error)
                return
            done(attrs.evolve(outcome, files=report.paths, download_error=report.error))

    def release(self) -> None:
        """Break off what is under way; what has arrived is kept on disk, to be resumed."""
        self._is_released = True
        self._waiting.clear()
        for worker in self._workers:
            worker.cancel()

    async def ended(self) -> None:
        """Wait until what was broken off has ended."""
        if self._workers:
            await asyncio.wait(self._workers)
