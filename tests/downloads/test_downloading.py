"""All stems of one task on disk: what `download_stems` promises."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
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
    ConfigurationError,
    DownloadError,
    SeparationTask,
    TaskFailedError,
    TaskNotFoundError,
    TaskOutcome,
    TaskRef,
    TaskTimeoutError,
)
from vocalsep_async._downloads.disk import replace
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


# What is on disk


@pytest.mark.parametrize(
    "type_, number", [("separate_vocal", 2), ("split_stem", 12), ("split_stem_advanced", 2)]
)
async def test_the_stems_on_disk_add_up_to_the_original_song(
    type_: str, number: int, tmp_path: Path
) -> None:
    original = tmp_path / "original.wav"
    async with Emulator() as emulator, client_of(emulator.url) as client:
        original.write_bytes(emulator.original_wav())
        task_id = emulator.add_task(type=type_, duration=0)
        report = await client.download_stems(task_id, tmp_path)
    assert len(report.files) == number
    assert added(report.paths.values()) == samples(original).tolist()


async def test_the_report_says_what_is_on_disk(tmp_path: Path) -> None:
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
    told = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert told["record"] == task.raw
    assert {stem: entry["sha256"] for stem, entry in told["files"].items()} == {
        file.stem: file.sha256 for file in report.files
    }


async def test_the_directory_is_made_and_may_be_given_as_text(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        directory = tmp_path / "some" / "where"
        report = await client.download_stems(host.add("a", "vocal"), str(directory))
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert report.paths["vocal"].parent.parent == directory


# The second run


async def test_a_second_run_asks_for_no_file(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        task = await client.get_task(emulator.add_task(type="split_stem", duration=0))
        first = await client.download_stems(task, tmp_path)
        requests = emulator.requests
        second = await client.download_stems(task, tmp_path)
        assert emulator.requests == requests
    assert not any(file.was_fetched for file in second.files)
    assert second.paths == first.paths
    assert [file.sha256 for file in second.files] == [file.sha256 for file in first.files]
    assert all(file.verified for file in second.files)


async def test_a_second_run_fetches_the_stems_that_the_first_left_out(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass")
        await client.download_stems("a", tmp_path, stems=["drums"])
        report = await client.download_stems("a", tmp_path)
    assert [file.stem for file in report.files if not file.was_fetched] == ["drums"]
    assert len(report.files) == len(host.seen) == 3


def _deleted(path: Path) -> None:
    path.unlink()


def _shortened(path: Path) -> None:
    os.truncate(path, 10)


def _changed(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(0, 0))


def _linked(path: Path) -> None:
    content = path.read_bytes()
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(content)
    path.unlink()
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("damage", [_deleted, _shortened, _changed, _linked])
async def test_a_file_that_is_not_what_was_saved_is_fetched_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        first = await client.download_stems(host.add("a", "vocal", "drums"), tmp_path)
        damage(first.paths["vocal"])
        second = await client.download_stems("a", tmp_path)
    assert [file.stem for file in second.files if file.was_fetched] == ["vocal"]
    assert len(host.asked("a/vocal")) == 2
    assert len(host.asked("a/drums")) == 1
    assert second.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert not second.paths["vocal"].is_symlink()


async def test_a_file_that_was_only_touched_is_not_fetched_again(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        first = await client.download_stems(host.add("a", "vocal"), tmp_path)
        os.utime(first.paths["vocal"], ns=(0, 0))
        second = await client.download_stems("a", tmp_path)
    assert not second.files[0].was_fetched
    assert len(host.seen) == 1


# What becomes of files that are there


async def test_always_fetches_what_is_whole(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        await client.download_stems(host.add("a", "vocal"), tmp_path)
        report = await client.download_stems("a", tmp_path, overwrite="always")
    assert report.files[0].was_fetched
    assert len(host.seen) == 2


async def test_never_leaves_whatever_is_there_and_fetches_the_rest(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        mine = tmp_path / "a" / "vocal.mp3"
        mine.parent.mkdir()
        mine.write_bytes(b"mine")
        report = await client.download_stems("a", tmp_path, overwrite="never")
    kept, fetched = report.files
    assert mine.read_bytes() == b"mine"
    assert (kept.path, kept.size, kept.sha256) == (mine, 4, None)
    assert not kept.was_fetched
    assert not kept.verified
    assert fetched.was_fetched
    assert [seen.name for seen in host.seen] == ["a/drums"]


async def test_a_file_of_another_origin_is_replaced_if_different(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        path = tmp_path / "a" / "vocal.mp3"
        path.parent.mkdir()
        path.write_bytes(b"mine")
        report = await client.download_stems(host.add("a", "vocal"), tmp_path)
    assert report.files[0].was_fetched
    assert path.read_bytes() == host.files["a/vocal"]


@pytest.mark.parametrize("overwrite", ["if-different", "always", "never"])
async def test_a_file_in_the_place_of_a_folder_is_an_error_of_the_disk(
    overwrite: Any, tmp_path: Path
) -> None:
    (tmp_path / "folder").write_bytes(b"no folder")
    template = "folder/{task_id}-{stem}{ext}"
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal")
        with pytest.raises(DownloadError, match="the disk said") as caught:
            await client.download_stems(task_id, tmp_path, overwrite=overwrite, template=template)
    assert caught.value.path == str(tmp_path / "folder" / "a-vocal.mp3")
    assert host.seen == []


@pytest.mark.parametrize("overwrite", ["if-different", "always", "never"])
async def test_a_folder_in_the_place_of_a_file_is_left_alone(
    overwrite: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "vocal.mp3"
    folder.mkdir(parents=True)
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(DownloadError, match="the disk said") as caught:
            await client.download_stems("a", tmp_path, overwrite=overwrite)
    assert caught.value.stem == "vocal"
    assert caught.value.report is not None
    assert list(caught.value.report.paths) == ["drums"]
    assert folder.is_dir()
    assert [seen.name for seen in host.seen] == ["a/drums"]


# Which task


@pytest.mark.parametrize(
    "given, looks",
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


async def test_an_outcome_whose_download_failed_is_downloaded_again(tmp_path: Path) -> None:
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


async def test_a_task_that_failed_has_nothing_to_download(tmp_path: Path) -> None:
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


async def test_what_the_look_meets_is_raised_as_it_is(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        with pytest.raises(TaskNotFoundError):
            await client.download_stems("unknown", tmp_path)
        with pytest.raises(ConfigurationError, match="a task id is a string"):
            await client.download_stems(7, tmp_path)  # type: ignore[arg-type]


# Which stems


async def test_only_the_stems_that_are_named_are_fetched_and_each_once(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass")
        stems = iter(["drums", "vocal", "drums"])
        report = await client.download_stems("a", tmp_path, stems=stems)
    assert list(report.paths) == ["drums", "vocal"]
    assert sorted(seen.name for seen in host.seen) == ["a/drums", "a/vocal"]


async def test_a_name_that_no_stem_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(ConfigurationError, match="'vocals'; it has vocal, drums"):
            await client.download_stems("a", tmp_path, stems=["vocal", "vocals"])
    assert host.seen == []


async def test_a_stem_that_this_task_has_not_is_a_download_error(tmp_path: Path) -> None:
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
async def test_what_cannot_be_used_is_refused_before_anything_is_sent(
    options: dict[str, Any], tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(ConfigurationError):
            await client.download_stems(host.add("a", "vocal"), **{"directory": tmp_path} | options)
    assert host.polls == []
    assert host.seen == []


# Where to


@pytest.mark.parametrize(
    "template, place",
    [
        ("{stem}{ext}", "vocal.mp3"),
        ("songs/{task_id}_{stem}", "songs/a_vocal"),
        ("{stem}/{task_id}/it{ext}", "vocal/a/it.mp3"),
        ("{{{stem}}}", "{vocal}"),
    ],
)
async def test_a_template_says_where_each_file_goes(
    template: str, place: str, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal")
        report = await client.download_stems("a", tmp_path, template=template)
        again = await client.download_stems("a", tmp_path, template=template)
    assert report.paths == {"vocal": tmp_path / place}
    assert (tmp_path / place).read_bytes() == host.files["a/vocal"]
    assert (tmp_path / "a" / "manifest.json").is_file()
    assert not again.files[0].was_fetched


async def test_a_name_that_only_one_stem_makes_too_long_is_a_configuration_error(
    tmp_path: Path,
) -> None:
    template = "x" * 190 + "{stem}{ext}"
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "instrumental")
        with pytest.raises(ConfigurationError, match="at most 200"):
            await client.download_stems("a", tmp_path, template=template)
    assert host.seen == []
    assert names_in(tmp_path) == set()


async def test_a_task_id_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    async with Emulator() as emulator, client_of(emulator.url) as client:
        report = await client.download_stems(emulator.add_task("../../up", duration=0), inside)
    assert all(path.parent.parent == inside for path in report.paths.values())
    assert names_in(tmp_path) == {"inside"}


# What goes wrong


async def test_one_bad_stem_does_not_stop_the_others(tmp_path: Path) -> None:
    async def no_vocal(request: web.Request) -> web.StreamResponse | None:
        is_vocal = request.match_info["stem"] == "vocal"
        return web.Response(text="<html>", content_type="text/html") if is_vocal else None

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass")
        host.hook = no_vocal
        with pytest.raises(DownloadError, match="text/html came in place of audio") as caught:
            await client.download_stems("a", tmp_path)
    report = caught.value.report
    assert report is not None
    assert set(report.paths) == {"drums", "bass"}
    assert all(path.read_bytes() == host.files[f"a/{s}"] for s, path in report.paths.items())
    assert [error.stem for error in report.errors] == ["vocal"]
    assert not (tmp_path / "a" / "vocal.mp3").exists()


async def test_a_fault_nobody_thought_of_is_told_and_hurts_no_other_stem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(_manifest: Manifest, stem: str, _path: Path) -> None:
        if stem == "vocal":
            raise ZeroDivisionError("odd\x1b")

    monkeypatch.setattr(Manifest, "whole", whole)
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(DownloadError, match=r"ZeroDivisionError: odd\\x1b") as caught:
            await client.download_stems("a", tmp_path)
    assert caught.value.stem == "vocal"
    assert caught.value.report is not None
    assert list(caught.value.report.paths) == ["drums"]


async def test_the_error_says_where_it_was_but_shows_no_secret(
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
    told = "".join([*traceback.format_exception(error), repr(error.report), caplog.text])
    assert SIGNATURE not in told
    assert KEY not in told
    assert len(host.seen) == 3


async def test_the_error_and_its_report_can_be_pickled(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(DownloadError) as caught:
            await client.download_stems("a", tmp_path, max_bytes=10)
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert [each.stem for each in error.report.errors] == ["vocal", "drums"]


@pytest.mark.parametrize("size, is_taken", [(1000, True), (1001, False)])
async def test_a_file_may_be_as_large_as_allowed_and_no_larger(
    size: int, *, is_taken: bool, tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal", size=size)
        if is_taken:
            report = await client.download_stems(task_id, tmp_path, max_bytes=1000)
            assert report.files[0].size == size
        else:
            with pytest.raises(DownloadError, match="at most 1,000"):
                await client.download_stems(task_id, tmp_path, max_bytes=1000)
            assert names_in(tmp_path / "a") == set()


async def test_a_host_that_is_down_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    async def down_at_first(_request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if len(host.seen) == 1 else None

    async with StemHost() as host, client_of(host.url) as client:
        host.hook = down_at_first
        report = await client.download_stems(host.add("a", "vocal"), tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert len(host.seen) == 2


async def test_a_file_that_is_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=3_000_000)
        host.cut("a/vocal", 1_000_000, 2_000_000)
        report = await client.download_stems("a", tmp_path)
    assert report.paths["vocal"].read_bytes() == host.files["a/vocal"]
    ranges = [seen.headers.get("Range") for seen in host.seen]
    assert ranges[0] is None
    assert all(each and each != "bytes=0-" for each in ranges[1:])
    assert names_in(tmp_path / "a") == {"vocal.mp3", "manifest.json"}


async def test_a_file_that_changes_between_its_parts_is_never_mixed(tmp_path: Path) -> None:
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


async def test_a_file_of_unknown_length_is_saved_but_not_called_verified(tmp_path: Path) -> None:
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


# Many at once


async def test_no_more_files_are_fetched_at_once_than_was_said(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums", "bass", "guitar", "piano")
        host.hook = held = Held()
        call = asyncio.ensure_future(client.download_stems("a", tmp_path, max_concurrency=2))
        await held.until(lambda: held.under_way == 2)
        held.let_go()
        report = await call
    assert held.most == 2
    assert len(report.files) == 5


async def test_two_calls_for_one_task_both_end_with_whole_files(tmp_path: Path) -> None:
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


async def test_files_that_were_saved_at_once_by_two_calls_stand_both_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def replace_at_once(path: Path, content: bytes) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.2)  # in vain where one waits for the other
        replace(path, content)

    monkeypatch.setattr("vocalsep_async._downloads.manifest.replace", replace_at_once)
    async with StemHost() as host, client_of(host.url) as client:
        task = await client.get_task(host.add("a", "vocal", "drums"))
        calls = (client.download_stems(task, tmp_path, stems=[stem]) for stem in ("vocal", "drums"))
        await asyncio.gather(*calls)
    told = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert set(told["files"]) == {"vocal", "drums"}


# Broken off


async def test_what_has_arrived_before_it_was_cancelled_is_used_the_next_time(
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

    def tell(progress: Any) -> None:
        if progress.done:
            arrived.set()

    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", size=size)
        host.tags["a/vocal"] = '"one"'
        host.hook = half_of_it
        call = asyncio.ensure_future(client.download_stems("a", tmp_path, on_progress=tell))
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


# What file hosts are told, and which may be asked


async def test_no_file_host_sees_the_key_or_a_cookie(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        await client.download_stems("a", tmp_path)
        await client.download_stems("a", tmp_path, overwrite="always")
    assert len(host.seen) == 4
    for seen in host.seen:
        assert not {"Authorization", "Cookie", "Referer"} & set(seen.headers)
        assert KEY not in str(seen)
        assert seen.headers["Accept-Encoding"] == "identity"


async def test_a_private_address_is_not_dialled(tmp_path: Path) -> None:
    async with StemHost() as api, StemHost() as inner, client_of(api.url) as client:
        api.add("a", "vocal", "drums")
        inner.files = api.files
        api.link_of = inner.link
        with pytest.raises(DownloadError, match="allow_private_hosts=True") as caught:
            await client.download_stems("a", tmp_path)
    assert caught.value.report is not None
    assert len(caught.value.report.errors) == 2
    assert inner.seen == []


async def test_a_private_address_is_dialled_if_that_is_allowed(tmp_path: Path) -> None:
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
