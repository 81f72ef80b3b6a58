"""A journal on a file system that cannot share memory between processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from journal.contents import opened, opening_error, rows_in

from vocalsep_async._journal.store import Store

INSERT = "INSERT INTO added (task_id) VALUES (?)"


class WithoutSharedMemory(sqlite3.Connection):
    """Fails as SQLite does where the file for shared memory cannot be mapped."""

    words = "disk I/O error"
    is_exclusive = False
    path: Path

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA locking_mode = EXCLUSIVE":
            self.is_exclusive = True
        elif not self.is_exclusive and (
            sql == "PRAGMA journal_mode = WAL" or self.is_in_wal_mode()
        ):
            raise sqlite3.OperationalError(self.words)
        return super().execute(sql, *values)

    def is_in_wal_mode(self) -> bool:
        return self.path.read_bytes()[18:19] == b"\x02"


def patched(
    monkeypatch: pytest.MonkeyPatch, path: Path, connection: type[sqlite3.Connection]
) -> None:
    real: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect(name: str, **options: Any) -> sqlite3.Connection:
        return real(name, factory=connection, **options)

    monkeypatch.setattr(connection, "path", path, raising=False)
    monkeypatch.setattr(sqlite3, "connect", connect)


def no_mapping(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    patched(monkeypatch, path, WithoutSharedMemory)


def no_locking(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(WithoutSharedMemory, "words", "locking protocol")
    patched(monkeypatch, path, WithoutSharedMemory)


def no_file(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """No stand-in: SQLite cannot make a file whose name is taken by a link to nowhere."""
    del monkeypatch
    path.with_name(f"{path.name}-shm").symlink_to(path.parent / "missing" / "file")


def no_methods(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """No stand-in: a layer of SQLite that has no shared memory."""
    real: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect(name: str, **options: Any) -> sqlite3.Connection:
        return real(f"{name}{'&' if '?' in name else '?'}vfs=unix-none", **options)

    monkeypatch.setattr(sqlite3, "connect", connect)


LACKS: list[Callable[[pytest.MonkeyPatch, Path], None]] = [
    no_mapping,
    no_locking,
    no_file,
    no_methods,
]


@pytest.mark.parametrize("lack", LACKS)
def test_a_new_journal_needs_no_shared_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, lack: Callable[[pytest.MonkeyPatch, Path], None]
) -> None:
    lack(monkeypatch, path)
    with opened(path) as store:
        store.apply([(INSERT, ("a",))], durably=True)
        store.apply([(INSERT, ("b",)), (INSERT, ("c",))])
        assert [row.task_id for row in rows_in(path)] == ["a", "b", "c"]
        store.apply([(INSERT, ("d",))])
    monkeypatch.undo()
    assert [row.task_id for row in rows_in(path)] == ["a", "b", "c", "d"]
    assert not path.with_name(f"{path.name}-journal").exists()


@pytest.mark.parametrize("lack", LACKS)
def test_a_journal_from_elsewhere_goes_on_without_shared_memory_and_back(
    path: Path, monkeypatch: pytest.MonkeyPatch, lack: Callable[[pytest.MonkeyPatch, Path], None]
) -> None:
    with opened(path) as store:
        store.apply([(INSERT, ("a",))])
    with monkeypatch.context() as patch:
        lack(patch, path)
        with opened(path) as store:
            store.apply([(INSERT, ("b",))])
            assert [row.task_id for row in rows_in(path)] == ["a", "b"]
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    with opened(path) as store:
        store.apply([(INSERT, ("c",))])
    assert [row.task_id for row in rows_in(path)] == ["a", "b", "c"]


def test_a_database_of_another_program_is_left_as_it_is_without_shared_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE theirs (value)")
    connection.close()
    before = path.read_bytes()
    no_mapping(monkeypatch, path)
    assert "not a journal of this package" in opening_error(path)
    assert path.read_bytes() == before


class Broken(sqlite3.Connection):
    """Fails in every mode."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA journal_mode"):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *values)


def test_a_file_system_that_cannot_hold_a_journal_is_named_with_the_remedy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, path, Broken)
    assert opening_error(path) == (
        f"the file system of {path} cannot hold a journal (disk I/O error): put the journal on a "
        "local disk"
    )
    assert not path.with_name(f"{path.name}.lock").exists()


class Full(sqlite3.Connection):
    """Fails for a reason that another mode cannot help."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA journal_mode"):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *values)


def test_another_fault_of_the_disk_is_reported_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched(monkeypatch, path, Full)
    assert opening_error(path).startswith(f"the journal {path}: database or disk is full; free ")


def test_a_journal_without_shared_memory_can_be_read_while_it_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_mapping(monkeypatch, path)
    with opened(path) as writer:
        monkeypatch.undo()
        reader = Store.read(path)
        try:
            for number in range(3):
                writer.apply([(INSERT, (f"t{number}",))])
                assert len(reader.tasks()) == number + 1
        finally:
            reader.close()
    assert not [each for each in path.parent.iterdir() if each != path]
