"""Folders below a directory: what is done in one stays in it, and links do not lead out."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import left_open, names_in
from downloads.parts import folder_at

from vocalsep_async._downloads import folder as folders
from vocalsep_async._downloads.disk import CREATE, open_regular, replace_file
from vocalsep_async._downloads.folder import Directory, synchronise
from vocalsep_async._files import try_lock

descriptors_only = pytest.mark.skipif(not folders.HAS_DESCRIPTORS, reason="needs descriptors")


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With descriptors, and as on a platform that has none."""
    if request.param and not folders.HAS_DESCRIPTORS:
        pytest.skip("the platform has no descriptors of folders")
    monkeypatch.setattr(folders, "HAS_DESCRIPTORS", request.param)


both = pytest.mark.usefixtures("_both")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A directory beside an empty folder that nothing may get into."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "saved"


@pytest.fixture(autouse=True)
def _nothing_outside_and_nothing_open(tmp_path: Path) -> Iterator[None]:
    with left_open(tmp_path) as still_open:
        yield
    assert still_open == []
    if (tmp_path / "outside").exists():
        assert names_in(tmp_path / "outside") == set()


def failing_with(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def make(folder: Path, directory: Path) -> None:
    Directory(directory).open(folder, make=True).close()


def put(folder: Path, directory: Path, name: str = "file") -> None:
    with Directory(directory).open(folder, make=True) as opened:
        os.close(opened.open(name, CREATE))


# Opening


@both
def test_a_folder_and_its_parents_are_made(tmp_path: Path) -> None:
    make(tmp_path / "new" / "a" / "b" / "c", tmp_path / "new" / "a")
    assert (tmp_path / "new" / "a" / "b" / "c").is_dir()


@both
def test_an_existing_folder_is_opened_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    put(tmp_path / "a", tmp_path)
    put(tmp_path, tmp_path)
    assert names_in(tmp_path) == {"a", "file"}
    assert names_in(tmp_path / "a") == {"file"}


@both
@pytest.mark.parametrize("below", [".", "a", "a/b"])
def test_a_missing_folder_is_only_made_on_demand(tmp_path: Path, below: str) -> None:
    with pytest.raises(FileNotFoundError):
        Directory(tmp_path / "none").open(tmp_path / "none" / below)
    assert names_in(tmp_path) == set()


@both
def test_a_relative_directory_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = Directory(Path("saved"))
    directory.open(Path("saved/a"), make=True).close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with directory.open(Path("saved/a")) as folder:
        os.close(folder.open("file", CREATE))
        assert folder.path == Path("saved/a")
        folder.check_place()
    assert names_in(tmp_path / "saved" / "a") == {"file"}


@both
def test_a_directory_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put(tmp_path / "link" / "task", tmp_path / "link")
    assert names_in(tmp_path / "real" / "task") == {"file"}


@both
@pytest.mark.parametrize("below", ["link", "link/more", "link/more/again"])
def test_a_link_that_stays_inside_is_followed(saved: Path, below: str) -> None:
    (saved / "real").mkdir()
    (saved / "link").symlink_to(saved / "real")
    put(saved / below, saved)
    assert names_in((saved / below).resolve()) >= {"file"}
    assert (saved / below).resolve().is_relative_to(saved / "real")


@both
@pytest.mark.parametrize("target", ["outside", "outside/missing", "saved-2"])
@pytest.mark.parametrize("below", ["link", "link/more", "in/link"])
def test_a_link_that_leads_out_is_refused_and_nothing_is_made_there(
    saved: Path, target: str, below: str
) -> None:
    (saved.parent / "saved-2").mkdir()
    (saved / "in").mkdir()
    for link in (saved / "link", saved / "in" / "link"):
        link.symlink_to(saved.parent / target)
    for make in (True, False):
        with pytest.raises(OSError, match="a link leads out of the directory") as caught:
            Directory(saved).open(saved / below, make=make)
        assert caught.value.errno == errno.ELOOP
        assert caught.value.filename == str(saved / below)
    assert names_in(saved.parent / "saved-2") == set()


@both
def test_links_in_a_circle_are_an_error(saved: Path) -> None:
    (saved / "one").symlink_to(saved / "two")
    (saved / "two").symlink_to(saved / "one")
    with pytest.raises((OSError, RuntimeError)):
        make(saved / "one" / "task", saved)
    assert names_in(saved) == {"one", "two"}


@both
def test_a_file_in_place_of_a_folder_is_an_error(saved: Path) -> None:
    (saved / "file").write_bytes(b"")
    for below in ("file", "file/task"):
        with pytest.raises((NotADirectoryError, FileExistsError)) as caught:
            make(saved / below, saved)
        assert caught.value.filename == str(saved / below)
    with pytest.raises(NotADirectoryError):
        Directory(saved).open(saved / "file")
    with pytest.raises((NotADirectoryError, FileExistsError)):
        make(saved / "file" / "task", saved / "file")


@descriptors_only
def test_a_folder_that_another_process_makes_meanwhile_is_opened(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def twice(name: Any, *mode: int, **folder: Any) -> None:
        mkdir(name, *mode, **folder)
        mkdir(name, *mode, **folder)

    monkeypatch.setattr(os, "mkdir", twice)
    put(saved / "task", saved)
    assert names_in(saved / "task") == {"file"}


@descriptors_only
def test_a_directory_that_becomes_a_link_after_its_first_use_is_refused(saved: Path) -> None:
    directory = Directory(saved)
    directory.open(saved / "task", make=True).close()
    saved.rename(saved.with_name("away"))
    saved.symlink_to(saved.parent / "outside")
    for below in (saved, saved / "task"):
        with pytest.raises(OSError, match="a link leads out of the directory"):
            directory.open(below, make=True)


@descriptors_only
def test_a_folder_on_the_way_needs_no_permission_to_be_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything, so that permissions prove nothing here.
    opened: list[int] = []
    really_open = os.open

    def record(path: Any, flags: int, **folder: Any) -> int:
        opened.append(flags & getattr(os, "O_PATH", 0))
        return really_open(path, flags, **folder)

    make(saved / "a" / "b", saved)
    monkeypatch.setattr(os, "open", record)
    folder_at(saved).close()
    Directory(saved).open(saved / "a" / "b").close()
    assert opened == [0, *[getattr(os, "O_PATH", 0)] * 2, 0]


# Files


@both
def test_files_are_made_listed_moved_and_removed(saved: Path) -> None:
    directory = Directory(saved)
    with directory.open(saved / "a", make=True) as one, directory.open(saved, make=True) as other:
        os.close(one.open("file", CREATE))
        assert one.names() == ["file"]
        assert one.stat("file").st_size == 0
        (saved / "moved").write_bytes(b"old")
        one.move("file", other, "moved")
        assert names_in(saved) == {"a", "moved"}
        assert (saved / "moved").read_bytes() == b""
        other.unlink("moved")
        other.unlink("moved")
        other.synchronise()
        other.lock()
    assert names_in(saved) == {"a"}


@both
def test_a_link_in_place_of_a_file_is_examined_itself(saved: Path) -> None:
    (saved / "link").symlink_to("nowhere")
    with folder_at(saved) as folder:
        assert folder.stat("link").st_mode & 0o170000 == 0o120000


@both
def test_every_error_names_the_whole_path(saved: Path) -> None:
    (saved / "full").mkdir()
    (saved / "full" / "file").write_bytes(b"")
    with folder_at(saved) as folder:
        calls: list[tuple[str, Any]] = [
            ("none", lambda: folder.open("none", os.O_RDONLY)),
            ("none", lambda: folder.stat("none")),
            ("full", lambda: folder.unlink("full")),
            ("full", lambda: folder.move("none", folder, "full")),
            ("full", lambda: open_regular(folder, "full")),
        ]
        for name, call in calls:
            with pytest.raises(OSError, match=re.escape(str(saved / name))) as caught:
                call()
            assert (caught.value.filename, caught.value.filename2) == (str(saved / name), None)
            assert str(caught.value).endswith(f": '{saved / name}'")


@both
def test_a_file_system_that_does_not_replace_files_gets_the_old_one_removed_first(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def refuse_to_replace(name: str, other: str, **folders: Any) -> None:
        if (saved / "file").exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        replace(name, other, **folders)

    (saved / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", refuse_to_replace)
    with folder_at(saved) as folder:
        replace_file(folder, "file", b"new")
    assert (saved / "file").read_bytes() == b"new"
    assert names_in(saved) == {"file"}


@descriptors_only
def test_a_folder_that_was_moved_is_the_same_folder_at_another_place(saved: Path) -> None:
    with Directory(saved).open(saved / "task", make=True) as folder:
        folder.check_place()
        (saved / "task").rename(saved / "moved")
        (saved / "task").symlink_to(saved.parent / "outside")
        replace_file(folder, "file", b"content")
        assert names_in(saved / "moved") == {"file"}
        with pytest.raises(OSError, match="moved or replaced") as caught:
            folder.check_place()
        assert caught.value.filename == str(saved / "task")
        (saved / "task").unlink()
        with pytest.raises(OSError, match="moved or replaced"):
            folder.check_place()


# Durability and locks


@descriptors_only
def test_synchronise_calls_fsync_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.fstat(fd).st_ino))
    with folder_at(tmp_path) as folder:
        folder.synchronise()
    assert done == [tmp_path.stat().st_ino]


NO_FSYNC = {"EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EISDIR"}
NO_FOLDER_FSYNC = NO_FSYNC | {"EPERM", "EACCES"}


@descriptors_only
@pytest.mark.parametrize("name", sorted(NO_FOLDER_FSYNC))
def test_a_file_system_without_fsync_for_folders_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(getattr(errno, name)))
    with folder_at(tmp_path) as folder:
        folder.synchronise()


@descriptors_only
@pytest.mark.parametrize(
    "number", sorted(set(errno.errorcode) - {getattr(errno, name) for name in NO_FOLDER_FSYNC})
)
def test_any_other_error_of_fsync_of_a_folder_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(number))
    with (
        folder_at(tmp_path) as folder,
        pytest.raises(OSError, match=re.escape(os.strerror(number))),
    ):
        folder.synchronise()


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_the_content_of_a_file_is_not_on_the_disk_unless_the_file_system_has_no_fsync(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(number))
    if number in {getattr(errno, name) for name in NO_FSYNC}:
        synchronise(0)
        return
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        synchronise(0)


@descriptors_only
def test_the_lock_of_a_folder_is_held_until_it_is_closed(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with folder_at(tmp_path) as folder:
            folder.lock()
            assert not try_lock(descriptor)
        assert try_lock(descriptor)
    finally:
        os.close(descriptor)


@descriptors_only
def test_a_second_thread_waits_for_the_lock_of_a_folder(tmp_path: Path) -> None:
    order: list[str] = []
    has_started = threading.Event()

    def wait_and_add() -> None:
        has_started.set()
        with folder_at(tmp_path) as folder:
            folder.lock()
            order.append("second")

    thread = threading.Thread(target=wait_and_add)
    with folder_at(tmp_path) as folder:
        folder.lock()
        thread.start()
        has_started.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@both
def test_a_folder_may_be_closed_again(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.close()
    folder.close()
