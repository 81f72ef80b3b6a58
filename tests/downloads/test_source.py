"""One file at its host: read to its end, or an error that says why."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from downloads.hosts import (
    AUDIO,
    OTHER,
    QUICK,
    Answer,
    Host,
    files_of,
    never_poll,
    remote_of,
)
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VIRTUAL_TIME

from vocalsep_async import ErrorAction, RetryPolicy, SeparationTask, Stems, TransportError
from vocalsep_async._downloads.patience import Patience, StallDetector
from vocalsep_async._downloads.source import (
    Chunk,
    FileIdentity,
    RemoteFile,
    StemLinks,
    UnusableFileError,
)
from vocalsep_async._transport.files import FileTransport
from vocalsep_async.errors import ConfigurationError

pytestmark = pytest.mark.anyio

CUT = 100_000
SIZE = len(AUDIO)
ENOUGH = 1 << 16
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>" * 100


async def rest_of(remote: RemoteFile, host: Host, name: str = "vocal") -> bytes:
    """The file as a reader has it that puts each chunk at its offset."""
    received = bytearray()
    while (chunk := await remote.next()) is not None:
        assert chunk.offset in (0, len(received)), "a chunk that does not fit"
        del received[chunk.offset :]
        received += chunk.data
        host.mark_read(name, len(received))
    return bytes(received)


async def fetched(host: Host, **options: Any) -> tuple[bytes, FileIdentity]:
    async with files_in_use(host) as files, remote_of(host, files, **options) as remote:
        await remote.open()
        received = await rest_of(remote, host)
        return received, remote.identity


@asynccontextmanager
async def files_in_use(host: Host) -> AsyncIterator[FileTransport]:
    files = files_of(host)
    try:
        yield files
    finally:
        await files.aclose()


def ranges(host: Host) -> list[str | None]:
    return [request.range for request in host.requests]


async def test_a_file_arrives_unchanged() -> None:
    with Host(Answer()) as host:
        received, identity = await fetched(host)
    assert received == AUDIO
    assert identity == FileIdentity('"one"', SIZE, verified=True, content_type="audio/mpeg")
    assert ranges(host) == [None]
    assert host.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "tag, changed, condition",
    [
        ('"one"', None, '"one"'),
        (None, "Wed, 01 Jul 2026 00:00:00 GMT", "Wed, 01 Jul 2026 00:00:00 GMT"),
    ],
)
async def test_after_a_cut_only_the_rest_of_the_same_file_is_requested(
    tag: str | None, changed: str | None, condition: str
) -> None:
    answer = Answer(tag=tag, changed=changed)
    with Host(Answer(tag=tag, changed=changed, cut=CUT), answer) as host:
        received, identity = await fetched(host)
    assert received == AUDIO
    assert identity.validator == condition
    assert ranges(host) == [None, f"bytes={CUT}-"]
    assert host.requests[1].headers["if-range"] == condition


@pytest.mark.parametrize(
    "tag, changed",
    [(None, None), ('W/"one"', None), ('W/"one"', "Wed, 01 Jul 2026 00:00:00 GMT"), ("one", None)],
)
async def test_a_file_without_a_strong_validator_is_never_resumed(
    tag: str | None, changed: str | None
) -> None:
    answer = Answer(tag=tag, changed=changed)
    with Host(Answer(OTHER, tag=tag, changed=changed, cut=CUT), answer) as host:
        received, identity = await fetched(host)
    assert received == AUDIO
    assert identity.validator is None
    assert ranges(host) == [None, None]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(Answer(takes_ranges=False), id="ranges are not supported"),
        pytest.param(Answer(OTHER, tag='"two"'), id="another file"),
        pytest.param(Answer(OTHER[:-1], tag='"two"'), id="another file of another length"),
    ],
)
async def test_a_whole_file_sent_in_place_of_the_rest_replaces_what_arrived(
    second: Answer,
) -> None:
    with Host(Answer(cut=CUT), second) as host:
        received, identity = await fetched(host)
    assert received == second.data
    assert identity.validator == second.tag
    assert ranges(host) == [None, f"bytes={CUT}-"]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(Answer(content_range=f"bytes 0-{SIZE - 1}/{SIZE}"), id="from the beginning"),
        pytest.param(Answer(content_range=f"bytes {CUT}-{SIZE - 1}/{SIZE + 1}"), id="other size"),
        pytest.param(Answer(content_range=f"bytes {CUT}-{SIZE - 1}/*"), id="size unknown"),
        pytest.param(Answer(content_range="bytes ever so many"), id="nonsense"),
        pytest.param(Answer(content_range=""), id="no Content-Range"),
        pytest.param(Answer(OTHER, tag='"two"', takes_conditions=False), id="another file"),
        pytest.param(Answer(OTHER[:-9], takes_conditions=False), id="another length"),
        pytest.param(
            Answer(kind="multipart/byteranges; boundary=x", content_range=""), id="several parts"
        ),
        pytest.param(Answer(headers=("Content-Encoding: gzip",)), id="a compressed part"),
        pytest.param(Answer(tag='W/"one"', takes_conditions=False), id="a weak tag"),
        pytest.param(Answer(status=416), id="no such part"),
        pytest.param(Answer(status=412), id="not that file"),
    ],
)
async def test_a_part_that_does_not_fit_makes_the_file_start_again(second: Answer) -> None:
    with Host(Answer(cut=CUT), second, Answer(OTHER, tag='"three"')) as host:
        received, identity = await fetched(host)
    assert received == OTHER
    assert identity.validator == '"three"'
    assert ranges(host) == [None, f"bytes={CUT}-", None]


async def test_a_host_that_never_sends_a_fitting_part_is_given_up() -> None:
    with (
        Host(Answer(cut=CUT, content_range="bytes 5-6/7")) as host,
        pytest.raises(TransportError, match="was cut"),
    ):
        await fetched(host)
    assert ranges(host) == [None, f"bytes={CUT}-"] * 2 + [None]


async def test_a_file_that_is_cut_after_each_resumption_still_completes() -> None:
    answers = [Answer(cut=(nth + 1) << 16) for nth in range(SIZE >> 16)]
    with Host(*answers, Answer()) as host:
        received, _ = await fetched(host, retry=RetryPolicy(attempts=2, initial=0.001))
    assert received == AUDIO
    assert len(host.requests) == len(answers) + 1 > 4


async def test_cuts_without_progress_exhaust_the_retries() -> None:
    with (
        Host(*(Answer(cut=CUT + nth) for nth in range(9))) as host,
        pytest.raises(TransportError, match="was cut"),
    ):
        await fetched(host)
    assert len(host.requests) == QUICK.attempts


async def test_a_body_longer_than_the_announced_file_is_not_accepted() -> None:
    part = Answer(AUDIO + b"more", content_range=f"bytes {CUT}-{SIZE - 1}/{SIZE}")
    with Host(Answer(cut=CUT), part, Answer()) as host:
        received, _ = await fetched(host)
    assert received == AUDIO


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_part_that_ends_early_is_resumed(*, is_chunked: bool) -> None:
    said = f"bytes {CUT}-{SIZE - 1}/{SIZE}"
    part = Answer(AUDIO[:-5], is_chunked=is_chunked, content_range=said)
    with Host(Answer(cut=CUT), part, Answer()) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={SIZE - 5}-"]


async def test_parts_that_always_end_early_exhaust_the_retries() -> None:
    part = Answer(
        AUDIO[:-5], content_range=f"bytes {CUT}-{SIZE - 1}/{SIZE}", takes_conditions=False
    )
    late = Answer(b"", status=206, content_range=f"bytes {SIZE - 5}-{SIZE - 1}/{SIZE}")
    with (
        Host(Answer(cut=CUT), part, late) as host,
        pytest.raises(TransportError, match=r"only 307,195 of 307,200 bytes arrived"),
    ):
        await fetched(host)


async def test_a_chunked_file_of_unknown_length_is_verified() -> None:
    with Host(Answer(is_chunked=True)) as host:
        assert await fetched(host) == (AUDIO, FileIdentity('"one"', None, True, "audio/mpeg"))


async def test_a_file_that_ends_with_its_connection_is_not_verified() -> None:
    with Host(Answer(sized=False, kind=None)) as host:
        assert await fetched(host) == (AUDIO, FileIdentity('"one"', None, False, None))


async def test_a_file_of_unknown_length_starts_again_after_a_cut() -> None:
    with Host(Answer(is_chunked=True, cut=CUT), Answer(is_chunked=True)) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-", None]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_transient_status_is_retried(status: int) -> None:
    with Host(Answer(cut=CUT), Answer(b"busy", status=status), Answer()) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


@pytest.mark.usefixtures("impatient")
async def test_a_persistent_transient_status_exhausts_the_retries() -> None:
    with Host(Answer(status=503)) as host, pytest.raises(TransportError, match="answered 503"):
        await fetched(host)
    assert len(host.requests) == QUICK.attempts


@pytest.mark.parametrize("status", [204, 206, 304, 416])
async def test_an_answer_without_the_file_is_not_retried(status: int) -> None:
    with (
        Host(Answer(b"" if status in (204, 304) else b"no", status=status)) as host,
        pytest.raises(TransportError, match=f"answered {status}") as caught,
    ):
        await fetched(host)
    assert caught.value.action is ErrorAction.RAISE
    assert len(host.requests) == 1


@pytest.mark.parametrize("data", [b"", AUDIO])
async def test_an_empty_body_is_an_error(data: bytes) -> None:
    empty = Answer(b"") if not data else Answer(data, sized=False, cut=0)
    with Host(empty) as host, pytest.raises(TransportError, match="the file is empty"):
        await fetched(host)
    assert len(host.requests) == QUICK.attempts


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "x-unknown"])
async def test_a_compressed_file_is_refused(encoding: str) -> None:
    packed = Answer(gzip.compress(AUDIO), headers=(f"Content-Encoding: {encoding}",))
    with Host(packed) as host, pytest.raises(TransportError, match="compressed"):
        await fetched(host)
    assert len(host.requests) == 1


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_file_with_an_identity_encoding_is_accepted(encoding: str) -> None:
    with Host(Answer(headers=(f"Content-Encoding: {encoding}",))) as host:
        assert (await fetched(host))[0] == AUDIO


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "text/html; charset=utf-8",
        "Text/HTML",
        "text/plain",
        "application/xhtml+xml",
        "application/xml",
        "application/json",
        "Application/Problem+JSON; charset=utf-8",
    ],
)
async def test_a_file_with_a_textual_media_type_is_refused(kind: str) -> None:
    with (
        Host(Answer(b"Sign in to the hotel's network.", kind=kind)) as host,
        pytest.raises(TransportError, match="and not audio"),
    ):
        await fetched(host)
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        PAGE.lower(),
        b"\r\n <HTML>" + PAGE,
        b"<?xml ?>" + PAGE,
        b"\xef\xbb\xbf" + PAGE,
        b"\xef\xbb\xbf\r\n\t " + PAGE,
        b" " * 63 + PAGE,
        b"<",
        b"{}",
        b'{"message": "no such key"}' * 9,
        b"[]",
        b" [1]",
        b"<!-- comment --><html>",
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_a_file_that_begins_like_a_page_is_refused(body: bytes) -> None:
    with (
        Host(Answer(body)) as host,
        pytest.raises(UnusableFileError, match="the file host sent text"),
    ):
        await fetched(host)
    assert len(host.requests) == 1


class _FragmentedReply:
    """A reply in fragments of a few bytes, without headers."""

    status, start, encoding, content_type = 200, 0, None, None
    is_delimited, validator, size = True, None, None

    def __init__(self, data: bytes, step: int) -> None:
        self._fragments = [data[at : at + step] for at in range(0, len(data), step)]

    async def read(self) -> bytes:
        return self._fragments.pop(0) if self._fragments else b""


async def chunks_of(data: bytes, step: int) -> list[bytes]:
    class Files:
        @asynccontextmanager
        async def get(
            self, _link: str, _headers: Mapping[str, str]
        ) -> AsyncIterator[_FragmentedReply]:
            yield _FragmentedReply(data, step)

    task = SeparationTask(
        task_id="t", status="SUCCESS", stems=Stems(vocal="https://cdn.example/v.mp3")
    )
    files = cast("FileTransport", Files())
    received = []
    async with RemoteFile("vocal", StemLinks(task, never_poll), files, QUICK, 1 << 30) as remote:
        await remote.open()
        while (chunk := await remote.next()) is not None:
            received.append(chunk.data)
    return received


@pytest.mark.parametrize("step", [1, 4, 63])
async def test_a_page_that_arrives_in_fragments_is_refused(step: int) -> None:
    for page in (PAGE, b"\xef\xbb\xbf" + b" " * 40 + PAGE, b"{}"):
        with pytest.raises(UnusableFileError, match="the file host sent text"):
            await chunks_of(page, step)


@pytest.mark.parametrize("size", [44, 63, 64, 65, 200])
@pytest.mark.parametrize("step", [1, 63, 64])
async def test_audio_that_arrives_in_fragments_is_accepted(size: int, step: int) -> None:
    assert b"".join(await chunks_of(AUDIO[:size], step)) == AUDIO[:size]


@pytest.mark.parametrize("beginning", [b"ID3", b"\xff\xfb<", b"RIFF{", b"x<html>", b"\x00<"])
async def test_audio_that_contains_markup_characters_is_accepted(beginning: bytes) -> None:
    with Host(Answer(beginning + AUDIO)) as host:
        assert (await fetched(host))[0] == beginning + AUDIO


async def test_the_rest_of_a_file_may_begin_like_text() -> None:
    data = AUDIO[:CUT] + PAGE
    with Host(Answer(data, cut=CUT), Answer(data)) as host:
        assert (await fetched(host))[0] == data
    assert ranges(host) == [None, f"bytes={CUT}-"]


async def test_a_file_cannot_be_read_after_its_block() -> None:
    with Host(Answer()) as host:
        async with files_in_use(host) as files:
            async with remote_of(host, files) as remote:
                await remote.open()
                assert await remote.next() is not None
            with pytest.raises(ConfigurationError, match="cannot be read after its block"):
                await remote.next()
    assert len(host.requests) == 1


async def test_a_file_with_a_compressed_transfer_encoding_is_refused() -> None:
    answer = Answer(gzip.compress(AUDIO), sized=False, headers=("Transfer-Encoding: gzip",))
    with Host(answer) as host, pytest.raises(TransportError, match="compressed"):
        await fetched(host)
    assert len(host.requests) == 1


async def test_a_host_that_starts_again_after_each_cut_is_given_up() -> None:
    with (
        Host(Answer(takes_ranges=False, cut=CUT)) as host,
        pytest.raises(TransportError, match="was cut"),
    ):
        await fetched(host)
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


async def test_a_file_announced_above_max_bytes_is_not_read() -> None:
    with (
        Host(Answer(hold=0)) as host,
        pytest.raises(TransportError, match=r"307,200 bytes; max_bytes is 307,199"),
    ):
        await fetched(host, max_bytes=SIZE - 1)
    assert len(host.requests) == 1


async def test_a_file_that_exceeds_max_bytes_is_given_up_there() -> None:
    with (
        Host(Answer(sized=False, hold=SIZE)) as host,
        pytest.raises(UnusableFileError, match=r"larger than 307,199 bytes"),
    ):
        await fetched(host, max_bytes=SIZE - 1)
    assert len(host.requests) == 1


async def test_a_file_of_exactly_max_bytes_is_accepted() -> None:
    with Host(Answer()) as host:
        assert (await fetched(host, max_bytes=SIZE))[0] == AUDIO


async def test_a_part_of_an_earlier_reader_is_resumed() -> None:
    identity = FileIdentity('"one"', SIZE, True, "audio/mpeg")
    with Host(Answer()) as host:
        async with files_in_use(host) as files, remote_of(host, files) as remote:
            await remote.open(CUT, identity)
            first = await remote.next()
    assert first is not None
    assert first.offset == CUT
    assert AUDIO[CUT:].startswith(first.data)
    assert first.identity is identity


async def test_a_part_without_a_validator_is_not_resumed() -> None:
    with Host(Answer()) as host:
        async with files_in_use(host) as files, remote_of(host, files) as remote:
            await remote.open(CUT, FileIdentity(None, SIZE))
            first = await remote.next()
    assert first is not None
    assert first.offset == 0
    assert ranges(host) == [None]


async def test_reading_requests_a_file_that_was_not_opened() -> None:
    with Host(Answer()) as host:
        async with files_in_use(host) as files, remote_of(host, files) as remote:
            assert await rest_of(remote, host) == AUDIO


@pytest.mark.parametrize(
    "tag",
    [
        pytest.param('"\udcff"', id="no text"),
        pytest.param('"caf\u00e9"', id="no ASCII"),
        pytest.param('"a\tb"', id="a tab"),
        pytest.param('"a\x01b"', id="a control character"),
        pytest.param('"a\x7fb"', id="a delete"),
        pytest.param('"' + "x" * 3000 + '"', id="long"),
    ],
)
async def test_a_file_with_any_entity_tag_completes_after_a_cut(tag: str) -> None:
    with Host(Answer(tag=tag, cut=CUT, takes_conditions=False), Answer(tag=tag)) as host:
        received, _ = await fetched(host)
    assert received == AUDIO


# Stalls


class _SlowReply:
    """A reply in virtual time: *step* bytes every *gap* seconds."""

    status, start, encoding, content_type = 200, 0, None, "audio/mpeg"
    is_delimited, validator = True, None

    def __init__(self, size: int, step: int, gap: float) -> None:
        self.size = size
        self._left, self._step, self._gap = size, step, gap

    async def read(self) -> bytes:
        await anyio.sleep(self._gap)
        data = bytes(min(self._step, self._left))
        self._left -= len(data)
        return data


class _SlowHost:
    def __init__(self, step: int, gap: float) -> None:
        self.requests = 0
        self._step, self._gap = step, gap

    @asynccontextmanager
    async def get(self, _link: str, _headers: Mapping[str, str]) -> AsyncIterator[_SlowReply]:
        self.requests += 1
        yield _SlowReply(1 << 18, self._step, self._gap)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestStalls:
    async def _all(self, host: _SlowHost, least: int | None = ENOUGH) -> list[Chunk]:
        task = SeparationTask(
            task_id="t", status="SUCCESS", stems=Stems(vocal="https://cdn.example/v.mp3")
        )
        files = cast("FileTransport", host)
        remote = RemoteFile(
            "vocal",
            StemLinks(task, never_poll),
            files,
            QUICK,
            1 << 30,
            patience=Patience(min_bytes_per_minute=least),
        )
        await remote.open()
        chunks = []
        while (chunk := await remote.next()) is not None:
            chunks.append(chunk)
        return chunks

    async def test_a_stalled_file_is_given_up_after_a_minute_per_attempt(self) -> None:
        host, began = _SlowHost(1, 1.0), anyio.current_time()
        with pytest.raises(TransportError, match=r"fewer than 65,536 bytes arrived in 60 s"):
            await self._all(host)
        assert host.requests == QUICK.attempts
        assert 180 <= anyio.current_time() - began < 190

    @pytest.mark.parametrize("least", [None, 1, 3600])
    async def test_a_file_at_the_least_pace_that_was_set_completes(self, least: int | None) -> None:
        host = _SlowHost(60, 1.0)
        assert sum(len(chunk.data) for chunk in await self._all(host, least)) == 1 << 18
        assert host.requests == 1

    async def test_a_slow_but_steady_file_completes(self) -> None:
        host, began = _SlowHost(1 << 12, 3.0), anyio.current_time()
        chunks = await self._all(host)
        assert sum(len(chunk.data) for chunk in chunks) == 1 << 18
        assert host.requests == 1
        assert anyio.current_time() - began > 180


def test_a_byte_a_second_is_a_stall_after_a_minute_and_can_be_retried() -> None:
    stall = StallDetector()
    for _ in range(59):
        stall.on_received(1, 1.0)
    with pytest.raises(TransportError, match=r"fewer than 65,536 bytes arrived in 60 s") as caught:
        stall.on_received(1, 1.0)
    assert caught.value.action is ErrorAction.RETRY


def test_enough_bytes_in_each_minute_are_never_a_stall() -> None:
    stall = StallDetector()
    for _ in range(1000):
        stall.on_received(ENOUGH // 2, 29.0)


def test_bytes_that_end_a_long_wait_count() -> None:
    StallDetector().on_received(ENOUGH, 3600.0)


@pytest.mark.parametrize("least", [1, 1000, 10_000_000])
def test_the_least_pace_can_be_set(least: int) -> None:
    StallDetector(least).on_received(least, 60.0)
    with pytest.raises(TransportError, match=rf"fewer than {least:,} bytes arrived in 60 s"):
        StallDetector(least).on_received(least - 1, 60.0)


def test_without_a_least_pace_nothing_is_a_stall() -> None:
    stall = StallDetector(None)
    for _ in range(100):
        stall.on_received(0, 3600.0)


def test_one_byte_too_few_is_a_stall() -> None:
    with pytest.raises(TransportError):
        StallDetector().on_received(ENOUGH - 1, 60.0)


def test_bytes_of_the_previous_period_do_not_count() -> None:
    stall = StallDetector()
    stall.on_received(100 * ENOUGH, 1.0)
    stall.on_received(ENOUGH - 1, 59.0)
    with pytest.raises(TransportError):
        stall.on_received(0, 1.0)


def test_time_without_waiting_does_not_count() -> None:
    stall = StallDetector()
    for _ in range(1000):
        stall.on_received(1, 0.0)


@given(st.lists(st.tuples(st.integers(0, 1 << 18), st.floats(0.0, 59.0)), max_size=50))
def test_less_than_a_minute_of_waiting_is_never_a_stall(
    gains: list[tuple[int, float]],
) -> None:
    stall, waited = StallDetector(), 0.0
    for count, seconds in gains:
        waited += seconds
        try:
            stall.on_received(count, seconds)
        except TransportError:
            assert waited >= 60.0
            return
