"""A stem for those who store it elsewhere: its bytes, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Self

from vocalsep_async._downloads.source import Chunk, FileIdentity, RemoteFile
from vocalsep_async.downloads import StemStream
from vocalsep_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    TransportError,
    VocalSepError,
)


class Source(NamedTuple):
    """Where a stream comes from, and how it words what goes wrong."""

    remote: RemoteFile
    refuse: Callable[[VocalSepError], DownloadError]


class Stream(StemStream):
    """The stream behind `StemStream`."""

    def __init__(self, stem: str, find: Callable[[], Awaitable[Source]]) -> None:
        self._stem = stem
        self._find = find
        self._is_entered = False
        self._found: Source | None = None
        self._handed_out = 0
        self._about = FileIdentity()

    def __repr__(self) -> str:
        state = "not entered" if self._found is None else f"{self._handed_out:,} bytes read"
        return f"<StemStream of {self._stem}, {state}>"

    @property
    def stem(self) -> str:
        return self._stem

    @property
    def size(self) -> int | None:
        return self._source().remote.about.size

    @property
    def content_type(self) -> str | None:
        return self._source().remote.about.content_type

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise ConfigurationError("a stream is entered once; make another one with open_stem()")
        self._is_entered = True
        self._found = await self._find()
        try:
            await self._found.remote.open()
        except VocalSepError as error:
            raise self._worded(error) from error
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._source().remote.__aexit__(type_, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        remote = self._source().remote
        try:
            while (piece := await remote.next()) is not None:
                if data := self._new(piece):
                    self._handed_out += len(data)
                    return data
        except VocalSepError as error:
            raise self._worded(error) from error
        raise StopAsyncIteration

    def _new(self, piece: Chunk) -> bytes:
        """What of *piece* was not handed out yet: the host may have begun anew.

        Raises:
            TransportError: what was handed out may be of another file.
        """
        if piece.offset == 0:
            if self._handed_out and piece.about.validator is None:
                raise TransportError("it was cut, and its host cannot go on where it was")
            if self._handed_out and piece.about != self._about:
                raise TransportError("the file was changed while it was read")
            self._about = piece.about
        return piece.data[max(0, self._handed_out - piece.offset) :]

    def _worded(self, error: VocalSepError) -> VocalSepError:
        if isinstance(error, (ClientClosedError, ConfigurationError)):
            return error
        return self._source().refuse(error)

    def _source(self) -> Source:
        if self._found is None:
            raise ConfigurationError(
                "a stream works within its block: async with client.open_stem(...) as stream: ..."
            )
        return self._found
