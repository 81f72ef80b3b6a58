"""The body of an upload: its form, its patience, and what ends it. No sockets, virtual time."""

from __future__ import annotations

import asyncio
import traceback
from email.parser import BytesParser
from email.policy import HTTP
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from virtual_time import VIRTUAL_TIME

from vocalsep_async._transport import api
from vocalsep_async._transport.deadlines import Deadline
from vocalsep_async._transport.uploads import UploadBody

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME], ids=["virtual"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Pieces:
    """A source that gives one piece after the other."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.size = sum(len(each) for each in pieces if isinstance(each, bytes))
        self._pieces = iter(pieces)

    async def read(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece


def body_of(*pieces: bytes | Exception, sent: list[int] | None = None) -> UploadBody:
    seen = [] if sent is None else sent
    return UploadBody(
        Pieces(*pieces), {"uploadPath": "folder"}, "a.mp3", "audio/mpeg", on_sent=seen.append
    )


def deadline_in(seconds: float) -> Deadline:
    task = asyncio.current_task()
    assert task is not None
    return Deadline(task, seconds)


async def pause_after(body: UploadBody, pieces: int, seconds: float) -> None:
    """Take so many pieces as aiohttp does, all of them if there are fewer, and wait."""
    with deadline_in(30) as deadline:
        body.begin(deadline)
        for _ in range(pieces):
            if not await anext(body, b""):
                break
        await anyio.sleep(seconds)


async def test_the_form_is_one_that_others_read_and_its_length_is_the_stated_one() -> None:
    sent: list[int] = []
    body = body_of(b"ab\r\n", b"--cd", sent=sent)
    with deadline_in(30) as deadline:
        body.begin(deadline)
        data = b"".join([piece async for piece in body])
    assert body.headers["Content-Length"] == str(len(data))
    head = f"Content-Type: {body.headers['Content-Type']}\r\n\r\n".encode()
    folder, file = BytesParser(policy=HTTP).parsebytes(head + data).iter_parts()
    assert folder.get_content().strip() == "folder"
    assert (file.get_filename(), file.get_content_type()) == ("a.mp3", "audio/mpeg")
    assert file.get_content() == b"ab\r\n--cd"
    # Each once, when the piece before was taken.
    assert sent == [0, 4, 8]
    assert body.is_complete


async def test_a_slow_line_may_take_hours_as_long_as_there_is_progress() -> None:
    body = body_of(*[b"piece"] * 200)
    with deadline_in(30) as deadline:
        body.begin(deadline)
        async for _ in body:
            await anyio.sleep(59)
    assert body.is_complete


async def test_a_piece_that_is_not_taken_in_a_minute_ends_the_upload() -> None:
    body = body_of(b"12", b"34", b"56")
    with pytest.raises(TimeoutError):
        await pause_after(body, 3, 61)
    assert str(body.stalled("POST")) == "POST: no progress for 60 s, after 4 of 6 bytes"
    # Nor is anything read for the writer, which may learn of it later.
    assert [piece async for piece in body] == []
    assert not body.is_complete


async def test_an_answer_that_does_not_come_within_a_minute_ends_the_upload() -> None:
    body = body_of(b"12")
    with pytest.raises(TimeoutError):
        await pause_after(body, 9, 61)
    assert str(body.stalled("POST")) == "POST: no answer within 60 s after the whole file"


async def test_nothing_is_read_after_the_exchange() -> None:
    body = body_of(b"12", b"34")
    with deadline_in(30) as deadline:
        body.begin(deadline)
        await anext(body)
        body.end()
        assert [piece async for piece in body] == []


async def test_what_reading_raises_is_kept_for_the_caller() -> None:
    body = body_of(b"12", LookupError("gone"))
    # aiohttp gets another error, so that the one of the caller keeps its own traceback.
    with pytest.raises(ConnectionAbortedError) as raised:
        await pause_after(body, 9, 0)
    assert isinstance(body.failure, LookupError)
    assert raised.value.__context__ is None
    frames = [frame.name for frame in traceback.extract_tb(body.failure.__traceback__)]
    assert frames == ["__anext__", "_next", "read"]


@pytest.mark.parametrize("connection", [None, SimpleNamespace(transport=None)])
async def test_a_connection_that_is_gone_needs_no_end(connection: object) -> None:
    response: Any = SimpleNamespace(connection=connection)
    assert api._connection_of(response) is None
    await api._give_up(response)
