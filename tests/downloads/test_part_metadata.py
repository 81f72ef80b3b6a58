"""What a part is a part of: known for certain, or not at all."""

from __future__ import annotations

import errno
import json
import os
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
)
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._downloads.part_metadata import PartMetadata
from vocalsep_async._downloads.source import FileIdentity

FIELDS = {"owner": OWNER, "validator": '"one"', "size": 5, "verified": True, "content_type": "a/b"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return target_in(tmp_path)


def told(**changes: Any) -> bytes:
    return json.dumps(FIELDS | changes).encode()


@pytest.mark.parametrize(
    "about",
    [
        ABOUT,
        FileIdentity('"one"'),
        FileIdentity("Wed, 21 Oct 2026 07:28:00 GMT", 7, False, "audio/x; a=b"),
        FileIdentity('"one"', None, True),
        FileIdentity(),
    ],
)
def test_what_was_written_is_read(tmp_path: Path, about: FileIdentity) -> None:
    note = PartMetadata(tmp_path / PART, OWNER)
    note.write(FileIdentity('"of what was there before"', 3))
    note.write(about)
    assert PartMetadata(tmp_path / PART, OWNER).read() == (
        about if about.validator else FileIdentity()
    )
    assert names_in(tmp_path) == {NOTE}
    note.remove()
    note.remove()
    assert note.read() == FileIdentity()
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("owner", ["task-1/drums", "task-2/vocal", "", OWNER.upper()])
def test_a_note_of_another_owner_says_nothing(tmp_path: Path, owner: str) -> None:
    PartMetadata(tmp_path / PART, OWNER).write(ABOUT)
    assert PartMetadata(tmp_path / PART, owner).read() == FileIdentity()


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"7",
        told(owner=None),
        told(owner=[OWNER]),
        json.dumps({name: FIELDS[name] for name in FIELDS if name != "owner"}).encode(),
        told(validator=None),
        told(validator=7),
        told(validator='"a\r\nX-Other: b"'),
        told(validator='"a\tb"'),
        told(validator='"a\x7fb"'),
        told(validator='"caf\u00e9"'),
        told(validator='"\ud800"'),
        told(size="5"),
        told(size=5.0),
        told(content_type=5),
        told().replace(b"5", b"1e999"),
        told().replace(b"5", b"9" * 5000),
        b"[" * 200_000,
        None,
    ],
    ids=lambda note: repr(note)[-40:],
)
def test_a_part_whose_note_says_nothing_begins_anew(target: Path, note: bytes | None) -> None:
    half_of(target)
    path = target.with_name(NOTE)
    path.unlink() if note is None else path.write_bytes(note)
    part = opened(target)
    assert (part.position, part.about) == (0, FileIdentity())
    assert target.with_name(PART).read_bytes() == b""
    saved_anew(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


@pytest.mark.parametrize("verified", [None, 1, "yes", False])
def test_only_a_plain_yes_makes_a_file_verified(tmp_path: Path, verified: Any) -> None:
    (tmp_path / NOTE).write_bytes(told(verified=verified, colour="red"))
    assert PartMetadata(tmp_path / PART, OWNER).read() == FileIdentity('"one"', 5, False, "a/b")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.binary()
    | values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(dict.fromkeys(FIELDS, values)).map(lambda changes: told(**changes))
    | values.map(lambda value: told(validator=value))
)
def test_whatever_a_note_holds_it_can_be_asked_with_or_says_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / NOTE).write_bytes(content)
    about = PartMetadata(folder / PART, OWNER).read()
    assert about == FileIdentity() or (about.validator or "").isprintable()
    assert about.validator is None or about.validator.isascii()


def test_a_note_without_a_part_does_no_harm(target: Path) -> None:
    half_of(target).unlink()
    part = opened(target)
    assert part.position == 0
    saved_anew(part)
    assert target.read_bytes() == AUDIO
    assert names_in(target.parent) == {NAME}


def test_no_note_is_written_through_a_link_to_another_note(target: Path, tmp_path: Path) -> None:
    half_of(target)
    note, other = target.with_name(NOTE), tmp_path / "other"
    content = note.read_bytes()
    other.write_bytes(content)
    note.unlink()
    note.symlink_to(other)
    part = opened(target)
    part.write(pieces(OTHER, about=FileIdentity('"two"', len(OTHER))))
    part.keep()
    assert other.read_bytes() == content


@pytest.mark.parametrize("kind", ["link", "link to nowhere", "pipe"])
def test_what_is_no_note_is_replaced_by_one_and_holds_nobody_up(target: Path, kind: str) -> None:
    half_of(target)
    note, other = target.with_name(NOTE), target.with_name("other")
    note.rename(other)
    if kind == "pipe":
        os.mkfifo(note)
    else:
        note.symlink_to(other if kind == "link" else target.with_name("nowhere"))
    part = opened(target)
    assert part.position == 0
    part.write(pieces(AUDIO[:HALF]))
    part.keep()
    assert note.is_file()
    assert not note.is_symlink()
    assert opened(target).position == HALF


def test_a_folder_in_place_of_a_note_is_an_error(target: Path, tmp_path: Path) -> None:
    target.with_name(NOTE).mkdir()
    with left_open(tmp_path) as still_open, pytest.raises(OSError, match=r"directory|permitted"):
        opened(target)
    assert still_open == []


def test_a_note_that_cannot_be_read_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    note = PartMetadata(tmp_path / PART, OWNER)
    note.write(ABOUT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert note.read() == FileIdentity()
    assert note.read() == ABOUT


def test_a_note_that_cannot_be_written_is_an_error_before_a_byte_is(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, really_open = opened(target), os.open

    def refuse(path: Any, *rest: Any) -> int:
        if Path(path).name == NOTE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_open(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            part.write(pieces())
    assert target.with_name(PART).read_bytes() == b""
    part.discard()
    assert names_in(target.parent) == set()
