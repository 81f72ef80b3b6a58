"""Parts of files: hidden, resumable, and renamed only when they are complete."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads.hosts import AUDIO, OTHER, left_open, names_in
from downloads.parts import (
    HALF,
    IDENTITY,
    METADATA,
    NAME,
    OWNER,
    PART,
    chunks,
    folder_at,
    half_of,
    opened,
    saved_from_start,
    target_in,
    untouched,
)
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._downloads.folder import Directory, Folder
from vocalsep_async._downloads.partfile import PartFile, PartMetadata, SavedFile
from vocalsep_async._downloads.source import FileIdentity

FIELDS = {"owner": OWNER, "validator": '"one"', "size": 5, "verified": True, "content_type": "a/b"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return target_in(tmp_path)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file outside the directory that must not change."""
    with untouched(tmp_path / "victim") as path:
        yield path


# Complete files


def test_a_file_gets_its_name_when_it_is_complete_and_leaves_nothing_else(target: Path) -> None:
    part = opened(target)
    for chunk in chunks():
        part.write([chunk])
        assert not target.exists()
    assert part.is_complete
    saved = part.finish()
    assert target.read_bytes() == AUDIO
    assert saved == SavedFile(
        len(AUDIO), hashlib.sha256(AUDIO).hexdigest(), target.stat().st_mtime_ns
    )
    assert names_in(target.parent) == {NAME}


def test_the_folder_of_the_target_is_made(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "c" / NAME
    saved_from_start(PartFile.open(Directory(tmp_path / "a"), target, OWNER))
    assert target.read_bytes() == AUDIO


def test_a_file_has_the_usual_permissions_of_its_process(target: Path) -> None:
    ordinary = target.with_name("ordinary")
    ordinary.write_bytes(b"")
    saved_from_start(opened(target))
    assert target.stat().st_mode == ordinary.stat().st_mode


def test_an_old_file_stays_until_the_new_one_is_complete(target: Path) -> None:
    target.write_bytes(OTHER)
    part = opened(target)
    part.write(chunks(AUDIO[:HALF]))
    assert target.read_bytes() == OTHER
    part.write(chunks(AUDIO[HALF:], HALF))
    assert target.read_bytes() == OTHER
    part.finish()
    assert target.read_bytes() == AUDIO


def test_content_is_synchronised_before_the_rename_and_the_folder_after_it(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_replace(name: str, other: str, **folders: int) -> None:
        done.append(f"{name} -> {other}")
        replace(name, other, **folders)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    saved_from_start(opened(target))
    assert done == [PART, f"{PART} -> {NAME}", target.parent.name]


def test_a_short_write_is_continued(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:1000])))
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO


def test_a_part_that_another_process_changed_is_not_renamed(target: Path) -> None:
    part = opened(target)
    part.write(chunks())
    with target.with_name(PART).open("ab") as file:
        file.write(b"more")
    with pytest.raises(OSError, match="another process changed the file"):
        part.finish()
    part.discard()
    assert names_in(target.parent) == set()


# Resumed


def test_a_kept_part_is_resumed_where_it_ended(target: Path) -> None:
    part = opened(target)
    part.write(chunks(AUDIO[:HALF]))
    part.keep()
    part.keep()
    assert names_in(target.parent) == {PART, METADATA}
    again = opened(target)
    assert (again.position, again.identity) == (HALF, IDENTITY)
    assert not again.is_complete
    again.write(chunks(AUDIO[HALF:], HALF, again.identity))
    assert again.finish().sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_a_complete_part_only_needs_its_rename(target: Path) -> None:
    part = opened(target)
    part.write(chunks())
    part.keep()
    again = opened(target)
    assert again.is_complete
    again.finish()
    assert target.read_bytes() == AUDIO


def test_a_discarded_part_is_removed(target: Path) -> None:
    part = opened(target)
    part.write(chunks(AUDIO[:HALF]))
    part.discard()
    assert names_in(target.parent) == set()


def test_a_file_that_starts_again_holds_no_bytes_of_the_old_one(target: Path) -> None:
    half_of(target)
    part = opened(target)
    other = FileIdentity('"two"', 90_000)
    part.write(chunks(OTHER[:90_000], identity=other))
    assert part.identity == other
    part.keep()
    again = opened(target)
    assert (again.position, again.identity) == (90_000, other)
    assert again.finish().sha256 == hashlib.sha256(OTHER[:90_000]).hexdigest()
    assert target.read_bytes() == OTHER[:90_000]


def test_a_part_of_another_stem_is_dropped(target: Path) -> None:
    half_of(target)
    part = opened(target, "task-2/vocal")
    assert (part.position, part.identity) == (0, FileIdentity())
    assert names_in(target.parent) == {PART}
    assert target.with_name(PART).read_bytes() == b""
    saved_from_start(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


@pytest.mark.parametrize("size", [HALF, len(AUDIO)])
def test_a_part_opened_from_the_start_holds_no_old_bytes(target: Path, size: int) -> None:
    half_of(target, FileIdentity('"one"', size))
    part = opened(target, from_start=True)
    assert (part.position, part.identity, part.is_complete) == (0, FileIdentity(), False)
    assert names_in(target.parent) == {PART}
    part.write(chunks(OTHER))
    assert part.finish().sha256 == hashlib.sha256(OTHER).hexdigest()
    assert target.read_bytes() == OTHER


def test_an_empty_part_is_not_kept(target: Path) -> None:
    opened(target).keep()
    assert names_in(target.parent) == set()


# Existing targets


def test_a_link_at_the_target_is_replaced_and_not_followed(target: Path, victim: Path) -> None:
    target.symlink_to(victim)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert not target.is_symlink()


def test_a_link_to_a_folder_at_the_target_is_replaced(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target.symlink_to(folder)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO
    assert names_in(folder) == set()


def test_a_pipe_at_the_target_is_replaced(target: Path) -> None:
    os.mkfifo(target)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO


def test_a_hard_link_at_the_target_is_replaced(target: Path, victim: Path) -> None:
    target.hardlink_to(victim)
    saved_from_start(opened(target))
    assert target.read_bytes() == AUDIO


def test_a_folder_at_the_target_is_an_error_before_a_part_is_made(target: Path) -> None:
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        opened(target)
    assert names_in(target.parent) == {NAME}


def test_a_link_in_place_of_a_folder_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    saved, outside = tmp_path / "saved", tmp_path / "outside"
    saved.mkdir()
    outside.mkdir()
    (saved / "task-1").symlink_to(outside)
    for target in (saved / "task-1" / NAME, saved / "task-1" / "more" / NAME):
        with pytest.raises(OSError, match="leads out of the directory"):
            PartFile.open(Directory(saved), target, OWNER)
        assert names_in(outside) == set()


# Disk errors


def failing_with(number: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_part_that_cannot_be_opened_is_an_error(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing_with(errno.EACCES))
    with pytest.raises(PermissionError):
        opened(target)


@pytest.mark.parametrize("call", ["ftruncate", "read", "lseek"])
def test_a_part_that_cannot_be_resumed_is_not_left_open(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    half_of(target, IDENTITY if call == "read" else FileIdentity())
    with left_open(tmp_path) as still_open, monkeypatch.context() as patch:
        patch.setattr(os, call, failing_with(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            opened(target)
    assert still_open == []


def test_a_removed_part_cannot_be_finished(target: Path) -> None:
    part = opened(target)
    part.write(chunks())
    target.with_name(PART).unlink()
    with pytest.raises(FileNotFoundError):
        part.finish()
    part.discard()
    assert names_in(target.parent) == set()


def test_discarding_a_renamed_part_leaves_a_part_that_was_begun_since(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, others = opened(target), []
    part.write(chunks())

    def begin_another(_folder: Folder) -> None:
        others.append(opened(target))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "synchronise", begin_another)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            part.finish()
    part.discard()
    (other,) = others
    other.write(chunks(OTHER))
    other.finish()
    assert target.read_bytes() == OTHER
    assert names_in(target.parent) == {NAME}


# Metadata


def metadata_in(folder: Path, owner: str = OWNER) -> PartMetadata:
    return PartMetadata(folder_at(folder), PART, owner)


def encoded(**changes: Any) -> bytes:
    return json.dumps(FIELDS | changes).encode()


@pytest.mark.parametrize(
    "identity",
    [
        IDENTITY,
        FileIdentity('"one"'),
        FileIdentity("Wed, 21 Oct 2026 07:28:00 GMT", 7, False, "audio/x; a=b"),
        FileIdentity('"one"', None, True),
        FileIdentity(),
    ],
)
def test_metadata_is_read_as_it_was_written(tmp_path: Path, identity: FileIdentity) -> None:
    metadata = metadata_in(tmp_path)
    metadata.write(FileIdentity('"before"', 3))
    metadata.write(identity)
    assert metadata_in(tmp_path).read() == (identity if identity.validator else FileIdentity())
    assert names_in(tmp_path) == {METADATA}
    metadata.remove()
    metadata.remove()
    assert metadata.read() == FileIdentity()
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("owner", ["task-1/drums", "task-2/vocal", "", OWNER.upper()])
def test_metadata_of_another_owner_is_ignored(tmp_path: Path, owner: str) -> None:
    metadata_in(tmp_path).write(IDENTITY)
    assert metadata_in(tmp_path, owner).read() == FileIdentity()


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"7",
        encoded(owner=None),
        encoded(owner=[OWNER]),
        json.dumps({name: FIELDS[name] for name in FIELDS if name != "owner"}).encode(),
        encoded(validator=None),
        encoded(validator=7),
        encoded(validator='"a\r\nX-Other: b"'),
        encoded(validator='"a\tb"'),
        encoded(validator='"a\x7fb"'),
        encoded(validator='"caf\u00e9"'),
        encoded(validator='"\ud800"'),
        encoded(size="5"),
        encoded(size=5.0),
        encoded(content_type=5),
        encoded().replace(b"5", b"1e999"),
        encoded().replace(b"5", b"9" * 5000),
        b"[" * 200_000,
        None,
    ],
    ids=lambda metadata: repr(metadata)[-40:],
)
def test_a_part_with_unusable_metadata_starts_again(target: Path, metadata: bytes | None) -> None:
    half_of(target)
    path = target.with_name(METADATA)
    path.unlink() if metadata is None else path.write_bytes(metadata)
    part = opened(target)
    assert (part.position, part.identity) == (0, FileIdentity())
    assert target.with_name(PART).read_bytes() == b""
    saved_from_start(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


@pytest.mark.parametrize("verified", [None, 1, "yes", False])
def test_only_true_makes_a_file_verified(tmp_path: Path, verified: Any) -> None:
    (tmp_path / METADATA).write_bytes(encoded(verified=verified, colour="red"))
    assert metadata_in(tmp_path).read() == FileIdentity('"one"', 5, False, "a/b")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.binary()
    | values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(dict.fromkeys(FIELDS, values)).map(lambda changes: encoded(**changes))
    | values.map(lambda value: encoded(validator=value))
)
def test_metadata_gives_a_validator_fit_for_a_header_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / METADATA).write_bytes(content)
    identity = metadata_in(folder).read()
    assert identity == FileIdentity() or (identity.validator or "").isprintable()
    assert identity.validator is None or identity.validator.isascii()


def test_metadata_without_a_part_is_harmless(target: Path) -> None:
    half_of(target).unlink()
    part = opened(target)
    assert part.position == 0
    saved_from_start(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_metadata_is_not_written_through_a_link(target: Path, tmp_path: Path) -> None:
    half_of(target)
    metadata, other = target.with_name(METADATA), tmp_path / "other"
    content = metadata.read_bytes()
    other.write_bytes(content)
    metadata.unlink()
    metadata.symlink_to(other)
    part = opened(target)
    part.write(chunks(OTHER, identity=FileIdentity('"two"', len(OTHER))))
    part.keep()
    assert other.read_bytes() == content


@pytest.mark.parametrize("kind", ["link", "link to nowhere", "pipe"])
def test_a_link_or_pipe_in_place_of_metadata_is_replaced_and_does_not_block(
    target: Path, kind: str
) -> None:
    half_of(target)
    metadata, other = target.with_name(METADATA), target.with_name("other")
    metadata.rename(other)
    if kind == "pipe":
        os.mkfifo(metadata)
    else:
        metadata.symlink_to(other if kind == "link" else target.with_name("nowhere"))
    part = opened(target)
    assert part.position == 0
    part.write(chunks(AUDIO[:HALF]))
    part.keep()
    assert metadata.is_file()
    assert not metadata.is_symlink()
    assert opened(target).position == HALF


def test_a_folder_in_place_of_metadata_is_an_error(target: Path, tmp_path: Path) -> None:
    target.with_name(METADATA).mkdir()
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=r"directory|permitted"):
        opened(target)
    assert still_open == []


def test_unreadable_metadata_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    metadata = metadata_in(tmp_path)
    metadata.write(IDENTITY)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert metadata.read() == FileIdentity()
    assert metadata.read() == IDENTITY


def test_a_failed_write_of_metadata_is_an_error_before_any_byte_is_written(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, really_open = opened(target), os.open

    def refuse(path: Any, *rest: Any, **folder: int) -> int:
        if Path(path).name == METADATA:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_open(path, *rest, **folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            part.write(chunks())
    assert target.with_name(PART).read_bytes() == b""
    part.discard()
    assert names_in(target.parent) == set()
