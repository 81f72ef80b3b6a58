"""What is uploaded: read in small pieces, and hashed as it is read.

Every try reads it from its beginning. A stream can be read only once, so it is put into a temporary
file first; then its length is known, too.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import stat
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn, Protocol, TypeVar

from anyio.to_thread import run_sync
from attrs import field, frozen

from vocalsep_async._downloads.content import SNIFFED
from vocalsep_async._tasks import run_to_completion
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError, UploadError, VocalSepError
from vocalsep_async.uploads import Uploadable

CHUNK = 1 << 16
"""Bytes that are read and sent at a time."""
# Not to wait for a writer when a pipe has taken the place of a file.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NONBLOCK", 0)
)
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class Reader:
    """One reading of a content, from its beginning to its end.

    Args:
        file: stands at the beginning.
        size: bytes of the content.
        shown: the content, as messages name it.
        is_shared: whether the file outlives the reader.

    Attributes:
        size: bytes of the content.
        beginning: its first bytes.
    """

    def __init__(self, file: IO[bytes], size: int, shown: str, *, is_shared: bool = False) -> None:
        self._file = file
        self._shown = shown
        self._is_shared = is_shared
        self._hash = hashlib.sha256()
        self._left = size
        # A read that was given up goes on in its thread: what it reads from is not closed before
        # it ends, or its number might already belong to another file.
        self._lock = threading.Lock()
        self._is_closed = False
        self.size = size
        self.beginning = file.read(SNIFFED)
        file.seek(0)

    @property
    def sha256(self) -> str:
        """Of what was read so far, in hexadecimal."""
        return self._hash.hexdigest()

    async def read(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            UploadError: there are fewer than at first, or they cannot be read.
        """
        return await run_sync(self._read)

    def _read(self) -> bytes:
        with self._lock:
            if self._is_closed or not self._left:
                return b""
            try:
                data = self._file.read(min(CHUNK, self._left))
            except OSError as error:
                _unreadable(self._shown, error)
            if not data:
                raise UploadError(f"{self._shown} has become shorter while it was sent")
            self._left -= len(data)
            self._hash.update(data)
            return data

    async def digest(self) -> str:
        """Read to the end, and return what `sha256` is there.

        Raises:
            UploadError: as for `read`.
        """
        return await run_sync(self._digest)

    def _digest(self) -> str:
        while self._read():
            """It is hashed as it is read."""
        return self.sha256

    def close(self) -> None:
        """End the reading; may be called again, and blocks until a read has ended."""
        with self._lock:
            self._is_closed = True
            if not self._is_shared:
                self._file.close()


class Content(Protocol):
    """What can be read again and again.

    Attributes:
        name: the file's own name; None if it has none.
        may_change: whether another program may write to it meanwhile.
    """

    @property
    def name(self) -> str | None: ...
    @property
    def may_change(self) -> bool: ...

    def open(self) -> Reader:
        """Begin to read it; blocks."""


@frozen
class FileContent:
    """A file at a path."""

    path: Path
    may_change: bool = True

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def _shown(self) -> str:
        return f"the file {printable(str(self.path))}"

    def open(self) -> Reader:
        """Open the file.

        Raises:
            InvalidArgumentError: there is no such file, or it cannot be opened.
        """
        try:
            # Before it is opened, because opening a device may do something.
            self._check_kind(self.path.stat().st_mode)
            file = open(self.path, "rb", buffering=0, opener=_opened)  # noqa: SIM115 - see `Reader`
        except OSError as error:
            raise InvalidArgumentError(
                f"{self._shown} cannot be opened ({_reason(error)}); check the path"
            ) from error
        try:
            status = os.fstat(file.fileno())
            self._check_kind(status.st_mode)
            return Reader(file, status.st_size, self._shown)
        except BaseException:
            file.close()
            raise

    def _check_kind(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            kind = next((name for test, name in _KINDS if test(mode)), "no file")
            raise InvalidArgumentError(
                f"{self._shown} is {kind}; pass the path of a file, or a stream"
            )


def _opened(path: str, _flags: int) -> int:
    return os.open(path, _FLAGS)


@frozen
class BytesContent:
    """Bytes in memory."""

    data: bytes = field(repr=False)
    name: str | None = None
    may_change: bool = False

    def open(self) -> Reader:
        return Reader(io.BytesIO(self.data), len(self.data), "the content")


@frozen
class SpooledContent:
    """A stream that was read into a temporary file without a name."""

    file: IO[bytes]
    size: int
    name: str | None
    may_change: bool = False

    def open(self) -> Reader:
        self.file.seek(0)
        return Reader(self.file, self.size, "the stream", is_shared=True)


@asynccontextmanager
async def content_of(file: Uploadable, max_bytes: int) -> AsyncIterator[Content]:
    """A block with the content of *file*, of which a stream has been read to its end.

    Raises:
        InvalidArgumentError: it is nothing that can be uploaded, or a stream has more than
            *max_bytes*.
        UploadError: a stream cannot be read.
    """
    if isinstance(file, (bytes, bytearray, memoryview)):
        yield BytesContent(bytes(file))
    elif isinstance(file, (str, os.PathLike)):
        yield FileContent(_path(file))
    else:
        pieces = _pieces_of(file)
        async with held(TemporaryFile) as spool:
            size = await _spool(pieces, spool, max_bytes)
            yield SpooledContent(spool, size, _name_of(file))


def _path(value: str | os.PathLike[str]) -> Path:
    name: object = os.fspath(value)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InvalidArgumentError("file must be a path, bytes or a stream of bytes")
    if name.lower().startswith(("http://", "https://")):
        raise InvalidArgumentError(
            "file is a URL, which needs no upload: pass it as create_task(audio_url=...)"
        )
    return Path(name)


def _name_of(stream: object) -> str | None:
    # Of a file that was opened by its descriptor, it is a number.
    name = getattr(stream, "name", None)
    return Path(name).name if isinstance(name, str) else None


# Streams


async def _spool(pieces: AsyncIterator[bytes], spool: IO[bytes], max_bytes: int) -> int:
    size = 0
    async for data in pieces:
        size += len(data)
        check_size(size, max_bytes, "the stream", "at least ")
        await run_sync(spool.write, data)
    return size


def _pieces_of(stream: Any) -> AsyncIterator[bytes]:
    """The pieces of a stream.

    Raises:
        InvalidArgumentError: it is none.
    """
    if isinstance(stream, io.TextIOBase):
        raise InvalidArgumentError('the file is open as text: open it with mode "rb"')
    # First, because an iterator may give lines.
    if callable(getattr(stream, "read", None)):
        return _checked(_read_to_end(stream.read))
    if isinstance(stream, AsyncIterable):
        return _checked(aiter(stream))
    raise InvalidArgumentError(
        f"file must be a path, bytes or a stream of bytes, not {type(stream).__name__}"
    )


async def _read_to_end(read: Callable[[int], Any]) -> AsyncIterator[Any]:
    is_async = inspect.iscoroutinefunction(read)
    while True:
        # In a thread, since it may wait for a disk or a pipe; given up if the upload ends.
        data = read(CHUNK) if is_async else await run_sync(read, CHUNK, abandon_on_cancel=True)
        if inspect.isawaitable(data):
            data = await data
        if isinstance(data, (bytes, bytearray)) and not data:
            return
        yield data


async def _checked(pieces: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    while True:
        try:
            data = await anext(pieces)
        except StopAsyncIteration:
            return
        except OSError as error:
            # A RequestTimeoutError is one, too.
            if isinstance(error, VocalSepError):
                raise
            _unreadable("the stream", error)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidArgumentError(f"the stream gives {type(data).__name__}, and not bytes")
        yield bytes(data)


def check_size(size: int, max_bytes: int, shown: str, least: str = "") -> None:
    """Check that *size* bytes can be uploaded.

    Raises:
        InvalidArgumentError: they are too many.
    """
    if size > max_bytes:
        raise InvalidArgumentError(
            f"{shown} has {least}{size:,} bytes; max_bytes is {max_bytes:,}, and nothing was sent. "
            "Make it smaller, or allow more: which limit the upload host has is not documented"
        )


def _unreadable(shown: str, error: OSError) -> NoReturn:
    raise UploadError(f"{shown} cannot be read ({_reason(error)})") from error


def _reason(error: OSError) -> str:
    return printable(error.strerror or type(error).__name__)


@asynccontextmanager
async def held(make: Callable[[], C]) -> AsyncIterator[C]:
    """A block with what *make* gives in a thread; it is closed at the end."""
    made: list[C] = []

    async def in_thread() -> None:
        made.append(await run_sync(make))

    # To its end, and into a list: a thread cannot be cancelled, and if its result were dropped,
    # the open file would stay behind.
    try:
        await run_to_completion(in_thread())
        yield made[0]
    finally:
        for each in made:
            await run_to_completion(run_sync(each.close))
