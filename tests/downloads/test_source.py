"""One file at its host: whole in the end, or an error that says why."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import anyio
import pytest
from downloads.hosts import (
    AUDIO,
    OTHER,
    QUICK,
    Host,
    Turn,
    files_of,
    no_look,
    remote_of,
)
from virtual_time import VIRTUAL_TIME

from vocalsep_async import ErrorAction, RetryPolicy, SeparationTask, Stems, TransportError
from vocalsep_async._downloads.links import StemLinks
from vocalsep_async._downloads.source import Chunk, FileIdentity, RemoteFile, UselessError
from vocalsep_async._transport.files import FileTransport
from vocalsep_async.errors import ConfigurationError, VocalSepError

pytestmark = pytest.mark.anyio

CUT = 100_000
SIZE = len(AUDIO)
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>" * 100


async def rest_of(remote: RemoteFile, host: Host, name: str = "vocal") -> bytes:
    """What a reader has in the end, who puts each piece where it belongs."""
    received = bytearray()
    while (piece := await remote.next()) is not None:
        assert piece.offset in (0, len(received)), "a piece that belongs nowhere"
        del received[piece.offset :]
        received += piece.data
        host.has_read(name, len(received))
    return bytes(received)


async def fetched(host: Host, **options: Any) -> tuple[bytes, FileIdentity]:
    async with files_in_use(host) as files, remote_of(host, files, **options) as remote:
        await remote.open()
        received = await rest_of(remote, host)
        return received, remote.about


@asynccontextmanager
async def files_in_use(host: Host) -> AsyncIterator[FileTransport]:
    files = files_of(host)
    try:
        yield files
    finally:
        await files.aclose()


def ranges(host: Host) -> list[str | None]:
    return [asked.range for asked in host.asked]


async def test_a_file_comes_as_it_is_at_its_host() -> None:
    with Host(Turn()) as host:
        received, about = await fetched(host)
    assert received == AUDIO
    assert about == FileIdentity('"one"', SIZE, verified=True, content_type="audio/mpeg")
    assert ranges(host) == [None]
    assert host.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "tag, changed, condition",
    [
        ('"one"', None, '"one"'),
        (None, "Wed, 01 Jul 2026 00:00:00 GMT", "Wed, 01 Jul 2026 00:00:00 GMT"),
    ],
)
async def test_after_a_cut_only_the_rest_of_the_same_file_is_asked_for(
    tag: str | None, changed: str | None, condition: str
) -> None:
    turn = Turn(tag=tag, changed=changed)
    with Host(Turn(tag=tag, changed=changed, cut=CUT), turn) as host:
        received, about = await fetched(host)
    assert received == AUDIO
    assert about.validator == condition
    assert ranges(host) == [None, f"bytes={CUT}-"]
    assert host.asked[1].headers["if-range"] == condition


async def test_a_part_that_does_not_name_its_file_goes_on_if_its_size_fits() -> None:
    with Host(Turn(cut=CUT), Turn(tag=None, takes_conditions=False)) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-"]


@pytest.mark.parametrize(
    "tag, changed",
    [(None, None), ('W/"one"', None), ('W/"one"', "Wed, 01 Jul 2026 00:00:00 GMT"), ("one", None)],
)
async def test_a_file_that_nothing_identifies_is_never_resumed(
    tag: str | None, changed: str | None
) -> None:
    turn = Turn(tag=tag, changed=changed)
    with Host(Turn(OTHER, tag=tag, changed=changed, cut=CUT), turn) as host:
        received, about = await fetched(host)
    assert received == AUDIO
    assert about.validator is None
    assert ranges(host) == [None, None]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(Turn(takes_ranges=False), id="ranges are not known"),
        pytest.param(Turn(OTHER, tag='"two"'), id="another file"),
        pytest.param(Turn(OTHER[:-1], tag='"two"'), id="another file of another length"),
    ],
)
async def test_a_whole_file_in_place_of_the_rest_takes_the_place_of_what_was_there(
    second: Turn,
) -> None:
    with Host(Turn(cut=CUT), second) as host:
        received, about = await fetched(host)
    assert received == second.data
    assert about.validator == second.tag
    assert ranges(host) == [None, f"bytes={CUT}-"]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(Turn(content_range=f"bytes 0-{SIZE - 1}/{SIZE}"), id="from the beginning"),
        pytest.param(Turn(content_range=f"bytes {CUT}-{SIZE - 1}/{SIZE + 1}"), id="other size"),
        pytest.param(Turn(content_range=f"bytes {CUT}-{SIZE - 1}/*"), id="size not told"),
        pytest.param(Turn(content_range="bytes ever so many"), id="nonsense"),
        pytest.param(Turn(content_range=""), id="nothing said"),
        pytest.param(Turn(OTHER, tag='"two"', takes_conditions=False), id="another file"),
        pytest.param(Turn(OTHER[:-9], takes_conditions=False), id="another length"),
        pytest.param(Turn(status=416), id="no such part"),
        pytest.param(Turn(status=412), id="not that file"),
    ],
)
async def test_a_part_that_does_not_fit_makes_the_file_begin_anew(second: Turn) -> None:
    with Host(Turn(cut=CUT), second, Turn(OTHER, tag='"three"')) as host:
        received, about = await fetched(host)
    assert received == OTHER
    assert about.validator == '"three"'
    assert ranges(host) == [None, f"bytes={CUT}-", None]


async def test_a_host_that_never_gives_a_fitting_part_is_given_up() -> None:
    with (
        Host(Turn(cut=CUT, content_range="bytes 5-6/7")) as host,
        pytest.raises(TransportError, match="was cut"),
    ):
        await fetched(host)
    assert ranges(host) == [None, f"bytes={CUT}-"] * 2 + [None]


async def test_a_file_that_is_cut_wherever_it_comes_to_still_comes_whole() -> None:
    turns = [Turn(cut=(nth + 1) << 16) for nth in range(SIZE >> 16)]
    with Host(*turns, Turn()) as host:
        received, _ = await fetched(host, retry=RetryPolicy(attempts=2, initial=0.001))
    assert received == AUDIO
    assert len(host.asked) == len(turns) + 1 > 4


async def test_cuts_that_bring_next_to_nothing_come_to_an_end() -> None:
    with (
        Host(*(Turn(cut=CUT + nth) for nth in range(9))) as host,
        pytest.raises(TransportError, match="was cut"),
    ):
        await fetched(host)
    assert len(host.asked) == QUICK.attempts


async def test_a_body_longer_than_was_said_of_the_file_is_never_taken_for_whole() -> None:
    part = Turn(AUDIO + b"more", content_range=f"bytes {CUT}-{SIZE - 1}/{SIZE}")
    with Host(Turn(cut=CUT), part, Turn()) as host:
        received, _ = await fetched(host)
    assert received == AUDIO


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_part_that_ends_before_the_file_does_is_gone_on_with(*, is_chunked: bool) -> None:
    said = f"bytes {CUT}-{SIZE - 1}/{SIZE}"
    part = Turn(AUDIO[:-5], is_chunked=is_chunked, content_range=said)
    with Host(Turn(cut=CUT), part, Turn()) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={SIZE - 5}-"]


async def test_parts_that_always_end_before_the_file_does_come_to_an_end() -> None:
    part = Turn(AUDIO[:-5], content_range=f"bytes {CUT}-{SIZE - 1}/{SIZE}", takes_conditions=False)
    late = Turn(b"", status=206, content_range=f"bytes {SIZE - 5}-{SIZE - 1}/{SIZE}")
    with (
        Host(Turn(cut=CUT), part, late) as host,
        pytest.raises(TransportError, match=r"only 307,195 of 307,200 bytes came"),
    ):
        await fetched(host)


async def test_a_file_of_unknown_length_with_an_end_is_known_to_be_whole() -> None:
    with Host(Turn(is_chunked=True)) as host:
        assert await fetched(host) == (AUDIO, FileIdentity('"one"', None, True, "audio/mpeg"))


async def test_a_file_that_ends_with_its_connection_is_not_known_to_be_whole() -> None:
    with Host(Turn(sized=False, kind=None)) as host:
        assert await fetched(host) == (AUDIO, FileIdentity('"one"', None, False, None))


async def test_a_file_of_unknown_length_begins_anew_after_a_cut() -> None:
    with Host(Turn(is_chunked=True, cut=CUT), Turn(is_chunked=True)) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-", None]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_host_in_trouble_is_asked_again(status: int) -> None:
    with Host(Turn(cut=CUT), Turn(b"busy", status=status), Turn()) as host:
        received, _ = await fetched(host)
    assert received == AUDIO
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


async def test_a_host_that_stays_in_trouble_is_asked_so_many_times() -> None:
    with Host(Turn(status=503)) as host, pytest.raises(TransportError, match="answered 503"):
        await fetched(host)
    assert len(host.asked) == QUICK.attempts


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 416, 451])
async def test_an_answer_without_the_file_is_refused_at_once(status: int) -> None:
    with (
        Host(Turn(b"" if status in (204, 304) else b"no", status=status)) as host,
        pytest.raises(TransportError, match=f"answered {status}") as caught,
    ):
        await fetched(host)
    assert caught.value.action is ErrorAction.RAISE
    assert len(host.asked) == 1


@pytest.mark.parametrize("data", [b"", AUDIO])
async def test_an_empty_body_is_no_file(data: bytes) -> None:
    empty = Turn(b"") if not data else Turn(data, sized=False, cut=0)
    with Host(empty) as host, pytest.raises(TransportError, match="the file is empty"):
        await fetched(host)
    assert len(host.asked) == QUICK.attempts


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "x-unknown"])
async def test_a_compressed_file_is_refused(encoding: str) -> None:
    packed = Turn(gzip.compress(AUDIO), headers=(f"Content-Encoding: {encoding}",))
    with Host(packed) as host, pytest.raises(TransportError, match="compressed"):
        await fetched(host)
    assert len(host.asked) == 1


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_file_that_is_said_to_be_as_it_is_is_taken(encoding: str) -> None:
    with Host(Turn(headers=(f"Content-Encoding: {encoding}",))) as host:
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
async def test_what_is_called_a_page_is_no_audio(kind: str) -> None:
    with (
        Host(Turn(b"Sign in to the hotel's network.", kind=kind)) as host,
        pytest.raises(TransportError, match="came in place of audio"),
    ):
        await fetched(host)
    assert len(host.asked) == 1


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
async def test_what_looks_like_a_page_is_no_audio(body: bytes) -> None:
    with Host(Turn(body)) as host, pytest.raises(UselessError, match="text came in place of audio"):
        await fetched(host)
    assert len(host.asked) == 1


class _Bits:
    """A reply that comes a few bytes at a time, and says nothing of itself."""

    status, start, encoding, content_type = 200, 0, None, None
    is_delimited, validator, size = True, None, None

    def __init__(self, data: bytes, step: int) -> None:
        self._bits = [data[at : at + step] for at in range(0, len(data), step)]

    async def read(self) -> bytes:
        return self._bits.pop(0) if self._bits else b""


async def pieces_of(data: bytes, step: int) -> list[bytes]:
    class Files:
        @asynccontextmanager
        async def get(self, _link: str, _headers: Mapping[str, str]) -> AsyncIterator[_Bits]:
            yield _Bits(data, step)

    task = SeparationTask(
        task_id="t", status="SUCCESS", stems=Stems(vocal="https://cdn.example/v.mp3")
    )
    files = cast("FileTransport", Files())
    received = []
    async with RemoteFile("vocal", StemLinks(task, no_look), files, QUICK, 1 << 30) as remote:
        await remote.open()
        while (piece := await remote.next()) is not None:
            received.append(piece.data)
    return received


@pytest.mark.parametrize("step", [1, 4, 63])
async def test_a_page_that_comes_a_few_bytes_at_a_time_is_no_audio(step: int) -> None:
    for page in (PAGE, b"\xef\xbb\xbf" + b" " * 40 + PAGE, b"{}"):
        with pytest.raises(UselessError, match="text came in place of audio"):
            await pieces_of(page, step)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("step", [1, 63, 64])
async def test_audio_that_comes_a_few_bytes_at_a_time_is_taken(size: int, step: int) -> None:
    assert b"".join(await pieces_of(AUDIO[:size], step)) == AUDIO[:size]


@pytest.mark.parametrize("beginning", [b"ID3", b"\xff\xfb<", b"RIFF{", b"x<html>", b"\x00<"])
async def test_what_only_holds_the_signs_of_text_is_audio(beginning: bytes) -> None:
    with Host(Turn(beginning + AUDIO)) as host:
        assert (await fetched(host))[0] == beginning + AUDIO


async def test_the_rest_of_a_file_may_begin_as_text_does() -> None:
    data = AUDIO[:CUT] + PAGE
    with Host(Turn(data, cut=CUT), Turn(data)) as host:
        assert (await fetched(host))[0] == data
    assert ranges(host) == [None, f"bytes={CUT}-"]


async def test_after_its_block_a_file_cannot_be_read() -> None:
    with Host(Turn()) as host:
        async with files_in_use(host) as files:
            async with remote_of(host, files) as remote:
                await remote.open()
                assert await remote.next() is not None
            with pytest.raises(ConfigurationError, match="the block in which it could be read"):
                await remote.next()
    assert len(host.asked) == 1


async def test_a_file_that_is_coded_for_its_transfer_is_refused() -> None:
    turn = Turn(gzip.compress(AUDIO), sized=False, headers=("Transfer-Encoding: gzip",))
    with Host(turn) as host, pytest.raises(TransportError, match="compressed"):
        await fetched(host)
    assert len(host.asked) == 1


async def test_a_host_that_begins_anew_after_each_cut_is_given_up() -> None:
    with (
        Host(Turn(takes_ranges=False, cut=CUT)) as host,
        pytest.raises(TransportError, match="was cut"),
    ):
        await fetched(host)
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


async def test_a_file_that_is_said_to_be_too_large_is_not_read() -> None:
    with (
        Host(Turn(hold=0)) as host,
        pytest.raises(TransportError, match=r"307,200 bytes; at most 307,199"),
    ):
        await fetched(host, max_bytes=SIZE - 1)
    assert len(host.asked) == 1


async def test_a_file_that_goes_on_too_long_is_given_up_there() -> None:
    with (
        Host(Turn(sized=False, hold=SIZE)) as host,
        pytest.raises(UselessError, match=r"larger than 307,199 bytes"),
    ):
        await fetched(host, max_bytes=SIZE - 1)
    assert len(host.asked) == 1


async def test_a_file_as_large_as_allowed_is_taken() -> None:
    with Host(Turn()) as host:
        assert (await fetched(host, max_bytes=SIZE))[0] == AUDIO


async def test_what_an_earlier_reader_left_is_gone_on_with() -> None:
    about = FileIdentity('"one"', SIZE, True, "audio/mpeg")
    with Host(Turn()) as host:
        async with files_in_use(host) as files, remote_of(host, files) as remote:
            await remote.open(CUT, about)
            first = await remote.next()
    assert first is not None
    assert first.offset == CUT
    assert AUDIO[CUT:].startswith(first.data)
    assert first.about is about


async def test_what_nothing_identifies_is_not_gone_on_with() -> None:
    with Host(Turn()) as host:
        async with files_in_use(host) as files, remote_of(host, files) as remote:
            await remote.open(CUT, FileIdentity(None, SIZE))
            first = await remote.next()
    assert first is not None
    assert first.offset == 0
    assert ranges(host) == [None]


async def test_a_file_that_was_not_asked_for_is_asked_for_when_it_is_read() -> None:
    with Host(Turn()) as host:
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
async def test_any_entity_tag_can_be_cut_and_still_gives_the_whole_file(tag: str) -> None:
    with Host(Turn(tag=tag, cut=CUT, takes_conditions=False), Turn(tag=tag)) as host:
        received, _ = await fetched(host)
    assert received == AUDIO


# Links


class Looks:
    """A task whose links are other ones at each look."""

    def __init__(self, host: Host, *queries: str) -> None:
        self._host = host
        self._queries = list(queries)
        self.count = 0

    async def poll(self) -> SeparationTask:
        self.count += 1
        query = self._queries.pop(0)
        return self._host.task("vocal", stems=Stems(vocal=self._host.link("vocal", query)))


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_an_expired_link_is_renewed_once_and_the_file_goes_on(status: int) -> None:
    with Host(Turn(cut=CUT), Turn(b"expired", status=status), Turn()) as host:
        polls = Looks(host, "Signature=new")
        received, _ = await fetched(host, links=StemLinks(host.task("vocal"), polls.poll))
    assert received == AUDIO
    assert polls.count == 1
    assert ranges(host) == [None, f"bytes={CUT}-", f"bytes={CUT}-"]
    assert [asked.query["Signature"] for asked in host.asked] == [["hush"], ["hush"], ["new"]]


async def test_a_renewed_link_that_has_expired_too_is_not_renewed_again() -> None:
    with Host(Turn(b"expired", status=403)) as host:
        polls = Looks(host, "Signature=new")
        links = StemLinks(host.task("vocal"), polls.poll)
        with pytest.raises(TransportError, match=r"expired \(403\).*gave no other"):
            await fetched(host, links=links)
    assert polls.count == 1
    assert len(host.asked) == 2


async def test_a_look_that_gives_the_same_link_ends_it() -> None:
    with Host(Turn(b"expired", status=410)) as host:
        polls = Looks(host, "Signature=hush")
        links = StemLinks(host.task("vocal"), polls.poll)
        with pytest.raises(TransportError, match="gave no other"):
            await fetched(host, links=links)
    assert (polls.count, len(host.asked)) == (1, 1)


async def test_a_look_that_fails_ends_it_and_says_why() -> None:
    async def poll() -> SeparationTask:
        raise VocalSepError("no credits")

    with (
        Host(Turn(b"expired", status=404)) as host,
        pytest.raises(TransportError, match=r"expired \(404\).*failed: no credits"),
    ):
        await fetched(host, links=StemLinks(host.task("vocal"), poll))


async def test_a_link_past_its_time_is_renewed_before_it_is_asked_for() -> None:
    with Host(Turn()) as host:
        polls = Looks(host, "Signature=new")
        ended = datetime.now(UTC) - timedelta(days=15)
        links = StemLinks(host.task("vocal", completed_at=ended), polls.poll)
        assert (await fetched(host, links=links))[0] == AUDIO
    assert [asked.query["Signature"] for asked in host.asked] == [["new"]]


async def test_a_stem_that_has_no_link_any_more_is_not_asked_for() -> None:
    with Host(Turn()) as host:
        ended = datetime.now(UTC) - timedelta(days=15)

        async def poll() -> SeparationTask:
            return host.task("drums")

        links = StemLinks(host.task("vocal", completed_at=ended), poll)
        with pytest.raises(TransportError, match="gave no link for it"):
            await fetched(host, links=links)
    assert host.asked == []


# Too slow


class _Drip:
    """A reply in virtual time: so many bytes every so many seconds."""

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


class _DrippingHost:
    def __init__(self, step: int, gap: float) -> None:
        self.asked = 0
        self._step, self._gap = step, gap

    @asynccontextmanager
    async def get(self, _link: str, _headers: Mapping[str, str]) -> AsyncIterator[_Drip]:
        self.asked += 1
        yield _Drip(1 << 18, self._step, self._gap)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestPace:
    async def _all(self, host: _DrippingHost) -> list[Chunk]:
        task = SeparationTask(
            task_id="t", status="SUCCESS", stems=Stems(vocal="https://cdn.example/v.mp3")
        )
        files = cast("FileTransport", host)
        remote = RemoteFile("vocal", StemLinks(task, no_look), files, QUICK, 1 << 30)
        await remote.open()
        pieces = []
        while (piece := await remote.next()) is not None:
            pieces.append(piece)
        return pieces

    async def test_a_file_that_comes_too_slowly_for_a_minute_is_given_up(self) -> None:
        host, began = _DrippingHost(1, 1.0), anyio.current_time()
        with pytest.raises(TransportError, match=r"fewer than 65,536 bytes came in 60 s"):
            await self._all(host)
        assert host.asked == QUICK.attempts
        assert 180 <= anyio.current_time() - began < 190

    async def test_a_file_that_comes_slowly_but_steadily_is_waited_for(self) -> None:
        host, began = _DrippingHost(1 << 12, 3.0), anyio.current_time()
        pieces = await self._all(host)
        assert sum(len(piece.data) for piece in pieces) == 1 << 18
        assert host.asked == 1
        assert anyio.current_time() - began > 180
