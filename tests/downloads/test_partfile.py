"""What has arrived of a file: hidden, resumable, and given its name only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import AUDIO, OTHER, left_open, names_in
from downloads.parts import (
    ABOUT,
    HALF,
    NAME,
    NOTE,
    OWNER,
    PART,
    half_of,
    opened,
    pieces,
    saved_anew,
    target_in,
    untouched,
)

from vocalsep_async._downloads import partfile
from vocalsep_async._downloads.partfile import PartFile, Saved
from vocalsep_async._downloads.source import FileIdentity


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return target_in(tmp_path)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file outside that nothing here may touch."""
    with untouched(tmp_path / "victim") as path:
        yield path


# Whole


def test_a_file_gets_its_name_when_it_is_whole_and_nothing_else_is_left(target: Path) -> None:
    part = opened(target)
    for piece in pieces():
        part.write([piece])
        assert not target.exists()
    assert part.is_complete
    saved = part.finish()
    assert target.read_bytes() == AUDIO
    assert saved == Saved(len(AUDIO), hashlib.sha256(AUDIO).hexdigest(), target.stat().st_mtime_ns)
    assert names_in(target.parent) == {NAME}


def test_the_folder_is_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "c" / NAME
    saved_anew(PartFile.open(target, tmp_path / "a", OWNER))
    assert target.read_bytes() == AUDIO


def test_a_file_has_the_rights_that_files_of_this_process_have(target: Path) -> None:
    ordinary = target.with_name("ordinary")
    ordinary.write_bytes(b"")
    saved_anew(opened(target))
    assert target.stat().st_mode == ordinary.stat().st_mode


def test_an_old_file_stands_until_the_new_one_is_whole(target: Path) -> None:
    target.write_bytes(OTHER)
    part = opened(target)
    part.write(pieces(AUDIO[:HALF]))
    assert target.read_bytes() == OTHER
    part.write(pieces(AUDIO[HALF:], HALF))
    assert target.read_bytes() == OTHER
    part.finish()
    assert target.read_bytes() == AUDIO


def test_all_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synchronised(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def replaced(self: Path, other: Path) -> Path:
        done.append(f"{self.name} -> {other.name}")
        replace(self, other)
        return other

    monkeypatch.setattr(os, "fsync", synchronised)
    monkeypatch.setattr(Path, "replace", replaced)
    saved_anew(opened(target))
    assert done == [PART, f"{PART} -> {NAME}", target.parent.name]


def test_a_write_that_takes_less_than_it_was_given_is_gone_on_with(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:1000])))
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO


def test_a_part_that_somebody_else_changed_is_not_given_the_name(target: Path) -> None:
    part = opened(target)
    part.write(pieces())
    with target.with_name(PART).open("ab") as file:
        file.write(b"more")
    with pytest.raises(OSError, match="changed by somebody else"):
        part.finish()
    part.discard()
    assert names_in(target.parent) == set()


# Resumed


def test_what_was_kept_is_taken_up_where_it_ended(target: Path) -> None:
    part = opened(target)
    part.write(pieces(AUDIO[:HALF]))
    part.keep()
    part.keep()
    assert names_in(target.parent) == {PART, NOTE}
    again = opened(target)
    assert (again.position, again.about) == (HALF, ABOUT)
    assert not again.is_complete
    again.write(pieces(AUDIO[HALF:], HALF, again.about))
    assert again.finish().sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_a_whole_part_lacks_only_its_name(target: Path) -> None:
    part = opened(target)
    part.write(pieces())
    part.keep()
    again = opened(target)
    assert again.is_complete
    again.finish()
    assert target.read_bytes() == AUDIO


def test_what_was_discarded_is_gone(target: Path) -> None:
    part = opened(target)
    part.write(pieces(AUDIO[:HALF]))
    part.discard()
    assert names_in(target.parent) == set()


def test_a_file_that_begins_anew_has_nothing_of_the_old_one(target: Path) -> None:
    half_of(target)
    part = opened(target)
    other = FileIdentity('"two"', 90_000)
    part.write(pieces(OTHER[:90_000], about=other))
    assert part.about == other
    part.keep()
    again = opened(target)
    assert (again.position, again.about) == (90_000, other)
    assert again.finish().sha256 == hashlib.sha256(OTHER[:90_000]).hexdigest()
    assert target.read_bytes() == OTHER[:90_000]


def test_what_was_begun_for_another_stem_is_dropped(target: Path) -> None:
    half_of(target)
    part = opened(target, "task-2/vocal")
    assert (part.position, part.about) == (0, FileIdentity())
    assert names_in(target.parent) == {PART}
    assert target.with_name(PART).read_bytes() == b""
    saved_anew(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


@pytest.mark.parametrize("size", [HALF, len(AUDIO)])
def test_whoever_wants_it_anew_gets_nothing_that_was_there(target: Path, size: int) -> None:
    half_of(target, FileIdentity('"one"', size))
    part = opened(target, anew=True)
    assert (part.position, part.about, part.is_complete) == (0, FileIdentity(), False)
    assert names_in(target.parent) == {PART}
    part.write(pieces(OTHER))
    assert part.finish().sha256 == hashlib.sha256(OTHER).hexdigest()
    assert target.read_bytes() == OTHER


def test_a_part_of_which_nothing_has_arrived_is_not_kept(target: Path) -> None:
    opened(target).keep()
    assert names_in(target.parent) == set()


# What is at the target


def test_a_link_at_the_target_is_replaced_and_not_followed(target: Path, victim: Path) -> None:
    target.symlink_to(victim)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert not target.is_symlink()


def test_a_link_to_a_folder_at_the_target_is_replaced(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target.symlink_to(folder)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert names_in(folder) == set()


def test_a_pipe_at_the_target_is_replaced(target: Path) -> None:
    os.mkfifo(target)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO


def test_a_file_with_another_name_at_the_target_is_replaced(target: Path, victim: Path) -> None:
    target.hardlink_to(victim)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO


def test_a_folder_at_the_target_is_an_error_before_anything_is_made(target: Path) -> None:
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        opened(target)
    assert names_in(target.parent) == {NAME}


def test_a_link_in_place_of_a_folder_leads_nowhere_out(tmp_path: Path) -> None:
    saved, outside = tmp_path / "saved", tmp_path / "outside"
    saved.mkdir()
    outside.mkdir()
    (saved / "task-1").symlink_to(outside)
    for target in (saved / "task-1" / NAME, saved / "task-1" / "more" / NAME):
        with pytest.raises(OSError, match="leads out of the directory"):
            PartFile.open(target, saved, OWNER)
        assert names_in(outside) == set()


# What the disk says


def refusal(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_what_cannot_be_opened_is_an_error(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", refusal(errno.EACCES))
    with pytest.raises(PermissionError):
        opened(target)


@pytest.mark.parametrize("call", ["ftruncate", "read", "lseek"])
def test_a_part_that_cannot_be_read_again_is_not_left_open(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    half_of(target, ABOUT if call == "read" else FileIdentity())
    with left_open(tmp_path) as still_open, monkeypatch.context() as patch:
        patch.setattr(os, call, refusal(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            opened(target)
    assert still_open == []


def test_a_part_whose_name_is_gone_cannot_be_finished(target: Path) -> None:
    part = opened(target)
    part.write(pieces())
    target.with_name(PART).unlink()
    with pytest.raises(FileNotFoundError):
        part.finish()
    part.discard()
    assert names_in(target.parent) == set()


def test_what_is_discarded_after_it_had_its_name_is_not_what_somebody_has_begun_since(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, others = opened(target), []
    part.write(pieces())

    def begun_meanwhile(_folder: Path) -> None:
        others.append(opened(target))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(partfile, "synchronise_folder", begun_meanwhile)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            part.finish()
    part.discard()
    (other,) = others
    other.write(pieces(OTHER))
    other.finish()
    assert target.read_bytes() == OTHER
    assert names_in(target.parent) == {NAME}
