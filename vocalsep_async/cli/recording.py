"""Records a run for its report, while the tasks are being tracked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.to_thread import run_sync

from vocalsep_async import RateLimit, TaskOutcome
from vocalsep_async.cli.activity import Snapshot
from vocalsep_async.cli.report import (
    Peaks,
    Run,
    Sample,
    TimedOutcome,
    compute_peaks,
    write_report,
)


class RunRecorder:
    """Records one run; used as ``async with``, with `write` called inside the block.

    Args:
        command: the command line, without secrets.
        api: the host of the API.
        limit: the rate limit of the account.
        note: what the report says about the run; "" for nothing.
    """

    def __init__(self, command: str, api: str, limit: RateLimit, note: str = "") -> None:
        self._command = command
        self._api = api
        self._limit = limit
        self._note = note
        self._began_at = datetime.now(UTC)
        self._outcomes: list[TimedOutcome] = []
        self._detections: dict[str, datetime] = {}
        """When this run found the ends of tasks: songs can share one."""
        self._samples: list[Sample] = []
        self._peaks: dict[Path, Peaks] = {}
        self._waveform_tasks = anyio.create_task_group()
        # One file at a time: decoding must not slow the polls down.
        self._one_thread = anyio.CapacityLimiter(1)
        self._unfinished = 0
        self._all_finished = anyio.Event()

    async def __aenter__(self) -> Self:
        await self._waveform_tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        # The report is written, or will never be: no waveform is needed any more.
        self._waveform_tasks.cancel_scope.cancel()
        return await self._waveform_tasks.__aexit__(kind, error, traceback)

    def on_outcome(self, outcome: TaskOutcome, age: float | None) -> None:
        """Record an outcome, and start to decode its files.

        Args:
            outcome: the outcome.
            age: seconds since this run found the end of its task; None if it did not.
        """
        self._outcomes.append(TimedOutcome(outcome, self._detected_at(outcome, age)))
        if outcome.files:
            self._unfinished += 1
            self._waveform_tasks.start_soon(self._compute_peaks, outcome.files.values())

    def _detected_at(self, outcome: TaskOutcome, age: float | None) -> datetime | None:
        now = datetime.now(UTC)
        if age is not None:
            self._detections[outcome.task_id] = now - timedelta(seconds=age)
        elif outcome.task is None:
            return now  # an error ended the wait just now
        return self._detections.get(outcome.task_id)

    def sample(self, snapshot: Snapshot) -> None:
        """Record the counts of this moment."""
        self._samples.append(
            Sample(
                at=datetime.now(UTC),
                requests=snapshot.requests,
                throttled=snapshot.throttled,
                pending=snapshot.batch.pending,
                finished=snapshot.batch.finished,
            )
        )

    async def _compute_peaks(self, files: Iterable[Path]) -> None:
        for file in files:
            peaks = await run_sync(compute_peaks, file, limiter=self._one_thread)
            if peaks is not None:
                self._peaks[file] = peaks
        self._unfinished -= 1
        if not self._unfinished:
            self._all_finished.set()

    async def write(self, path: Path, *, wait_for_waveforms: bool) -> None:
        """Write the report.

        Args:
            path: the file.
            wait_for_waveforms: whether to wait until all audio files are decoded; if not, the
                report has the waveforms that are ready.

        Raises:
            OSError: the file cannot be written.
        """
        while self._unfinished and wait_for_waveforms:
            self._all_finished = anyio.Event()
            await self._all_finished.wait()
        run = Run(
            command=self._command,
            api=self._api,
            began_at=self._began_at,
            ended_at=datetime.now(UTC),
            outcomes=tuple(self._outcomes),
            samples=tuple(self._samples),
            limit=self._limit,
            note=self._note,
        )
        # A copy, because waveforms may arrive while the thread writes.
        await run_sync(write_report, run, path, dict(self._peaks))
