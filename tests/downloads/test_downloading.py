"""`download_stems`: the stems of one task on disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import pickle
import threading
import traceback
import wave
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from downloads.stem_host import (
    KEY,
    SIGNATURE,
    Held,
    StemHost,
    audio,
    bytes_kept_in,
    client_of,
    eventually,
    names_in,
)

from vocalsep_async import (
    ClientClosedError,
    DownloadError,
    InvalidArgumentError,
    SeparationTask,
    TaskFailedError,
    TaskNotFoundError,
    TaskOutcome,
    TaskRef,
    TaskTimeoutError,
)
from vocalsep_async._downloads.disk import replace_file
from vocalsep_async._downloads.folder import Folder
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio


def samples(path: Path) -> array[int]:
    with wave.open(str(path)) as file:
        return array("h", file.readframes(file.getnframes()))


def added(paths: Iterable[Path]) -> list[int]:
    return [sum(moment) for moment in zip(*map(samples, paths), strict=True)]


def files_asked_for(emulator: Emulator) -> int:
    return sum(request.path.startswith("/files/") for request in emulator.requests)


def outcome(task_id: str, **fields: Any) -> TaskOutcome:
    given: dict[str, Any] = {"status": None, "task": None, "error": None}
    return TaskOutcome(task_id=task_id, polls=1, elapsed=1.0, **given | fields)


# On disk


@pytest.mark.parametrize(
    "type_, number", [("separate_vocal", 2), ("split_stem", 12), ("split_stem_advanced", 2)]
)
async def test_the_saved_stems_add_up_to_the_original_song(
    type_: str, number: int, tmp_path: Path
) -> None:
    original = tmp_path / "original.wav"
    async with Emulator() as emulator, client_of(emulator.url) as client:
        original.write_bytes(emulator.original_wav())
        task_id = emulator.add_task(type=type_, duration=0)
        report = await client.download_stems(task_id, tmp_path)
    assert len(report.files) == number
    assert added(report.paths.values()) == samples(original).tolist()


async def test_the_report_lists_the_files_on_disk(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        report = await client.download_stems(emulator.add_task("one", duration=0), tmp_path)
    assert report.task_id == "one"
    assert report.error is None
    assert report.paths == {
        "vocal": tmp_path / "one" / "vocal.wav",
        "instrumental": tmp_path / "one" / "instrumental.wav",
    }
    for file in report.files:
        content = file.path.read_bytes()
        assert file.size == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.was_fetched
        assert file.verified
    assert names_in(tmp_path / "one") == {"manifest.json", "vocal.wav", "instrumental.wav"}


async def test_the_manifest_holds_the_record_and_all_files(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task("one", type="split_stem", duration=0))
        report = await client.download_stems(task, tmp_path)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["record"] == task.raw
    assert {stem: entry["sha256"] for stem, entry in manifest["files"].items()} == {
        file.stem: file.sha256 for file in report.files
    }


async def test_the_directory_is_made_and_may_be_a_string(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        directory = tmp_path / "some" / "where"
        report = await client.download_stems(host.add("a", "vocal"), str(directory))
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert report.paths["vocal"].parent.parent == directory


# The task


@pytest.mark.parametrize(
    "given, polls",
    [
        pytest.param(lambda record: record, 0, id="record"),
        pytest.param(lambda record: outcome(record.task_id, task=record), 0, id="outcome"),
        pytest.param(lambda record: record.task_id, 1, id="id"),
        pytest.param(lambda record: TaskRef(record.task_id), 1, id="ref"),
    ],
)
async def test_a_task_may_be_given_as_a_record_an_outcome_an_id_or_a_ref(
    given: Callable[[SeparationTask], Any], polls: int, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        record = await client.get_task(host.add("a", "vocal"))
        host.polls.clear()
        report = await client.download_stems(given(record), tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert len(host.polls) == polls


async def test_an_outcome_with_a_download_error_is_downloaded_again(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        record = await client.get_task(host.add("a", "vocal"))
        error = DownloadError("it failed", task_id="a", stem="vocal")
        given = outcome("a", task=record, download_error=error)
        report = await client.download_stems(given, tmp_path)
    assert list(report.paths) == ["vocal"]


async def test_an_outcome_without_a_record_raises_its_error(tmp_path: Path) -> None:
    error = TaskTimeoutError("too late", task_id="a", task=None, polls=1, last_error=None)
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(TaskTimeoutError, match="too late"):
            await client.download_stems(outcome("a", error=error), tmp_path)
    assert host.polls == []


async def test_a_failed_task_has_nothing_to_download(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        emulator.fail(emulator.add_task("bad"))
        record = await client.get_task("bad")
        for given in ("bad", record, outcome("bad", task=record)):
            with pytest.raises(TaskFailedError, match="GENERATE_AUDIO_FAILED"):
                await client.download_stems(given, tmp_path)
        assert files_asked_for(emulator) == 0
    assert names_in(tmp_path) == set()


async def test_a_task_that_has_not_ended_has_nothing_to_download(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        emulator.add_task("slow", duration=1e6)
        with pytest.raises(TaskFailedError, match="has not ended: PENDING"):
            await client.download_stems("slow", tmp_path)
    assert names_in(tmp_path) == set()


async def test_an_error_of_the_poll_is_raised_unchanged(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        with pytest.raises(TaskNotFoundError):
            await client.download_stems("unknown", tmp_path)
        with pytest.raises(InvalidArgumentError, match="a task id is a string"):
            await client.download_stems(7, tmp_path)  # type: ignore[arg-type]


# The stems


async def test_only_the_named_stems_are_fetched_each_once(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass")
        stems = iter(["drums", "vocal", "drums"])
        report = await client.download_stems("a", tmp_path, stems=stems)
    assert list(report.paths) == ["drums", "vocal"]
    assert sorted(seen.name for seen in host.seen) == ["a/drums", "a/vocal"]


async def test_an_unknown_stem_is_refused_with_a_list_of_those_of_the_task(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(InvalidArgumentError, match="'vocals'; it has vocal, drums"):
            await client.download_stems("a", tmp_path, stems=["vocal", "vocals"])
    assert host.seen == []


async def test_a_stem_that_the_task_lacks_is_a_download_error(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal")
        with pytest.raises(DownloadError, match="no stem 'piano'; it has vocal") as caught:
            await client.download_stems("a", tmp_path, stems=["vocal", "piano"])
    assert (caught.value.task_id, caught.value.stem) == ("a", "piano")
    assert host.seen == []


@pytest.mark.parametrize(
    "options",
    [
        {"stems": "vocal"},
        {"stems": []},
        {"stems": [1]},
        {"stems": 1},
        {"template": "{task_id}{ext}"},
        {"template": "../{stem}"},
        {"template": None},
        {"overwrite": "sometimes"},
        {"overwrite": None},
        {"max_concurrency": 0},
        {"max_concurrency": 1.5},
        {"max_bytes": 0},
        {"on_progress": 1},
        {"directory": ""},
        {"directory": b"bytes"},
    ],
    ids=str,
)
async def test_an_unusable_argument_is_refused_before_anything_is_sent(
    options: dict[str, Any], tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(InvalidArgumentError):
            await client.download_stems(host.add("a", "vocal"), **{"directory": tmp_path} | options)
    assert host.polls == []
    assert host.seen == []


# The template


@pytest.mark.parametrize(
    "template, place",
    [
        ("{stem}{ext}", "vocal.mp3"),
        ("songs/{task_id}_{stem}", "songs/a_vocal"),
        ("{stem}/{task_id}/it{ext}", "vocal/a/it.mp3"),
        ("{{{stem}}}", "{vocal}"),
    ],
)
async def test_the_template_decides_where_each_file_goes(
    template: str, place: str, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal")
        report = await client.download_stems("a", tmp_path, template=template)
        again = await client.download_stems("a", tmp_path, template=template)
    assert report.paths == {"vocal": tmp_path / place}
    assert (tmp_path / place).read_bytes() == host.files["a/vocal"]
    # No folder is made for the manifest alone.
    assert (tmp_path / ".vocalsep" / "a.json").is_file()
    assert not (tmp_path / "a").exists()
    assert not again.files[0].was_fetched


async def test_a_name_that_one_stem_makes_too_long_is_refused_before_anything_is_fetched(
    tmp_path: Path,
) -> None:
    template = "x" * 190 + "{stem}{ext}"
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "instrumental")
        with pytest.raises(InvalidArgumentError, match="the limit is 200"):
            await client.download_stems("a", tmp_path, template=template)
    assert host.seen == []
    assert names_in(tmp_path) == set()


async def test_a_task_id_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    async with Emulator() as emulator, client_of(emulator.url) as client:
        report = await client.download_stems(emulator.add_task("../../up", duration=0), inside)
    assert all(path.parent.parent == inside for path in report.paths.values())
    assert names_in(tmp_path) == {"inside"}


# Errors


async def test_an_error_of_one_stem_does_not_stop_the_others(tmp_path: Path) -> None:
    async def no_vocal(request: web.Request) -> web.StreamResponse | None:
        is_vocal = request.match_info["stem"] == "vocal"
        return web.Response(text="<html>", content_type="text/html") if is_vocal else None

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass")
        host.hook = no_vocal
        with pytest.raises(
            DownloadError, match="the file host sent text/html and not audio"
        ) as caught:
            await client.download_stems("a", tmp_path)
    report = caught.value.report
    assert report is not None
    assert set(report.paths) == {"drums", "bass"}
    assert all(path.read_bytes() == host.files[f"a/{s}"] for s, path in report.paths.items())
    assert [error.stem for error in report.errors] == ["vocal"]
    assert not (tmp_path / "a" / "vocal.mp3").exists()


async def test_an_unexpected_error_is_reported_and_stops_no_other_stem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def intact_file(_manifest: Manifest, stem: str, _path: Path) -> None:
        if stem == "vocal":
            raise ZeroDivisionError("odd\x1b")

    monkeypatch.setattr(Manifest, "intact_file", intact_file)
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(DownloadError, match=r"ZeroDivisionError: odd\\x1b") as caught:
            await client.download_stems("a", tmp_path)
    assert caught.value.stem == "vocal"
    assert caught.value.report is not None
    assert list(caught.value.report.paths) == ["drums"]


@pytest.mark.usefixtures("impatient")
async def test_a_download_error_names_the_place_and_shows_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=500)

    caplog.set_level(logging.DEBUG)
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = broken
        with pytest.raises(DownloadError, match="the file host answered 500") as caught:
            await client.download_stems(host.add("a", "vocal"), tmp_path)
    error = caught.value
    assert (error.task_id, error.stem) == ("a", "vocal")
    assert error.path == str(tmp_path / "a" / "vocal.mp3")
    assert error.url == "<127.0.0.1/…/vocal.mp3>"
    assert error.url in str(error)
    assert error.path in str(error)
    text = "".join([*traceback.format_exception(error), repr(error.report), caplog.text])
    assert SIGNATURE not in text
    assert KEY not in text
    assert len(host.seen) == 3


async def test_a_download_error_with_its_report_can_be_pickled(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(DownloadError) as caught:
            await client.download_stems("a", tmp_path, max_bytes=10)
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert [each.stem for each in error.report.errors] == ["vocal", "drums"]


@pytest.mark.parametrize("size, is_taken", [(1000, True), (1001, False)])
async def test_a_file_may_have_max_bytes_and_no_more(
    size: int, *, is_taken: bool, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal", size=size)
        if is_taken:
            report = await client.download_stems(task_id, tmp_path, max_bytes=1000)
            assert report.files[0].size == size
        else:
            with pytest.raises(DownloadError, match="max_bytes is 1,000"):
                await client.download_stems(task_id, tmp_path, max_bytes=1000)
            assert names_in(tmp_path / "a") == set()


async def test_a_request_is_repeated_after_a_server_error(tmp_path: Path) -> None:
    async def down_at_first(_request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if len(host.seen) == 1 else None

    async with StemHost() as host, client_of(host.url) as client:
        host.hook = down_at_first
        report = await client.download_stems(host.add("a", "vocal"), tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert len(host.seen) == 2


async def test_a_file_is_resumed_after_a_cut(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=3_000_000)
        host.cut("a/vocal", 1_000_000, 2_000_000)
        report = await client.download_stems("a", tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    ranges = [seen.headers.get("Range") for seen in host.seen]
    assert ranges[0] is None
    assert all(each and each != "bytes=0-" for each in ranges[1:])
    assert names_in(tmp_path / "a") == {"vocal.mp3", "manifest.json"}


async def test_parts_of_two_versions_of_a_file_are_never_mixed(tmp_path: Path) -> None:
    async def changing(_request: web.Request) -> web.StreamResponse | None:
        if len(host.seen) == 2:
            host.files["a/vocal"] = audio("another", 3_000_000)
        return None

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=3_000_000)
        host.cut("a/vocal", 1_500_000)
        host.hook = changing
        report = await client.download_stems("a", tmp_path)
    assert report.paths["vocal"].read_bytes() == audio("another", 3_000_000)


async def test_a_file_of_unknown_length_is_saved_as_not_verified(tmp_path: Path) -> None:
    async def until_the_end(request: web.Request) -> web.StreamResponse | None:
        assert isinstance(request.transport, asyncio.Transport)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nConnection: close\r\n\r\n"
        request.transport.write(head + host.files["a/vocal"])
        request.transport.close()
        return web.Response()

    async with StemHost() as host, client_of(host.url) as client:
        host.hook = until_the_end
        report = await client.download_stems(host.add("a", "vocal"), tmp_path)
        again = await client.download_stems("a", tmp_path)
    assert report.files[0].size == 100_000
    assert not report.files[0].verified
    assert not again.files[0].was_fetched
    assert not again.files[0].verified


# Concurrency


async def test_max_concurrency_limits_the_files_fetched_at_a_time(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass", "guitar", "piano")
        host.hook = held = Held()
        call = asyncio.ensure_future(client.download_stems("a", tmp_path, max_concurrency=2))
        await held.until(lambda: held.under_way == 2)
        held.let_go()
        report = await call
    assert held.most == 2
    assert len(report.files) == 5


async def test_two_simultaneous_calls_for_one_task_both_save_complete_files(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums"))
        host.hook = held = Held()
        calls = [asyncio.ensure_future(client.download_stems(task, tmp_path)) for _ in range(2)]
        await held.until(lambda: held.under_way == 4)
        held.let_go()
        reports = await asyncio.gather(*calls)
        again = await client.download_stems(task, tmp_path)
    for file in (*reports[0].files, *reports[1].files, *again.files):
        assert file.path.read_bytes() == host.files[f"a/{file.stem}"]
    assert names_in(tmp_path / "a") == {"vocal.mp3", "drums.mp3", "manifest.json"}


async def test_the_manifest_keeps_the_files_of_two_simultaneous_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def replace_simultaneously(folder: Folder, name: str, content: bytes) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.2)  # times out if the calls wait for each other
        replace_file(folder, name, content)

    monkeypatch.setattr("vocalsep_async._downloads.manifest.replace_file", replace_simultaneously)
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums"))
        calls = (client.download_stems(task, tmp_path, stems=[stem]) for stem in ("vocal", "drums"))
        await asyncio.gather(*calls)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert set(manifest["files"]) == {"vocal", "drums"}


# Cancellation


async def test_a_cancelled_download_is_resumed_by_the_next_call(
    tmp_path: Path,
) -> None:
    size, half = 3_000_000, 1_500_000
    arrived = asyncio.Event()

    async def half_of_it(request: web.Request) -> web.StreamResponse | None:
        if len(host.seen) > 1:
            return None
        response = web.StreamResponse(headers={"ETag": '"one"', "Content-Type": "audio/mpeg"})
        response.content_length = size
        await response.prepare(request)
        await response.write(host.files["a/vocal"][:half])
        await asyncio.Event().wait()
        raise AssertionError

    def report_progress(progress: Any) -> None:
        if progress.done:
            arrived.set()

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=size)
        host.tags["a/vocal"] = '"one"'
        host.hook = half_of_it
        call = asyncio.ensure_future(
            client.download_stems("a", tmp_path, on_progress=report_progress)
        )
        await eventually(lambda: arrived.is_set() and bytes_kept_in(tmp_path / "a") > 0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        left = bytes_kept_in(tmp_path / "a")
        assert not (tmp_path / "a" / "vocal.mp3").exists()
        report = await client.download_stems("a", tmp_path)
    assert host.seen[1].headers["Range"] == f"bytes={left}-"
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]


async def test_closing_the_client_ends_a_download(tmp_path: Path) -> None:
    async with StemHost() as host:
        client = client_of(host.url)
        host.hook = held = Held()
        host.add("a", "vocal", "drums")
        call = asyncio.ensure_future(client.download_stems("a", tmp_path))
        await held.until(lambda: held.under_way == 2)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await call
        await held.until(lambda: held.left == 2)


# File hosts: what they receive, and which are allowed


async def test_a_file_host_receives_neither_key_nor_cookie(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        await client.download_stems("a", tmp_path)
        await client.download_stems("a", tmp_path, overwrite="always")
    assert len(host.seen) == 4
    for seen in host.seen:
        assert not {"Authorization", "Cookie", "Referer"} & set(seen.headers)
        assert KEY not in str(seen)
        assert seen.headers["Accept-Encoding"] == "identity"


async def test_a_private_address_is_not_contacted(tmp_path: Path) -> None:
    async with StemHost() as api, StemHost() as inner, client_of(api.url) as client:
        api.add("a", "vocal", "drums")
        inner.files = api.files
        api.link_of = inner.link
        with pytest.raises(
            DownloadError, match=r"allow_private_hosts=\('127.0.0.1/32',\)"
        ) as caught:
            await client.download_stems("a", tmp_path)
    assert caught.value.report is not None
    assert len(caught.value.report.errors) == 2
    assert inner.seen == []


async def test_a_private_address_is_contacted_if_allowed(tmp_path: Path) -> None:
    async with (
        StemHost() as api,
        StemHost() as inner,
        client_of(api.url, allow_private_hosts=True) as client,
    ):
        inner.files = {"a/vocal": audio("inner")}
        api.add("a", "vocal")
        api.link_of = inner.link
        report = await client.download_stems("a", tmp_path)
    assert report.paths["vocal"].read_bytes() == audio("inner")
    assert len(inner.seen) == 1
    assert "Authorization" not in inner.seen[0].headers
