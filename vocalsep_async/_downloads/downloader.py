"""From whatever names a task to its stems: on disk, or to be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from attrs import evolve

from vocalsep_async._downloads import selection
from vocalsep_async._downloads.job import TaskDownload, refusal
from vocalsep_async._downloads.links import StemLinks
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._downloads.source import RemoteFile
from vocalsep_async._downloads.stream import Source, Stream
from vocalsep_async._transport.files import FileTransport
from vocalsep_async.downloads import Downloadable
from vocalsep_async.models import DownloadReport, SeparationTask, TaskOutcome, TaskRef
from vocalsep_async.policies import RetryPolicy


class Downloader:
    """Fetches stems for one client.

    Args:
        files: fetches from file hosts.
        look: looks at a task, through the client's budget.
        retry: how often a broken request is tried.
    """

    def __init__(
        self,
        files: FileTransport,
        poll: Callable[[TaskRef], Awaitable[SeparationTask]],
        retry: RetryPolicy,
    ) -> None:
        self._files = files
        self._poll = poll
        self._retry = retry

    async def save(self, task: Downloadable, plan: DownloadPlan) -> DownloadReport:
        """Save what *plan* says; what cannot be saved stands in the report.

        Raises:
            VocalSepError: the task has no such stems, or cannot be looked at.
            Exception: what the plan's ``on_progress`` raised.
        """
        record = await self._record(task)
        return await self._saved(record, selection.chosen(record, plan.options.stems), plan)

    async def save_present(self, record: SeparationTask, plan: DownloadPlan) -> DownloadReport:
        """Save what *plan* says as far as the task has it; what it has not stands in the report.

        Raises:
            Exception: what the plan's ``on_progress`` raised.
        """
        stems, absent = selection.parted(record, plan.options.stems)
        report = await self._saved(record, stems, plan)
        return evolve(report, errors=(*absent, *report.errors))

    async def _saved(
        self, record: SeparationTask, stems: tuple[str, ...], plan: DownloadPlan
    ) -> DownloadReport:
        links = self._links(record)
        remote = partial(self._remote, links=links, max_bytes=plan.options.max_bytes)
        return await TaskDownload(record, stems, plan, links, remote).run()

    def stream(self, task: Downloadable, stem: str, max_bytes: int) -> Stream:
        """One stem, to be read."""

        async def find() -> Source:
            record = await self._record(task)
            selection.chosen(record, (stem,))
            links = self._links(record)
            refuse = partial(refusal, record.task_id, stem, links.get(stem), None)
            return Source(self._remote(stem, links=links, max_bytes=max_bytes), refuse)

        return Stream(stem, find)

    async def _record(self, task: Downloadable) -> SeparationTask:
        """The final record, looked up if need be.

        Raises:
            TaskFailedError: there are no stems.
            VocalSepError: what the look met.
        """
        if isinstance(task, TaskOutcome):
            task = task.result() if task.task is None else task.task
        if not isinstance(task, SeparationTask):
            task = await self._poll(TaskRef.of(task))
        return task.raise_for_failure()

    def _links(self, task: SeparationTask) -> StemLinks:
        """The links of a task, with a look at it when they have expired."""
        return StemLinks(task, partial(self._poll, TaskRef(task.task_id, type=task.type)))

    def _remote(self, stem: str, *, links: StemLinks, max_bytes: int) -> RemoteFile:
        """A stem at its host."""
        return RemoteFile(stem, links, self._files, self._retry, max_bytes)
