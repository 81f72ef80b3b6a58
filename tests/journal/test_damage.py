"""Truncated and changed files are read correctly or refused."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from journal.contents import ended, files_of, opened, opening_error, record_of

from vocalsep_async import JournalError
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.store import Row, Store

IDS = [f"task-{number:02}-of-those-that-ended" for number in range(12)]
FLIPS = (0x01, 0x20, 0xFF)


class Copy(NamedTuple):
    """The files that a kill leaves."""

    main: bytes
    wal: bytes


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The files of a journal while it is open, each outcome written on its own."""
    path = tmp_path_factory.mktemp("killed") / "journal"
    with opened(path) as store:
        for task_id in IDS:
            store.apply(ended(task_id))
        return Copy(path.read_bytes(), path.with_name("journal-wal").read_bytes())


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a journal that was closed."""
    path = tmp_path_factory.mktemp("closed") / "journal"
    with opened(path) as store:
        store.apply([write for task_id in IDS for write in ended(task_id)])
    assert files_of(path) == [path]
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def placed(path: Path, main: bytes, wal: bytes | None = None) -> Path:
    for file in files_of(path):
        file.unlink()
    path.write_bytes(main)
    if wal is not None:
        path.with_name("journal-wal").write_bytes(wal)
    return path


def frames_of(wal: bytes) -> Iterator[tuple[int, bool]]:
    """Where each frame of a write-ahead log ends, and whether a transaction ends there."""
    (page,) = struct.unpack_from(">I", wal, 8)
    for start in range(32, len(wal) - 23, 24 + page):
        (size_after,) = struct.unpack_from(">I", wal, start + 4)
        yield start + 24 + page, size_after != 0


def ids_with_right_records(rows: list[Row]) -> list[str]:
    for row in rows:
        assert row.record is not None
        assert unpacked(row.record) == record_of(row.task_id)
        assert (row.status, row.polls) == ("SUCCESS", 2)
    return [row.task_id for row in rows]


def ids_after_opening(path: Path) -> list[str]:
    with opened(path) as store:
        rows = list(store.rows()) if store.tasks() else []
    return ids_with_right_records(rows)


def test_a_truncated_log_has_all_earlier_transactions(killed: Copy, path: Path) -> None:
    ends = list(frames_of(killed.wal))
    places = {place + by for place, _ in ends for by in (-2000, -1, 0, 1, 23)}
    places |= {0, 1, 31, 32, 33, 55}
    written = [place for place, is_whole in ends if is_whole][-len(IDS) :]
    for place in sorted(places):
        number = sum(end <= place for end in written)
        placed(path, killed.main, killed.wal[:place])
        assert ids_after_opening(path) == IDS[:number], place
    assert number == len(IDS)


def test_lost_transactions_can_be_written_again(killed: Copy, path: Path) -> None:
    placed(path, killed.main, killed.wal[: len(killed.wal) // 2])
    with opened(path) as store:
        left = [row.task_id for row in store.rows()]
        assert 0 < len(left) < len(IDS)
        store.apply([write for task_id in IDS[len(left) :] for write in ended(task_id)])
    assert ids_after_opening(path) == IDS


@pytest.mark.parametrize(
    "tail", [b"\0" * 5000, b"\xff" * 5000, b"no frame"], ids=["zeros", "ones", "text"]
)
def test_garbage_after_a_log_is_ignored(killed: Copy, path: Path, tail: bytes) -> None:
    placed(path, killed.main, killed.wal + tail)
    assert ids_after_opening(path) == IDS


def test_a_log_with_a_changed_byte_has_all_earlier_transactions(killed: Copy, path: Path) -> None:
    ends = list(frames_of(killed.wal))
    written = [place for place, is_whole in ends if is_whole][-len(IDS) :]
    for place in range(40, len(killed.wal), 1531):
        wal = bytearray(killed.wal)
        wal[place] ^= FLIPS[place % len(FLIPS)]
        placed(path, killed.main, bytes(wal))
        number = sum(end <= place for end in written)
        assert ids_after_opening(path) == IDS[:number], place


def test_a_log_with_a_changed_header_is_ignored(killed: Copy, path: Path) -> None:
    for place in range(32):
        wal = bytearray(killed.wal)
        wal[place] ^= 0xFF
        placed(path, killed.main, bytes(wal))
        try:
            assert ids_after_opening(path) == []
        except JournalError:
            continue


def test_a_truncated_file_is_refused(closed: bytes, path: Path) -> None:
    places = {page + by for page in range(0, len(closed), 4096) for by in (0, 1, 15, 16, 100, 2048)}
    for place in sorted(places - {0}):
        placed(path, closed[:place])
        assert str(path) in opening_error(path)
        assert path.read_bytes() == closed[:place]


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff" * 5000, b"garbage"])
def test_garbage_after_a_file_is_ignored(closed: bytes, path: Path, tail: bytes) -> None:
    placed(path, closed + tail)
    assert ids_after_opening(path) == IDS


def test_a_file_with_a_changed_byte_is_refused_or_read_correctly(closed: bytes, path: Path) -> None:
    throttled = 0
    for place in range(0, len(closed), 47):
        content = bytearray(closed)
        content[place] ^= FLIPS[place % len(FLIPS)]
        placed(path, bytes(content))
        try:
            with opened(path) as store:
                rows = list(store.rows())
            records = {row.task_id: unpacked(row.record) for row in rows if row.record is not None}
        except (JournalError, ValueError):
            throttled += 1
            continue
        for task_id, record in records.items():
            assert record == record_of(task_id), place
        assert [row.task_id for row in rows] == IDS, place
    assert throttled


def test_a_changed_id_is_detected(closed: bytes, path: Path) -> None:
    places = [found.start() for found in re.finditer(rb"task-\d\d-of", closed)]
    assert len(places) >= 2 * len(IDS)
    for place in places:
        content = bytearray(closed)
        content[place] ^= 0x01
        placed(path, bytes(content))
        assert str(path) in opening_error(path)


def test_a_reader_detects_a_changed_id_too(closed: bytes, path: Path) -> None:
    content = bytearray(closed)
    content[closed.index(b"task-07-of")] ^= 0x01
    placed(path, bytes(content))
    with closing(Store.read(path)) as reader, pytest.raises(JournalError, match="damaged"):
        reader.check()


def test_a_page_that_never_reached_the_disk_is_detected(closed: bytes, path: Path) -> None:
    for page in range(0, len(closed), 4096):
        placed(path, closed[:page] + b"\0" * 4096 + closed[page + 4096 :])
        assert str(path) in opening_error(path)


def test_damage_to_an_open_journal_is_detected_by_a_check(closed: bytes, path: Path) -> None:
    placed(path, closed)
    before = path.stat()
    with closing(Store.read(path)) as reader:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (len(closed) - 4096))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the disk reports no error
        with pytest.raises(JournalError, match=r"damaged|malformed"):
            reader.check()
    assert str(path) in opening_error(path)


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_write_to_a_removed_or_replaced_file_is_refused(
    closed: bytes, path: Path, *, replaced: bool
) -> None:
    with opened(path) as store:
        store.apply(ended("first"))
        path.unlink()
        if replaced:
            path.write_bytes(closed)
        with pytest.raises(JournalError, match=re.escape(str(path))):
            store.apply(ended("second"))
