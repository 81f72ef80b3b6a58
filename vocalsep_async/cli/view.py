"""Tracks one batch, and shows its outcomes and its progress."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from attrs import define, field, frozen

from vocalsep_async import (
    BatchRunner,
    BatchStats,
    DownloadOptions,
    DownloadProgress,
    SeparationType,
    TaskOutcome,
    TaskRef,
    VocalSepClient,
)
from vocalsep_async.cli.output import Output, outcome_line
from vocalsep_async.cli.process import ExitCode, exit_code_of, worse
from vocalsep_async.cli.progress import Snapshot

if TYPE_CHECKING:
    from vocalsep_async.cli.recording import RunRecorder

_RATE_WINDOW = 10
"""Seconds over which the request rate is averaged.

The period of the rate limit: over a shorter one, a burst would seem to exceed the limit.
"""
_SAMPLE_INTERVAL = 1.0
_MAX_SLOWEST = 3

_recent_samples = partial(deque[tuple[float, int]], maxlen=round(_RATE_WINDOW / _SAMPLE_INTERVAL))

Tasks = Sequence[str | TaskRef] | AsyncIterable[str] | AsyncIterable[TaskRef]


@frozen(kw_only=True)
class RunOptions:
    """What to track, and what to do with the outcomes.

    Attributes:
        tasks: the tasks, as a sequence or as an iterable that yields them over time.
        type: the type of the tasks; None if unknown.
        timeout: seconds for each task; None for no limit.
        journal: the journal's file; None for none.
        download_to: the folder for the stems; None if they are not saved.
        stems: the names of the stems to save; None for all.
        as_json: whether outcomes are printed as JSON.
        report: the file of the report; None for none.
    """

    tasks: Tasks = ()
    type: SeparationType | None = None
    timeout: float | None = None
    journal: Path | None = None
    download_to: Path | None = None
    stems: list[str] | None = None
    as_json: bool = False
    report: Path | None = None


@define
class BatchView:
    """Tracks one batch, prints its outcomes, and shows its progress.

    Args:
        client: sends the requests.
        options: what to track.
        output: where to show it.
        recorder: gets outcomes and samples for a report; None if there is no report.

    Attributes:
        open_ids: ids without an outcome when the batch was left.
        stats: counts at that moment; None if the batch never started.
    """

    _client: VocalSepClient
    _options: RunOptions
    _output: Output
    _recorder: RunRecorder | None = None
    open_ids: tuple[str, ...] = field(init=False, default=())
    stats: BatchStats | None = field(init=False, default=None)
    _added_at: dict[str, float] = field(init=False, factory=dict)
    _files: dict[Path, DownloadProgress] = field(init=False, factory=dict)
    _request_counts: deque[tuple[float, int]] = field(init=False, factory=_recent_samples)

    async def run(self) -> ExitCode:
        """Track all tasks to their outcomes; return the worst exit code of all."""
        batch = self._batch()
        code = ExitCode.SUCCEEDED
        async with batch:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._output.show_progress, lambda: self._snapshot(batch))
                    group.start_soon(self._sample, batch)
                    try:
                        async for outcome in batch:
                            code = worse(code, exit_code_of(outcome))
                            self._on_outcome(outcome)
                    finally:
                        # A last sample, so that the report ends with the final counts.
                        if self._recorder is not None:
                            self._recorder.sample(self._client.stats, batch.stats)
                        # The display and the samples never end by themselves.
                        group.cancel_scope.cancel()
            finally:
                self.open_ids, self.stats = batch.pending_ids(), batch.stats
        return code

    def _batch(self) -> BatchRunner:
        options = self._options
        folder = options.download_to
        return self._client.track(
            # The batch does not say when it added a task.
            self._with_times(options.tasks),
            type=options.type,
            timeout=options.timeout,
            journal=options.journal,
            download_to=None if folder is None else self._download_options(folder),
        )

    def _download_options(self, folder: Path) -> DownloadOptions:
        return DownloadOptions(
            folder, stems=self._options.stems, on_progress=self._on_download_progress
        )

    def _with_times(self, tasks: Tasks) -> Iterable[str | TaskRef] | AsyncIterable[str | TaskRef]:
        if isinstance(tasks, AsyncIterable):
            return self._with_times_async(tasks)
        for each in tasks:
            self._keep_time(each)
        return tasks

    async def _with_times_async(
        self, tasks: AsyncIterable[str] | AsyncIterable[TaskRef]
    ) -> AsyncIterator[str | TaskRef]:
        async for each in tasks:
            self._keep_time(each)
            yield each

    def _keep_time(self, task: str | TaskRef) -> None:
        task_id = task.task_id if isinstance(task, TaskRef) else task
        # An id that comes twice keeps its first time, as the batch tracks it once.
        self._added_at.setdefault(task_id, anyio.current_time())

    def _on_download_progress(self, progress: DownloadProgress) -> None:
        self._files[progress.path] = progress
        if progress.done == progress.total:
            del self._files[progress.path]

    def _on_outcome(self, outcome: TaskOutcome) -> None:
        added_at = self._added_at.pop(outcome.task_id, None)
        self._remove_files(outcome.task_id)
        if self._options.as_json:
            self._output.result(outcome.to_dict(keep_links=True))
        else:
            self._output.result(outcome_line(outcome))
        if self._recorder is not None:
            self._recorder.on_outcome(outcome, self._outcome_age(outcome, added_at))

    def _remove_files(self, task_id: str) -> None:
        # Downloads that failed never report that they are complete.
        for path in [path for path, file in self._files.items() if file.task_id == task_id]:
            del self._files[path]

    def _outcome_age(self, outcome: TaskOutcome, added_at: float | None) -> float:
        """Seconds since the outcome was known: its stems were saved since then."""
        if added_at is None:
            return 0.0  # a task from the journal: this run did not see it added
        return max(0.0, anyio.current_time() - added_at - outcome.elapsed)

    async def _sample(self, batch: BatchRunner) -> None:
        while True:
            client = self._client.stats
            self._request_counts.append((anyio.current_time(), client.requests))
            if self._recorder is not None:
                self._recorder.sample(client, batch.stats)
            await anyio.sleep(_SAMPLE_INTERVAL)

    def _snapshot(self, batch: BatchRunner) -> Snapshot:
        now = anyio.current_time()
        client = self._client.stats
        # In the order in which tasks were added: the first ones have been pending longest.
        slowest = islice(self._added_at.items(), _MAX_SLOWEST)
        return Snapshot(
            batch=batch.stats,
            client=client,
            request_rate=self._request_rate(now, client.requests),
            slowest=tuple((task_id, now - added_at) for task_id, added_at in slowest),
            files=tuple(self._files.values()),
        )

    def _request_rate(self, now: float, requests: int) -> float:
        oldest = next(
            (count for at, count in self._request_counts if at >= now - _RATE_WINDOW), requests
        )
        return (requests - oldest) / _RATE_WINDOW
