"""The list of a task's files: what is whole is not fetched again, what is not is."""

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

from vocalsep_async import SeparationTask, TaskStatus
from vocalsep_async._downloads.disk import alone_in
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async._downloads.partfile import Saved

RAW = {"taskId": TASK_ID, "successFlag": "SUCCESS", "odd": "\ud800 and caf\u00e9"}
RECORD = SeparationTask(task_id=TASK_ID, status=TaskStatus.SUCCESS, raw=RAW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / TASK_ID
    folder.mkdir()
    return folder


@pytest.fixture
def vocal(folder: Path) -> Path:
    """A stem that was saved, and is on the list."""
    return listed(folder, "vocal", AUDIO)


def listed(folder: Path, stem: str, content: bytes, *, verified: bool = True) -> Path:
    path = folder / f"{stem}.mp3"
    path.write_bytes(content)
    saved = Saved(len(content), hashlib.sha256(content).hexdigest(), path.stat().st_mtime_ns)
    Manifest(folder.parent, TASK_ID).add(stem, path, saved, RECORD, verified=verified)
    return path


def list_in(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_bytes())


def change(folder: Path, **entry: Any) -> None:
    told = list_in(folder)
    told["files"]["vocal"] |= entry
    (folder / "manifest.json").write_text(json.dumps(told))


def again(folder: Path) -> Manifest:
    return Manifest(folder.parent, TASK_ID)


def test_the_list_says_what_was_saved_and_from_what_record(folder: Path, vocal: Path) -> None:
    assert list_in(folder) == {
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
def test_a_file_that_is_as_it_was_saved_is_whole(folder: Path, *, verified: bool) -> None:
    path = listed(folder, "vocal", AUDIO, verified=verified)
    there = again(folder).whole("vocal", path)
    assert there is not None
    assert (there.stem, there.path, there.size) == ("vocal", path, len(AUDIO))
    assert there.sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert (there.was_fetched, there.verified) == (False, verified)


def test_a_file_that_was_only_touched_is_whole(folder: Path, vocal: Path) -> None:
    os.utime(vocal, (0, 0))
    assert again(folder).whole("vocal", vocal) is not None


@pytest.mark.parametrize("content", [OTHER, AUDIO[:-1], AUDIO + b"x", b""])
def test_a_file_of_another_content_is_not(folder: Path, vocal: Path, content: bytes) -> None:
    vocal.write_bytes(content)
    os.utime(vocal, (0, 0))
    assert again(folder).whole("vocal", vocal) is None


def test_a_file_that_is_gone_is_not(folder: Path, vocal: Path) -> None:
    vocal.unlink()
    assert again(folder).whole("vocal", vocal) is None
    folder.joinpath("manifest.json").rename(folder.parent / "list")
    folder.rmdir()
    manifest = again(folder)
    folder.write_bytes(b"a file now")
    assert manifest.whole("vocal", vocal) is None


def test_a_file_elsewhere_is_not(folder: Path, vocal: Path) -> None:
    other = folder / "other.mp3"
    vocal.rename(other)
    assert again(folder).whole("vocal", other) is None


def test_another_stem_is_not(folder: Path, vocal: Path) -> None:
    assert again(folder).whole("drums", vocal) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not(folder: Path, vocal: Path, kind: str) -> None:
    vocal.rename(folder / "moved")
    if kind == "link":
        vocal.symlink_to(folder / "moved")
    elif kind == "pipe":
        os.mkfifo(vocal)
    else:
        vocal.mkdir()
    change(folder, size=vocal.lstat().st_size, mtime_ns=vocal.lstat().st_mtime_ns)
    assert again(folder).whole("vocal", vocal) is None


@pytest.mark.parametrize("entry", [None, 5, "vocal.mp3", [], {}])
def test_an_entry_that_says_nothing_is_not(folder: Path, vocal: Path, entry: Any) -> None:
    told = list_in(folder)
    told["files"]["vocal"] = entry
    (folder / "manifest.json").write_text(json.dumps(told))
    assert again(folder).whole("vocal", vocal) is None


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
def test_what_is_no_list_of_the_task_is_written_anew_and_said(
    folder: Path, vocal: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "manifest.json").write_bytes(content)
    with caplog.at_level(logging.WARNING, "vocalsep_async"):
        assert again(folder).whole("vocal", vocal) is None
    assert "is not a list of this task's files" in caplog.text
    listed(folder, "drums", OTHER)
    assert set(list_in(folder)["files"]) == {"drums"}


def test_where_there_is_no_list_nothing_is_said(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert again(folder).whole("vocal", folder / "vocal.mp3") is None
    assert caplog.records == []


def test_a_list_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "manifest.json").mkdir()
    with pytest.raises(IsADirectoryError):
        again(folder)


def test_what_others_saved_meanwhile_stays_on_the_list(folder: Path, vocal: Path) -> None:
    manifest = again(folder)
    listed(folder, "drums", OTHER)
    saved = Saved(1, "00", 0)
    manifest.add("bass", folder / "bass.mp3", saved, RECORD, verified=False)
    assert set(list_in(folder)["files"]) == {"vocal", "drums", "bass"}
    assert manifest.whole("drums", folder / "drums.mp3") is not None


def test_a_file_that_was_fetched_again_has_one_entry(folder: Path, vocal: Path) -> None:
    listed(folder, "vocal", OTHER)
    assert list_in(folder)["files"]["vocal"]["size"] == len(OTHER)
    there = again(folder).whole("vocal", vocal)
    assert there is not None
    assert there.sha256 == hashlib.sha256(OTHER).hexdigest()


def test_the_list_has_a_folder_of_the_task_wherever_its_files_are(tmp_path: Path) -> None:
    path = tmp_path / "vocal-of-task.mp3"
    path.write_bytes(AUDIO)
    saved = Saved(len(AUDIO), hashlib.sha256(AUDIO).hexdigest(), path.stat().st_mtime_ns)
    again(tmp_path / TASK_ID).add("vocal", path, saved, RECORD, verified=True)
    assert names_in(tmp_path) == {path.name, TASK_ID}
    assert again(tmp_path / TASK_ID).whole("vocal", path) is not None


def test_the_list_is_never_written_outside(tmp_path: Path) -> None:
    saved, outside = tmp_path / "saved", tmp_path / "outside"
    saved.mkdir()
    outside.mkdir()
    (saved / TASK_ID).symlink_to(outside)
    with pytest.raises(OSError, match="leads out"):
        Manifest(saved, TASK_ID).add(
            "vocal", saved / "vocal.mp3", Saved(1, "00", 0), RECORD, verified=True
        )
    assert names_in(outside) == set()


def test_a_link_in_place_of_the_list_is_replaced(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / "manifest.json").symlink_to(victim)
    listed(folder, "vocal", AUDIO)
    assert victim.read_bytes() == b"precious"
    assert set(list_in(folder)["files"]) == {"vocal"}


def test_what_a_killed_process_left_of_the_list_is_removed(folder: Path) -> None:
    (folder / ".manifest.json.0123456789abcdef.new").write_bytes(b"{")
    listed(folder, "vocal", AUDIO)
    assert names_in(folder) == {"manifest.json", "vocal.mp3"}


def test_a_pipe_in_place_of_the_list_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(OSError, match="no plain file"):
        again(folder)


def test_whoever_writes_the_list_is_waited_for(folder: Path, vocal: Path) -> None:
    manifest = again(folder)
    is_there = threading.Event()

    def add() -> None:
        is_there.set()
        manifest.add("bass", folder / "bass.mp3", Saved(1, "00", 0), RECORD, verified=False)

    thread = threading.Thread(target=add)
    with alone_in(folder):
        thread.start()
        is_there.wait()
        told = list_in(folder)
        told["files"]["drums"] = told["files"]["vocal"]
        (folder / "manifest.json").write_text(json.dumps(told))
    thread.join()
    assert set(list_in(folder)["files"]) == {"vocal", "drums", "bass"}
