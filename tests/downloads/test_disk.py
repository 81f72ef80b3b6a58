"""Files in a folder: durable, and safe from planted links."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import left_open, names_in
from downloads.parts import folder_at

from vocalsep_async._downloads.disk import read_regular, replace_file, write_new
from vocalsep_async._downloads.folder import Folder


def failing_with(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def replace(path: Path, content: bytes) -> None:
    with folder_at(path.parent) as folder:
        replace_file(folder, path.name, content)


def read(path: Path) -> bytes | None:
    with folder_at(path.parent) as folder:
        return read_regular(folder, path.name)


def write(path: Path, content: bytes) -> None:
    with folder_at(path.parent) as folder:
        write_new(folder, path.name, content)


def test_replace_file_replaces_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace(path, b"one")
    replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(tmp_path) == {"file"}


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_failed_replace_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(Folder if call == "open" else os, call, failing_with(errno.ENOSPC))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == {"file"}


def test_replace_file_replaces_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    replace(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes() == b"new"


def test_replace_file_removes_unfinished_files_of_killed_processes_and_no_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    others = {".file.short.new", ".other.0123456789abcdef.new", ".file.0123456789abcdef.new.bak"}
    for name in {".file.0123456789abcdef.new", *others}:
        (tmp_path / name).write_bytes(b"half")
    replace(path, b"new")
    assert names_in(tmp_path) == {"file", *others}


def test_read_regular_reads_what_write_new_wrote(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert read(path) is None
    write(path, b"one")
    write(path, b"two")
    assert read(path) == b"two"
    assert names_in(tmp_path) == {"file"}


def test_no_file_is_read_or_written_through_a_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        read(path)
    write(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()
    assert read(path) == b"new"


def test_write_new_does_not_write_into_a_hard_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.hardlink_to(victim)
    write(path, b"new")
    assert victim.read_bytes() == b"precious"


def test_write_new_fails_if_a_link_is_planted_before_it_opens_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    really_open = os.open

    def plant_before(*given: Any, **folder: Any) -> int:
        path.symlink_to(victim)
        return really_open(*given, **folder)

    with folder_at(tmp_path) as folder, monkeypatch.context() as patch:
        patch.setattr(os, "open", plant_before)
        with pytest.raises(FileExistsError):
            write_new(folder, path.name, b"new")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_read_regular_fails_on_a_pipe_or_a_folder_without_blocking(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "there"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=r"regular|directory"):
        read(path)
    assert still_open == []
