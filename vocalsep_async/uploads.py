"""Uploads of songs: what can be uploaded, how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import datetime
from os import PathLike
from typing import Protocol

from attrs import field, frozen


class BinaryStream(Protocol):
    """A stream of bytes, sync or async, such as an open file or a body that is being received."""

    def read(self, size: int, /) -> bytes | Awaitable[bytes]:
        """The next bytes, at most *size*; none at the end."""


Uploadable = (
    str | PathLike[str] | bytes | bytearray | memoryview | BinaryStream | AsyncIterable[bytes]
)
"""A file to upload: its path, its bytes, or a stream of them, sync or async.

A path is read anew by each try. A stream is read once, from where it stands to its end, into a
temporary file: the upload host must be told the length before the first byte. It is not closed.
"""


@frozen(kw_only=True)
class UploadProgress:
    """How far an upload is.

    Attributes:
        name: of the file, as in `UploadedFile`.
        sent: bytes of the file that were handed to the system; 0 again when another try begins.
        total: bytes of the file.
    """

    name: str
    sent: int
    total: int


OnUploadProgress = Callable[[UploadProgress], object]
"""A plain function that is called with the progress of an upload, ten times a second at most.

It runs in the event loop, between two writes: it should return quickly. Its result is ignored.
"""


@frozen(kw_only=True)
class UploadedFile:
    """A file at the upload host.

    Attributes:
        url: its link, for ``create_task(audio_url=...)``. It is public: anyone who has it can hear
            the song until it expires. It is left out of the repr.
        name: the file's own name, or the *name* that was given; "song" without either.
        size: bytes.
        content_type: its media type, as the host states it or else as it was sent.
        expires_at: when the link dies, as far as the providers say: three days after the upload,
            or earlier if the host says so; aware UTC.
        sha256: of the bytes that were sent, in hexadecimal.
    """

    url: str = field(repr=False)
    name: str
    size: int
    content_type: str
    expires_at: datetime
    sha256: str
