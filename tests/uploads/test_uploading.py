"""`client.upload` against a local upload host: what is sent, what comes back, what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import os
import re
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from uploads.conftest import SONG, make_client
from uploads.upload_host import (
    KEY,
    LINK,
    UploadHost,
    Visit,
    accepts,
    says,
    stored,
    upload_host,
)

from vocalsep_async import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    Event,
    InvalidArgumentError,
    PayloadTooLargeError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TransportError,
    UploadedFile,
    UploadError,
    UploadProgress,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport import uploads as wire
from vocalsep_async.instrumentation import RequestRetried, UploadFinished, UploadStarted

pytestmark = pytest.mark.anyio

SECRET_NAME = re.compile(r"song-[A-Za-z0-9_-]{32}\.mp3")


def open_files() -> list[str]:
    """What the process has open, but for sockets, pipes and the like."""
    entries = Path("/proc/self/fd").iterdir()
    # That of the listing itself is gone.
    return [str(entry.readlink()) for entry in list(entries) if entry.is_symlink()]


async def the_link(client: VocalSepClient, file: Any, **options: Any) -> str:
    return (await client.upload(file, **options)).url


# What is sent


async def test_the_host_gets_the_file_under_a_name_that_cannot_be_guessed(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    uploaded = await client.upload(song)
    (visit,) = host.visits
    assert visit.line == "POST /api/file-stream-upload HTTP/1.1"
    assert visit.headers["authorization"] == f"Bearer {KEY}"
    assert visit.content("file") == SONG
    assert visit.content("uploadPath") == b"vocalsep"
    name = visit.content("fileName").decode()
    assert SECRET_NAME.fullmatch(name)
    part = visit.parts["file"]
    assert part.get_filename() == name
    assert part.get_content_type() == "audio/mpeg"
    assert uploaded == UploadedFile(
        url=LINK,
        name="My Song.MP3",
        size=len(SONG),
        content_type="audio/mpeg",
        expires_at=uploaded.expires_at,
        sha256=hashlib.sha256(SONG).hexdigest(),
    )
    assert timedelta(days=2.9) < uploaded.expires_at - datetime.now(UTC) <= timedelta(days=3)


async def test_the_length_is_known_before_the_first_byte(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    await client.upload(song)
    assert "transfer-encoding" not in host.visits[0].headers
    assert int(host.visits[0].headers["content-length"]) == len(host.visits[0].body)


async def test_a_name_begins_the_name_at_the_host(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    uploaded = await client.upload(song, name='Grüße "2"/../x;\r\ny.FLAC')
    name = host.visits[0].content("fileName").decode()
    assert re.fullmatch(r"x-y-[A-Za-z0-9_-]{32}\.flac", name)
    assert host.visits[0].parts["file"].get_content_type() == "audio/flac"
    assert uploaded.name == 'Grüße "2"/../x;\r\ny.FLAC'


async def gives(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class AsyncStream:
    """A stream whose `read` has to be awaited."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int, /) -> bytes:
        return self._file.read(size)


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "stream": io.BytesIO,
    "async stream": AsyncStream,
    "async iterator": lambda data: gives(data[:5], b"", data[5:]),
}


@pytest.mark.parametrize("source", SOURCES)
async def test_bytes_and_streams_arrive_as_they_are(
    client: VocalSepClient, host: UploadHost, source: str
) -> None:
    data = b"fLaC" + bytes(range(256)) * 1000
    uploaded = await client.upload(SOURCES[source](data))
    assert host.visits[0].content("file") == data
    assert uploaded.sha256 == hashlib.sha256(data).hexdigest()
    assert (uploaded.size, uploaded.name) == (len(data), "song")
    # By its first bytes, since nothing else says what it is.
    assert host.visits[0].content("fileName").endswith(b".flac")


async def test_a_stream_is_read_from_where_it_stands_and_left_open(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    with song.open("rb") as stream:
        stream.seek(3)
        uploaded = await client.upload(stream)
        assert stream.read() == b""
    assert host.visits[0].content("file") == SONG[3:]
    assert uploaded.name == "My Song.MP3"


async def test_progress_is_reported_from_the_first_byte_to_the_last(
    client: VocalSepClient, song: Path
) -> None:
    seen: list[UploadProgress] = []
    await client.upload(song, on_progress=seen.append)
    size = len(SONG)
    sent = [progress.sent for progress in seen]
    assert sent[0] == 0
    assert sent[-1] == size
    assert sent == sorted(sent)
    assert {(progress.name, progress.total) for progress in seen} == {("My Song.MP3", size)}


async def test_what_on_progress_raises_ends_the_upload(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    def shown(progress: UploadProgress) -> None:
        raise LookupError("no such window")

    with pytest.raises(LookupError, match="no such window"):
        await client.upload(song, on_progress=shown)
    assert len(host.visits) == 1


# What comes back


@pytest.mark.parametrize(
    "data, link",
    [
        ({"downloadUrl": LINK, "fileUrl": "https://other.example/"}, LINK),
        ({"fileUrl": LINK}, LINK),
        ({"downloadUrl": "", "fileUrl": LINK}, LINK),
    ],
)
async def test_the_link_is_the_download_url_or_else_the_file_url(
    client: VocalSepClient, host: UploadHost, data: dict[str, str], link: str
) -> None:
    host.behaviours.append(says(json.dumps({"success": True, "code": 200, "data": data}).encode()))
    assert await the_link(client, b"RIFF") == link


async def test_the_host_may_state_type_and_an_earlier_end(
    client: VocalSepClient, host: UploadHost
) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    host.behaviours.append(says(stored(mimeType="audio/x-wav", expiresAt=soon)))
    uploaded = await client.upload(b"RIFF")
    assert uploaded.content_type == "audio/x-wav"
    assert uploaded.expires_at.isoformat() == soon


async def test_the_link_is_in_no_repr_event_or_record_of_the_log(
    host: UploadHost, song: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []
    async with make_client(host, on_event=events.append) as client:
        uploaded = await client.upload(song)
    name = host.visits[0].content("fileName").decode()
    shown = f"{uploaded!r} {events!r} {caplog.text}"
    assert "upload-" in shown
    for secret in (LINK, "9f86d081884c7d65", name, KEY):
        assert secret not in shown


async def test_an_upload_begins_and_ends_with_an_event(host: UploadHost, song: Path) -> None:
    events: list[Event] = []
    host.behaviours.append(says(b"", "500 Internal Server Error"))
    async with make_client(host, on_event=events.append) as client:
        await client.upload(song)
    started, retried, finished = events
    assert isinstance(started, UploadStarted)
    assert isinstance(retried, RequestRetried)
    assert isinstance(finished, UploadFinished)
    assert started.upload_id == finished.upload_id
    assert (finished.size, finished.error) == (len(SONG), None)


# What goes wrong at the host


@pytest.mark.parametrize(
    "answer, error, words",
    [
        ((b'{"success": false, "code": 200, "msg": "no space"}', "200 OK"), APIError, "no space"),
        ((b'{"success": false, "msg": "no space"}', "200 OK"), APIError, "no space"),
        (
            (b'{"success": false, "code": 401, "msg": "who?"}', "200 OK"),
            AuthenticationError,
            "who?",
        ),
        ((b'{"success": false, "code": 500, "msg": "oh"}', "200 OK"), ServerError, "oh"),
        (
            (b'{"success":false,"code":401,"msg":"x"}', "401 Unauthorized"),
            AuthenticationError,
            "key",
        ),
        ((b"<html>", "413 Payload Too Large"), PayloadTooLargeError, "check upload_url"),
        ((b"<html>", "404 Not Found"), APIError, "upload_url"),
        ((b"<html>", "200 OK"), DecodeError, "check upload_url"),
        ((b'{"success": true, "code": 200, "data": {}}', "200 OK"), DecodeError, "no http.* link"),
        (
            (b'{"success": true, "code": 200, "data": null}', "200 OK"),
            DecodeError,
            "no http.* link",
        ),
        ((stored("ftp://files.example/x"), "200 OK"), DecodeError, "no http.* link"),
        ((stored("javascript:alert(1)"), "200 OK"), DecodeError, "no http.* link"),
        ((stored("https://[x/"), "200 OK"), DecodeError, "no http.* link"),
        ((stored("https://x.example/a b"), "200 OK"), DecodeError, "no http.* link"),
        ((stored(7), "200 OK"), DecodeError, "no http.* link"),
    ],
)
async def test_an_answer_without_a_stored_file_is_an_error(
    client: VocalSepClient,
    host: UploadHost,
    answer: tuple[bytes, str],
    error: type[VocalSepError],
    words: str,
) -> None:
    host.behaviours.extend([says(*answer)] * 3)
    with pytest.raises(error, match=words) as raised:
        await client.upload(b"RIFF")
    assert "base_url" not in str(raised.value)


async def test_a_message_of_the_host_shows_neither_link_nor_name_nor_key(
    client: VocalSepClient, host: UploadHost
) -> None:
    async def echoes(visit: Visit) -> None:
        await visit.read()
        name = visit.content("fileName").decode()
        words = f"no space for {name} at https://a.example/x/{name} from {KEY}"
        await visit.answer(json.dumps({"success": False, "msg": words}).encode())

    host.behaviours.extend([echoes] * 3)
    with pytest.raises(APIError, match="no space for <name> at <link> from <API key>") as raised:
        await client.upload(b"RIFF")
    frames = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    # But for those of this test.
    shown = "".join(frames.format()).partition("in upload")[2]
    assert "in _tries" in shown
    names = [visit.content("fileName").decode() for visit in host.visits]
    assert not [name for name in names if name in shown]
    assert KEY not in shown


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"]
)
async def test_a_redirect_is_refused_and_the_key_goes_nowhere_else(
    client: VocalSepClient, host: UploadHost, status: str
) -> None:
    async with upload_host() as other:
        host.behaviours.extend([says(b"", status, f"Location: {other.url}/")] * 3)
        with pytest.raises(TransportError, match=r"redirected .* check upload_url"):
            await client.upload(b"RIFF")
        assert other.visits == []


async def test_each_try_sends_the_whole_file_under_a_new_name(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    async def breaks(visit: Visit) -> None:
        await visit.read(70_000)
        visit.reset()

    host.behaviours.extend([breaks, says(b"", "500 Internal Server Error")])
    assert await the_link(client, song) == LINK
    assert len(host.visits) == 3
    assert [visit.content("file") for visit in host.visits[1:]] == [SONG] * 2
    assert len({visit.content("fileName") for visit in host.visits}) == 3


async def test_a_stream_is_read_once_and_sent_again(
    client: VocalSepClient, host: UploadHost
) -> None:
    host.behaviours.append(says(b"", "503 Service Unavailable"))
    await client.upload(gives(b"RIFF", b"1234"))
    assert [visit.content("file") for visit in host.visits] == [b"RIFF1234"] * 2


async def test_a_request_is_never_repeated_below_the_retry_policy(host: UploadHost) -> None:
    async def second_breaks(visit: Visit) -> None:
        await visit.read(10)
        visit.reset()

    # The second request comes on a connection that was used before, which aiohttp would repeat.
    host.behaviours.extend([accepts, second_breaks])
    async with make_client(host, retry=RetryPolicy(attempts=1)) as client:
        await client.upload(b"RIFF")
        with pytest.raises(TransportError):
            await client.upload(b"RIFF")
    assert len(host.visits) == 2


async def test_the_host_is_asked_for_its_pause(
    host: UploadHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def rest(_self: object, seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr("vocalsep_async._uploads.uploader.Rests.rest", rest)
    host.behaviours.append(says(b"", "503 Service Unavailable", "Retry-After: 7"))
    async with make_client(host) as client:
        await client.upload(b"RIFF")
    assert rests == [7.0]


async def test_an_answer_before_the_end_of_the_file_ends_the_upload(
    client: VocalSepClient, host: UploadHost, tmp_path: Path
) -> None:
    async def refuses(visit: Visit) -> None:
        await visit.read(1000)
        await visit.answer(
            b'{"success": false, "code": 413, "msg": "too large"}', "413 Payload Too Large"
        )
        await visit.until_gone()

    path = tmp_path / "big.wav"
    path.write_bytes(b"RIFF" + bytes(15_000_000))
    host.behaviours.append(refuses)
    with pytest.raises(PayloadTooLargeError, match="too large"):
        await client.upload(path)
    # The rest of the form is not taken for the next request.
    await host.gone.wait()
    assert await the_link(client, b"RIFF") == LINK
    assert len(host.visits) == 2


# Patience, timeouts, cancellations


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "UPLOAD_PATIENCE", 0.2)


async def reads_nothing(visit: Visit) -> None:
    await asyncio.Event().wait()


async def answers_nothing(visit: Visit) -> None:
    await visit.read()
    await asyncio.Event().wait()


@pytest.mark.usefixtures("impatient")
async def test_an_upload_without_progress_is_given_up(host: UploadHost, tmp_path: Path) -> None:
    path = tmp_path / "big.wav"
    path.write_bytes(b"RIFF" + bytes(15_000_000))
    host.behaviours.append(reads_nothing)
    async with make_client(host, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RequestTimeoutError, match=r"no progress for 0\.2 s") as raised:
            await client.upload(path)
    assert str(path) not in open_files()
    (sent,) = re.findall(r"after ([\d,]+) of 15,000,004 bytes", str(raised.value))
    # What was handed over is not far ahead of what the host has.
    assert int(sent.replace(",", "")) < 2_000_000 or not hasattr(socket, "TCP_NOTSENT_LOWAT")


@pytest.mark.usefixtures("impatient")
async def test_a_host_that_does_not_answer_is_given_up(host: UploadHost) -> None:
    host.behaviours.append(answers_nothing)
    async with make_client(host, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.2 s after the whole"):
            await client.upload(b"RIFF")


async def test_an_upload_may_take_longer_than_the_request_timeout(
    host: UploadHost, tmp_path: Path
) -> None:
    path = tmp_path / "big.wav"
    path.write_bytes(b"RIFF" + bytes(5_000_000))
    over = threading.Event()

    async def is_slow(visit: Visit) -> None:
        # Until the request timeout has passed for sure.
        await visit.read(100_000)
        await asyncio.sleep(0.3)
        over.set()
        await accepts(visit)

    host.behaviours.append(is_slow)
    async with make_client(host, request_timeout=0.2, retry=RetryPolicy(attempts=1)) as client:
        assert await the_link(client, path) == LINK
    assert over.is_set()


async def test_the_timeout_of_the_call_ends_all_tries(host: UploadHost, song: Path) -> None:
    host.behaviours.extend([says(b"", "500 Internal Server Error"), answers_nothing])
    async with make_client(host) as client:
        with pytest.raises(
            RequestTimeoutError, match=r"within the 0\.5 s .*last try failed: code 5"
        ):
            await client.upload(song, timeout=0.5)
    assert str(song) not in open_files()


async def test_a_timeout_of_zero_sends_nothing(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    with pytest.raises(RequestTimeoutError, match="while the file was being read") as raised:
        await client.upload(song, timeout=0)
    assert not raised.value.may_have_arrived
    assert host.visits == []


async def test_a_timeout_that_the_stream_raises_is_its_own(client: VocalSepClient) -> None:
    async def fails() -> AsyncIterator[bytes]:
        yield b"RIFF"
        raise TimeoutError

    with pytest.raises(UploadError, match="stream cannot be read"):
        await client.upload(fails())


@pytest.mark.parametrize("behaviour", [reads_nothing, answers_nothing])
async def test_a_cancelled_upload_leaves_neither_file_nor_connection(
    client: VocalSepClient, host: UploadHost, tmp_path: Path, behaviour: Any
) -> None:
    path = tmp_path / "big.wav"
    path.write_bytes(b"RIFF" + bytes(5_000_000))
    host.behaviours.append(behaviour)
    task = asyncio.create_task(client.upload(path))
    await host.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert str(path) not in open_files()
    assert await the_link(client, b"RIFF") == LINK
    assert len(host.visits) == 2


async def test_an_upload_may_be_cancelled_at_any_moment(
    client: VocalSepClient, host: UploadHost, tmp_path: Path
) -> None:
    path = tmp_path / "some.wav"
    path.write_bytes(b"RIFF" + bytes(300_000))
    for steps in range(0, 2000, 20):
        task = asyncio.create_task(client.upload(path))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        # It may have ended before.
        with suppress(asyncio.CancelledError):
            await task
        assert str(path) not in open_files()
    assert host.visits
    assert (await client.upload(path)).size == 300_004


async def test_a_stream_that_gives_nothing_does_not_outlast_the_timeout(
    client: VocalSepClient, host: UploadHost
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        try:
            with pytest.raises(RequestTimeoutError, match="while the file was being read"):
                await client.upload(stream, timeout=0.1)
        finally:
            # The read itself ends now, so that the stream can be closed.
            os.close(writing)
    assert host.visits == []


async def test_closing_the_client_ends_an_upload(host: UploadHost, song: Path) -> None:
    host.behaviours.append(answers_nothing)
    async with make_client(host) as client:
        task = asyncio.create_task(client.upload(song))
        await host.arrived.wait()
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await task
        with pytest.raises(ClientClosedError):
            await client.upload(song)
    assert str(song) not in open_files()


async def test_closing_the_client_ends_the_wait_for_another_try(
    host: UploadHost, song: Path
) -> None:
    host.behaviours.append(says(b"", "503 Service Unavailable", "Retry-After: 300"))
    seen = asyncio.Event()

    def retried(event: Event) -> None:
        if isinstance(event, RequestRetried):
            seen.set()

    async with make_client(host, on_event=retried) as client:
        task = asyncio.create_task(client.upload(song))
        await seen.wait()
        await client.aclose()
        with pytest.raises(ClientClosedError, match="while a file was uploaded"):
            await task


# Files that change


def grows(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrinks(path: Path) -> None:
    os.truncate(path, 1_000_000)


def is_rewritten(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(4_999_000)
        file.write(b"x")
    # As a program does that hides the change.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def is_rewritten_where_it_was_sent(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def is_replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"RIFF" + b"x" * 5_000_000)
    other.replace(path)


def is_removed(path: Path) -> None:
    path.unlink()


def is_touched(path: Path) -> None:
    path.touch()
    path.chmod(0o600)


def becomes_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = [
    grows,
    shrinks,
    is_rewritten,
    is_rewritten_where_it_was_sent,
    is_replaced,
    is_removed,
    becomes_a_folder,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
async def test_a_file_that_changes_while_it_is_sent_is_an_error(
    client: VocalSepClient, host: UploadHost, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(b"RIFF" + bytes(5_000_000))

    async def changes_it(visit: Visit) -> None:
        await visit.read(200_000)
        change(path)
        await accepts(visit)

    host.behaviours.append(changes_it)
    with pytest.raises(UploadError, match=r"song\.wav .*(changed|shorter|sent)"):
        await client.upload(path)
    assert len(host.visits) == 1
    assert str(path) not in open_files()


async def test_a_file_that_is_only_touched_is_no_error(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    async def touches_it(visit: Visit) -> None:
        is_touched(song)
        await accepts(visit)

    host.behaviours.append(touches_it)
    assert await the_link(client, song) == LINK


# Wrong arguments


async def nothing_was_sent(client: VocalSepClient, host: UploadHost, file: Any) -> str:
    with pytest.raises(InvalidArgumentError) as raised:
        await client.upload(file)
    assert host.visits == []
    return str(raised.value)


async def test_a_path_that_is_no_file_is_refused(
    client: VocalSepClient, host: UploadHost, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a pipe"),
        ("/dev/zero", "is a device"),
        (tmp_path / "none.mp3", "No such file"),
        ("x" * 5000, "too long"),
    ]:
        assert words in await nothing_was_sent(client, host, path)


async def test_a_link_to_a_file_is_followed(
    client: VocalSepClient, host: UploadHost, song: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.wav").symlink_to(song)
    uploaded = await client.upload(tmp_path / "link.wav")
    assert uploaded.name == "link.wav"
    assert host.visits[0].content("file") == SONG


@pytest.mark.parametrize(
    "file, words",
    [
        ("https://example.com/song.mp3", "needs no upload"),
        ("", "must be a path"),
        ("a\0b", "must be a path"),
        (os.fsencode("x") and 7, "must be a path, bytes or a stream of bytes, not int"),
        (None, "not NoneType"),
        (io.StringIO("RIFF"), 'with mode "rb"'),
        (b"", "is empty"),
        (io.BytesIO(), "is empty"),
        (["RIFF"], "not list"),
    ],
)
async def test_what_cannot_be_uploaded_is_refused(
    client: VocalSepClient, host: UploadHost, file: Any, words: str
) -> None:
    assert words in await nothing_was_sent(client, host, file)


async def test_a_stream_of_text_is_refused(client: VocalSepClient, host: UploadHost) -> None:
    async def lines() -> AsyncIterator[Any]:
        yield "RIFF"

    assert "gives str, and not bytes" in await nothing_was_sent(client, host, lines())


async def test_a_file_that_is_too_large_is_not_sent(
    client: VocalSepClient, host: UploadHost, song: Path
) -> None:
    size = len(SONG)
    for file in (song, SONG, io.BytesIO(SONG)):
        with pytest.raises(InvalidArgumentError, match=rf"bytes; max_bytes is {size - 1:,}"):
            await client.upload(file, max_bytes=size - 1)
    assert host.visits == []
    assert await the_link(client, song, max_bytes=size) == LINK


async def test_a_stream_without_end_is_given_up_at_the_limit(
    client: VocalSepClient, host: UploadHost
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    assert "max_bytes is 20,971,520" in await nothing_was_sent(client, host, endless())


async def test_the_errors_of_a_stream_are_raised(client: VocalSepClient, host: UploadHost) -> None:
    for error in (LookupError("mine"), DecodeError("ours"), RequestTimeoutError("ours, too")):

        async def fails(error: Exception = error) -> AsyncIterator[bytes]:
            yield b"RIFF"
            raise error

        with pytest.raises(type(error)) as raised:
            await client.upload(fails())
        assert raised.value is error
    assert host.visits == []


@pytest.mark.parametrize(
    "options",
    [{"name": ""}, {"name": 5}, {"max_bytes": 0}, {"timeout": -1}, {"on_progress": "no"}],
)
async def test_a_wrong_option_is_refused(
    client: VocalSepClient, host: UploadHost, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        await client.upload(b"RIFF", **options)
    assert host.visits == []


async def test_an_async_callback_is_refused(client: VocalSepClient) -> None:
    async def shown(progress: UploadProgress) -> None:
        """Nothing would await it."""

    with pytest.raises(InvalidArgumentError, match="on_progress must be a plain function"):
        await client.upload(b"RIFF", on_progress=shown)


async def test_a_client_without_an_upload_host_sends_nothing(song: Path) -> None:
    async with VocalSepClient(KEY, base_url="http://127.0.0.1:1") as client:
        with pytest.raises(ConfigurationError, match="Pass upload_url="):
            await client.upload(song)
