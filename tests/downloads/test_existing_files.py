"""Files that exist already: what a second call keeps, replaces and fetches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from downloads.stem_host import StemHost, client_of

from vocalsep_async import DownloadError
from vocalsep_async.emulator import Emulator

pytestmark = pytest.mark.anyio


# The second call


async def test_a_second_call_requests_no_file(tmp_path: Path) -> None:
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


async def test_a_second_call_fetches_the_stems_that_the_first_left_out(tmp_path: Path) -> None:
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
async def test_a_damaged_file_is_fetched_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        first = await client.download_stems(host.add("a", "vocal", "drums"), tmp_path)
        damage(first.paths["vocal"])
        second = await client.download_stems("a", tmp_path)
    assert [file.stem for file in second.files if file.was_fetched] == ["vocal"]
    assert len(host.requests_for("a/vocal")) == 2
    assert len(host.requests_for("a/drums")) == 1
    assert second.paths["vocal"].read_bytes() == host.files["a/vocal"]
    assert not second.paths["vocal"].is_symlink()


async def test_a_touched_file_is_not_fetched_again(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        first = await client.download_stems(host.add("a", "vocal"), tmp_path)
        os.utime(first.paths["vocal"], ns=(0, 0))
        second = await client.download_stems("a", tmp_path)
    assert not second.files[0].was_fetched
    assert len(host.seen) == 1


# Existing files


async def test_overwrite_always_fetches_an_intact_file(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        await client.download_stems(host.add("a", "vocal"), tmp_path)
        report = await client.download_stems("a", tmp_path, overwrite="always")
    assert report.files[0].was_fetched
    assert len(host.seen) == 2


async def test_overwrite_never_keeps_any_file_and_fetches_the_others(tmp_path: Path) -> None:
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


async def test_overwrite_if_different_replaces_a_file_of_another_origin(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        path = tmp_path / "a" / "vocal.mp3"
        path.parent.mkdir()
        path.write_bytes(b"mine")
        report = await client.download_stems(host.add("a", "vocal"), tmp_path)
    assert report.files[0].was_fetched
    assert path.read_bytes() == host.files["a/vocal"]


@pytest.mark.parametrize("overwrite", ["if-different", "always", "never"])
async def test_a_file_in_place_of_a_folder_is_a_disk_error(overwrite: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"no folder")
    template = "folder/{task_id}-{stem}{ext}"
    async with StemHost() as host, client_of(host.url) as client:
        task_id = host.add("a", "vocal")
        with pytest.raises(DownloadError, match="the disk reported") as caught:
            await client.download_stems(task_id, tmp_path, overwrite=overwrite, template=template)
    assert caught.value.path == str(tmp_path / "folder" / "a-vocal.mp3")
    assert host.seen == []


@pytest.mark.parametrize("overwrite", ["if-different", "always", "never"])
async def test_a_folder_in_place_of_a_file_is_left_alone(overwrite: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "vocal.mp3"
    folder.mkdir(parents=True)
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        with pytest.raises(DownloadError, match="the disk reported") as caught:
            await client.download_stems("a", tmp_path, overwrite=overwrite)
    assert caught.value.stem == "vocal"
    assert caught.value.report is not None
    assert list(caught.value.report.paths) == ["drums"]
    assert folder.is_dir()
    assert [seen.name for seen in host.seen] == ["a/drums"]


# Manifests of templates without a folder for each task


FLAT = "{task_id}-{stem}{ext}"


def _as_of_version_0_1_0(directory: Path) -> Path:
    """Move the manifest of task a to where version 0.1.0 wrote it."""
    (directory / "a").mkdir()
    earlier = directory / "a" / "manifest.json"
    return (directory / ".vocalsep" / "a.json").rename(earlier)


async def test_the_manifest_of_version_0_1_0_is_read_where_there_is_no_folder_now(
    tmp_path: Path,
) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        await client.download_stems("a", tmp_path, template=FLAT, stems=["vocal"])
        earlier = _as_of_version_0_1_0(tmp_path)
        # What it lists stays listed when there is a new manifest, which is read alone then.
        await client.download_stems("a", tmp_path, template=FLAT)
        assert [each.name for each in host.seen] == ["a/vocal", "a/drums"]
        earlier.unlink()
        report = await client.download_stems("a", tmp_path, template=FLAT)
    assert not any(file.was_fetched for file in report.files)


async def test_a_file_in_the_place_of_an_earlier_folder_is_no_manifest(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal")
        for _ in range(2):
            report = await client.download_stems(
                "a", tmp_path, template="{task_id}", stems=["vocal"]
            )
    assert report.paths == {"vocal": tmp_path / "a"}
    assert len(host.seen) == 1


async def test_a_new_manifest_is_not_mixed_with_one_of_version_0_1_0(tmp_path: Path) -> None:
    async with StemHost() as host, client_of(host.url) as client:
        host.add("a", "vocal", "drums")
        await client.download_stems("a", tmp_path, template=FLAT, stems=["vocal"])
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "manifest.json").write_text("no manifest")
        report = await client.download_stems("a", tmp_path, template=FLAT)
    assert [file.stem for file in report.files if file.was_fetched] == ["drums"]
