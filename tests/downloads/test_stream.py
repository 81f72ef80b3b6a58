"""`open_stem`: one stem, read and not saved."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from downloads.stem_host import KEY, SIGNATURE, Held, StemHost, audio, client_of, names_in

from vocalsep_async import (
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    InvalidArgumentError,
    TaskFailedError,
    TaskRef,
    VocalSepClient,
)
from vocalsep_async.downloads import StemStream
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio

LONG = 3_000_000


async def read(stream: StemStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def read_into(chunks: list[bytes], stream: StemStream) -> None:
    """Append the chunks, those before an error included."""
    async for chunk in stream:
        chunks.append(chunk)  # noqa: PERF401 - an error may end it


def open_files() -> set[str]:
    return names_in(Path("/proc/self/fd"))


# Reading


async def test_a_stream_reads_the_bytes_that_a_download_saves(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(duration=0))
        report = await client.download_stems(task, tmp_path)
        async with client.open_stem(task, "vocal") as stream:
            assert stream.size == report.files[0].size
            assert stream.stem == "vocal"
            assert stream.content_type == "audio/wav"
            assert await read(stream) == report.paths["vocal"].read_bytes()


@pytest.mark.parametrize("given", [str, TaskRef])
async def test_an_id_or_a_ref_is_polled_on_entering(given: Callable[[str], Any]) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        stream = client.open_stem(given(host.add("a", "vocal")), "vocal")
        assert host.polls == []
        async with stream:
            assert host.polls == ["a"]
            assert await read(stream) == host.files["a/vocal"]


async def test_size_and_content_type_are_none_if_the_host_does_not_state_them() -> None:
    async def answer_without_headers(request: web.Request) -> web.StreamResponse | None:
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        request.transport.write(host.files["a/vocal"])
        request.transport.close()
        return web.Response()

    async with StemHost() as host, client_of(host.url) as client:
        host.hook = answer_without_headers
        async with client.open_stem(host.add("a", "vocal"), "vocal") as stream:
            assert stream.size is None
            assert stream.content_type is None
            assert await read(stream) == host.files["a/vocal"]


async def test_a_stream_yields_no_empty_chunk_and_stays_exhausted() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal", size=LONG)
        async with client.open_stem(task_id, "vocal") as stream:
            chunks = [chunk async for chunk in stream]
            assert [chunk async for chunk in stream] == []
        assert len(host.seen) == 1
    assert all(chunks)
    assert len(chunks) > 1


async def test_a_stream_sends_neither_key_nor_cookie_to_the_file_host() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=LONG)
        host.cut("a/vocal", 1_000_000)
        async with client.open_stem("a", "vocal") as stream:
            await read(stream)
    assert len(host.seen) == 2
    assert all(KEY not in str(seen) and "Cookie" not in seen.headers for seen in host.seen)


# Cuts


async def test_a_stream_resumes_after_a_cut_without_losing_or_repeating_a_byte() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=LONG)
        host.cut("a/vocal", 1_000_000, 2_000_000)
        async with client.open_stem("a", "vocal") as stream:
            assert await read(stream) == host.files["a/vocal"]
            assert stream.size == LONG
    assert len(host.seen) > 1
    assert "Range" in host.seen[-1].headers


async def test_a_stream_repeats_no_byte_if_the_host_starts_again_after_a_cut() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.keeps_ranges = False
        host.add("a", "vocal", size=LONG)
        host.cut("a/vocal", 1_000_000, 2_000_000)
        async with client.open_stem("a", "vocal") as stream:
            assert await read(stream) == host.files["a/vocal"]
    assert len(host.seen) == 3


async def test_a_host_may_start_again_before_the_first_chunk() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.tags["a/vocal"] = None
        host.add("a", "vocal")
        host.cut("a/vocal", 0)
        async with client.open_stem("a", "vocal") as stream:
            assert await read(stream) == host.files["a/vocal"]
    assert len(host.seen) == 2


@pytest.mark.parametrize("keeps_ranges", [True, False])
async def test_a_file_that_changes_while_it_is_read_is_an_error(*, keeps_ranges: bool) -> None:
    async def changing(_request: web.Request) -> web.StreamResponse | None:
        if len(host.seen) == 2:
            host.files["a/vocal"] = audio("another", LONG)
        return None

    async with StemHost() as host, client_of(host.url) as client:
        host.keeps_ranges = keeps_ranges
        before = host.files[f"{host.add('a', 'vocal', size=LONG)}/vocal"]
        host.cut("a/vocal", 1_000_000)
        host.hook = changing
        chunks: list[bytes] = []
        async with client.open_stem("a", "vocal") as stream:
            with pytest.raises(DownloadError, match="the file changed while it was read"):
                await read_into(chunks, stream)
    assert chunks
    assert before.startswith(b"".join(chunks))


async def test_a_cut_of_a_file_without_a_validator_is_an_error() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.tags["a/vocal"] = None
        host.add("a", "vocal", size=LONG)
        host.cut("a/vocal", 1_000_000)
        with pytest.raises(DownloadError, match="its host cannot resume the file"):
            async with client.open_stem("a", "vocal") as stream:
                await read(stream)


@pytest.mark.usefixtures("impatient")
async def test_a_host_that_fails_after_every_cut_is_given_up() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=LONG)
        host.cut("a/vocal", 1_000_000)

        async def gone(_request: web.Request) -> web.StreamResponse | None:
            return web.Response(status=502) if len(host.seen) > 1 else None

        host.hook = gone
        with pytest.raises(DownloadError, match="502") as caught:
            async with client.open_stem("a", "vocal") as stream:
                await read(stream)
    assert caught.value.stem == "vocal"
    assert len(host.seen) <= 4


# Errors


async def test_a_stream_error_names_the_place_and_shows_no_secret() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(DownloadError, match="max_bytes is 10") as caught:
            async with client.open_stem(host.add("a", "vocal"), "vocal", max_bytes=10):
                raise AssertionError
    error = caught.value
    assert (error.task_id, error.stem, error.path, error.report) == ("a", "vocal", None, None)
    assert error.url == "<127.0.0.1/…/vocal.mp3>"
    text = "".join(traceback.format_exception(error))
    assert SIGNATURE not in text
    assert KEY not in text


async def test_entering_fails_for_a_task_without_stems_or_without_that_stem() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.failed.add("bad")
        host.add("a", "vocal")
        with pytest.raises(TaskFailedError, match="too quiet"):
            await client.open_stem("bad", "vocal").__aenter__()
        with pytest.raises(DownloadError, match="no stem 'drums'"):
            await client.open_stem("a", "drums").__aenter__()
        with pytest.raises(InvalidArgumentError, match="no stem 'vocals'"):
            await client.open_stem("a", "vocals").__aenter__()
    assert host.seen == []


@pytest.mark.parametrize("options", [{"stem": ""}, {"stem": None}, {"max_bytes": 0}], ids=str)
async def test_open_stem_refuses_unusable_arguments_immediately(options: dict[str, Any]) -> None:
    async with client_of("http://127.0.0.1:9") as client:
        with pytest.raises(InvalidArgumentError):
            client.open_stem("a", **{"stem": "vocal"} | options)


async def test_a_private_address_is_not_read_from() -> None:
    async with StemHost() as api, StemHost() as inner, client_of(api.url) as client:
        api.link_of = inner.link
        with pytest.raises(DownloadError, match="is not a public address"):
            await client.open_stem(api.add("a", "vocal"), "vocal").__aenter__()
    assert inner.seen == []


# The block


async def test_a_stream_works_only_within_its_block() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        stream = client.open_stem(host.add("a", "vocal"), "vocal")
        for use in (lambda: stream.size, lambda: stream.content_type):
            with pytest.raises(ConfigurationError, match=r"async with client\.open_stem"):
                use()
        with pytest.raises(ConfigurationError, match=r"async with client\.open_stem"):
            await anext(stream)
    assert host.polls == []


async def test_a_stream_cannot_be_read_after_its_block() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        async with client.open_stem(host.add("a", "vocal", size=LONG), "vocal") as stream:
            await anext(stream)
        with pytest.raises(ConfigurationError):
            await anext(stream)
    assert len(host.seen) == 1


async def test_a_stream_can_be_entered_once() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        async with client.open_stem(host.add("a", "vocal"), "vocal") as stream:
            with pytest.raises(ConfigurationError, match="entered once"):
                await stream.__aenter__()
            assert await read(stream) == host.files["a/vocal"]
        with pytest.raises(ConfigurationError, match="entered once"):
            await stream.__aenter__()


async def test_a_stream_that_failed_to_enter_cannot_be_entered_again() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.failed.add("bad")
        stream = client.open_stem("bad", "vocal")
        with pytest.raises(TaskFailedError):
            await stream.__aenter__()
        with pytest.raises(ConfigurationError, match="entered once"):
            await stream.__aenter__()
    assert host.polls == ["bad"]


async def test_the_repr_of_a_stream_shows_its_position_and_no_link() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        stream = client.open_stem(host.add("a", "vocal"), "vocal")
        assert repr(stream) == "<StemStream of vocal, not entered>"
        async with stream:
            await read(stream)
            assert repr(stream) == "<StemStream of vocal, 100,000 bytes read>"


async def half_and_no_more(
    client: VocalSepClient, host: StemHost, held: Held
) -> AsyncIterator[bytes]:
    async def half(request: web.Request) -> web.StreamResponse | None:
        response = web.StreamResponse(headers={"Content-Type": "audio/mpeg"})
        response.content_length = LONG
        await response.prepare(request)
        await response.write(host.files["a/vocal"][: LONG // 2])
        return await held(request)

    host.hook = half
    async with client.open_stem(host.add("a", "vocal", size=LONG), "vocal") as stream:
        async for chunk in stream:
            yield chunk


async def test_leaving_the_block_early_closes_the_connection() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        held = Held()
        async with aclosing(half_and_no_more(client, host, held)) as chunks:  # type: ignore[type-var]
            assert await anext(chunks)
            await held.until(lambda: held.under_way == 1)
        await held.until(lambda: held.left == 1)


async def test_cancelling_the_reader_closes_the_connection() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        held = Held()

        async def reads() -> None:
            async with aclosing(half_and_no_more(client, host, held)) as chunks:  # type: ignore[type-var]
                async for _ in chunks:
                    pass

        reader = asyncio.ensure_future(reads())
        await held.until(lambda: held.under_way == 1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await held.until(lambda: held.left == 1)


async def test_closing_the_client_ends_a_stream() -> None:
    async with StemHost() as host:
        client, held = client_of(host.url), Held()

        async def reads() -> None:
            async with aclosing(half_and_no_more(client, host, held)) as chunks:  # type: ignore[type-var]
                async for _ in chunks:
                    pass

        reader = asyncio.ensure_future(reads())
        await held.until(lambda: held.under_way == 1)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await reader
        await held.until(lambda: held.left == 1)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
async def test_a_stream_leaves_no_open_descriptor() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", size=LONG))
        before = open_files()
        held = Held()
        async with aclosing(half_and_no_more(client, host, held)) as chunks:  # type: ignore[type-var]
            await anext(chunks)
            await held.until(lambda: held.under_way == 1)
        await held.until(lambda: held.left == 1)
        assert task.succeeded
        assert open_files() <= before
