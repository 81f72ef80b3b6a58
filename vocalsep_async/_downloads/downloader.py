"""The downloads of one client: from what names a task to its stems, on disk or as a stream."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial

from vocalsep_async._binding import LoopBinding
from vocalsep_async._downloads import selection
from vocalsep_async._downloads.job import TaskDownload, download_error
from vocalsep_async._downloads.patience import Patience, Rest, Rests
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._downloads.source import RemoteFile, StemLinks
from vocalsep_async._downloads.stream import Stream, StreamSource
from vocalsep_async._events import Events
from vocalsep_async._transport.files import FileTransport
from vocalsep_async.downloads import Downloadable
from vocalsep_async.errors import ClientClosedError, InvalidArgumentError
from vocalsep_async.models import DownloadReport, SeparationTask, TaskOutcome, TaskRef
from vocalsep_async.policies import RetryPolicy


class Downloader:
    """Fetches stems for one client.

    Args:
        files: sends requests to file hosts.
        poll: polls a task, within the client's rate limit.
        retry: how often a failed request to a file host is repeated, and after what delays.
        events: of the client.
        binding: to the client's event loop.
    """

    def __init__(
        self,
        files: FileTransport,
        poll: Callable[[TaskRef], Awaitable[SeparationTask]],
        retry: RetryPolicy,
        events: Events,
        binding: LoopBinding,
    ) -> None:
        self._binding = binding
        self._files = files
        self._poll = poll
        self._retry = retry
        self._events = events
        self._rests = Rests()

    def close(self) -> None:
        """End all files that wait for their hosts; may be called again."""
        self._rests.close()

    async def save(self, task: Downloadable, plan: DownloadPlan) -> DownloadReport:
        """Save the stems that *plan* names.

        Raises:
            DownloadError: some of them are not saved; its report holds the errors of each.
            VocalSepError: the task has no such stems, its poll failed, or the client was closed.
            Exception: raised by the plan's ``on_progress``.
        """
        label = _label_of(task)
        record = await self._record(task)
        stems = selection.select(record, plan.options.stems)
        report = await self._download(record, stems, plan, label).run()
        if report.error is None:
            return report
        # A closed client is no failure of a download: every call raises it as itself.
        cause = report.error.__cause__
        raise cause if isinstance(cause, ClientClosedError) else report.error

    async def save_present(
        self, record: SeparationTask, until: float, label: str | None, plan: DownloadPlan
    ) -> DownloadReport:
        """Save those stems of *plan* that the task has; the report holds errors for the others.

        Args:
            record: the final record of the task.
            until: moment of the event loop's clock up to which the wait for the task has time.
            label: the label of the task; None if it has none.
            plan: of the batch.

        Raises:
            Exception: raised by the plan's ``on_progress``.
        """
        # In a batch, a stem that one task lacks is no wrong argument of the call.
        stems, absent = selection.split_by_presence(record, plan.options.stems)
        try:
            download = self._download(record, stems, plan, label, until)
        except InvalidArgumentError as error:
            # Nor is an id or a label that makes the name of a file too long.
            unnamed = (download_error(record.task_id, stem, None, None, error) for stem in stems)
            return DownloadReport(task_id=record.task_id, files=(), errors=(*absent, *unnamed))
        return await download.run(absent)

    def _download(
        self,
        record: SeparationTask,
        stems: tuple[str, ...],
        plan: DownloadPlan,
        label: str | None,
        until: float = -math.inf,
    ) -> TaskDownload:
        options, links = plan.options, self._links(record)
        timeout = math.inf if options.timeout is None else options.timeout
        deadline = asyncio.get_running_loop().time() + timeout
        if options.timeout is not None:
            until = max(until, deadline)
        patience = Patience(options.patience, until, options.min_bytes_per_minute)

        def remote_file(stem: str, rest: Rest) -> RemoteFile:
            return self._remote_file(stem, links, options.max_bytes, patience, rest)

        return TaskDownload(
            record,
            stems,
            plan,
            links,
            remote_file,
            rest=self._rests.rest,
            deadline=deadline,
            events=self._events,
            label=label,
        )

    def stream(self, task: Downloadable, stem: str, max_bytes: int, patience: Patience) -> Stream:
        """A reader of one stem; sends nothing until it is entered."""
        named = task if isinstance(task, (SeparationTask, TaskOutcome)) else TaskRef.of(task)

        async def find() -> StreamSource:
            record = await self._record(named)
            selection.select(record, (stem,))
            links = self._links(record)
            to_error = partial(download_error, record.task_id, stem, links.get(stem), None)
            remote = self._remote_file(stem, links, max_bytes, patience, self._rests.rest)
            return StreamSource(remote, to_error)

        return Stream(
            named.task_id, stem, find, self._events, self._binding, label=_label_of(named)
        )

    async def _record(self, task: Downloadable) -> SeparationTask:
        """The final record; polls the task if it was not given.

        Raises:
            TaskFailedError: the task has no stems.
            VocalSepError: the poll failed, or the outcome holds an error.
        """
        if isinstance(task, TaskOutcome):
            # Not `result()` in every case: that raises if an earlier download failed.
            task = task.result() if task.task is None else task.task
        if not isinstance(task, SeparationTask):
            task = await self._poll(TaskRef.of(task))
        return task.raise_for_failure()

    def _links(self, task: SeparationTask) -> StemLinks:
        return StemLinks(
            task, partial(self._poll, TaskRef(task.task_id, type=task.type, route=task.route))
        )

    def _remote_file(
        self, stem: str, links: StemLinks, max_bytes: int, patience: Patience, rest: Rest
    ) -> RemoteFile:
        return RemoteFile(
            stem, links, self._files, self._retry, max_bytes, patience=patience, rest=rest
        )


def _label_of(task: Downloadable) -> str | None:
    return task.label if isinstance(task, (TaskRef, TaskOutcome)) else None
