"""What must be on the disk, and nowhere else."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import left_open, names_in

from vocalsep_async._downloads.disk import (
    alone_in,
    make_folder,
    read_plain,
    replace,
    synchronise_folder,
    write_plain,
)
from vocalsep_async._files import try_lock


def refusal(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_folder_is_made_with_all_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c", tmp_path / "a")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_folder_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a", tmp_path)
    make_folder(tmp_path, tmp_path)


def test_a_directory_that_is_a_link_itself_is_taken(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make_folder(tmp_path / "link" / "task", tmp_path / "link")
    assert (tmp_path / "real" / "task").is_dir()


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "saved" / "real").mkdir(parents=True)
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "saved" / "real")
    make_folder(tmp_path / "saved" / "link" / "task", tmp_path / "saved")
    assert (tmp_path / "saved" / "real" / "task").is_dir()


@pytest.mark.parametrize("below", ["link", "link/more"])
def test_a_link_that_leads_out_is_refused_and_nothing_is_made_there(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="a link leads out of the directory") as caught:
        make_folder(tmp_path / "saved" / below, tmp_path / "saved")
    assert caught.value.errno == errno.ELOOP
    assert names_in(tmp_path / "outside") == set()


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved-2").mkdir()
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "saved-2")
    with pytest.raises(OSError, match="leads out"):
        make_folder(tmp_path / "saved" / "link", tmp_path / "saved")


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "link", tmp_path)
    assert names_in(tmp_path) == {"link"}


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "task", tmp_path)
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file", tmp_path)


def test_the_folder_itself_is_synchronised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.fstat(fd).st_ino))
    synchronise_folder(tmp_path)
    assert done == [tmp_path.stat().st_ino]


def test_a_folder_that_cannot_be_synchronised_is_an_error_and_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refusal(errno.EIO))
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=os.strerror(errno.EIO)):
        synchronise_folder(tmp_path)
    assert still_open == []


def test_content_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace(path, b"one")
    replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert names_in(tmp_path) == {"file"}


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, refusal(errno.ENOSPC))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == {"file"}


def test_content_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    replace(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert path.read_bytes() == b"new"


def test_what_killed_tries_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    others = {".file.short.new", ".other.0123456789abcdef.new", ".file.0123456789abcdef.new.bak"}
    for name in {".file.0123456789abcdef.new", *others}:
        (tmp_path / name).write_bytes(b"half")
    replace(path, b"new")
    assert names_in(tmp_path) == {"file", *others}


def test_whoever_is_alone_in_a_folder_is_waited_for(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with alone_in(tmp_path):
            assert not try_lock(descriptor)
        assert try_lock(descriptor)
    finally:
        os.close(descriptor)


def test_a_second_one_comes_into_a_folder_when_the_first_one_has_left(tmp_path: Path) -> None:
    order: list[str] = []
    is_there = threading.Event()

    def follow() -> None:
        is_there.set()
        with alone_in(tmp_path):
            order.append("second")

    thread = threading.Thread(target=follow)
    with alone_in(tmp_path):
        thread.start()
        is_there.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_folder_is_free_again_whatever_happened_in_it(tmp_path: Path) -> None:
    mine = pytest.raises(ValueError, match="mine")
    with left_open(tmp_path) as still_open, mine, alone_in(tmp_path):
        raise ValueError("mine")
    assert still_open == []


def test_nobody_can_be_alone_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), alone_in(tmp_path / "nowhere"):
        pass


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert read_plain(path) is None
    write_plain(path, b"one")
    write_plain(path, b"two")
    assert read_plain(path) == b"two"
    assert names_in(tmp_path) == {"file"}


def test_nothing_is_read_or_written_through_a_link(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        read_plain(path)
    write_plain(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()
    assert read_plain(path) == b"new"


def test_nothing_is_written_into_a_file_that_has_another_name_too(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.hardlink_to(victim)
    write_plain(path, b"new")
    assert victim.read_bytes() == b"precious"


def test_a_link_that_is_planted_again_is_not_written_through(
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
            write_plain(path, b"new")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_plain_file_is_not_read_and_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=r"plain|directory"):
        read_plain(path)
    assert still_open == []
