"""The stems of one task, from its record to the directory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
from anyio.to_thread import run_sync
from attrs import frozen

from vocalsep_async._text import printable, short_url
from vocalsep_async.downloads import choosing
from vocalsep_async.downloads.links import Links
from vocalsep_async.downloads.manifest import Manifest
from vocalsep_async.downloads.meter import Meter, OnProgress
from vocalsep_async.downloads.naming import Template
from vocalsep_async.downloads.remote import Remote
from vocalsep_async.downloads.report import DownloadReport, StemFile
from vocalsep_async.downloads.saving import fill, taken_up
from vocalsep_async.downloads.streaming import StemStream
from vocalsep_async.errors import ConfigurationError, DownloadError, VocalSepError
from vocalsep_async.models import SeparationTask, TaskOutcome, TaskRef
from vocalsep_async.schedule import RetryPolicy
from vocalsep_async.transport import FileTransport

Overwrite = Literal["if-different", "always", "never"]
OVERWRITE: tuple[Overwrite, ...] = ("if-different", "always", "never")
Downloadable = SeparationTask | TaskOutcome | TaskRef | str
USUAL_TEMPLATE = Template("{task_id}/{stem}{ext}")
LARGEST_FILE = 1 << 30


@frozen(kw_only=True)
class Order:
    """What is to be saved, where and how.

    Attributes:
        directory: below which all files go.
        limiter: lets so many files be fetched at once.
        stems: names; None for all.
        template: where below the directory each file goes.
        overwrite: what becomes of files that are there.
        max_bytes: how large a file may be.
        on_progress: who is told how far each file is; None for nobody.
    """

    directory: Path
    limiter: anyio.CapacityLimiter
    stems: tuple[str, ...] | None = None
    template: Template = USUAL_TEMPLATE
    overwrite: Overwrite = "if-different"
    max_bytes: int = LARGEST_FILE
    on_progress: OnProgress | None = None


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
        look: Callable[[TaskRef], Awaitable[SeparationTask]],
        retry: RetryPolicy,
    ) -> None:
        self._files = files
        self._look = look
        self._retry = retry

    async def save(self, task: Downloadable, order: Order) -> DownloadReport:
        """Save what *order* says; what cannot be saved stands in the report.

        Raises:
            VocalSepError: the task has no such stems, or cannot be looked at.
            Exception: what the order's ``on_progress`` raised.
        """
        record = await self._record(task)
        return await _Job(self, record, order).run()

    def stream(self, task: Downloadable, stem: str, max_bytes: int) -> StemStream:
        """One stem, to be read."""

        async def find() -> tuple[Remote, Callable[[VocalSepError], DownloadError]]:
            record = await self._record(task)
            choosing.chosen(record, (stem,))
            links = self.links(record)
            remote = self.remote(stem, links, max_bytes)
            return remote, partial(_error, record.task_id, stem, links.get(stem), None)

        return StemStream(stem, find)

    async def _record(self, task: Downloadable) -> SeparationTask:
        """The final record, looked up if need be.

        Raises:
            TaskFailedError: there are no stems.
            VocalSepError: what the look met.
        """
        if isinstance(task, TaskOutcome):
            task = task.result() if task.task is None else task.task
        if not isinstance(task, SeparationTask):
            task = await self._look(TaskRef.of(task))
        return task.raise_for_failure()

    def links(self, task: SeparationTask) -> Links:
        """The links of a task, with a look at it when they have expired."""
        return Links(task, partial(self._look, TaskRef(task.task_id, task.type)))

    def remote(self, stem: str, links: Links, max_bytes: int) -> Remote:
        """A stem at its host."""
        return Remote(stem, links, self._files, self._retry, max_bytes)


class _Job:
    """All stems of one task, some of them at a time."""

    def __init__(self, downloader: Downloader, task: SeparationTask, order: Order) -> None:
        self._downloader = downloader
        self._task = task
        self._order = order
        self._links = downloader.links(task)
        self._manifest: Manifest | None = None
        self._lock = anyio.Lock()
        self._files: dict[str, StemFile] = {}
        self._errors: dict[str, DownloadError] = {}
        self._broken: Exception | None = None

    async def run(self) -> DownloadReport:
        stems = choosing.chosen(self._task, self._order.stems)
        async with anyio.create_task_group() as group:
            for stem in stems:
                group.start_soon(self._settle, stem, self._path(stem), group.cancel_scope)
        # Raised here: a task group would wrap it.
        if self._broken is not None:
            raise self._broken
        return DownloadReport(
            task_id=self._task.task_id,
            files=tuple(self._files[stem] for stem in stems if stem in self._files),
            errors=tuple(self._errors[stem] for stem in stems if stem in self._errors),
        )

    def _path(self, stem: str) -> Path:
        link = self._links.get(stem) or ""
        return self._order.template.path(self._order.directory, self._task.task_id, stem, link)

    async def _settle(self, stem: str, path: Path, scope: anyio.CancelScope) -> None:
        try:
            self._files[stem] = await self._there(stem, path) or await self._fetched(stem, path)
        except (VocalSepError, OSError) as error:
            link = self._links.get(stem)
            self._errors[stem] = _error(self._task.task_id, stem, link, path, error)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            self._broken = error
            scope.cancel()

    async def _there(self, stem: str, path: Path) -> StemFile | None:
        """The file, if it need not be fetched."""
        overwrite = self._order.overwrite
        if overwrite == "always":
            return None
        if overwrite == "never" and (there := await run_sync(_as_it_stands, stem, path)):
            return there
        manifest = await self._opened_manifest()
        return await run_sync(manifest.whole, stem, path)

    async def _opened_manifest(self) -> Manifest:
        async with self._lock:
            if self._manifest is None:
                self._manifest = await run_sync(Manifest, self._order.directory, self._task.task_id)
            return self._manifest

    async def _fetched(self, stem: str, path: Path) -> StemFile:
        order = self._order
        meter = Meter(order.on_progress, task_id=self._task.task_id, stem=stem, path=path)
        async with taken_up(path, order.directory) as part:
            remote = self._downloader.remote(stem, self._links, order.max_bytes)
            async with order.limiter, remote:
                await fill(remote, part, meter)
            # Outside: while the disk writes one file, the next is fetched.
            saved = await run_sync(part.finish)
        meter.tell(saved.size, saved.size, anyio.current_time(), at_end=True)
        verified = part.about.verified
        manifest = await self._opened_manifest()
        async with self._lock:
            add = partial(manifest.add, stem, path, saved, self._links.task, verified=verified)
            await run_sync(add)
        return StemFile(
            stem=stem,
            path=path,
            size=saved.size,
            sha256=saved.sha256,
            was_fetched=True,
            verified=verified,
        )


def _as_it_stands(stem: str, path: Path) -> StemFile | None:
    """Whatever is at *path*."""
    try:
        size = path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    return StemFile(stem=stem, path=path, size=size, sha256=None, was_fetched=False, verified=False)


def _error(
    task_id: str, stem: str, link: str | None, path: Path | None, error: VocalSepError | OSError
) -> DownloadError:
    url = None if link is None else short_url(link)
    where = "" if path is None else f" at {path}"
    source = "" if url is None else f" from {url}"
    return DownloadError(
        f"stem {stem} of task {printable(task_id)!r}{where}{source}: {_reason(error)}",
        task_id=task_id,
        stem=stem,
        path=None if path is None else str(path),
        url=url,
    )


def _reason(error: VocalSepError | OSError) -> str:
    if isinstance(error, OSError) and not isinstance(error, VocalSepError):
        return f"the disk said: {error.strerror or type(error).__name__}"
    return str(error)


def checked_overwrite(value: object) -> Overwrite:
    """Check a word for what becomes of files that are there.

    Raises:
        ConfigurationError: there is no such word.
    """
    for word in OVERWRITE:
        if value == word:
            return word
    raise ConfigurationError(f"overwrite must be one of {', '.join(OVERWRITE)}, not {value!r}")
