"""Following tasks to their ends: what `wait`, `track`, `download` and `demo` have in common."""

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
from vocalsep_async.cli.exits import Exit, judged, worse
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.snapshot import Snapshot
from vocalsep_async.cli.telling import line, told

if TYPE_CHECKING:
    from vocalsep_async.cli.keeping import Keeper

_RECENT = 10
"""Seconds over which the rate of requests is taken: the limit's period, as a burst fills it."""
_SAMPLE_GAP = 1.0
_SLOWEST = 3

_last_samples = partial(deque[tuple[float, int]], maxlen=round(_RECENT / _SAMPLE_GAP))

Tasks = Sequence[str | TaskRef] | AsyncIterable[str] | AsyncIterable[TaskRef]


@frozen(kw_only=True)
class Order:
    """What is to be followed, and what is to be done with it.

    Attributes:
        tasks: which, at once or as they come.
        type: what kind of separation they are; None if not known.
        timeout: seconds for each; None for no limit.
        journal: where to keep what is known; None for nowhere.
        download_to: where to save stems; None for nowhere.
        stems: which; None for all.
        as_json: whether results are for programs.
    """

    tasks: Tasks
    type: SeparationType | None = None
    timeout: float | None = None
    journal: Path | None = None
    download_to: Path | None = None
    stems: list[str] | None = None
    as_json: bool = False


@define
class Following:
    """One batch on a screen.

    Args:
        client: who asks.
        order: for what.
        screen: where it is shown.
        keeper: keeps what a report wants to know; None if there will be none.

    Attributes:
        open_ids: the ids without an outcome when it was left.
        stats: how it stood then; None if it never began.
    """

    _client: VocalSepClient
    _order: Order
    _screen: Screen
    _keeper: Keeper | None = None
    open_ids: tuple[str, ...] = field(init=False, default=())
    stats: BatchStats | None = field(init=False, default=None)
    _since: dict[str, float] = field(init=False, factory=dict)
    _files: dict[Path, DownloadProgress] = field(init=False, factory=dict)
    _sent: deque[tuple[float, int]] = field(init=False, factory=_last_samples)

    async def run(self) -> Exit:
        """Follow all to their ends; what the command ends with."""
        batch = self._batch()
        status = Exit.SUCCEEDED
        async with batch:
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._screen.show, lambda: self._snapshot(batch))
                    group.start_soon(self._sample, batch)
                    try:
                        async for outcome in batch:
                            status = worse(status, judged(outcome))
                            self._tell(outcome)
                    finally:
                        if self._keeper is not None:
                            self._keeper.sampled(self._client.stats, batch.stats)
                        group.cancel_scope.cancel()
            finally:
                self.open_ids, self.stats = batch.pending_ids(), batch.stats
        return status

    def _batch(self) -> BatchRunner:
        order = self._order
        return self._client.track(
            self._noted(order.tasks),
            type=order.type,
            timeout=order.timeout,
            journal=order.journal,
            download_to=None if order.download_to is None else self._saving(order.download_to),
        )

    def _saving(self, directory: Path) -> DownloadOptions:
        return DownloadOptions(directory, stems=self._order.stems, on_progress=self._progressed)

    def _noted(self, tasks: Tasks) -> Iterable[str | TaskRef] | AsyncIterable[str | TaskRef]:
        if isinstance(tasks, AsyncIterable):
            return self._noted_as_they_come(tasks)
        for each in tasks:
            self._note(each)
        return tasks

    async def _noted_as_they_come(
        self, tasks: AsyncIterable[str] | AsyncIterable[TaskRef]
    ) -> AsyncIterator[str | TaskRef]:
        async for each in tasks:
            self._note(each)
            yield each

    def _note(self, task: str | TaskRef) -> None:
        task_id = task.task_id if isinstance(task, TaskRef) else task
        self._since.setdefault(task_id, anyio.current_time())

    def _progressed(self, progress: DownloadProgress) -> None:
        self._files[progress.path] = progress
        if progress.done == progress.total:
            del self._files[progress.path]

    def _tell(self, outcome: TaskOutcome) -> None:
        since = self._since.pop(outcome.task_id, None)
        self._forget_files(outcome.task_id)
        self._screen.result(told(outcome) if self._order.as_json else line(outcome))
        if self._keeper is not None:
            self._keeper.arrived(outcome, self._seconds_known(outcome, since))

    def _forget_files(self, task_id: str) -> None:
        """Whatever has not come is not under way any more."""
        for path in [path for path, file in self._files.items() if file.task_id == task_id]:
            del self._files[path]

    def _seconds_known(self, outcome: TaskOutcome, since: float | None) -> float:
        """How long it has been known: its stems were saved meanwhile."""
        if since is None or isinstance(self._order.tasks, AsyncIterable):
            return 0.0  # when it was taken in is not known here
        return max(0.0, anyio.current_time() - since - outcome.elapsed)

    async def _sample(self, batch: BatchRunner) -> None:
        while True:
            client = self._client.stats
            self._sent.append((anyio.current_time(), client.requests))
            if self._keeper is not None:
                self._keeper.sampled(client, batch.stats)
            await anyio.sleep(_SAMPLE_GAP)

    def _snapshot(self, batch: BatchRunner) -> Snapshot:
        now = anyio.current_time()
        client = self._client.stats
        return Snapshot(
            batch=batch.stats,
            client=client,
            used=self._used(now, client.requests),
            slowest=tuple(
                (task_id, now - since) for task_id, since in islice(self._since.items(), _SLOWEST)
            ),
            files=tuple(self._files.values()),
        )

    def _used(self, now: float, requests: int) -> float:
        before = next((sent for at, sent in self._sent if at >= now - _RECENT), requests)
        return (requests - before) / _RECENT
