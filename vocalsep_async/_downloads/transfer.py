"""From the file host to the disk: one task reads while another one writes.

Reading never waits for the disk as long as there is room between the two. It must not: what a
connection has received and nobody has read is lost when the connection breaks.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.to_thread import run_sync

from vocalsep_async._downloads.partfile import PartFile
from vocalsep_async._downloads.progress import ProgressReporter
from vocalsep_async._downloads.source import Chunk, RemoteFile, UselessError
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.errors import VocalSepError

_ROOM = 16
"""Pieces, of 256 KiB at most, between reading and writing."""


@asynccontextmanager
async def taken_up(
    path: Path, directory: Path, owner: str, *, anew: bool
) -> AsyncIterator[PartFile]:
    """The part of a file; see `PartFile.open`.

    What goes wrong in the block leaves what has arrived for another try, but for an error of the
    disk and for a file that is of no use; then nothing is left of it.

    Raises:
        OSError: it cannot be written there.
    """
    opened: list[PartFile] = []

    async def open_part() -> None:
        opened.append(await run_sync(partial(PartFile.open, path, directory, owner, anew=anew)))

    try:
        await run_to_completion(open_part())
        yield opened[0]
    except BaseException as error:
        for part in opened:
            await run_to_completion(run_sync(part.keep if _may_go_on(error) else part.discard))
        raise


async def fill(remote: RemoteFile, part: PartFile, meter: ProgressReporter) -> None:
    """Fetch what *part* lacks.

    Raises:
        VocalSepError: it cannot be had.
        OSError: it cannot be written.
        ToldError: whoever is told of progress raised.
    """
    if not part.is_complete:
        await remote.open(part.position, part.about)
        await _Pipe(remote, part, meter).run()


def _may_go_on(error: BaseException) -> bool:
    """Whether another try may use what has arrived: neither it nor the disk was the trouble."""
    is_of_disk = isinstance(error, OSError) and not isinstance(error, VocalSepError)
    return not is_of_disk and not isinstance(error, UselessError)


class _Pipe:
    """Reads and writes at the same time; the first failure ends both."""

    def __init__(self, remote: RemoteFile, part: PartFile, meter: ProgressReporter) -> None:
        self._remote = remote
        self._part = part
        self._meter = meter
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Have all bytes in the part.

        Raises:
            Exception: what reading, writing or telling met.
        """
        send, receive = anyio.create_memory_object_stream[Chunk](_ROOM)
        async with anyio.create_task_group() as group:
            group.start_soon(self._write, receive, group.cancel_scope)
            await self._read(send)
        # Raised here: a task group would wrap it.
        if self._failure is not None:
            raise self._failure

    async def _read(self, send: MemoryObjectSendStream[Chunk]) -> None:
        with send:
            try:
                while (piece := await self._remote.next()) is not None:
                    await send.send(piece)
                    done = piece.offset + len(piece.data)
                    self._meter.tell(done, piece.about.size, anyio.current_time())
            except Exception as error:  # noqa: BLE001 - raised again by `run`
                self._failure = self._failure or error

    async def _write(
        self, receive: MemoryObjectReceiveStream[Chunk], scope: anyio.CancelScope
    ) -> None:
        with receive:
            try:
                async for piece in receive:
                    await run_sync(self._part.write, [piece, *_waiting(receive)])
            except OSError as error:
                self._failure = error
                scope.cancel()


def _waiting(receive: MemoryObjectReceiveStream[Chunk]) -> list[Chunk]:
    """All that is there already: one trip to a thread for many pieces."""
    pieces: list[Chunk] = []
    with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            pieces.append(receive.receive_nowait())
    return pieces
