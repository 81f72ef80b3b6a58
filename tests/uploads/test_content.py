"""What is uploaded: how it is read, and what is no file."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vocalsep_async._uploads.content import (
    CHUNK,
    BytesContent,
    FileContent,
    Reader,
    content_of,
    held,
)
from vocalsep_async.errors import InvalidArgumentError, UploadError

pytestmark = pytest.mark.anyio


class BadDisk(io.BytesIO):
    """A file whose second read fails."""

    def __init__(self, data: bytes, error: OSError) -> None:
        super().__init__(data)
        self._errors: Iterator[OSError | None] = iter([None, error])

    def read(self, size: int | None = -1, /) -> bytes:
        if (error := next(self._errors)) is not None:
            raise error
        return super().read(size)


async def test_a_file_is_read_in_pieces() -> None:
    reader = BytesContent(bytes(CHUNK + 1)).open()
    assert [len(await reader.read()) for _ in range(3)] == [CHUNK, 1, 0]


@pytest.mark.parametrize(
    "error, words",
    [(OSError(5, "Input/output error"), "Input/output error"), (OSError("?"), "OSError")],
)
async def test_a_disk_that_fails_is_an_error_of_the_upload(error: OSError, words: str) -> None:
    reader = Reader(BadDisk(b"RIFF", error), 4, "the file song.wav")
    with pytest.raises(UploadError, match=rf"song\.wav cannot be read \({words}") as raised:
        await reader.read()
    assert raised.value.__cause__ is error


async def test_a_reader_that_was_closed_gives_no_more() -> None:
    reader = BytesContent(b"RIFF").open()
    reader.close()
    reader.close()
    assert await reader.read() == b""


async def test_a_reader_is_closed_only_after_the_read_under_way() -> None:
    began, may_end = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if threading.current_thread() is reading:
                began.set()
                may_end.wait(60)
                assert not self.closed
            return super().read(size)

    reading: Any = None
    reader = Reader(Slow(b"RIFF"), 4, "x")
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(reader._read()))
    closing = threading.Thread(target=reader.close)
    reading.start()
    assert began.wait(60)
    closing.start()
    may_end.set()
    reading.join()
    closing.join()
    assert found == [b"RIFF"]


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    regular = os.stat_result((stat.S_IFREG, *[0] * 9))
    monkeypatch.setattr(Path, "stat", lambda _: regular)
    with pytest.raises(InvalidArgumentError, match="is a pipe"):
        FileContent(tmp_path / "pipe").open()


def test_every_kind_of_what_is_no_file_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, words in [
        (stat.S_IFDIR, "a folder"),
        (stat.S_IFIFO, "a pipe"),
        (stat.S_IFSOCK, "a socket"),
        (stat.S_IFCHR, "a device"),
        (stat.S_IFBLK, "a device"),
        (0, "no file"),
    ]:
        result = os.stat_result((kind, *[0] * 9))
        monkeypatch.setattr(Path, "stat", lambda _, result=result: result)
        with pytest.raises(InvalidArgumentError, match=f"song.mp3 is {words}; pass the path"):
            FileContent(Path("song.mp3")).open()


async def test_a_path_is_shown_without_what_a_terminal_acts_on() -> None:
    with pytest.raises(InvalidArgumentError, match=r"the file \\x1b\[31m cannot be opened"):
        async with content_of("\x1b[31m", 10) as content:
            content.open()


async def test_the_number_of_a_descriptor_is_no_name() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"RIFF")
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        async with content_of(stream, 10) as content:
            assert content.name is None
            assert not content.may_change
            assert await content.open().read() == b"RIFF"


async def test_a_stream_that_has_nothing_yet_is_no_stream_of_bytes() -> None:
    class Unready(io.RawIOBase):
        def read(self, size: int = -1, /) -> Any:
            return None

    with pytest.raises(InvalidArgumentError, match="gives NoneType, and not bytes"):
        async with content_of(Unready(), 10):
            """It cannot be read."""


async def test_what_cannot_be_made_leaves_nothing_to_close() -> None:
    def fails() -> io.BytesIO:
        raise UploadError("no")

    with pytest.raises(UploadError):
        async with held(fails):
            """There is nothing."""
