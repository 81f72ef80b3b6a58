"""Locks of parts: one process each, resumed when stale, and safe from planted links."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import AUDIO, OTHER, names_in
from downloads.parts import (
    HALF,
    METADATA,
    NAME,
    OWNER,
    PART,
    STALE,
    chunks,
    folder_at,
    half_of,
    held_elsewhere,
    opened,
    saved_from_start,
    target_in,
    untouched,
)

from vocalsep_async._downloads.folder import Directory
from vocalsep_async._downloads.partfile import PartFile, lock_part


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return target_in(tmp_path)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file outside the directory that must not change."""
    with untouched(tmp_path / "victim") as path:
        yield path


def test_a_stale_spare_part_is_removed_with_its_metadata(target: Path) -> None:
    half_of(target, suffix=STALE)
    part = opened(target)
    assert names_in(target.parent) == {PART}
    part.discard()


def test_the_metadata_of_a_renamed_spare_part_is_removed(target: Path) -> None:
    half_of(target, suffix=STALE).unlink()
    part = opened(target)
    assert names_in(target.parent) == {PART}
    part.discard()


@pytest.mark.parametrize(
    "name",
    [f".{NAME}.part.bak", f".{NAME}.short.part", ".drums.mp3.0123456789abcdef.part", "x.part"],
)
def test_a_file_that_is_not_a_part_of_the_target_is_left_alone(target: Path, name: str) -> None:
    target.with_name(name).write_bytes(b"unrelated")
    opened(target).keep()
    assert target.with_name(name).read_bytes() == b"unrelated"


# Several processes


def test_a_part_that_another_process_holds_is_left_alone(target: Path) -> None:
    held = half_of(target)
    with held_elsewhere(held):
        part = opened(target)
        assert part.position == 0
        saved_from_start(part)
        assert target.read_bytes() == AUDIO
        assert held.read_bytes() == AUDIO[:HALF]
        assert names_in(target.parent) == {NAME, PART, METADATA}
    assert opened(target).position == HALF


def test_a_spare_part_that_another_process_holds_is_left_alone(target: Path) -> None:
    held = half_of(target, suffix=STALE)
    with held_elsewhere(held):
        saved_from_start(opened(target))
        assert held.read_bytes() == AUDIO[:HALF]
    assert names_in(target.parent) == {NAME, STALE, f"{STALE}.json"}


def test_two_parts_of_one_target_are_two_files(target: Path) -> None:
    one, two = opened(target), opened(target)
    for mine, yours in zip(chunks(), chunks(OTHER), strict=True):
        one.write([mine])
        two.write([yours])
    one.finish()
    assert target.read_bytes() == AUDIO
    two.finish()
    assert target.read_bytes() == OTHER
    assert names_in(target.parent) == {NAME}


def test_a_spare_part_that_was_kept_is_removed_by_the_next_attempt(target: Path) -> None:
    one, two = opened(target), opened(target)
    two.write(chunks(AUDIO[:HALF]))
    two.keep()
    assert len(names_in(target.parent)) == 3
    one.discard()
    saved_from_start(opened(target))
    assert names_in(target.parent) == {NAME}


def test_a_part_that_was_renamed_before_it_was_locked_is_not_written_to(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_of(target)
    flock = fcntl.flock

    def renamed_first(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        target.with_name(PART).replace(target)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", renamed_first)
    part = opened(target)
    assert target.read_bytes() == AUDIO[:HALF]
    part.write(chunks(OTHER))
    assert target.read_bytes() == AUDIO[:HALF]
    part.finish()
    assert target.read_bytes() == OTHER


def test_a_part_that_was_replaced_before_it_was_locked_is_not_written_to(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = half_of(target)
    flock = fcntl.flock

    def replaced_first(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        part.unlink()
        part.write_bytes(b"another process's")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replaced_first)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert part.read_bytes() == b"another process's"


@pytest.mark.parametrize("is_busy", [False, True], ids=["the only part", "a spare part"])
def test_a_new_part_that_another_process_removes_as_stale_is_made_again(
    target: Path, monkeypatch: pytest.MonkeyPatch, *, is_busy: bool
) -> None:
    first = opened(target) if is_busy else None
    flock = fcntl.flock
    removed: list[Path] = []

    def removed_first(descriptor: int, operation: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_part = path.name.startswith(".") and path.exists()
        if is_part and not removed and (first is None or path.name != PART):
            removed.append(path)
            path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    part = opened(target)
    assert len(removed) == 1
    saved_from_start(part)
    assert target.read_bytes() == AUDIO
    if first is not None:
        first.discard()
    assert names_in(target.parent) == {NAME}


def test_a_new_part_that_another_process_locks_first_is_left_to_it(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    others: list[PartFile] = []

    def locked_first(descriptor: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == PART:
            monkeypatch.undo()
            others.append(opened(target))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", locked_first)
    part = opened(target)
    (other,) = others
    other.write(chunks(OTHER))
    other.finish()
    assert target.read_bytes() == OTHER
    saved_from_start(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_a_part_that_is_removed_each_time_ends_in_an_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def removed_first(descriptor: int, operation: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name.startswith("."):
            path.unlink(missing_ok=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with pytest.raises(OSError, match="other processes take every part for stale"):
        opened(target)


def test_the_first_part_has_the_plain_name_and_the_second_a_random_one(target: Path) -> None:
    half_of(target)
    with folder_at(target.parent) as folder:
        one, two = lock_part(folder, NAME), lock_part(folder, NAME)
    assert (one.name, one.is_locked) == (PART, True)
    assert two.is_locked
    assert re.fullmatch(rf"\.{re.escape(NAME)}\.[0-9a-f]{{16}}\.part", two.name)
    for claim in (one, two):
        os.close(claim.descriptor)


def test_a_lack_of_descriptors_is_an_error_and_removes_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = half_of(target)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with folder_at(target.parent) as folder, monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            lock_part(folder, NAME)
    assert part.read_bytes() == AUDIO[:HALF]


# Without locks


@pytest.fixture
def _no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.usefixtures("_no_locks")
def test_two_parts_of_one_target_are_two_files_without_locks_too(target: Path) -> None:
    one, two = opened(target), opened(target)
    one.write(chunks())
    two.write(chunks(OTHER))
    one.finish()
    assert target.read_bytes() == AUDIO
    two.finish()
    assert target.read_bytes() == OTHER


@pytest.mark.parametrize("number", sorted(set(errno.errorcode) - {errno.EINTR}))
def test_a_file_is_saved_whatever_its_file_system_answers_to_a_lock(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    error = OSError(number, os.strerror(number))
    is_held = isinstance(error, (BlockingIOError, PermissionError))

    def refuse(_descriptor: int, _operation: int) -> None:
        raise error

    monkeypatch.setattr(fcntl, "flock", refuse)
    if is_held:
        with pytest.raises(OSError, match="other processes take every part for stale"):
            opened(target)
        return
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_a_part_is_resumed_on_a_file_system_that_counts_no_links(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_of(target)
    fstat = os.fstat

    def without_links(descriptor: int) -> os.stat_result:
        fields = list(fstat(descriptor))
        fields[3] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", without_links)
    part = opened(target)
    assert part.position == HALF
    part.discard()


@pytest.mark.usefixtures("_no_locks")
def test_nothing_is_left_beside_the_file_without_locks(target: Path) -> None:
    saved_from_start(opened(target))
    assert names_in(target.parent) == {NAME}


@pytest.mark.usefixtures("_no_locks")
def test_an_existing_part_is_left_alone_without_locks(target: Path) -> None:
    half_of(target)
    saved_from_start(opened(target))
    assert target.with_name(PART).read_bytes() == AUDIO[:HALF]
    assert target.read_bytes() == AUDIO


@pytest.mark.usefixtures("_no_locks")
def test_a_part_is_not_kept_without_locks(target: Path) -> None:
    folder = folder_at(target.parent)
    claim = lock_part(folder, NAME)
    assert not claim.is_locked
    assert claim.name != PART
    part = PartFile(claim, folder, Directory(target.parent), target, OWNER)
    part.write(chunks(AUDIO[:HALF]))
    part.keep()
    part.keep()
    assert names_in(target.parent) == set()


# Planted files


@pytest.mark.parametrize("name", [PART, STALE, METADATA, f"{STALE}.json"])
def test_a_link_in_place_of_a_hidden_file_is_not_followed(
    target: Path, victim: Path, name: str
) -> None:
    target.with_name(name).symlink_to(victim)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert not target.is_symlink()


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_dangling_link_in_place_of_a_part_makes_no_file(
    target: Path, tmp_path: Path, name: str
) -> None:
    target.with_name(name).symlink_to(tmp_path / "nowhere")
    saved_from_start(opened(target))
    assert not (tmp_path / "nowhere").exists()
    assert names_in(target.parent) == {NAME}


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_hard_link_in_place_of_a_part_is_not_written_to(
    target: Path, victim: Path, name: str
) -> None:
    target.with_name(name).hardlink_to(victim)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert target.stat().st_ino != victim.stat().st_ino


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_pipe_in_place_of_a_part_does_not_block(target: Path, name: str) -> None:
    os.mkfifo(target.with_name(name))
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_folder_in_place_of_a_part_is_left_alone(target: Path, name: str) -> None:
    target.with_name(name).mkdir()
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME, name}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("name", [PART, STALE])
def test_a_part_of_another_user_is_left_alone(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    part, really_open = half_of(target, suffix=name), os.open

    def refuse(path: Any, flags: int, *rest: Any, **folder: int) -> int:
        if Path(path).name == name and not flags & os.O_EXCL:
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, *rest, **folder)

    monkeypatch.setattr(os, "open", refuse)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert part.read_bytes() == AUDIO[:HALF]
