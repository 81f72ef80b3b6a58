"""Task ids from arguments, a file, and standard input as it arrives."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ObjectSendStream

from vocalsep_async import InvalidArgumentError, TaskRef

_CHUNK_SIZE = 65536
_STANDARD_INPUT = "-"
# What sending to the event loop raises once the command has ended.
_RECEIVER_GONE = (
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    CancelledError,
    RuntimeError,
)


class TaskIds:
    """The task ids that a command line names.

    Args:
        arguments: the positional arguments; ``-`` stands for standard input.
        file: a file with one id per line; None for none.
        warn: called with a message for each line of standard input that is no id. Such lines are
            skipped, because the ids before them are being tracked already.

    Attributes:
        skipped_lines: whether a line of standard input was skipped.

    Raises:
        InvalidArgumentError: an argument or a line of the file is no id, the file is empty, or
            standard input is closed.
        OSError: the file cannot be read.
    """

    def __init__(
        self, arguments: Sequence[str], file: Path | None, warn: Callable[[str], None]
    ) -> None:
        self._ids = [_checked(each, "argument") for each in arguments if each != _STANDARD_INPUT]
        if file is not None:
            self._ids += _read_file(file)
        self._reads_stdin = _STANDARD_INPUT in arguments
        # Its descriptor may belong to a socket by the time it is read.
        if self._reads_stdin and sys.stdin is None:
            raise InvalidArgumentError("standard input is closed: no ids can be read from it")
        self._warn = warn
        self.skipped_lines: bool = False

    def __bool__(self) -> bool:
        return bool(self._ids) or self._reads_stdin

    def all(self) -> list[str] | AsyncIterator[str]:
        """All ids: a list, or an iterator that yields ids as standard input delivers them."""
        return self._with_stdin() if self._reads_stdin else self._ids

    async def _with_stdin(self) -> AsyncIterator[str]:
        for each in self._ids:
            yield each
        buffer = _LineBuffer()
        async for chunk in _read_chunks(0):
            for line in buffer.feed(chunk):
                task_id = self._id_or_warning(line)
                if task_id is not None:
                    yield task_id

    def _id_or_warning(self, line: str) -> str | None:
        try:
            return _checked(line, "standard input")
        except InvalidArgumentError as error:
            self.skipped_lines = True
            self._warn(f"line skipped: {error}")
        return None


def _read_file(file: Path) -> Iterator[str]:
    is_empty = True
    try:
        for number, line in enumerate(file.read_text("utf-8-sig").split("\n"), 1):
            if line.strip():
                is_empty = False
                yield _checked(line.strip(), f"{file}, line {number}")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{file} is not a text file: {error.reason}") from None
    if is_empty:
        raise InvalidArgumentError(f"{file} contains no ids: write one id per line")


def _checked(task_id: str, source: str) -> str:
    # The API's ids contain no blanks; a line with one is a list of two ids, or no list of ids.
    if len(task_id.split()) > 1:
        raise InvalidArgumentError(f"{source}: {task_id!r} is not one id: write one id per line")
    try:
        return TaskRef(task_id).task_id
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{source}: {error}") from None


class _LineBuffer:
    """Assembles lines from the chunks of a stream."""

    def __init__(self) -> None:
        # A wrong byte spoils its own line only: the ids before it are being tracked already.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._incomplete = ""

    def feed(self, chunk: bytes) -> Iterable[str]:
        """The lines that *chunk* completes, without blank ones; an empty chunk is the end."""
        text = self._incomplete + self._decoder.decode(chunk, final=not chunk)
        *lines, self._incomplete = text.split("\n")
        if not chunk:
            lines.append(self._incomplete)
        return filter(None, map(str.strip, lines))


async def _read_chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Read until the end of the stream; the last chunk is empty."""
    # A daemon thread and not a pool's: a read that waits for a person to type cannot be
    # cancelled, and a pool would wait for it when the process ends. The stream holds one chunk, so
    # that a fast producer waits for the batch.
    send, receive = anyio.create_memory_object_stream[bytes | OSError](1)
    reader = partial(_read_in_thread, descriptor, asyncio.get_running_loop(), send)
    threading.Thread(target=reader, name="vocalsep-stdin", daemon=True).start()
    async with receive, send:
        async for chunk in receive:
            if isinstance(chunk, OSError):
                raise chunk
            yield chunk
            if not chunk:
                return


def _read_in_thread(
    descriptor: int, loop: asyncio.AbstractEventLoop, send: ObjectSendStream[bytes | OSError]
) -> None:
    chunk: bytes | OSError = b"?"
    with suppress(*_RECEIVER_GONE):
        while chunk and not isinstance(chunk, OSError):
            chunk = _read(descriptor)
            _run_in_loop(send.send(chunk), loop)


def _read(descriptor: int) -> bytes | OSError:
    try:
        return os.read(descriptor, _CHUNK_SIZE)
    except OSError as error:
        return OSError(error.errno, error.strerror, "standard input")


def _run_in_loop(sending: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    try:
        future = asyncio.run_coroutine_threadsafe(sending, loop)
    except RuntimeError:  # the loop has been closed
        # A coroutine that was never awaited would warn.
        sending.close()
        raise
    future.result()
