"""Keeping what a report wants to know, while the tasks are followed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.to_thread import run_sync

from vocalsep_async import BatchStats, ClientStats, RateLimit, TaskOutcome
from vocalsep_async.cli.report import Arrival, Peaks, Run, Sample, peaks_of, write_report


class Keeper:
    """One run, for its report; used as ``async with``, and `write` in the block.

    Args:
        command: what was run, without secrets.
        api: the host that is asked.
        limit: what the account may do.
    """

    def __init__(self, command: str, api: str, limit: RateLimit) -> None:
        self._command = command
        self._api = api
        self._limit = limit
        self._began_at = datetime.now(UTC)
        self._arrivals: list[Arrival] = []
        self._samples: list[Sample] = []
        self._peaks: dict[Path, Peaks] = {}
        self._drawing = anyio.create_task_group()
        # One file at a time: the looks go on beside it.
        self._pens = anyio.CapacityLimiter(1)
        self._undrawn = 0
        self._drawn = anyio.Event()

    async def __aenter__(self) -> Self:
        await self._drawing.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._drawing.cancel_scope.cancel()
        return await self._drawing.__aexit__(kind, error, traceback)

    def arrived(self, outcome: TaskOutcome, seconds_ago: float) -> None:
        """A task's outcome was known that long ago; its files are drawn from now on."""
        known_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        self._arrivals.append(Arrival(outcome, known_at))
        if outcome.files:
            self._undrawn += 1
            self._drawing.start_soon(self._draw, outcome.files.values())

    def sampled(self, client: ClientStats, batch: BatchStats) -> None:
        """Note how things stand now."""
        now = datetime.now(UTC)
        counts = (client.requests, client.throttled, batch.pending, batch.finished)
        self._samples.append(Sample(now, *counts))

    async def _draw(self, files: Iterable[Path]) -> None:
        for file in files:
            peaks = await run_sync(peaks_of, file, limiter=self._pens)
            if peaks is not None:
                self._peaks[file] = peaks
        self._undrawn -= 1
        if not self._undrawn:
            self._drawn.set()

    async def write(self, path: Path, *, at_once: bool) -> None:
        """Write the report; *at_once* with the files that are drawn by now.

        Raises:
            OSError: it cannot be written.
        """
        while self._undrawn and not at_once:
            self._drawn = anyio.Event()
            await self._drawn.wait()
        run = Run(
            command=self._command,
            api=self._api,
            began_at=self._began_at,
            ended_at=datetime.now(UTC),
            arrivals=tuple(self._arrivals),
            samples=tuple(self._samples),
            limit=self._limit,
        )
        await run_sync(write_report, run, path, dict(self._peaks))
