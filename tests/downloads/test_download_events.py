"""The events of downloads and of stems."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from downloads.stem_host import Held, StemHost, client_of
from listening import Recorder

from vocalsep_async import DownloadError, DownloadOptions, DownloadProgress, TaskRef
from vocalsep_async.instrumentation import (
    DownloadFinished,
    DownloadStarted,
    StemFailed,
    StemSaved,
    StemStarted,
)

pytestmark = pytest.mark.anyio

OURS = (DownloadStarted, DownloadFinished, StemStarted, StemSaved, StemFailed)


@pytest.fixture
def events() -> Recorder:
    return Recorder(*OURS)


async def bad_drums(request: web.Request) -> web.StreamResponse | None:
    return web.Response(status=400) if request.match_info["stem"] == "drums" else None


# Saved


async def test_a_download_emits_its_start_each_stem_and_its_end(
    tmp_path: Path, events: Recorder
) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        report = await client.download_stems(host.add("a", "vocal", "drums"), tmp_path)
    start = events[0]
    assert isinstance(start, DownloadStarted)
    assert (start.task_id, set(start.stems)) == ("a", {"vocal", "drums"})
    assert sorted(events.names[1:-1]) == ["stem.saved"] * 2 + ["stem.started"] * 2
    end = events.the(DownloadFinished)
    assert (end.saved, end.failed, end.error) == (2, 0, None)
    assert end.duration > 0
    saved = {each.stem: each for each in events if isinstance(each, StemSaved)}
    for file in report.files:
        event = saved[file.stem]
        assert (event.path, event.size, event.was_fetched) == (file.path, file.size, True)
    assert len({each.download_id for each in events}) == 1  # type: ignore[attr-defined]


async def test_a_stem_that_is_there_already_is_saved_and_not_fetched(
    tmp_path: Path, events: Recorder
) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        await client.download_stems(host.add("a", "vocal"), tmp_path)
        events.clear()
        await client.download_stems("a", tmp_path)
    assert [each.was_fetched for each in events if isinstance(each, StemSaved)] == [False]
    end = events.the(DownloadFinished)
    assert (end.saved, end.failed) == (1, 0)


async def test_a_stem_that_fails_is_the_error_of_the_download(
    tmp_path: Path, events: Recorder
) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        host.hook = bad_drums
        with pytest.raises(DownloadError) as caught:
            await client.download_stems(host.add("a", "vocal", "drums"), tmp_path)
    failed = events.the(StemFailed)
    assert (failed.stem, failed.task_id) == ("drums", "a")
    assert isinstance(failed.error, DownloadError)
    end = events.the(DownloadFinished)
    assert (end.saved, end.failed) == (1, 1)
    assert str(end.error) == str(caught.value)


async def test_a_callback_that_raises_fails_its_stem_and_the_download(
    tmp_path: Path, events: Recorder
) -> None:
    def broken(progress: DownloadProgress) -> None:
        raise ZeroDivisionError

    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        with pytest.raises(ZeroDivisionError) as caught:
            await client.download_stems(host.add("a", "vocal"), tmp_path, on_progress=broken)
    assert events.names == ["download.started", "stem.started", "stem.failed", "download.finished"]
    assert events.the(StemFailed).error is events.the(DownloadFinished).error is caught.value


async def test_a_cancelled_download_ends_all_that_it_started(
    tmp_path: Path, events: Recorder
) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        host.hook = held = Held()
        ids = host.add("a", "vocal", "drums")
        call = asyncio.ensure_future(client.download_stems(ids, tmp_path))
        await held.until(lambda: held.under_way == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert events.names[0] == "download.started"
    assert sorted(events.names[1:-1]) == ["stem.failed"] * 2 + ["stem.started"] * 2
    end = events.the(DownloadFinished)
    assert isinstance(end.error, asyncio.CancelledError)
    assert (end.saved, end.failed) == (0, 2)


async def test_a_batch_emits_the_same_events_and_counts_stems_that_a_task_lacks(
    tmp_path: Path, events: Recorder
) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        to = DownloadOptions(tmp_path, stems=["vocal", "drums"])
        async with client.track([host.add("a", "vocal")], download_to=to) as batch:
            (outcome,) = [each async for each in batch]
    assert events.names == ["download.started", "stem.started", "stem.saved", "download.finished"]
    end = events.the(DownloadFinished)
    assert (end.saved, end.failed) == (1, 1)
    assert outcome.download_error is not None
    assert str(end.error) == str(outcome.download_error)


# Read


async def test_a_stem_that_is_read_to_its_end_is_saved_without_a_path(events: Recorder) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        async with client.open_stem(host.add("a", "vocal"), "vocal") as stream:
            assert events.names == ["stem.started"]
            size = sum([len(chunk) async for chunk in stream])
            start, end = events
        assert events == [start, end]
    assert isinstance(start, StemStarted)
    assert isinstance(end, StemSaved)
    assert (end.task_id, end.stem, end.path, end.size) == ("a", "vocal", None, size)
    assert start.download_id == end.download_id


async def test_the_start_of_a_stream_is_emitted_before_the_first_await(events: Recorder) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        entering = client.open_stem(host.add("a", "vocal"), "vocal").__aenter__()
        entering.send(None)
        assert events.names == ["stem.started"]
        entering.close()
    assert events.names == ["stem.started", "stem.failed"]


async def test_a_stream_that_cannot_be_opened_fails(events: Recorder) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        host.hook = bad_drums
        record = await client.get_task(host.add("a", "drums"))
        with pytest.raises(DownloadError) as caught:
            async with client.open_stem(record, "drums"):
                pass
    assert events.names == ["stem.started", "stem.failed"]
    assert events.the(StemFailed).error is caught.value


async def test_a_stream_that_breaks_fails_even_if_its_error_is_caught(events: Recorder) -> None:
    async def page(_request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=b"<html>" + bytes(1_000), content_type="audio/mpeg")

    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        host.hook = page
        async with client.open_stem(host.add("a", "vocal"), "vocal") as stream:
            with pytest.raises(DownloadError, match="text") as caught:
                await anext(stream)
            assert events.names == ["stem.started", "stem.failed"]
    assert events.the(StemFailed).error is caught.value


async def test_a_stream_that_is_left_early_fails(events: Recorder) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        async with client.open_stem(host.add("a", "vocal"), "vocal"):
            pass
        assert "stem vocal of task 'a' was not read to its end" in str(events.the(StemFailed).error)
        events.clear()
        with pytest.raises(ZeroDivisionError) as caught:
            async with client.open_stem("a", "vocal"):
                raise ZeroDivisionError
    assert events.the(StemFailed).error is caught.value


# Labels


async def test_the_events_of_a_download_and_of_a_stream_have_the_label_of_the_task(
    tmp_path: Path, events: Recorder
) -> None:
    async with StemHost() as host, client_of(host.url, on_event=events) as client:
        song = TaskRef(host.add("a", "vocal"), label="Song")
        await client.download_stems(song, tmp_path)
        async with client.open_stem(song, "vocal") as stream:
            async for _ in stream:
                pass
        assert [each.label for each in events] == ["Song"] * 6  # type: ignore[attr-defined]
        events.clear()
        await client.download_stems("a", tmp_path)
    assert [each.label for each in events] == [None] * 4  # type: ignore[attr-defined]
