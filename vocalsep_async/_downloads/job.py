"""All stems of one task, several at a time; an error of one stem does not stop the others."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TypedDict

import anyio
from anyio.to_thread import run_sync

from vocalsep_async._downloads.claims import FileClaims
from vocalsep_async._downloads.content import extension_of
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async._downloads.partfile import PartFile, SavedFile
from vocalsep_async._downloads.patience import Rest, TransferSlot
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._downloads.source import RemoteFile, StemLinks
from vocalsep_async._downloads.transfer import CallbackError, ProgressReporter, fill, opened_part
from vocalsep_async._events import Events, new_id
from vocalsep_async._tasks import run_to_completion
from vocalsep_async._text import printable, short_url
from vocalsep_async.errors import (
    DownloadError,
    InvalidArgumentError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.instrumentation import (
    DownloadFinished,
    DownloadStarted,
    StemFailed,
    StemSaved,
    StemStarted,
)
from vocalsep_async.models import DownloadReport, SeparationTask, StemFile


class StemFields(TypedDict):
    """What all events of a stem have."""

    download_id: str
    task_id: str
    label: str | None
    stem: str
    path: Path | None


class TaskDownload:
    """Saves stems of one task.

    Args:
        task: its final record.
        stems: names of the stems to save.
        plan: where to save them, and how.
        links: the links of the task.
        remote_file: makes the reader of a stem from its name and from how it waits between tries.
        rest: how files wait for their hosts.
        deadline: moment of the event loop's clock at which all that is not there is given up.
        events: of the client.
        label: the label of the task; None if it has none.

    Raises:
        InvalidArgumentError: the name of a file would be too long.
    """

    def __init__(
        self,
        task: SeparationTask,
        stems: tuple[str, ...],
        plan: DownloadPlan,
        links: StemLinks,
        remote_file: Callable[[str, Rest], RemoteFile],
        *,
        rest: Rest,
        deadline: float,
        events: Events,
        label: str | None = None,
    ) -> None:
        self._id = new_id("download")
        self._events = events
        self._task_id = task.task_id
        self._plan = plan
        self._links = links
        self._remote_file = remote_file
        self._rest = rest
        self._deadline = deadline
        self._label = label
        # All paths are made first: one that is too long is found before anything is requested.
        self._possible_paths = {stem: self._possible(stem) for stem in stems}
        # Until a file has arrived, the default one of the possible paths stands for it.
        self._paths = {
            stem: next(iter(paths.values())) for stem, paths in self._possible_paths.items()
        }
        self._manifest: Manifest | None = None
        self._manifest_lock = anyio.Lock()
        self._parts: dict[str, PartFile] = {}
        self._files: dict[str, StemFile] = {}
        self._errors: dict[str, DownloadError] = {}
        self._callback_error: BaseException | None = None

    def _possible(self, stem: str) -> dict[str, Path]:
        link = self._links.get(stem) or ""
        return self._plan.template.paths(
            self._plan.options.directory, self._task_id, stem, link, self._label
        )

    async def run(self, absent: tuple[DownloadError, ...] = ()) -> DownloadReport:
        """Save the stems; the report holds the errors of single stems, those *absent* included.

        Raises:
            Exception: raised by the plan's ``on_progress``.
        """
        started = asyncio.get_running_loop().time()
        self._events.emit(
            DownloadStarted(
                download_id=self._id,
                task_id=self._task_id,
                label=self._label,
                stems=tuple(self._paths),
            )
        )
        failure: BaseException | None = None
        try:
            await self._save_all()
            report = self._report(absent)
            failure = report.error
        except BaseException as error:
            failure = error
            raise
        finally:
            self._events.emit(
                DownloadFinished(
                    download_id=self._id,
                    task_id=self._task_id,
                    label=self._label,
                    duration=asyncio.get_running_loop().time() - started,
                    saved=len(self._files),
                    failed=len(self._paths) - len(self._files) + len(absent),
                    error=failure,
                )
            )
        return report

    async def _save_all(self) -> None:
        claims = None
        if self._plan.template.needs_claims and self._paths:
            claims = FileClaims(
                self._plan.directory, self._plan.template, self._task_id, self._label
            )
        refusal = None if claims is None else await self._claim_error(claims)
        async with anyio.create_task_group() as group:
            for stem in self._paths:
                group.start_soon(self._save, stem, group.cancel_scope, refusal)
        # Not raised in the group, which would wrap it in an ExceptionGroup.
        if self._callback_error is not None:
            raise self._callback_error
        if claims is not None and refusal is None:
            await self._release_unused(claims)

    async def _claim_error(self, claims: FileClaims) -> Exception | None:
        """Claim all files; return why they cannot be claimed, None if they are."""
        paths = {stem: tuple(each.values()) for stem, each in self._possible_paths.items()}
        keeps_others = self._plan.options.overwrite == "if-different"
        try:
            # To its end: a claim that is cut short would be one of no task.
            await run_to_completion(
                run_sync(partial(claims.take, paths, keeps_others=keeps_others))
            )
        except (InvalidArgumentError, OSError) as error:
            return error
        return None

    async def _release_unused(self, claims: FileClaims) -> None:
        unused = {
            stem: tuple(self._possible_paths[stem].values())
            for stem in self._paths
            if stem not in self._files and not (stem in self._parts and self._parts[stem].is_kept)
        }
        if unused:
            await run_sync(claims.release, unused)

    def _report(self, absent: tuple[DownloadError, ...]) -> DownloadReport:
        errors = tuple(self._errors[stem] for stem in self._paths if stem in self._errors)
        return DownloadReport(
            task_id=self._task_id,
            files=tuple(self._files[stem] for stem in self._paths if stem in self._files),
            errors=(*absent, *errors),
        )

    async def _save(self, stem: str, scope: anyio.CancelScope, refusal: Exception | None) -> None:
        path = self._paths[stem]
        about = StemFields(
            download_id=self._id, task_id=self._task_id, label=self._label, stem=stem, path=path
        )
        self._events.emit(StemStarted(**about))
        try:
            file = await self._obtained(stem, path, refusal)
        except CallbackError as error:
            self._callback_error = self._callback_error or error.__cause__
            self._events.emit(StemFailed(error=error.__cause__ or error, **about))
            scope.cancel()
        except Exception as error:  # noqa: BLE001 - reported, so that the other stems go on
            failure = self._errors[stem] = download_error(
                self._task_id, stem, self._links.get(stem), path, error, kept=self._kept(stem)
            )
            self._events.emit(StemFailed(error=failure, **about))
        except BaseException as error:
            self._events.emit(StemFailed(error=error, **about))
            raise
        else:
            self._files[stem] = file
            about["path"] = file.path
            self._events.emit(StemSaved(size=file.size, was_fetched=file.was_fetched, **about))

    async def _obtained(self, stem: str, path: Path, refusal: Exception | None) -> StemFile:
        if refusal is not None:
            raise refusal
        return await self._existing(stem) or await self._fetch(stem, path)

    def _kept(self, stem: str) -> PartFile | None:
        """The part of *stem* that the same call would resume; None if there is none."""
        part = self._parts.get(stem)
        is_resumed = part is not None and part.is_kept
        return part if is_resumed and self._plan.options.overwrite != "always" else None

    async def _existing(self, stem: str) -> StemFile | None:
        """The file of *stem* if it is to be left alone; None if the stem must be fetched."""
        overwrite = self._plan.options.overwrite
        if overwrite == "always":
            return None
        paths = tuple(dict.fromkeys(self._possible_paths[stem].values()))
        if overwrite == "never" and (file := await run_sync(_first, _any_file, stem, paths)):
            return file
        manifest = await self._opened_manifest()
        return await run_sync(_first, manifest.intact_file, stem, paths)

    async def _opened_manifest(self) -> Manifest:
        async with self._manifest_lock:
            if self._manifest is None:
                directory = self._plan.directory
                path = self._plan.template.manifest(directory.path, self._task_id)
                self._manifest = await run_sync(Manifest, directory, self._task_id, path)
            return self._manifest

    async def _fetch(self, stem: str, path: Path) -> StemFile:
        options = self._plan.options
        reporter = ProgressReporter(
            options.on_progress, task_id=self._task_id, stem=stem, path=path
        )
        opened = opened_part(
            self._plan.directory,
            path,
            f"{self._task_id}/{stem}",
            # "always" asks for a new copy; what an earlier call left may be of the old one.
            from_start=options.overwrite == "always",
        )
        async with self._plan.open_files, AsyncExitStack() as stack:
            slot = TransferSlot(self._plan.limiter, self._rest)
            remote = self._remote_file(stem, slot.rest)
            with anyio.CancelScope(deadline=self._deadline) as scope:
                async with slot, remote:
                    part = self._parts[stem] = await stack.enter_async_context(opened)
                    await fill(remote, part, reporter)
            if scope.cancelled_caught:
                raise self._timeout_error(remote)
            part = self._parts[stem]
            # Outside the limit: while the disk synchronises one file, the next is fetched.
            path, saved = await run_sync(self._finish, stem, part)
        reporter.path = path
        await self._add_to_manifest(stem, path, saved, part)
        # After the manifest: a callback that raises must not cost a file that is complete.
        reporter.report(saved.size, saved.size, asyncio.get_running_loop().time(), at_end=True)
        return StemFile(
            stem=stem,
            path=path,
            size=saved.size,
            sha256=saved.sha256,
            was_fetched=True,
            verified=part.identity.verified,
        )

    def _timeout_error(self, remote: RemoteFile) -> TransportError:
        before = "" if remote.failure is None else f", and the last try failed: {remote.failure}"
        return TransportError(
            f"the download was not complete after its timeout of "
            f"{self._plan.options.timeout:g} s{before}"
        )

    def _finish(self, stem: str, part: PartFile) -> tuple[Path, SavedFile]:
        """Move the complete file to that of its possible paths which says what it is."""
        path = self._paths[stem]
        extension = extension_of(part.beginning(), part.identity.content_type)
        target = self._possible_paths[stem].get(extension or "", path)
        return target, part.finish(target)

    async def _add_to_manifest(
        self, stem: str, path: Path, saved: SavedFile, part: PartFile
    ) -> None:
        manifest = await self._opened_manifest()
        # The record of the links: it is newer than the one given if they were refreshed.
        record, verified = self._links.task, part.identity.verified
        async with self._manifest_lock:
            await run_sync(partial(manifest.add, stem, path, saved, record, verified=verified))


def _first(
    find: Callable[[str, Path], StemFile | None], stem: str, paths: Iterable[Path]
) -> StemFile | None:
    return next(filter(None, (find(stem, path) for path in paths)), None)


def _any_file(stem: str, path: Path) -> StemFile | None:
    """The file at *path*, with any content; None if there is none, or a folder."""
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


def download_error(
    task_id: str,
    stem: str,
    link: str | None,
    path: Path | None,
    cause: Exception,
    *,
    kept: PartFile | None = None,
) -> DownloadError:
    """The error of a stem that could not be fetched or saved; shows no secrets of its link."""
    rest = "" if kept is None else f"; {_kept_part(kept)}"
    url = None if link is None else short_url(link)
    target = "" if path is None else f" at {path}"
    source = "" if url is None else f" from {url}"
    error = DownloadError(
        f"stem {printable(stem)} of task {printable(task_id)!r}{target}{source}: "
        f"{_reason(cause)}{rest}",
        task_id=task_id,
        stem=stem,
        path=None if path is None else str(path),
        url=url,
    )
    error.__cause__ = cause
    return error


def _kept_part(part: PartFile) -> str:
    size = part.identity.size
    unit, name = (1e6, "MB") if max(part.position, size or 0) >= 1e6 else (1e3, "kB")
    whole = "" if size is None else f" of {size / unit:.1f}"
    amount = f"{part.position / unit:.1f}{whole} {name}"
    return f"{amount} are kept in {part.path}; the same call goes on from there"


def _reason(error: Exception) -> str:
    if isinstance(error, VocalSepError):
        return str(error)
    if isinstance(error, OSError):
        # The text of an OSError would repeat the path.
        return f"the disk reported: {error.strerror or type(error).__name__}"
    return f"unexpected {type(error).__name__}: {printable(str(error))}"
