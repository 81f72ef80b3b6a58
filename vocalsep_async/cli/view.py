"""Tracks one batch, and shows its outcomes and its progress."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from attrs import define, evolve, field, frozen

from vocalsep_async import (
    BatchRunner,
    BatchStats,
    DownloadOptions,
    RateLimit,
    SeparationType,
    TaskOutcome,
    TaskRef,
    VocalSepClient,
)
from vocalsep_async.cli.activity import Activity
from vocalsep_async.cli.output import Output, outcome_line
from vocalsep_async.cli.process import ExitCode, exit_code_of, worse

if TYPE_CHECKING:
    from vocalsep_async.cli.recording import RunRecorder

_SAMPLE_INTERVAL = 1.0
"""Seconds; less where the period of the rate limit is short, because a bar of the report's chart
stands for such a period, and ends at samples."""
_SAMPLES_PER_PERIOD = 10

Tasks = Sequence[str | TaskRef] | AsyncIterable[str | TaskRef] | AsyncIterable[TaskRef]


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
        template: where each file goes below that folder; None for a folder for each task.
        as_json: whether outcomes are printed as JSON.
        report: the file of the report; None for none.
        callback_port: the port at which callbacks arrive; None for none.
        limit: the rate limit of the account, for the report.
        note: what the report says about the run; "" for nothing.
    """

    tasks: Tasks = ()
    type: SeparationType | None = None
    timeout: float | None = None
    journal: Path | None = None
    download_to: Path | None = None
    stems: list[str] | None = None
    template: str | None = None
    as_json: bool = False
    report: Path | None = None
    callback_port: int | None = None
    limit: RateLimit = field(factory=RateLimit)
    note: str = ""


@define
class BatchView:
    """Tracks one batch, prints its outcomes, and shows its progress.

    Args:
        client: sends the requests.
        activity: what the client does; it listens to the events of *client*.
        options: what to track.
        output: where to show it.
        recorder: gets outcomes and samples for a report; None if there is no report.

    Attributes:
        open_ids: ids without an outcome when the batch was left.
        stats: counts at that moment; None if the batch never started.
    """

    _client: VocalSepClient
    _activity: Activity
    _options: RunOptions
    _output: Output
    _recorder: RunRecorder | None = None
    open_ids: tuple[str, ...] = field(init=False, default=())
    stats: BatchStats | None = field(init=False, default=None)

    async def run(self) -> ExitCode:
        """Track all tasks to their outcomes; return the worst exit code of all."""
        batch = self._batch()
        code = ExitCode.SUCCEEDED
        async with batch:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        self._output.show_progress, lambda: self._activity.snapshot(batch.stats)
                    )
                    group.start_soon(self._sample_repeatedly, batch)
                    try:
                        async for outcome in batch:
                            code = worse(code, exit_code_of(outcome))
                            self._on_outcome(outcome)
                    finally:
                        # A last sample, so that the report ends with the final counts.
                        self._sample(batch)
                        # The display and the samples never end by themselves.
                        group.cancel_scope.cancel()
            finally:
                self.open_ids, self.stats = batch.pending_ids(), batch.stats
        return code

    def _batch(self) -> BatchRunner:
        options = self._options
        folder = options.download_to
        return self._client.track(
            self._noted(options.tasks),
            type=options.type,
            timeout=options.timeout,
            journal=options.journal,
            download_to=None if folder is None else self._download_options(folder),
        )

    def _noted(self, tasks: Tasks) -> Tasks:
        """*tasks*, whose labels the activity knows from here on."""
        if isinstance(tasks, AsyncIterable):
            return self._noted_later(tasks)
        for each in tasks:
            self._activity.on_task(each)
        return tasks

    async def _noted_later(
        self, tasks: AsyncIterable[str | TaskRef]
    ) -> AsyncGenerator[str | TaskRef]:
        iterator = aiter(tasks)
        try:
            async for each in iterator:
                self._activity.on_task(each)
                yield each
        finally:
            # At once, as a batch does with a generator that it gets itself.
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    def _download_options(self, folder: Path) -> DownloadOptions:
        options = DownloadOptions(
            folder, stems=self._options.stems, on_progress=self._activity.on_progress
        )
        template = self._options.template
        return options if template is None else evolve(options, template=template)

    def _on_outcome(self, outcome: TaskOutcome) -> None:
        if self._options.as_json:
            self._output.result(outcome.to_dict(keep_links=True))
        else:
            self._output.result(outcome_line(outcome))
        age = self._activity.take_age(outcome.task_id)
        if self._recorder is not None:
            self._recorder.on_outcome(outcome, age)

    async def _sample_repeatedly(self, batch: BatchRunner) -> None:
        interval = min(_SAMPLE_INTERVAL, self._options.limit.period / _SAMPLES_PER_PERIOD)
        while True:
            self._sample(batch)
            await anyio.sleep(interval)

    def _sample(self, batch: BatchRunner) -> None:
        if self._recorder is not None:
            self._recorder.sample(self._activity.snapshot(batch.stats))
