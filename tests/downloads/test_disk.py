"""Primitives of the file system: durable, and safe from planted links."""

from __future__ import annotations

import errno
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import left_open, names_in

from vocalsep_async._downloads.disk import (
    locked_folder,
    make_folder,
    read_regular,
    replace_file,
    synchronise_folder,
    write_new,
)
from vocalsep_async._files import try_lock


def failing_with(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_make_folder_makes_the_parents_too(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c", tmp_path / "a")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_make_folder_accepts_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a", tmp_path)
    make_folder(tmp_path, tmp_path)


def test_make_folder_accepts_a_directory_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make_folder(tmp_path / "link" / "task", tmp_path / "link")
    assert (tmp_path / "real" / "task").is_dir()


def test_make_folder_follows_a_link_that_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "saved" / "real").mkdir(parents=True)
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "saved" / "real")
    make_folder(tmp_path / "saved" / "link" / "task", tmp_path / "saved")
    assert (tmp_path / "saved" / "real" / "task").is_dir()


@pytest.mark.parametrize("below", ["link", "link/more"])
def test_make_folder_refuses_a_link_that_leads_out_and_makes_nothing_there(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="a link leads out of the directory") as caught:
        make_folder(tmp_path / "saved" / below, tmp_path / "saved")
    assert caught.value.errno == errno.ELOOP
    assert names_in(tmp_path / "outside") == set()


def test_a_sibling_with_the_same_prefix_is_outside(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved-2").mkdir()
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "saved-2")
    with pytest.raises(OSError, match="leads out"):
        make_folder(tmp_path / "saved" / "link", tmp_path / "saved")


def test_make_folder_refuses_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "link", tmp_path)
    assert names_in(tmp_path) == {"link"}


def test_make_folder_fails_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "task", tmp_path)
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file", tmp_path)


def test_synchronise_folder_calls_fsync_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.fstat(fd).st_ino))
    synchronise_folder(tmp_path)
    assert done == [tmp_path.stat().st_ino]


def test_a_failed_fsync_is_raised_and_leaves_no_open_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(errno.EIO))
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=os.strerror(errno.EIO)):
        synchronise_folder(tmp_path)
    assert still_open == []


NO_FSYNC = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EISDIR"]


@pytest.mark.parametrize("name", NO_FSYNC)
def test_a_file_system_without_fsync_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(getattr(errno, name)))
    with left_open(tmp_path) as still_open:
        synchronise_folder(tmp_path)
        replace_file(tmp_path / "file", b"one")
    assert still_open == []
    assert (tmp_path / "file").read_bytes() == b"one"


@pytest.mark.parametrize(
    "number", sorted(set(errno.errorcode) - {getattr(errno, x) for x in NO_FSYNC})
)
def test_any_other_error_of_fsync_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(number))
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        synchronise_folder(tmp_path)


def test_replace_file_replaces_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(tmp_path) == {"file"}


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_failed_replace_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, failing_with(errno.ENOSPC))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == {"file"}


def test_replace_file_replaces_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    replace_file(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes() == b"new"


def test_replace_file_removes_unfinished_files_of_killed_processes_and_no_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    others = {".file.short.new", ".other.0123456789abcdef.new", ".file.0123456789abcdef.new.bak"}
    for name in {".file.0123456789abcdef.new", *others}:
        (tmp_path / name).write_bytes(b"half")
    replace_file(path, b"new")
    assert names_in(tmp_path) == {"file", *others}


def test_locked_folder_holds_the_lock_until_its_block_ends(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with locked_folder(tmp_path):
            assert not try_lock(descriptor)
        assert try_lock(descriptor)
    finally:
        os.close(descriptor)


def test_a_second_thread_waits_for_the_lock_of_a_folder(tmp_path: Path) -> None:
    order: list[str] = []
    has_started = threading.Event()

    def wait_and_add() -> None:
        has_started.set()
        with locked_folder(tmp_path):
            order.append("second")

    thread = threading.Thread(target=wait_and_add)
    with locked_folder(tmp_path):
        thread.start()
        has_started.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_locked_folder_releases_the_lock_after_an_error(tmp_path: Path) -> None:
    mine = pytest.raises(ValueError, match="mine")
    with left_open(tmp_path) as still_open, mine, locked_folder(tmp_path):
        raise ValueError("mine")
    assert still_open == []


def test_locked_folder_fails_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked_folder(tmp_path / "nowhere"):
        pass


def test_read_regular_reads_what_write_new_wrote(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert read_regular(path) is None
    write_new(path, b"one")
    write_new(path, b"two")
    assert read_regular(path) == b"two"
    assert names_in(tmp_path) == {"file"}


def test_no_file_is_read_or_written_through_a_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        read_regular(path)
    write_new(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()
    assert read_regular(path) == b"new"


def test_write_new_does_not_write_into_a_hard_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.hardlink_to(victim)
    write_new(path, b"new")
    assert victim.read_bytes() == b"precious"


def test_write_new_fails_if_a_link_is_planted_before_it_opens_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    really_open = os.open

    def plant_before(*given: Any) -> int:
        path.symlink_to(victim)
        return really_open(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", plant_before)
        with pytest.raises(FileExistsError):
            write_new(path, b"new")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_read_regular_fails_on_a_pipe_or_a_folder_without_blocking(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "there"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=r"regular|directory"):
        read_regular(path)
    assert still_open == []
