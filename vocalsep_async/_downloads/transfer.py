"""The pipe from file host to disk: one task reads while another one writes.

The reader does not wait for the disk while the buffer between them has room. What a connection has
received but has not been read is lost when the connection breaks, so it is read early.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.to_thread import run_sync

from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.partfile import PartFile
from vocalsep_async._downloads.source import Chunk, RemoteFile, UnusableFileError
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.downloads import OnProgress
from vocalsep_async.errors import VocalSepError
from vocalsep_async.models import DownloadProgress

# Chunks, of 256 KiB at most, between reader and writer: 4 MiB per file.
_BUFFER = 16
# Seconds between two reports: nine a second, so that the one at the end makes ten at most.
_REPORT_INTERVAL = 1 / 9


class CallbackError(Exception):
    """Wraps what ``on_progress`` raised, which must not pass for an error of host or disk."""


class ProgressReporter:
    """Reports the progress of one file, ten times a second at most.

    Args:
        on_progress: called with each report; None drops them.
        task_id: the task.
        stem: the stem's name.
        path: where the file will be, as far as it is known.
    """

    def __init__(
        self, on_progress: OnProgress | None, *, task_id: str, stem: str, path: Path
    ) -> None:
        self._on_progress = on_progress
        self._task_id = task_id
        self._stem = stem
        self.path = path
        self._reported_at = -math.inf

    def report(self, done: int, total: int | None, now: float, *, at_end: bool = False) -> None:
        """Report *done* of *total* bytes, unless the last report was too recent.

        Args:
            done: bytes that have arrived.
            total: bytes of the file; None if unknown.
            now: seconds of the event loop's clock.
            at_end: whether the file is complete; such a report is never dropped.

        Raises:
            CallbackError: the callback raised.
        """
        if self._on_progress is None or (now - self._reported_at < _REPORT_INTERVAL and not at_end):
            return
        self._reported_at = now
        progress = DownloadProgress(
            task_id=self._task_id, stem=self._stem, path=self.path, done=done, total=total
        )
        try:
            self._on_progress(progress)
        except Exception as error:
            raise CallbackError from error


@asynccontextmanager
async def opened_part(
    directory: Directory, path: Path, owner: str, *, from_start: bool
) -> AsyncIterator[PartFile]:
    """The part of the file at *path*; see `PartFile.open`.

    An error in the block keeps what has arrived for the next attempt, unless the error is of the
    disk or the content is unusable: then the part is discarded.

    Raises:
        OSError: the part cannot be written.
    """
    opened: list[PartFile] = []

    async def open_part() -> None:
        open_ = partial(PartFile.open, directory, path, owner, from_start=from_start)
        opened.append(await run_sync(open_))

    # To its end, and into a list: a thread cannot be cancelled, and if its result were dropped,
    # the open descriptor and its lock would stay behind.
    try:
        await run_to_completion(open_part())
        yield opened[0]
    except BaseException as error:
        for part in opened:
            await run_to_completion(run_sync(part.keep if _is_resumable(error) else part.discard))
        raise


async def fill(remote: RemoteFile, part: PartFile, reporter: ProgressReporter) -> None:
    """Fetch what *part* lacks.

    Raises:
        VocalSepError: the file cannot be fetched.
        OSError: the part cannot be written.
        CallbackError: the progress callback raised.
    """
    # A part may be complete already: a process that was killed before it renamed it leaves one.
    if not part.is_complete:
        await remote.open(part.position, part.identity)
        await _Pipe(remote, part, reporter).run()


def _is_resumable(error: BaseException) -> bool:
    """Whether what has arrived can be resumed after *error*."""
    # A RequestTimeoutError is an OSError too, but not one of the disk.
    is_of_disk = isinstance(error, OSError) and not isinstance(error, VocalSepError)
    return not is_of_disk and not isinstance(error, UnusableFileError)


class _Pipe:
    """Reads and writes at the same time; the first failure ends both."""

    def __init__(self, remote: RemoteFile, part: PartFile, reporter: ProgressReporter) -> None:
        self._remote = remote
        self._part = part
        self._reporter = reporter
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Transfer the rest of the file.

        Raises:
            Exception: reading, writing or reporting failed.
        """
        send, receive = anyio.create_memory_object_stream[Chunk](_BUFFER)
        async with anyio.create_task_group() as group:
            group.start_soon(self._write, receive, group.cancel_scope)
            await self._read(send)
        # Not raised in the group, which would wrap it in an ExceptionGroup.
        if self._failure is not None:
            raise self._failure

    async def _read(self, send: MemoryObjectSendStream[Chunk]) -> None:
        # A failure closes the stream and no more: the writer still saves what has arrived.
        with send:
            try:
                while (chunk := await self._remote.next()) is not None:
                    await send.send(chunk)
                    done = chunk.offset + len(chunk.data)
                    self._reporter.report(
                        done, chunk.identity.size, asyncio.get_running_loop().time()
                    )
            except Exception as error:  # noqa: BLE001 - raised again by `run`
                # The writer's failure comes first: it closes the stream, which fails the reader.
                self._failure = self._failure or error

    async def _write(
        self, receive: MemoryObjectReceiveStream[Chunk], scope: anyio.CancelScope
    ) -> None:
        with receive:
            try:
                async for chunk in receive:
                    await run_sync(self._part.write, [chunk, *_available(receive)])
            except OSError as error:
                self._failure = error
                # The reader may wait for a host that sends nothing.
                scope.cancel()


def _available(receive: MemoryObjectReceiveStream[Chunk]) -> list[Chunk]:
    # All that is in the buffer, because one call in a thread costs more than a write.
    chunks: list[Chunk] = []
    with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            chunks.append(receive.receive_nowait())
    return chunks
