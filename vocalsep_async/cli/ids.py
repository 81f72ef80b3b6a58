"""Ids of tasks from arguments, a file, and standard input as they come."""

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

_CHUNK = 65536
_STANDARD_INPUT = "-"
_NOBODY_LISTENS = (
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    CancelledError,
    RuntimeError,
)


class Ids:
    """What a command line names as tasks.

    Args:
        given: the arguments; ``-`` stands for standard input.
        file: a file with one id a line; None for none.
        warn: told of lines of standard input that are no ids: what came before is under way.

    Raises:
        InvalidArgumentError: an argument or a line of the file is no id, or the file is empty.
        OSError: the file cannot be read.
    """

    def __init__(
        self, given: Sequence[str], file: Path | None, warn: Callable[[str], None]
    ) -> None:
        self._checked = [
            _checked(each, "the arguments") for each in given if each != _STANDARD_INPUT
        ]
        if file is not None:
            self._checked += _in_file(file)
        self._reads_on = _STANDARD_INPUT in given
        # Its number may be that of a socket by now.
        if self._reads_on and sys.stdin is None:
            raise InvalidArgumentError("standard input is closed: nothing can be read from it")
        self._warn = warn
        self.has_bad_lines = False
        """Whether a line of standard input was no id."""

    def __bool__(self) -> bool:
        return bool(self._checked) or self._reads_on

    def all(self) -> list[str] | AsyncIterator[str]:
        """Every id: at once, or as they come where standard input is read."""
        return self._as_they_come() if self._reads_on else self._checked

    async def _as_they_come(self) -> AsyncIterator[str]:
        for each in self._checked:
            yield each
        lines = _Lines()
        async for chunk in _chunks(0):
            for line in lines.fed(chunk):
                task_id = self._usable(line)
                if task_id is not None:
                    yield task_id

    def _usable(self, line: str) -> str | None:
        try:
            return _checked(line, "standard input")
        except InvalidArgumentError as error:
            self.has_bad_lines = True
            self._warn(f"left out: {error}")
        return None


def _in_file(file: Path) -> Iterator[str]:
    found = False
    try:
        for number, line in enumerate(file.read_text("utf-8-sig").split("\n"), 1):
            if line.strip():
                found = True
                yield _checked(line.strip(), f"{file}, line {number}")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{file} is no text: {error.reason}") from None
    if not found:
        raise InvalidArgumentError(f"{file} holds no ids: write one a line")


def _checked(task_id: str, where: str) -> str:
    """An id as it was given; none of the API's holds a blank, but lists of two on a line do."""
    if len(task_id.split()) > 1:
        raise InvalidArgumentError(f"{where}: {task_id!r} is more than one word: one id a line")
    try:
        return TaskRef(task_id).task_id
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None


class _Lines:
    """Puts lines together from pieces of a stream."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._left = ""

    def fed(self, piece: bytes) -> Iterable[str]:
        """The lines that *piece* completes, without blank ones; an empty piece is the end."""
        text = self._left + self._decoder.decode(piece, final=not piece)
        *lines, self._left = text.split("\n")
        if not piece:
            lines.append(self._left)
        return filter(None, map(str.strip, lines))


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Read until the end; the last piece is empty.

    A thread that ends with the process: one that waits for a person to type cannot be cancelled,
    and a pool would wait for it.
    """
    send, receive = anyio.create_memory_object_stream[bytes | OSError](1)
    reader = partial(_read, descriptor, asyncio.get_running_loop(), send)
    threading.Thread(target=reader, name="vocalsep-stdin", daemon=True).start()
    async with receive, send:
        async for piece in receive:
            if isinstance(piece, OSError):
                raise piece
            yield piece
            if not piece:
                return


def _read(
    descriptor: int, loop: asyncio.AbstractEventLoop, send: ObjectSendStream[bytes | OSError]
) -> None:
    piece: bytes | OSError = b"?"
    with suppress(*_NOBODY_LISTENS):
        while piece and not isinstance(piece, OSError):
            piece = _piece(descriptor)
            _hand_over(send.send(piece), loop)


def _piece(descriptor: int) -> bytes | OSError:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError as error:
        return OSError(error.errno, error.strerror, "standard input")


def _hand_over(sending: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    try:
        handed = asyncio.run_coroutine_threadsafe(sending, loop)
    except RuntimeError:  # the loop has been closed
        sending.close()
        raise
    handed.result()
