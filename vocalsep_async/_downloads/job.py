"""All stems of one task, some of them at a time."""

from __future__ import annotations

import stat
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from vocalsep_async._downloads.links import StemLinks
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async._downloads.partfile import PartFile, Saved
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._downloads.progress import ProgressReporter, ToldError
from vocalsep_async._downloads.source import RemoteFile
from vocalsep_async._downloads.transfer import fill, taken_up
from vocalsep_async._text import printable, short_url
from vocalsep_async.errors import DownloadError, VocalSepError
from vocalsep_async.models import DownloadReport, SeparationTask, StemFile


class TaskDownload:
    """Saves the stems of one task.

    Args:
        task: whose stems; for its id.
        stems: which of them.
        plan: where to, and how.
        links: where they are.
        remote: makes a stem at its host from its name.
    """

    def __init__(
        self,
        task: SeparationTask,
        stems: tuple[str, ...],
        plan: DownloadPlan,
        links: StemLinks,
        remote: Callable[[str], RemoteFile],
    ) -> None:
        self._task_id = task.task_id
        self._plan = plan
        self._links = links
        self._remote = remote
        self._paths = {stem: self._path(stem) for stem in stems}
        self._manifest: Manifest | None = None
        self._lock = anyio.Lock()
        self._files: dict[str, StemFile] = {}
        self._errors: dict[str, DownloadError] = {}
        self._broken: BaseException | None = None

    def _path(self, stem: str) -> Path:
        link = self._links.get(stem) or ""
        return self._plan.template.path(self._plan.options.directory, self._task_id, stem, link)

    async def run(self) -> DownloadReport:
        """Save them; what cannot be saved stands in the report.

        Raises:
            Exception: what the plan's ``on_progress`` raised.
        """
        async with anyio.create_task_group() as group:
            for stem in self._paths:
                group.start_soon(self._settle, stem, group.cancel_scope)
        # Raised here: a task group would wrap it.
        if self._broken is not None:
            raise self._broken
        return DownloadReport(
            task_id=self._task_id,
            files=tuple(self._files[stem] for stem in self._paths if stem in self._files),
            errors=tuple(self._errors[stem] for stem in self._paths if stem in self._errors),
        )

    async def _settle(self, stem: str, scope: anyio.CancelScope) -> None:
        path = self._paths[stem]
        try:
            self._files[stem] = await self._there(stem, path) or await self._fetched(stem, path)
        except ToldError as error:
            self._broken = self._broken or error.__cause__
            scope.cancel()
        except Exception as error:  # noqa: BLE001 - it is reported, and hurts no other stem
            self._errors[stem] = refusal(self._task_id, stem, self._links.get(stem), path, error)

    async def _there(self, stem: str, path: Path) -> StemFile | None:
        """The file, if it need not be fetched."""
        overwrite = self._plan.options.overwrite
        if overwrite == "always":
            return None
        if overwrite == "never" and (there := await run_sync(_as_it_stands, stem, path)):
            return there
        manifest = await self._opened_manifest()
        return await run_sync(manifest.whole, stem, path)

    async def _opened_manifest(self) -> Manifest:
        async with self._lock:
            if self._manifest is None:
                self._manifest = await run_sync(
                    Manifest, self._plan.options.directory, self._task_id
                )
            return self._manifest

    async def _fetched(self, stem: str, path: Path) -> StemFile:
        plan = self._plan
        meter = ProgressReporter(
            plan.options.on_progress, task_id=self._task_id, stem=stem, path=path
        )
        owner, anew = f"{self._task_id}/{stem}", plan.options.overwrite == "always"
        async with AsyncExitStack() as stack:
            async with plan.limiter:
                part = await stack.enter_async_context(
                    taken_up(path, plan.options.directory, owner, anew=anew)
                )
                async with self._remote(stem) as remote:
                    await fill(remote, part, meter)
            # Outside of the limit: while the disk writes one file, the next is fetched.
            saved = await run_sync(part.finish)
        await self._list(stem, path, saved, part)
        meter.tell(saved.size, saved.size, anyio.current_time(), at_end=True)
        return StemFile(
            stem=stem,
            path=path,
            size=saved.size,
            sha256=saved.sha256,
            was_fetched=True,
            verified=part.about.verified,
        )

    async def _list(self, stem: str, path: Path, saved: Saved, part: PartFile) -> None:
        manifest = await self._opened_manifest()
        record, verified = self._links.task, part.about.verified
        async with self._lock:
            await run_sync(partial(manifest.add, stem, path, saved, record, verified=verified))


def _as_it_stands(stem: str, path: Path) -> StemFile | None:
    """Whatever file is at *path*."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(found.st_mode):
        return None
    return StemFile(
        stem=stem,
        path=path,
        size=found.st_size,
        sha256=None,
        was_fetched=False,
        verified=False,
    )


def refusal(
    task_id: str, stem: str, link: str | None, path: Path | None, error: Exception
) -> DownloadError:
    """The error of a stem that could not be had, because of *error*."""
    url = None if link is None else short_url(link)
    where = "" if path is None else f" at {path}"
    source = "" if url is None else f" from {url}"
    refused = DownloadError(
        f"stem {printable(stem)} of task {printable(task_id)!r}{where}{source}: {_reason(error)}",
        task_id=task_id,
        stem=stem,
        path=None if path is None else str(path),
        url=url,
    )
    refused.__cause__ = error
    return refused


def _reason(error: Exception) -> str:
    if isinstance(error, VocalSepError):
        return str(error)
    if isinstance(error, OSError):
        return f"the disk said: {error.strerror or type(error).__name__}"
    return f"unexpected {type(error).__name__}: {printable(str(error))}"
