"""A stem for those who store it elsewhere: its bytes, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from vocalsep_async.downloads.remote import About, Piece, Remote
from vocalsep_async.errors import ConfigurationError, DownloadError, TransportError, VocalSepError

Refuse = Callable[[VocalSepError], DownloadError]


class StemStream:
    """The bytes of one stem; made by `VocalSepClient.open_stem`.

    An async context manager, and an async iterator of the chunks in which they come. A connection
    that breaks is mended: the rest follows, as if nothing had been.

    Attributes:
        stem: its name.
    """

    def __init__(self, stem: str, find: Callable[[], Awaitable[tuple[Remote, Refuse]]]) -> None:
        self.stem = stem
        self._find = find
        self._found: tuple[Remote, Refuse] | None = None
        self._handed_out = 0
        self._about = About()

    def __repr__(self) -> str:
        state = "not entered" if self._found is None else f"{self._handed_out:,} bytes read"
        return f"<StemStream of {self.stem}, {state}>"

    @property
    def size(self) -> int | None:
        """Bytes in all; None if the host does not say.

        Raises:
            ConfigurationError: the stream was not entered.
        """
        return self._entered()[0].about.size

    @property
    def content_type(self) -> str | None:
        """What the host calls it, such as ``audio/mpeg``; None if it does not.

        Raises:
            ConfigurationError: the stream was not entered.
        """
        return self._entered()[0].about.content_type

    async def __aenter__(self) -> Self:
        if self._found is not None:
            raise ConfigurationError("a stream is entered once; make another one with open_stem()")
        remote, refuse = self._found = await self._find()
        try:
            await remote.open()
        except VocalSepError as error:
            raise refuse(error) from error
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._entered()[0].__aexit__(type_, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        remote, refuse = self._entered()
        while True:
            try:
                piece = await remote.next()
            except VocalSepError as error:
                raise refuse(error) from error
            if piece is None:
                raise StopAsyncIteration
            if data := self._new(piece, refuse):
                self._handed_out += len(data)
                return data

    def _new(self, piece: Piece, refuse: Refuse) -> bytes:
        """What of *piece* was not handed out yet: the host may have begun anew."""
        if piece.offset == 0:
            if self._handed_out and piece.about != self._about:
                raise refuse(TransportError("the file was changed while it was read"))
            self._about = piece.about
        if self._handed_out and self._about.validator is None and piece.offset == 0:
            raise refuse(TransportError("it was cut, and its host cannot go on where it was"))
        return piece.data[max(0, self._handed_out - piece.offset) :]

    def _entered(self) -> tuple[Remote, Refuse]:
        if self._found is None:
            raise ConfigurationError(
                "a stream works within its block: async with client.open_stem(...) as stream: ..."
            )
        return self._found
