"""The reader behind ``open_stem``: the bytes of one stem in order, each once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Self

from vocalsep_async._binding import LoopBinding
from vocalsep_async._downloads.job import StemFields
from vocalsep_async._downloads.source import Chunk, FileIdentity, RemoteFile
from vocalsep_async._events import Events, new_id
from vocalsep_async._text import printable
from vocalsep_async.downloads import StemStream
from vocalsep_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.instrumentation import StemFailed, StemSaved, StemStarted


class StreamSource(NamedTuple):
    """The file that a stream reads, and what makes a `DownloadError` of its errors."""

    remote: RemoteFile
    to_error: Callable[[VocalSepError], DownloadError]


class Stream(StemStream):
    """Implements `StemStream`.

    Args:
        task_id: its task.
        stem: its name.
        find: finds the file; called on entering, so that ``open_stem`` itself sends nothing.
        events: of the client.
        binding: to the client's event loop.
        label: the label of the task; None if it has none.
    """

    def __init__(
        self,
        task_id: str,
        stem: str,
        find: Callable[[], Awaitable[StreamSource]],
        events: Events,
        binding: LoopBinding,
        *,
        label: str | None = None,
    ) -> None:
        self._binding = binding
        self._about = StemFields(
            download_id=new_id("download"), task_id=task_id, label=label, stem=stem, path=None
        )
        self._events = events
        self._has_ended = False
        self._stem = stem
        self._find = find
        self._is_entered = False
        self._found: StreamSource | None = None
        self._delivered = 0
        self._identity = FileIdentity()

    def __repr__(self) -> str:
        state = "not entered" if self._found is None else f"{self._delivered:,} bytes read"
        return f"<StemStream of {self._stem}, {state}>"

    @property
    def stem(self) -> str:
        return self._stem

    @property
    def size(self) -> int | None:
        return self._source().remote.identity.size

    @property
    def content_type(self) -> str | None:
        return self._source().remote.identity.content_type

    async def __aenter__(self) -> Self:
        self._binding.bind()
        if self._is_entered:
            raise ConfigurationError("a stream is entered once; make another one with open_stem()")
        # Set first: a second task must not enter while this one waits for the file host.
        self._is_entered = True
        self._events.emit(StemStarted(**self._about))
        try:
            await self._open()
        except BaseException as error:
            self._end(error)
            raise
        return self

    async def _open(self) -> None:
        self._found = await self._find()
        try:
            await self._found.remote.open()
        except VocalSepError as error:
            raise self._to_error(error) from error

    def _end(self, error: BaseException | None) -> None:
        """Emit the event of the end, unless that was done."""
        if self._has_ended:
            return
        self._has_ended = True
        if error is None:
            saved = StemSaved(size=self._delivered, was_fetched=True, **self._about)
            self._events.emit(saved)
        else:
            self._events.emit(StemFailed(error=error, **self._about))

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._binding.check()
        try:
            await self._source().remote.__aexit__(type_, error, traceback)
        finally:
            # Does nothing if the stem was read to its end.
            self._end(error or self._left_early())

    def _left_early(self) -> DownloadError:
        task_id = self._about["task_id"]
        return DownloadError(
            f"stem {printable(self._stem)} of task {printable(task_id)!r} was not read to its end",
            task_id=task_id,
            stem=self._stem,
            path=None,
            url=None,
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._binding.check()
        remote = self._source().remote
        try:
            while (chunk := await remote.next()) is not None:
                if data := self._undelivered(chunk):
                    self._delivered += len(data)
                    return data
        except VocalSepError as error:
            failure = self._to_error(error)
            self._end(failure)
            raise failure from error
        self._end(None)
        raise StopAsyncIteration

    def _undelivered(self, chunk: Chunk) -> bytes:
        """The bytes of *chunk* that were not delivered before the file started again.

        Raises:
            TransportError: what was delivered may be of another file.
        """
        if chunk.offset == 0:
            # Bytes that were delivered cannot be taken back. The rest may follow only if it is
            # certain that both are of the same file.
            if self._delivered and chunk.identity.validator is None:
                raise TransportError("the connection broke, and its host cannot resume the file")
            if self._delivered and chunk.identity != self._identity:
                raise TransportError("the file changed while it was read")
            self._identity = chunk.identity
        return chunk.data[max(0, self._delivered - chunk.offset) :]

    def _to_error(self, error: VocalSepError) -> VocalSepError:
        # Misuse and a closed client are no errors of the stem.
        if isinstance(error, (ClientClosedError, ConfigurationError)):
            return error
        return self._source().to_error(error)

    def _source(self) -> StreamSource:
        if self._found is None:
            raise ConfigurationError(
                "a stream works within its block: async with client.open_stem(...) as stream: ..."
            )
        return self._found
