"""The manifest of a task: it tells intact files from those to be fetched again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import AUDIO, OTHER, TASK_ID, names_in
from downloads.parts import folder_at

from vocalsep_async import SeparationTask, TaskStatus
from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async._downloads.partfile import SavedFile

RAW = {"taskId": TASK_ID, "successFlag": "SUCCESS", "odd": "\ud800 and caf\u00e9"}
RECORD = SeparationTask(task_id=TASK_ID, status=TaskStatus.SUCCESS, raw=RAW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / TASK_ID
    folder.mkdir()
    return folder


@pytest.fixture
def vocal(folder: Path) -> Path:
    """A saved stem that is in the manifest."""
    return listed(folder, "vocal", AUDIO)


def listed(folder: Path, stem: str, content: bytes, *, verified: bool = True) -> Path:
    path = folder / f"{stem}.mp3"
    path.write_bytes(content)
    saved = SavedFile(len(content), hashlib.sha256(content).hexdigest(), path.stat().st_mtime_ns)
    Manifest(Directory(folder.parent), TASK_ID).add(stem, path, saved, RECORD, verified=verified)
    return path


def manifest_in(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_bytes())


def change(folder: Path, **entry: Any) -> None:
    content = manifest_in(folder)
    content["files"]["vocal"] |= entry
    (folder / "manifest.json").write_text(json.dumps(content))


def again(folder: Path) -> Manifest:
    return Manifest(Directory(folder.parent), TASK_ID)


def test_the_manifest_lists_the_saved_files_and_the_record(folder: Path, vocal: Path) -> None:
    assert manifest_in(folder) == {
        "schema": 1,
        "task_id": TASK_ID,
        "files": {
            "vocal": {
                "path": f"{TASK_ID}/vocal.mp3",
                "size": len(AUDIO),
                "sha256": hashlib.sha256(AUDIO).hexdigest(),
                "mtime_ns": vocal.stat().st_mtime_ns,
                "verified": True,
            }
        },
        "record": RAW,
    }
    assert names_in(folder) == {"manifest.json", "vocal.mp3"}


@pytest.mark.parametrize("verified", [True, False])
def test_an_unchanged_file_is_intact(folder: Path, *, verified: bool) -> None:
    path = listed(folder, "vocal", AUDIO, verified=verified)
    there = again(folder).intact_file("vocal", path)
    assert there is not None
    assert (there.stem, there.path, there.size) == ("vocal", path, len(AUDIO))
    assert there.sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert (there.was_fetched, there.verified) == (False, verified)


def test_a_touched_file_is_intact(folder: Path, vocal: Path) -> None:
    os.utime(vocal, (0, 0))
    assert again(folder).intact_file("vocal", vocal) is not None


@pytest.mark.parametrize("content", [OTHER, AUDIO[:-1], AUDIO + b"x", b""])
def test_a_file_with_other_content_is_not_intact(folder: Path, vocal: Path, content: bytes) -> None:
    vocal.write_bytes(content)
    os.utime(vocal, (0, 0))
    assert again(folder).intact_file("vocal", vocal) is None


def test_a_missing_file_is_not_intact(folder: Path, vocal: Path) -> None:
    vocal.unlink()
    assert again(folder).intact_file("vocal", vocal) is None
    folder.joinpath("manifest.json").rename(folder.parent / "list")
    folder.rmdir()
    manifest = again(folder)
    folder.write_bytes(b"a file now")
    assert manifest.intact_file("vocal", vocal) is None


def test_a_moved_file_is_not_intact(folder: Path, vocal: Path) -> None:
    other = folder / "other.mp3"
    vocal.rename(other)
    assert again(folder).intact_file("vocal", other) is None


def test_a_file_of_another_stem_is_not_intact(folder: Path, vocal: Path) -> None:
    assert again(folder).intact_file("drums", vocal) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_an_irregular_file_is_not_intact(folder: Path, vocal: Path, kind: str) -> None:
    vocal.rename(folder / "moved")
    if kind == "link":
        vocal.symlink_to(folder / "moved")
    elif kind == "pipe":
        os.mkfifo(vocal)
    else:
        vocal.mkdir()
    change(folder, size=vocal.lstat().st_size, mtime_ns=vocal.lstat().st_mtime_ns)
    assert again(folder).intact_file("vocal", vocal) is None


@pytest.mark.parametrize("entry", [None, 5, "vocal.mp3", [], {}])
def test_a_malformed_entry_is_ignored(folder: Path, vocal: Path, entry: Any) -> None:
    content = manifest_in(folder)
    content["files"]["vocal"] = entry
    (folder / "manifest.json").write_text(json.dumps(content))
    assert again(folder).intact_file("vocal", vocal) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b"[" * 200_000,
        json.dumps({"schema": 2, "task_id": TASK_ID, "files": {}}).encode(),
        json.dumps({"schema": 1, "task_id": "another", "files": {"vocal": {}}}).encode(),
        json.dumps({"schema": 1, "task_id": TASK_ID, "files": []}).encode(),
        json.dumps({"schema": 1, "task_id": TASK_ID}).encode(),
    ],
    ids=lambda content: repr(content)[:24],
)
def test_a_manifest_of_something_else_is_logged_and_replaced(
    folder: Path, vocal: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "manifest.json").write_bytes(content)
    with caplog.at_level(logging.WARNING, "vocalsep_async"):
        assert again(folder).intact_file("vocal", vocal) is None
    assert "is not a manifest of this task" in caplog.text
    listed(folder, "drums", OTHER)
    assert set(manifest_in(folder)["files"]) == {"drums"}


def test_a_missing_manifest_is_not_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert again(folder).intact_file("vocal", folder / "vocal.mp3") is None
    assert caplog.records == []


def test_an_unreadable_manifest_is_an_error(folder: Path) -> None:
    (folder / "manifest.json").mkdir()
    with pytest.raises(IsADirectoryError):
        again(folder)


def test_the_manifest_keeps_files_that_another_process_added(folder: Path, vocal: Path) -> None:
    manifest = again(folder)
    listed(folder, "drums", OTHER)
    saved = SavedFile(1, "00", 0)
    manifest.add("bass", folder / "bass.mp3", saved, RECORD, verified=False)
    assert set(manifest_in(folder)["files"]) == {"vocal", "drums", "bass"}
    assert manifest.intact_file("drums", folder / "drums.mp3") is not None


def test_a_file_that_was_fetched_again_has_one_entry(folder: Path, vocal: Path) -> None:
    listed(folder, "vocal", OTHER)
    assert manifest_in(folder)["files"]["vocal"]["size"] == len(OTHER)
    there = again(folder).intact_file("vocal", vocal)
    assert there is not None
    assert there.sha256 == hashlib.sha256(OTHER).hexdigest()


def test_the_manifest_is_in_the_folder_of_the_task_wherever_its_files_are(tmp_path: Path) -> None:
    path = tmp_path / "vocal-of-task.mp3"
    path.write_bytes(AUDIO)
    saved = SavedFile(len(AUDIO), hashlib.sha256(AUDIO).hexdigest(), path.stat().st_mtime_ns)
    again(tmp_path / TASK_ID).add("vocal", path, saved, RECORD, verified=True)
    assert names_in(tmp_path) == {path.name, TASK_ID}
    assert again(tmp_path / TASK_ID).intact_file("vocal", path) is not None


def test_the_manifest_is_never_written_outside_the_directory(tmp_path: Path) -> None:
    saved, outside = tmp_path / "saved", tmp_path / "outside"
    saved.mkdir()
    outside.mkdir()
    (saved / TASK_ID).symlink_to(outside)
    with pytest.raises(OSError, match="leads out"):
        Manifest(Directory(saved), TASK_ID).add(
            "vocal", saved / "vocal.mp3", SavedFile(1, "00", 0), RECORD, verified=True
        )
    assert names_in(outside) == set()


def test_a_link_in_place_of_the_manifest_is_replaced(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / "manifest.json").symlink_to(victim)
    listed(folder, "vocal", AUDIO)
    assert victim.read_bytes() == b"precious"
    assert set(manifest_in(folder)["files"]) == {"vocal"}


def test_an_unfinished_manifest_of_a_killed_process_is_removed(folder: Path) -> None:
    (folder / ".manifest.json.0123456789abcdef.new").write_bytes(b"{")
    listed(folder, "vocal", AUDIO)
    assert names_in(folder) == {"manifest.json", "vocal.mp3"}


def test_a_pipe_in_place_of_the_manifest_is_an_error_and_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(OSError, match="not a regular file"):
        again(folder)


def test_adding_waits_for_another_writer_of_the_manifest(folder: Path, vocal: Path) -> None:
    manifest = again(folder)
    has_started = threading.Event()

    def add() -> None:
        has_started.set()
        manifest.add("bass", folder / "bass.mp3", SavedFile(1, "00", 0), RECORD, verified=False)

    thread = threading.Thread(target=add)
    with folder_at(folder) as held:
        held.lock()
        thread.start()
        has_started.wait()
        content = manifest_in(folder)
        content["files"]["drums"] = content["files"]["vocal"]
        (folder / "manifest.json").write_text(json.dumps(content))
    thread.join()
    assert set(manifest_in(folder)["files"]) == {"vocal", "drums", "bass"}
