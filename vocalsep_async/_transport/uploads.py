"""The body of an upload: a multipart form with one file, sent as it is read.

Its length is known before the first byte, because not every server takes a body in chunks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

from aiohttp import hdrs

from vocalsep_async._transport.deadlines import Deadline
from vocalsep_async.errors import RequestTimeoutError
from vocalsep_async.policies import UPLOAD_PATIENCE


class Source(Protocol):
    """What is uploaded.

    Attributes:
        size: bytes.
    """

    @property
    def size(self) -> int: ...

    async def read(self) -> bytes:
        """The next bytes; none at the end."""


class UploadBody:
    """An async iterator over the body of one request, which aiohttp sends.

    It is sent once: aiohttp must not repeat a request whose body was read.

    Args:
        source: of the file; stands at its beginning.
        fields: of the form, before the file; ASCII without quotes, like all names here.
        name: of the file.
        content_type: of the file.
        on_sent: called with the number of bytes of the file that were handed to the system.

    Attributes:
        headers: those of the request that describe the body.
        failure: what reading or reporting raised; aiohttp would hide it in an error of its own.
        is_complete: whether all of it was handed over.
    """

    def __init__(
        self,
        source: Source,
        fields: Mapping[str, str],
        name: str,
        content_type: str,
        *,
        on_sent: Callable[[int], None],
    ) -> None:
        boundary = secrets.token_hex(16)
        self._head, self._tail = _around(boundary, fields, name, content_type)
        self._source = source
        self._on_sent = on_sent
        self._patience = UPLOAD_PATIENCE
        self._deadline: Deadline | None = None
        self._sent = 0
        self._is_begun = self._is_read = False
        self.failure: Exception | None = None
        self.is_complete = False
        length = len(self._head) + source.size + len(self._tail)
        self.headers: Mapping[str, str] = {
            hdrs.CONTENT_TYPE: f"multipart/form-data; boundary={boundary}",
            hdrs.CONTENT_LENGTH: str(length),
        }

    def begin(self, deadline: Deadline) -> None:
        """Put off *deadline*, that of the exchange, with each piece."""
        self._deadline = deadline

    def end(self) -> None:
        """Read no more, because the exchange is over."""
        self._deadline = None

    def stalled(self, exchange: str) -> RequestTimeoutError:
        """The error for an exchange whose timer ended it."""
        if self.is_complete:
            what = f"no answer within {self._patience:g} s after the whole file"
        else:
            what = (
                f"no progress for {self._patience:g} s, "
                f"after {self._sent:,} of {self._source.size:,} bytes"
            )
        return RequestTimeoutError(f"{exchange}: {what}", may_have_arrived=self._is_begun)

    def __aiter__(self) -> UploadBody:
        return self

    async def __anext__(self) -> bytes:
        # aiohttp asks for the next piece once the system has taken the one before.
        if self._deadline is None or self._deadline.is_over:
            raise StopAsyncIteration
        self._deadline.put_off(self._patience)
        try:
            piece = await self._next()
        except Exception as error:  # noqa: BLE001 - raised again by the transport
            self.failure = error
            piece = None
        if piece is None:
            # Not the error itself, which would collect aiohttp's frames with the request.
            raise ConnectionAbortedError("the body of the upload cannot be read")
        if not piece:
            self.is_complete = True
            raise StopAsyncIteration
        return piece

    async def _next(self) -> bytes:
        if not self._is_begun:
            self._is_begun = True
            return self._head
        if self._is_read:
            return b""
        self._on_sent(self._sent)
        data = await self._source.read()
        self._sent += len(data)
        self._is_read = not data
        return data or self._tail


def _around(
    boundary: str, fields: Mapping[str, str], name: str, content_type: str
) -> tuple[bytes, bytes]:
    """What is in front of the file, and behind it."""
    begin = f"--{boundary}\r\n{hdrs.CONTENT_DISPOSITION}: form-data; name="
    before = "".join(f'{begin}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items())
    file = f'{begin}"file"; filename="{name}"\r\n{hdrs.CONTENT_TYPE}: {content_type}\r\n\r\n'
    return (before + file).encode("ascii"), f"\r\n--{boundary}--\r\n".encode("ascii")
