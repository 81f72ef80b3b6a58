"""`track(download_to=...)` saves stems as tasks end; with real sockets and files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from batch.tracking import is_clean, numbered, outcomes_of, tracked
from downloads.stem_host import SOON, Held, StemHost, bytes_kept_in, client_of, eventually, names_in

from vocalsep_async import (
    ClientClosedError,
    DownloadError,
    DownloadOptions,
    InvalidArgumentError,
    SeparationTask,
    TaskFailedError,
    TaskTimeoutError,
)
from vocalsep_async.emulator import Emulator
from vocalsep_async.models import DownloadReport

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Sockets and files are real here, and so is time."""
    return "asyncio"


def open_below(directory: Path) -> list[str]:
    """The open files of this process that lie in *directory*."""
    files = {file.resolve() for file in Path("/proc/self/fd").iterdir()}
    return sorted(str(file) for file in files if file.is_relative_to(directory))


async def bad_vocal(request: web.Request) -> web.StreamResponse | None:
    is_bad = request.match_info["stem"] == "vocal" and request.match_info["task"] == "t1"
    return web.Response(status=400) if is_bad else None


# Outcomes


async def test_stems_are_on_disk_before_an_outcome_is_handed_out(tmp_path: Path) -> None:
    async with Emulator(rate_limit=None) as emulator, client_of(emulator.url) as client:
        ids = [emulator.add_task(f"t{n}", duration=0) for n in range(6)]
        async with client.track(ids, download_to=tmp_path) as batch:
            async for outcome in batch:
                assert outcome.succeeded
                assert outcome.download_error is None
                assert outcome.result() is outcome.task
                assert set(outcome.files) == {"vocal", "instrumental"}
                for stem, path in outcome.files.items():
                    assert path == tmp_path / outcome.task_id / f"{stem}.wav"
                    assert path.stat().st_size > 100_000
                ids.remove(outcome.task_id)
    assert ids == []


async def test_a_second_batch_requests_no_file(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        ids = [host.add(task_id, "vocal", "drums") for task_id in numbered(3)]
        first = await tracked(client, ids, download_to=str(tmp_path))
        assert len(host.seen) == 6
        second = await tracked(client, ids, download_to=tmp_path)
        assert len(host.seen) == 6
    assert {each.task_id: each.files for each in first} == {
        each.task_id: each.files for each in second
    }


async def test_without_download_to_no_file_is_saved() -> None:
    async with StemHost() as host, client_of(host.url) as client:
        [outcome] = await tracked(client, [host.add("a", "vocal")])
    assert outcome.succeeded
    assert outcome.files == {}
    assert host.seen == []


@pytest.mark.parametrize("name", ["drums", "no_such_stem"])
async def test_a_missing_stem_does_not_keep_other_stems_from_being_saved(
    tmp_path: Path, name: str
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        ids = [host.add("a", "vocal"), host.add("b", "vocal", "drums")]
        to = DownloadOptions(tmp_path, stems=["vocal", name])
        async with client.track(ids, download_to=to) as batch:
            outcomes = await outcomes_of(batch)
    assert set(outcomes["a"].files) == {"vocal"}
    error = outcomes["a"].download_error
    assert error is not None
    assert (error.stem, error.report is None) == (name, False)
    assert outcomes["b"].succeeded is (name == "drums")
    assert outcomes["b"].files["vocal"].is_file()


async def test_a_failed_download_is_part_of_its_outcome_and_loses_no_task(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = bad_vocal
        ids = [host.add(task_id, "vocal", "drums") for task_id in numbered(3)]
        async with client.track(ids, download_to=tmp_path) as batch:
            outcomes = await outcomes_of(batch)
    bad = outcomes.pop("t1")
    assert all(each.succeeded and len(each.files) == 2 for each in outcomes.values())
    assert not bad.succeeded
    assert bad.error is None
    assert bad.task is not None
    assert bad.task.succeeded
    assert list(bad.files) == ["drums"]
    assert bad.files["drums"].read_bytes() == host.files["t1/drums"]
    assert bad.download_error is not None
    assert bad.download_error.report is not None
    assert bad.download_error.report.paths == bad.files
    with pytest.raises(DownloadError, match="400") as caught:
        bad.result()
    assert caught.value.stem == "vocal"
    assert caught.value.report is bad.download_error.report


async def test_a_failed_download_can_be_repeated_with_its_outcome(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = bad_vocal
        [bad] = await tracked(client, [host.add("t1", "vocal", "drums")], download_to=tmp_path)

        async def good(_request: web.Request) -> None:
            return None

        host.hook = good
        report = await client.download_stems(bad, tmp_path)
    assert [file.stem for file in report.files if file.was_fetched] == ["vocal"]


async def test_a_task_without_stems_has_no_files(tmp_path: Path) -> None:
    async with Emulator() as emulator, client_of(emulator.url) as client:
        emulator.add_task("slow", duration=math.inf)
        emulator.fail(emulator.add_task("bad"))
        emulator.add_task("good", duration=0)
        ids = ["bad", "slow", "good", "unknown"]
        async with client.track(ids, download_to=tmp_path, timeout=0) as batch:
            outcomes = await outcomes_of(batch)
    assert {task_id for task_id, each in outcomes.items() if each.files} == {"good"}
    assert all(each.download_error is None for each in outcomes.values())
    with pytest.raises(TaskFailedError):
        outcomes["bad"].result()
    with pytest.raises(TaskTimeoutError):
        outcomes["slow"].result()
    assert names_in(tmp_path) == {"good"}


@pytest.mark.parametrize("directory", ["", b"bytes", 7, "a\0b"])
async def test_a_directory_that_is_not_a_path_is_refused_immediately(directory: Any) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(InvalidArgumentError, match="directory"):
            client.track([host.add("a", "vocal")], download_to=directory)
    assert host.polls == []


@pytest.mark.parametrize(
    "template",
    ["{stem}{ext}", "{stem}", "all/{stem}{ext}", "{{task_id}}/{stem}{ext}", "{stem}.mp3"],
)
async def test_a_template_that_does_not_tell_tasks_apart_is_refused_immediately(
    template: str, tmp_path: Path
) -> None:
    options = DownloadOptions(tmp_path, template=template)
    async with StemHost() as host, client_of(host.url) as client:
        with pytest.raises(
            InvalidArgumentError, match=r"template must contain \{task_id\} or \{label\} in a batch"
        ):
            client.track([host.add("a", "vocal"), host.add("b", "vocal")], download_to=options)
    assert host.polls == []
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    "template", ["{task_id}/{stem}{ext}", "{stem}/{task_id}{ext}", "{stem}-{task_id}.mp3"]
)
async def test_the_files_of_all_tasks_of_a_batch_are_kept(template: str, tmp_path: Path) -> None:
    options = DownloadOptions(tmp_path, template=template)
    async with StemHost() as host, client_of(host.url) as client:
        ids = [host.add(task_id, "vocal", "drums") for task_id in ("a", "A", "b")]
        async with client.track(ids, download_to=options) as batch:
            outcomes = await outcomes_of(batch)
    paths = {
        path: (task_id, stem) for task_id in ids for stem, path in outcomes[task_id].files.items()
    }
    assert len(paths) == 6
    assert all(path.read_bytes() == host.files["/".join(name)] for path, name in paths.items())


async def test_a_directory_that_cannot_be_created_is_the_download_error_of_each_outcome(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with StemHost() as host, client_of(host.url) as client:
        ids = [host.add(task_id, "vocal") for task_id in numbered(2)]
        async with client.track(ids, download_to=tmp_path / "file") as batch:
            outcomes = [outcome async for outcome in batch]
    assert sorted(each.task_id for each in outcomes if each.task and not each.succeeded) == ids
    assert all("the disk reported" in str(each.download_error) for each in outcomes)
    assert (batch.stats.succeeded, batch.stats.failed, batch.stats.finished) == (0, 2, 2)


async def test_expired_links_are_renewed(tmp_path: Path) -> None:
    async def first_links_have_ended(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=403) if request.query["poll"] == "1" else None

    async with StemHost() as host, client_of(host.url) as client:
        host.hook = first_links_have_ended
        ids = [host.add(task_id, "vocal", "drums", "bass") for task_id in numbered(3)]
        outcomes = await tracked(client, ids, download_to=tmp_path)
    assert all(each.succeeded and len(each.files) == 3 for each in outcomes)
    assert sorted(host.polls) == sorted(ids * 2)


# While others are saved


async def test_a_stalled_host_delays_no_poll(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        held = Held("stuck/vocal")
        host.hook = held
        host.add("stuck", "vocal", "drums")
        host.add("late", "vocal")
        async with client.track(["stuck"], download_to=tmp_path, keep_open=True) as batch:
            await held.until(lambda: held.under_way == 1)
            host.pending["late"] = 5
            batch.add("late")
            async with asyncio.timeout(SOON):
                first = await anext(batch)
            assert first.task_id == "late"
            assert first.files["vocal"].read_bytes() == host.files["late/vocal"]
            assert host.polls.count("late") == 6
            assert held.under_way == 1
            held.let_go()
            second = await anext(batch)
            assert second.task_id == "stuck"
            assert set(second.files) == {"vocal", "drums"}
            batch.close()
            assert [outcome async for outcome in batch] == []


async def test_a_stalled_host_delays_no_task_without_stems(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held()
        stuck = [host.add(task_id, "vocal") for task_id in numbered(8)]
        host.failed.add("bad")
        async with client.track([*stuck, "bad"], download_to=tmp_path) as batch:
            async with asyncio.timeout(SOON):
                first = await anext(batch)
            assert first.task_id == "bad"
            held.let_go()
            assert set(await outcomes_of(batch)) == set(stuck)


async def test_at_most_four_files_are_downloaded_simultaneously(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held()
        ids = [host.add(task_id, "vocal", "drums", "bass") for task_id in numbered(6)]
        async with client.track(ids, download_to=tmp_path) as batch:
            await held.until(lambda: held.under_way == 4)
            await eventually(lambda: batch.stats.finished == len(ids))
            held.let_go()
            outcomes = await outcomes_of(batch)
    assert held.most == 4
    assert all(each.succeeded and len(each.files) == 3 for each in outcomes.values())


async def test_files_of_several_tasks_are_downloaded_simultaneously(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held()
        ids = [host.add(task_id, "vocal") for task_id in numbered(5)]
        async with client.track(ids, download_to=tmp_path) as batch:
            await held.until(lambda: held.under_way == 4)
            held.let_go()
            assert len(await outcomes_of(batch)) == 5


async def test_stats_count_a_task_whose_files_are_being_downloaded(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held("a/vocal")
        host.failed.add("bad")
        ids = [host.add("a", "vocal"), "bad"]
        async with client.track(ids, download_to=tmp_path) as batch:
            await held.until(lambda: held.under_way == 1)
            assert (await anext(batch)).task_id == "bad"
            now = batch.stats
            assert (now.pending, now.finished, now.succeeded, now.failed) == (0, 2, 1, 1)
            held.let_go()
            assert (await anext(batch)).task_id == "a"
            after = batch.stats
            assert (after.pending, after.finished, after.succeeded, after.failed) == (0, 2, 1, 1)
            assert after.polls == 2


async def test_downloads_do_not_pause_a_source(tmp_path: Path) -> None:
    async def source() -> AsyncIterator[str]:
        yield "a"
        await held.until(lambda: held.under_way == 1)
        yield "b"

    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held("a/vocal")
        for task_id in ("a", "b"):
            host.add(task_id, "vocal")
        async with client.track(source(), download_to=tmp_path) as batch:
            async with asyncio.timeout(SOON):
                assert (await anext(batch)).task_id == "b"
            held.let_go()
            assert (await anext(batch)).task_id == "a"
            with pytest.raises(StopAsyncIteration):
                await anext(batch)


# Left early


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
async def test_leaving_early_ends_the_downloads_and_leaves_no_file_open(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held()
        ids = [host.add(task_id, "vocal", "drums") for task_id in numbered(8)]
        await client.get_task("t0")
        before: set[asyncio.Task[object]] = set(asyncio.all_tasks())
        async with client.track(ids, download_to=tmp_path):
            await held.until(lambda: held.under_way == 4)
            assert open_below(tmp_path)
        assert open_below(tmp_path) == []
        await held.until(lambda: held.left == 4)
        asked = len(host.seen)
        names = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not any("vocalsep" in name for name in names)
        assert not client._engine.poller._targets
        held.let_go()
        [outcome] = await tracked(client, ["t0"], download_to=tmp_path)
    assert outcome.succeeded
    assert len(host.seen) == asked + 2


async def test_cancelling_the_block_ends_the_downloads(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.hook = held = Held()
        ids = [host.add(task_id, "vocal") for task_id in numbered(3)]
        call = asyncio.ensure_future(tracked(client, ids, download_to=tmp_path))
        await held.until(lambda: held.under_way == 3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await held.until(lambda: held.left == 3)


async def test_the_next_batch_resumes_a_cancelled_download(tmp_path: Path) -> None:
    size = 3_000_000

    async def half_at_first(request: web.Request) -> web.StreamResponse | None:
        if len(host.seen) > 1:
            return None
        response = web.StreamResponse(headers={"ETag": '"one"', "Content-Type": "audio/mpeg"})
        response.content_length = size
        await response.prepare(request)
        await response.write(host.files["a/vocal"][: size // 2])
        return await held(request)

    async with StemHost() as host, client_of(host.url) as client:
        held = Held()
        host.hook = half_at_first
        host.add("a", "vocal", size=size)
        host.tags["a/vocal"] = '"one"'
        async with client.track(["a"], download_to=tmp_path):
            await held.until(lambda: held.under_way == 1)
            await eventually(lambda: bytes_kept_in(tmp_path / "a") > 0)
        left = bytes_kept_in(tmp_path / "a")
        [outcome] = await tracked(client, ["a"], download_to=tmp_path)
    assert outcome.files["vocal"].read_bytes() == host.files["a/vocal"]
    assert host.seen[1].headers["Range"] == f"bytes={left}-"


async def test_closing_the_client_loses_no_task_with_downloads_under_way(
    tmp_path: Path,
) -> None:
    async with StemHost() as host:
        client = client_of(host.url)
        before: set[asyncio.Task[object]] = set(asyncio.all_tasks())
        host.hook = held = Held()
        ids = [host.add(task_id, "vocal") for task_id in numbered(6)]
        host.pending["open"] = 10**9
        async with client.track([*ids, "open"], download_to=tmp_path) as batch:
            await held.until(lambda: held.under_way == 4)
            await eventually(lambda: batch.stats.finished == len(ids))
            await client.aclose()
            async with asyncio.timeout(SOON):
                outcomes = {outcome.task_id: outcome async for outcome in batch}
        await held.until(lambda: held.left == 4)
    assert isinstance(outcomes.pop("open").error, ClientClosedError)
    assert set(outcomes) == set(ids)
    for outcome in outcomes.values():
        assert outcome.task is not None
        assert not outcome.succeeded
        assert outcome.download_error is not None
    assert is_clean(client, before)


async def test_an_unexpected_error_of_the_downloader_is_raised_by_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(
        task: SeparationTask, until: float, label: str | None, plan: object
    ) -> DownloadReport:
        raise ZeroDivisionError

    async with StemHost() as host, client_of(host.url) as client:
        monkeypatch.setattr(client._engine.downloader, "save_present", broken)
        before: set[asyncio.Task[object]] = set(asyncio.all_tasks())
        async with client.track([host.add("a", "vocal")], download_to=tmp_path) as batch:
            with pytest.raises(ZeroDivisionError):
                await anext(batch)
        names = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not any("vocalsep" in name for name in names)
