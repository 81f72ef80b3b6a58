"""Lines of text from files, and from standard input as it arrives."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from anyio.abc import ObjectSendStream

from vocalsep_async import InvalidArgumentError

_CHUNK_SIZE = 65536
_LONGEST_LINE = 65536
"""Characters; a longer line is no id, and what has no line ends at all would fill the memory."""
# The mark of UTF-32 begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_DETECTED = 4
"""Bytes that tell encodings without a mark apart: ids are ASCII."""
# What sending to the event loop raises once the command has ended.
_RECEIVER_GONE = (
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    CancelledError,
    RuntimeError,
)


class TextError(InvalidArgumentError):
    """A text whose lines cannot be told apart, or are no CSV."""


def parted(line: str) -> list[str]:
    """The lines in *line*, which some programs end with a character of Unicode's."""
    return line.splitlines() or [""]


def lines_of(opened: io.BufferedReader) -> Iterator[str]:
    """The lines of a file that is open for reading.

    Raises:
        TextError: a line is too long.
        UnicodeDecodeError: the bytes are no text.
    """
    buffer = LineBuffer("strict")
    chunk = b"?"
    while chunk:
        chunk = opened.read(_CHUNK_SIZE)
        yield from buffer.feed(chunk)


class LineBuffer:
    """Assembles lines from the chunks of a stream, in the encoding that its first bytes mark.

    Args:
        errors: what to do with bytes that are no text, as for ``bytes.decode``.
    """

    # By default a wrong byte spoils its own line only: the ids before it are being tracked already.
    def __init__(self, errors: str = "replace") -> None:
        self._errors = errors
        self._decoder: io.IncrementalNewlineDecoder | None = None
        self._beginning = b""
        self._incomplete: list[str] = []
        self._length = 0
        """Characters of the incomplete line."""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that *chunk* completes; an empty chunk is the end.

        Raises:
            InvalidArgumentError: a line is too long; those before it were yielded.
            UnicodeDecodeError: the bytes are no text, with ``errors="strict"``.
        """
        *lines, rest = self._decode(chunk).split("\n")
        for line in lines:
            self._append(line)
            yield self._take()
        self._append(rest)
        if not chunk:
            yield self._take()

    def _append(self, part: str) -> None:
        self._incomplete.append(part)
        self._length += len(part)
        if self._length > _LONGEST_LINE:
            raise TextError(
                f"a line has more than {_LONGEST_LINE:,} characters: write one id per line"
            )

    def _take(self) -> str:
        line = "".join(self._incomplete)
        self._incomplete, self._length = [], 0
        return line

    def _decode(self, chunk: bytes) -> str:
        is_end = not chunk
        if self._decoder is None:
            chunk = self._beginning = self._beginning + chunk
            if not is_end and _may_be_part_of_mark(chunk):
                return ""
            self._decoder, chunk = self._start(chunk)
        return self._decoder.decode(chunk, final=is_end)

    def _start(self, beginning: bytes) -> tuple[io.IncrementalNewlineDecoder, bytes]:
        marks = (mark for mark in _BYTE_ORDER_MARKS if beginning.startswith(mark))
        mark = next(marks, b"")
        encoding = _BYTE_ORDER_MARKS[mark] if mark else _unmarked_encoding(beginning)
        decoder = codecs.getincrementaldecoder(encoding)(self._errors)
        return io.IncrementalNewlineDecoder(decoder, translate=True), beginning[len(mark) :]


def _may_be_part_of_mark(beginning: bytes) -> bool:
    """Whether a text cannot be read yet: what marks its encoding may arrive in pieces."""
    is_part = any(mark.startswith(beginning) and mark != beginning for mark in _BYTE_ORDER_MARKS)
    # One byte is no line; with a zero it is not UTF-8.
    return is_part or len(beginning) < (_DETECTED if b"\0" in beginning else 2)


def _unmarked_encoding(beginning: bytes) -> str:
    """The encoding of a text without a mark, by the zero bytes around its first characters."""
    zeros = tuple(byte == 0 for byte in beginning[:_DETECTED])
    return _ZEROS.get(zeros, "utf-8")


async def read_chunks(descriptor: int) -> AsyncIterator[bytes]:
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
