"""Whose a part is: one process's own, taken up when it is nobody's, and never the way out."""

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
    NAME,
    NOTE,
    OWNER,
    PART,
    STALE,
    half_of,
    held_elsewhere,
    opened,
    pieces,
    saved_anew,
    target_in,
    untouched,
)

from vocalsep_async._downloads.part_lock import claimed
from vocalsep_async._downloads.partfile import PartFile


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return target_in(tmp_path)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file outside that nothing here may touch."""
    with untouched(tmp_path / "victim") as path:
        yield path


def test_a_stale_part_is_removed_with_its_note(target: Path) -> None:
    half_of(target, suffix=STALE)
    part = opened(target)
    assert names_in(target.parent) == {PART}
    part.discard()


def test_the_note_of_a_stale_part_that_got_its_name_is_removed(target: Path) -> None:
    half_of(target, suffix=STALE).unlink()
    part = opened(target)
    assert names_in(target.parent) == {PART}
    part.discard()


@pytest.mark.parametrize(
    "name",
    [f".{NAME}.part.bak", f".{NAME}.short.part", ".drums.mp3.0123456789abcdef.part", "x.part"],
)
def test_what_is_no_part_of_this_file_is_left_alone(target: Path, name: str) -> None:
    target.with_name(name).write_bytes(b"somebody's")
    opened(target).keep()
    assert target.with_name(name).read_bytes() == b"somebody's"


# Two at a time


def test_a_part_that_another_process_holds_is_left_alone(target: Path) -> None:
    held = half_of(target)
    with held_elsewhere(held):
        part = opened(target)
        assert part.position == 0
        saved_anew(part)
        assert target.read_bytes() == AUDIO
        assert held.read_bytes() == AUDIO[:HALF]
        assert names_in(target.parent) == {NAME, PART, NOTE}
    assert opened(target).position == HALF


def test_a_spare_part_that_another_process_holds_is_left_alone(target: Path) -> None:
    held = half_of(target, suffix=STALE)
    with held_elsewhere(held):
        saved_anew(opened(target))
        assert held.read_bytes() == AUDIO[:HALF]
    assert names_in(target.parent) == {NAME, STALE, f"{STALE}.json"}


def test_two_at_one_target_write_into_two_files(target: Path) -> None:
    one, two = opened(target), opened(target)
    for mine, yours in zip(pieces(), pieces(OTHER), strict=True):
        one.write([mine])
        two.write([yours])
    one.finish()
    assert target.read_bytes() == AUDIO
    two.finish()
    assert target.read_bytes() == OTHER
    assert names_in(target.parent) == {NAME}


def test_who_keeps_a_spare_part_leaves_what_the_next_one_removes(target: Path) -> None:
    one, two = opened(target), opened(target)
    two.write(pieces(AUDIO[:HALF]))
    two.keep()
    assert len(names_in(target.parent)) == 3
    one.discard()
    saved_anew(opened(target))
    assert names_in(target.parent) == {NAME}


def test_a_part_that_got_its_name_before_it_was_locked_is_not_written_to(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_of(target)
    flock = fcntl.flock

    def finished_meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        target.with_name(PART).replace(target)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", finished_meanwhile)
    part = opened(target)
    assert target.read_bytes() == AUDIO[:HALF]
    part.write(pieces(OTHER))
    assert target.read_bytes() == AUDIO[:HALF]
    part.finish()
    assert target.read_bytes() == OTHER


def test_a_part_that_was_replaced_before_it_was_locked_is_not_written_to(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = half_of(target)
    flock = fcntl.flock

    def replaced_meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        part.unlink()
        part.write_bytes(b"another process's")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replaced_meanwhile)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert part.read_bytes() == b"another process's"


@pytest.mark.parametrize("is_busy", [False, True], ids=["the only part", "a spare part"])
def test_a_new_part_that_somebody_takes_for_stale_is_made_again(
    target: Path, monkeypatch: pytest.MonkeyPatch, *, is_busy: bool
) -> None:
    first = opened(target) if is_busy else None
    flock = fcntl.flock
    removed: list[Path] = []

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_part = path.name.startswith(".") and path.exists()
        if is_part and not removed and (first is None or path.name != PART):
            removed.append(path)
            path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    part = opened(target)
    assert len(removed) == 1
    saved_anew(part)
    assert target.read_bytes() == AUDIO
    if first is not None:
        first.discard()
    assert names_in(target.parent) == {NAME}


def test_a_new_part_that_another_one_takes_up_before_it_is_locked_is_left_to_it(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    others: list[PartFile] = []

    def taken_up_meanwhile(descriptor: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == PART:
            monkeypatch.undo()
            others.append(opened(target))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", taken_up_meanwhile)
    part = opened(target)
    (other,) = others
    other.write(pieces(OTHER))
    other.finish()
    assert target.read_bytes() == OTHER
    saved_anew(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_where_every_part_is_taken_for_stale_there_is_an_end(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name.startswith("."):
            path.unlink(missing_ok=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with pytest.raises(OSError, match="take every part for stale"):
        opened(target)


def test_a_part_that_is_held_is_locked_and_one_at_its_target_alone(target: Path) -> None:
    half_of(target)
    one, two = claimed(target), claimed(target)
    assert (one.path.name, one.is_locked) == (PART, True)
    assert two.is_locked
    assert re.fullmatch(rf"\.{re.escape(NAME)}\.[0-9a-f]{{16}}\.part", two.path.name)
    for claim in (one, two):
        os.close(claim.descriptor)


def test_what_cannot_be_opened_for_want_of_something_is_an_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = half_of(target)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            claimed(target)
    assert part.read_bytes() == AUDIO[:HALF]


# Without locks


@pytest.fixture
def _no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.usefixtures("_no_locks")
def test_where_there_are_no_locks_two_still_write_into_two_files(target: Path) -> None:
    one, two = opened(target), opened(target)
    one.write(pieces())
    two.write(pieces(OTHER))
    one.finish()
    assert target.read_bytes() == AUDIO
    two.finish()
    assert target.read_bytes() == OTHER


@pytest.mark.usefixtures("_no_locks")
def test_where_there_are_no_locks_nothing_is_left_beside_the_file(target: Path) -> None:
    saved_anew(opened(target))
    assert names_in(target.parent) == {NAME}


@pytest.mark.usefixtures("_no_locks")
def test_where_there_are_no_locks_a_part_that_is_there_is_left_alone(target: Path) -> None:
    half_of(target)
    saved_anew(opened(target))
    assert target.with_name(PART).read_bytes() == AUDIO[:HALF]
    assert target.read_bytes() == AUDIO


@pytest.mark.usefixtures("_no_locks")
def test_where_there_are_no_locks_what_has_arrived_is_not_kept(target: Path) -> None:
    claim = claimed(target)
    assert not claim.is_locked
    assert claim.path.name != PART
    part = PartFile(claim, target, OWNER)
    part.write(pieces(AUDIO[:HALF]))
    part.keep()
    part.keep()
    assert names_in(target.parent) == set()


# What somebody planted


@pytest.mark.parametrize("name", [PART, STALE, NOTE, f"{STALE}.json"])
def test_nothing_is_written_through_a_link_in_place_of_what_is_hidden(
    target: Path, victim: Path, name: str
) -> None:
    target.with_name(name).symlink_to(victim)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert not target.is_symlink()


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_link_that_leads_nowhere_makes_no_file_there(
    target: Path, tmp_path: Path, name: str
) -> None:
    target.with_name(name).symlink_to(tmp_path / "nowhere")
    saved_anew(opened(target))
    assert not (tmp_path / "nowhere").exists()
    assert names_in(target.parent) == {NAME}


@pytest.mark.parametrize("name", [PART, STALE])
def test_nothing_is_written_into_a_file_that_has_another_name_too(
    target: Path, victim: Path, name: str
) -> None:
    target.with_name(name).hardlink_to(victim)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert target.stat().st_ino != victim.stat().st_ino


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_pipe_in_place_of_a_part_holds_nobody_up(target: Path, name: str) -> None:
    os.mkfifo(target.with_name(name))
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO


@pytest.mark.parametrize("name", [PART, STALE])
def test_a_folder_in_place_of_a_part_is_left_alone(target: Path, name: str) -> None:
    target.with_name(name).mkdir()
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME, name}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("name", [PART, STALE])
def test_a_part_that_is_somebody_elses_is_left_alone(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    part, really_open = half_of(target, suffix=name), os.open

    def refuse(path: Any, flags: int, *rest: Any) -> int:
        if Path(path).name == name and not flags & os.O_EXCL:
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    saved_anew(opened(target))
    assert target.read_bytes() == AUDIO
    assert part.read_bytes() == AUDIO[:HALF]
