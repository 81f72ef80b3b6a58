"""One file at its host: read from any position, in spite of cuts and of links that expire.

Every chunk carries its offset and the identity of its file. After a cut, only the rest is requested
(``Range`` with ``If-Range``, RFC 9110, sections 13.1.5 and 14.2). If the host does not identify the
file in both answers, or sends all of it or another one, the file starts again at offset 0.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import NamedTuple, NoReturn, Self
from urllib.parse import parse_qs, urlsplit

import anyio
from attrs import frozen

from vocalsep_async._downloads.content import SMALLEST, SNIFFED, foreign
from vocalsep_async._downloads.patience import (
    Absence,
    NoFileYetError,
    Patience,
    Rest,
    StallDetector,
)
from vocalsep_async._downloads.selection import links_of
from vocalsep_async._transport.files import FileReply, FileTransport
from vocalsep_async.errors import (
    ClientClosedError,
    ConfigurationError,
    ErrorAction,
    TransportError,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask
from vocalsep_async.policies import YOUNG_LINK, RetryPolicy

_TRANSIENT = frozenset({408, 425, 429})
_ACCEPTED, _PRECONDITION_FAILED, _NO_SUCH_RANGE = 202, 412, 416
# Bytes beyond the farthest position so far that count as progress.
_MIN_PROGRESS = 1 << 16
# Of links that CloudFront signed.
_EXPIRY_FIELDS: Mapping[str, Callable[[str], float]] = {"Expires": int}
# The API promises its links for 14 days after the end of the task at best.
_LINK_LIFETIME = timedelta(days=14)
_PATIENCE = Patience()


@frozen
class FileIdentity:
    """What identifies a file at its host.

    Attributes:
        validator: strong ETag or Last-Modified, for ``If-Range``; None if the file cannot be
            resumed.
        size: bytes of the whole file; None if the host does not say.
        verified: whether the end of the file is distinguishable from a cut.
        content_type: media type without parameters; None if the host does not say.
    """

    validator: str | None = None
    size: int | None = None
    verified: bool = False
    content_type: str | None = None


class Chunk(NamedTuple):
    """Consecutive bytes of a file, their offset in it, and the identity of the file."""

    offset: int
    data: bytes
    identity: FileIdentity


class UnusableFileError(TransportError):
    """The content is not a file to keep: neither what has arrived nor the rest of it."""

    def __init__(self, why: str) -> None:
        super().__init__(why, action=ErrorAction.RAISE)


class StemLinks:
    """The links of one task's stems; one poll of the task refreshes all of them.

    Args:
        task: its final record.
        poll: fetches the record again.
    """

    def __init__(self, task: SeparationTask, poll: Callable[[], Awaitable[SeparationTask]]) -> None:
        self.task = task
        self._poll = poll
        self._links = links_of(task)
        self._was_polled = False
        self._lock = anyio.Lock()

    def get(self, stem: str) -> str | None:
        """The newest link of *stem*; None if the newest record has none."""
        return self._links.get(stem)

    def has_expired(self, stem: str) -> bool:
        """Whether the link has expired by its own query, or else by the age of the task.

        False if neither is known; then only the file host knows.
        """
        link, now = self.get(stem), datetime.now(UTC)
        if link is None:
            return False
        expires_at = _expiry(link)
        if expires_at is not None:
            return expires_at <= now
        completed_at = self.task.completed_at
        return completed_at is not None and now - completed_at >= _LINK_LIFETIME

    def is_young(self, stem: str) -> bool:
        """Whether the link cannot be past its time: by its own query, or by the age of the task."""
        now = datetime.now(UTC)
        expires_at = _expiry(self._links.get(stem, ""), {**_EXPIRY_FIELDS, "expires": float})
        if expires_at is not None:
            return expires_at > now
        ended_at = self.task.completed_at or self.task.created_at
        return ended_at is not None and (now - ended_at).total_seconds() < YOUNG_LINK

    async def refresh(self, stem: str, link: str) -> bool:
        """Poll the task unless that was done before; whether *stem* has a link other than *link*.

        Raises:
            VocalSepError: the poll failed.
        """
        async with self._lock:
            # One poll per task and call: if the links of that poll are dead too, another poll
            # would bring no better ones. The flag is set first, so that a failed poll counts.
            if self._links.get(stem) == link and not self._was_polled:
                self._was_polled = True
                self.task = await self._poll()
                self._links = links_of(self.task)
            # In the block: Python 3.11 does not record the way past an if at its end.
            return self.get(stem) not in (None, link)


def _expiry(
    link: str, fields: Mapping[str, Callable[[str], float]] = _EXPIRY_FIELDS
) -> datetime | None:
    """When a signed link (CloudFront or S3) expires; None if its query does not say."""
    try:
        query = parse_qs(urlsplit(link).query)
        for name, number in fields.items():
            if name in query:
                return datetime.fromtimestamp(number(query[name][0]), UTC)
        if "X-Amz-Date" in query and "X-Amz-Expires" in query:
            signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
            return signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    except (ValueError, OverflowError, OSError):
        return None  # the query is the server's and may hold anything; the file host will decide
    return None


class RemoteFile:
    """One stem at its host.

    Args:
        stem: its name.
        links: the links of its task.
        files: sends the requests.
        retry: how often a failed request is repeated, and after what delays.
        max_bytes: largest size that is accepted.
        patience: how long it goes on without progress.
        rest: waits between two tries.

    Attributes:
        identity: of the file that is being read, by the last answer accepted.
        position: offset of the next byte.
    """

    def __init__(
        self,
        stem: str,
        links: StemLinks,
        files: FileTransport,
        retry: RetryPolicy,
        max_bytes: int,
        *,
        patience: Patience = _PATIENCE,
        rest: Rest = anyio.sleep,
    ) -> None:
        self._stem = stem
        self._links = links
        self._files = files
        self._retry = retry
        self._max_bytes = max_bytes
        self._reply: FileReply | None = None
        self._stack = AsyncExitStack()
        self._patience = patience
        self._rest = rest
        self._absence = Absence(retry, patience)
        # A file whose least pace is low makes progress in small steps.
        self._min_progress = min(_MIN_PROGRESS, patience.min_bytes_per_minute or 1)
        self._farthest = 0
        self._starts = 0
        """Answers in a row that began at the start of the file."""
        self._is_resumed = False
        self._is_closed = False
        self._stall = StallDetector(patience.min_bytes_per_minute)
        self.identity = FileIdentity()
        self.position = 0

    @property
    def failure(self) -> str | None:
        """Why the last try failed, if there was no progress since; None if there was."""
        return self._absence.failure

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._is_closed = True
        await self._disconnect()

    async def open(self, position: int = 0, identity: FileIdentity | None = None) -> None:
        """Request the file, from *position* on if it still has that *identity*.

        Raises:
            VocalSepError: the file host gave no usable answer.
        """
        self.position, self.identity = position, identity or FileIdentity()
        if self._links.has_expired(self._stem):
            # The result is ignored: without another link, the file host decides on this one.
            await self._refresh_link(self._link(), "the link has expired")
        await self._connect()

    async def next(self) -> Chunk | None:
        """The next chunk; None at the end of the file.

        A chunk at offset 0 replaces all earlier ones.

        Raises:
            VocalSepError: the rest of the file cannot be fetched.
        """
        if self._is_closed:
            raise ConfigurationError("the file cannot be read after its block has ended")
        while True:
            try:
                data = await self._read()
            except TransportError as error:
                self._check_starts(error)
                await self._back_off(error)
                await self._connect()
            else:
                return self._to_chunk(data) if data else None

    async def _read(self) -> bytes:
        data = await self._read_beginning() if self.position == 0 else await self._receive()
        if not data:
            self._check_end()
        if self.position == 0:
            self._check_content(data)
        self._check_size(self.position + len(data))
        return data

    def _check_end(self) -> None:
        if self.identity.size not in (None, self.position):
            raise TransportError(f"only {self.position:,} of {self.identity.size:,} bytes arrived")
        if self.position == 0:
            raise TransportError("the file is empty")

    def _check_content(self, beginning: bytes) -> None:
        if (what := foreign(beginning)) is not None:
            raise UnusableFileError(f"the file host sent {what} and not audio")
        if (count := len(beginning)) >= SMALLEST:
            return
        if not self.identity.verified:
            raise TransportError(f"only {count} bytes arrived, which is too little for audio")
        raise UnusableFileError(f"the file has only {count} bytes, which is too little for audio")

    def _check_size(self, end: int) -> None:
        if self.identity.size is not None and end > self.identity.size:
            raise TransportError(f"more than the announced {self.identity.size:,} bytes arrived")
        if end > self._max_bytes:
            raise UnusableFileError(f"the file is larger than {self._max_bytes:,} bytes")

    async def _read_beginning(self) -> bytes:
        # A page may arrive a byte at a time: wait for enough to recognise it.
        data = await self._receive()
        while 0 < len(data) < SNIFFED and (more := await self._receive()):
            data += more
        return data

    async def _receive(self) -> bytes:
        if self._reply is None:
            # Without `open`, the first attempt fails here, and the retry connects.
            raise TransportError("the file has not been requested yet")
        started_at = asyncio.get_running_loop().time()
        data = await self._reply.read()
        if data:
            self._stall.on_received(len(data), asyncio.get_running_loop().time() - started_at)
        return data

    def _to_chunk(self, data: bytes) -> Chunk:
        chunk = Chunk(self.position, data, self.identity)
        self.position += len(data)
        if self.position >= self._farthest + self._min_progress:
            self._absence, self._farthest = Absence(self._retry, self._patience), self.position
            if self._is_resumed:
                self._starts = 0
        return chunk

    # Requests

    async def _connect(self) -> None:
        while self._reply is None:
            try:
                await self._request()
            except TransportError as error:
                await self._back_off(error)

    def _check_starts(self, error: TransportError) -> None:
        # A host that cannot resume a file, and is cut each time, sends all of it again for every
        # try: it is given up by the number of tries, and not by time.
        if not self._is_resumed and self._starts >= self._retry.attempts:
            raise error

    async def _back_off(self, error: TransportError) -> None:
        """Disconnect, and wait before the next try.

        Raises:
            TransportError: *error* is permanent, or this try was the last one.
            ClientClosedError: the client was closed.
        """
        await self._disconnect()
        delay = self._absence.delay(error, asyncio.get_running_loop().time(), random.random)
        await self._rest(delay)

    async def _request(self) -> None:
        """Send one request; leaves ``_reply`` unset if another one is to follow immediately."""
        link = self._link()
        reply = await self._stack.enter_async_context(self._files.get(link, self._headers()))
        if self._is_expired(reply.status):
            await self._on_refused(link, reply)
        elif reply.status == _ACCEPTED:
            raise NoFileYetError(_not_there_yet(reply), reply.retry_after)
        elif reply.status in _TRANSIENT or reply.status >= 500:
            raise NoFileYetError(f"the file host answered {reply.status}", reply.retry_after)
        elif self.position == 0 or self._continues(reply):
            self._accept(reply)
        else:
            # Either the whole file follows, or a part that does not fit what has arrived.
            self._restart()
            if reply.status == 200:
                self._accept(reply)
            else:
                await self._disconnect()

    def _is_expired(self, status: int) -> bool:
        """Whether a fresh link might help: each host refuses expired links with its own status."""
        if status in _TRANSIENT or status == _NO_SUCH_RANGE:
            return False
        # To a request for the rest, 412 says that it is the rest of another file.
        is_about_the_rest = self.position > 0 and status == _PRECONDITION_FAILED
        return 400 <= status < 500 and not is_about_the_rest

    async def _on_refused(self, link: str, reply: FileReply) -> None:
        await self._disconnect()
        reason = f"the link has expired ({reply.status})"
        if await self._refresh_link(link, reason):
            return
        # File hosts may publish a file some seconds after the API has published its link.
        if self._links.is_young(self._stem):
            raise NoFileYetError(_not_there_yet(reply), reply.retry_after)
        _give_up(f"{reason}, and a poll of the task gave no other link")

    async def _refresh_link(self, link: str, reason: str) -> bool:
        try:
            return await self._links.refresh(self._stem, link)
        except ClientClosedError:
            raise
        except VocalSepError as error:
            if self._links.is_young(self._stem):
                return False
            _give_up(f"{reason}, and the poll for another one failed: {error}")

    def _restart(self) -> None:
        self.position, self.identity = 0, FileIdentity()

    def _headers(self) -> dict[str, str]:
        if self.position == 0 or self.identity.validator is None:
            self._restart()
            return {}
        return {"Range": f"bytes={self.position}-", "If-Range": self.identity.validator}

    def _continues(self, reply: FileReply) -> bool:
        """Whether *reply* begins where the last one ended, in the same file."""
        return (
            reply.status == 206
            and reply.start == self.position
            and reply.size == self.identity.size
            # Without a size, only a delimited body has an end that is not a cut.
            and (reply.size is not None or reply.is_delimited)
            # Hosts ignore If-Range, and another file may have the same size: without its validator,
            # a part may be of any file. One that honours it may still leave out Last-Modified
            # (RFC 9110, section 15.3.7), which costs a second transfer.
            and reply.validator == self.identity.validator
            # The bytes of a compressed part are not those of the file.
            and reply.encoding is None
        )

    def _accept(self, reply: FileReply) -> None:
        _check_reply(reply, self.position, self._max_bytes)
        self._is_resumed = self.position > 0
        if not self._is_resumed:
            self._starts += 1
        self._farthest = max(self._farthest, self.position)
        # A resumed file keeps its identity: a part may not repeat all of it.
        if not self._is_resumed:
            self.identity = FileIdentity(
                validator=reply.validator,
                size=reply.size,
                verified=reply.is_delimited,
                content_type=reply.content_type,
            )
        self._stall = StallDetector(self._patience.min_bytes_per_minute)
        self._reply = reply

    def _link(self) -> str:
        link = self._links.get(self._stem)
        if link is None:
            _give_up("the last poll of the task gave no link for this stem")
        return link

    async def _disconnect(self) -> None:
        self._reply = None
        await self._stack.aclose()


def _check_reply(reply: FileReply, position: int, max_bytes: int) -> None:
    """Reject an answer that holds no audio file, or not the part that was requested.

    Raises:
        TransportError: the answer is unusable, and another attempt would not help.
    """
    if reply.status != (206 if position else 200):
        _give_up(f"the file host answered {reply.status}")
    if reply.encoding is not None:
        # A compressed body could not be resumed, and might unpack to any size.
        _give_up("the file host sent a compressed file, which was not requested")
    media_type = reply.content_type or ""
    if media_type.startswith("text/") or media_type.endswith(("json", "xml")):
        _give_up(f"the file host sent {reply.content_type} and not audio")
    if reply.size is not None and reply.size > max_bytes:
        _give_up(f"the file has {reply.size:,} bytes; max_bytes is {max_bytes:,}")


def _not_there_yet(reply: FileReply) -> str:
    return f"the file is not there yet: its host answered {reply.status}"


def _give_up(why: str) -> NoReturn:
    raise TransportError(why, action=ErrorAction.RAISE)
