"""One file at its host: read from anywhere, in spite of cuts, and of links that expire.

What comes is told with the place it belongs to. After a cut the rest is asked for, if the host can
identify the file (``If-Range``); where it cannot, or sends the whole file again, or another one,
the file begins anew at 0.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

import anyio
from attrs import frozen

from vocalsep_async._downloads.links import StemLinks
from vocalsep_async._downloads.stall import StallDetector
from vocalsep_async._transport.files import FileReply, FileTransport
from vocalsep_async.errors import ConfigurationError, ErrorAction, TransportError, VocalSepError
from vocalsep_async.policies import RetryPolicy

_EXPIRED = frozenset({403, 404, 410})
_TOO_EARLY_OR_TOO_MUCH = frozenset({408, 425, 429})
_TEXT_BEGINNINGS = (b"<", b"{", b"[")
"""Web pages and JSON begin so, and no kind of audio does."""
_ENOUGH = 64
"""Bytes at the beginning of a file that tell whether it is text."""
_PROGRESS = 1 << 16
"""Bytes that nobody had before; after so many a new cut is a first one again."""


@frozen
class FileIdentity:
    """What identifies a file at its host.

    Attributes:
        validator: what to ask for further parts with; None where only the whole can be asked for.
        size: bytes in all; None if not said.
        verified: whether its end can be told from a cut.
        content_type: what the host calls it; None if it does not.
    """

    validator: str | None = None
    size: int | None = None
    verified: bool = False
    content_type: str | None = None


class Chunk(NamedTuple):
    """Some bytes, where they begin in the file, and what file that is."""

    offset: int
    data: bytes
    about: FileIdentity


class UselessError(TransportError):
    """What came is of no use, and what would follow is not either."""

    def __init__(self, why: str) -> None:
        super().__init__(why, action=ErrorAction.RAISE)


class RemoteFile:
    """A stem at its host.

    Args:
        stem: its name.
        links: where it is.
        files: fetches it.
        retry: how often a broken request is tried.
        max_bytes: how large it may be.

    Attributes:
        about: the file that is read; of the last answer.
        position: where the next bytes belong.
    """

    def __init__(
        self, stem: str, links: StemLinks, files: FileTransport, retry: RetryPolicy, max_bytes: int
    ) -> None:
        self._stem = stem
        self._links = links
        self._files = files
        self._retry = retry
        self._max_bytes = max_bytes
        self._reply: FileReply | None = None
        self._stack = AsyncExitStack()
        self._failures = 0
        self._farthest = 0
        self._went_on = False
        self._is_left = False
        self._pace = StallDetector()
        self.about = FileIdentity()
        self.position = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._is_left = True
        await self._hang_up()

    async def open(self, position: int = 0, about: FileIdentity | None = None) -> None:
        """Ask for the file, from *position* on if it still is the one that *about* says.

        Raises:
            VocalSepError: it cannot be had.
        """
        self.position, self.about = position, about or FileIdentity()
        if self._links.has_expired(self._stem):
            # If there is no other, the host will say whether this one is good.
            await self._renewed(self._link(), "the link is past its time")
        await self._until_answered()

    async def next(self) -> Chunk | None:
        """The next bytes; None when the file is complete.

        Raises:
            VocalSepError: the rest cannot be had.
        """
        if self._is_left:
            raise ConfigurationError("the block in which it could be read was left")
        while True:
            try:
                data = await self._read()
            except TransportError as error:
                await self._after(error)
                await self._until_answered()
            else:
                return self._gain(data) if data else None

    async def _read(self) -> bytes:
        data = await self._received()
        if not data and self.about.size not in (None, self.position):
            raise TransportError(f"only {self.position:,} of {self.about.size:,} bytes came")
        if not data and self.position == 0:
            raise TransportError("the file is empty")
        if self.position == 0 and _is_text(data):
            raise UselessError("text came in place of audio, such as a web page")
        end = self.position + len(data)
        if self.about.size is not None and end > self.about.size:
            raise TransportError(f"more than the announced {self.about.size:,} bytes came")
        if end > self._max_bytes:
            raise UselessError(f"it is larger than {self._max_bytes:,} bytes")
        return data

    async def _received(self) -> bytes:
        """What comes next; of the beginning of a file, enough to tell what it is."""
        data = await self._timed()
        while self.position == 0 and 0 < len(data) < _ENOUGH and (more := await self._timed()):
            data += more
        return data

    async def _timed(self) -> bytes:
        if self._reply is None:
            raise TransportError("there is no answer to read")
        began = anyio.current_time()
        data = await self._reply.read()
        if data:
            self._pace.gained(len(data), anyio.current_time() - began)
        return data

    def _gain(self, data: bytes) -> Chunk:
        piece = Chunk(self.position, data, self.about)
        self.position += len(data)
        # A host that begins anew after each cut, and is cut each time, brings nothing new.
        if self._went_on and self.position >= self._farthest + _PROGRESS:
            self._failures, self._farthest = 0, self.position
        return piece

    # Asking

    async def _until_answered(self) -> None:
        while self._reply is None:
            try:
                await self._ask()
            except TransportError as error:
                await self._after(error)

    async def _after(self, error: TransportError) -> None:
        """Hang up, and wait until the next try.

        Raises:
            TransportError: there is none.
        """
        await self._hang_up()
        self._failures += 1
        if error.action is not ErrorAction.RETRY or self._failures >= self._retry.attempts:
            raise error
        await anyio.sleep(self._retry.delay(self._failures, random.random()))

    async def _ask(self) -> None:
        link = self._link()
        reply = await self._stack.enter_async_context(self._files.get(link, self._range()))
        if reply.status in _EXPIRED:
            await self._hang_up()
            reason = f"the link has expired ({reply.status})"
            if not await self._renewed(link, reason):
                _give_up(f"{reason}, and a look at the task gave no other")
        elif reply.status in _TOO_EARLY_OR_TOO_MUCH or reply.status >= 500:
            raise TransportError(f"the file host answered {reply.status}")
        elif self.position == 0 or self._goes_on(reply):
            self._accept(reply)
        else:
            # The whole file comes, or nothing that fits what is there.
            self._begin_anew()
            if reply.status == 200:
                self._accept(reply)
            else:
                await self._hang_up()

    async def _renewed(self, link: str, reason: str) -> bool:
        try:
            return await self._links.renewed(self._stem, link)
        except VocalSepError as error:
            _give_up(f"{reason}, and the look for another one failed: {error}")

    def _begin_anew(self) -> None:
        self.position, self.about = 0, FileIdentity()

    def _range(self) -> dict[str, str]:
        if self.position == 0 or self.about.validator is None:
            self._begin_anew()
            return {}
        return {"Range": f"bytes={self.position}-", "If-Range": self.about.validator}

    def _goes_on(self, reply: FileReply) -> bool:
        """Whether *reply* begins where the last one ended, in the same file."""
        return (
            reply.status == 206
            and reply.start == self.position
            and reply.size == self.about.size
            and (reply.size is not None or reply.is_delimited)
            and reply.validator in (None, self.about.validator)
        )

    def _accept(self, reply: FileReply) -> None:
        _validation(reply, self.position, self._max_bytes)
        self._went_on = self.position > 0
        self._farthest = max(self._farthest, self.position)
        if not self._went_on:
            self.about = FileIdentity(
                validator=reply.validator,
                size=reply.size,
                verified=reply.is_delimited,
                content_type=reply.content_type,
            )
        self._pace = StallDetector()
        self._reply = reply

    def _link(self) -> str:
        link = self._links.get(self._stem)
        if link is None:
            _give_up("a fresh look at the task gave no link for it")
        return link

    async def _hang_up(self) -> None:
        self._reply = None
        await self._stack.aclose()


def _validation(reply: FileReply, position: int, max_bytes: int) -> None:
    """Refuse what is no audio file, or not all there.

    Raises:
        TransportError: it is of no use, and another try would not help.
    """
    if reply.status != (206 if position else 200):
        _give_up(f"the file host answered {reply.status}")
    if reply.encoding is not None:
        _give_up("the file came compressed, which was not asked for")
    kind = reply.content_type or ""
    if kind.startswith("text/") or kind.endswith(("json", "xml")):
        _give_up(f"{reply.content_type} came in place of audio")
    if reply.size is not None and reply.size > max_bytes:
        _give_up(f"it has {reply.size:,} bytes; at most {max_bytes:,} are fetched")


def _is_text(beginning: bytes) -> bool:
    return beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_TEXT_BEGINNINGS)


def _give_up(why: str) -> NoReturn:
    raise TransportError(why, action=ErrorAction.RAISE)
