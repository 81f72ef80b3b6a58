"""The database file of a journal: private, transactional, and refused if it is something else."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from journal.contents import (
    ODD_IDS,
    added,
    changed,
    ended,
    files_of,
    made,
    opened,
    opening_error,
    record_of,
    rows_in,
)

from vocalsep_async import JournalError
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.schema import SCHEMA
from vocalsep_async._journal.store import Row, Store

META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
INTEND = "INSERT INTO intents (began_at, request, task_id, error, label) VALUES (?, ?, ?, ?, ?)"
CLAIM = "INSERT INTO intents (began_at, request, identity) VALUES (?, '{}', ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path) as store:
        yield store


def ids_of(rows: list[Row]) -> list[str]:
    return [row.task_id for row in rows]


class TestPrivacy:
    """The files may contain links and messages of users."""

    @pytest.fixture(autouse=True)
    def _generous(self) -> Iterator[None]:
        before = os.umask(0)
        yield
        os.umask(before)

    def test_only_the_owner_can_read_any_of_its_files(self, path: Path) -> None:
        with opened(path) as store:
            store.apply([added("a")])
            with closing(Store.read(path)) as reader:
                assert reader.tasks()
            names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files_of(path)}
            ends = ("", "-shm", "-wal", ".lock")
            assert names == {f"{path.name}{end}": 0o600 for end in ends}
        assert files_of(path) == [path]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_an_existing_file_keeps_its_mode(self, path: Path) -> None:
        path.touch(0o640)
        with opened(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o640


class TestAcceptedFiles:
    """A journal of this package, or what may become one."""

    def test_a_path_without_a_file_gets_one(self, path: Path) -> None:
        with opened(path) as store:
            assert store.tasks() == []

    def test_an_empty_file_is_read_as_a_journal_without_any_batch(self, path: Path) -> None:
        path.touch()
        with pytest.raises(JournalError, match="is empty: no batch has written to this journal"):
            Store.read(path)
        assert path.read_bytes() == b""

    def test_an_empty_file_becomes_a_journal(self, path: Path) -> None:
        path.touch()
        with opened(path) as store:
            assert store.tasks() == []

    def test_a_half_made_journal_is_completed(self, path: Path) -> None:
        changed(path, "PRAGMA journal_mode = WAL")
        assert path.stat().st_size
        with opened(path) as store:
            assert store.tasks() == []

    def test_an_existing_journal_keeps_its_content(self, path: Path) -> None:
        made(path, added("a"), *ended("b"))
        with opened(path) as store:
            assert ids_of(store.tasks()) == ["a", "b"]

    @pytest.mark.parametrize("name", ["a?b#c%20d", "with blanks", "عود", "'quoted\"", "-wal"])
    def test_a_file_can_have_any_name(self, tmp_path: Path, name: str) -> None:
        made(tmp_path / name, added("a"))
        assert [file.name for file in tmp_path.iterdir()] == [name]
        assert ids_of(rows_in(tmp_path / name)) == ["a"]

    def test_a_path_can_be_relative(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        made(Path(path.name), added("a"))
        assert ids_of(rows_in(path)) == ["a"]

    def test_a_link_to_a_journal_is_that_journal(self, path: Path) -> None:
        made(path, added("a"))
        link = path.with_name("link")
        link.symlink_to(path)
        made(link, added("b"))
        assert link.is_symlink()
        assert ids_of(rows_in(path)) == ["a", "b"]

    def test_a_dangling_link_is_followed(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path)
        made(link, added("a"))
        assert link.is_symlink()
        assert ids_of(rows_in(path)) == ["a"]


class TestRefusedFiles:
    """The error names the file, which stays unchanged."""

    def assert_refused(self, path: Path, *parts: str) -> None:
        before = path.read_bytes()
        said = opening_error(path)
        assert str(path) in said
        assert all(part in said for part in parts), said
        assert files_of(path) == [path]
        with pytest.raises(JournalError, match=r".") as caught:
            Store.read(path)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == before

    def test_a_text_file_is_refused(self, path: Path) -> None:
        path.write_text("dear diary\n", encoding="ascii")
        self.assert_refused(path, "is not a journal of this package")

    def test_a_file_shorter_than_any_database_is_refused(self, path: Path) -> None:
        path.write_bytes(b"SQLite")
        self.assert_refused(path, "is not a journal of this package")

    def test_a_file_that_only_begins_as_a_database_is_refused(self, path: Path) -> None:
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)
        self.assert_refused(path, "file is not a database")

    def test_a_database_with_other_tables_is_refused(self, path: Path) -> None:
        changed(path, "CREATE TABLE songs (title)")
        self.assert_refused(path, "is a database, but not a journal of this package")

    def test_a_database_of_another_application_is_refused(self, path: Path) -> None:
        changed(path, "PRAGMA application_id = 77")
        self.assert_refused(path, "is a database, but not a journal of this package")

    def test_a_journal_of_a_newer_version_is_refused(self, path: Path) -> None:
        made(path, *ended("a"))
        changed(path, f"PRAGMA user_version = {SCHEMA + 1}", "CREATE TABLE news (what)")
        self.assert_refused(path, f"has version {SCHEMA + 1}", f"reads {SCHEMA}", "update")

    @pytest.mark.parametrize("version", [0, -1])
    def test_a_journal_of_a_version_that_never_was_is_damaged(
        self, path: Path, version: int
    ) -> None:
        made(path, *ended("a"))
        changed(path, f"PRAGMA user_version = {version}")
        self.assert_refused(path, f"is damaged: it has version {version}; keep the file")

    def test_a_journal_without_its_tables_is_refused(self, path: Path) -> None:
        made(path)
        changed(path, "DROP TABLE added")
        with pytest.raises(JournalError, match=r"no such table: .*added"):
            rows_in(path)

    def test_a_directory_is_refused(self, path: Path) -> None:
        path.mkdir()
        assert opening_error(path).startswith(f"{path} is not a regular file; use ")
        assert list(path.parent.iterdir()) == [path]
        with pytest.raises(JournalError, match="is not a regular file"):
            Store.read(path)

    def test_a_pipe_is_refused(self, path: Path) -> None:
        os.mkfifo(path)
        assert opening_error(path).startswith(f"{path} is not a regular file; use ")
        with pytest.raises(JournalError, match="is not a regular file"):
            Store.read(path)

    def test_a_device_is_refused(self) -> None:
        with pytest.raises(JournalError, match="/dev/null is not a regular file"):
            Store.read(Path("/dev/null"))

    @pytest.mark.parametrize("place", ["missing/batch.journal", "file/batch.journal"])
    def test_a_path_in_a_missing_directory_is_refused(self, path: Path, place: str) -> None:
        (path.parent / "file").touch()
        path = path.parent / place
        assert opening_error(path).startswith(f"the journal {path}: ")
        assert not path.parent.is_dir()
        with pytest.raises(JournalError, match="the journal"):
            Store.read(path)

    def test_a_loop_of_links_is_refused(self, path: Path) -> None:
        path.symlink_to(path.with_name("other"))
        path.with_name("other").symlink_to(path)
        assert str(path) in opening_error(path)
        with pytest.raises(JournalError, match="the journal"):
            Store.read(path)

    def test_a_file_with_two_names_is_refused(self, path: Path) -> None:
        made(path, *ended("a"))
        other = path.with_name("other")
        other.hardlink_to(path)
        for name in (path, other):
            assert "has more than one name (hard links)" in opening_error(name)
            assert ids_of(rows_in(name)) == ["a"]
        assert files_of(path) == [path]
        other.unlink()
        assert ids_of(rows_in(made(path))) == ["a"]

    @pytest.mark.parametrize("place", ["/", "."])
    def test_a_path_without_a_name_is_refused(self, place: str) -> None:
        assert str(Path(place).resolve()) in opening_error(Path(place))

    def test_a_name_that_is_too_long_is_refused(self, tmp_path: Path) -> None:
        assert "too long" in opening_error(tmp_path / ("x" * 300))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_directory_is_refused(self, path: Path) -> None:
        path.parent.chmod(0o500)
        try:
            assert "Permission denied" in opening_error(path)
        finally:
            path.parent.chmod(0o700)

    def test_a_missing_file_is_refused_for_reading(self, path: Path) -> None:
        with pytest.raises(JournalError, match="No such file"):
            Store.read(path)
        assert files_of(path) == []


class TestWritesAndReads:
    """Transactions are atomic."""

    @pytest.mark.parametrize("task_id", ODD_IDS, ids=range(len(ODD_IDS)))
    def test_an_odd_id_is_stored_unchanged(self, path: Path, task_id: str) -> None:
        made(path, *ended(task_id), added("another"))
        rows = rows_in(path)
        assert ids_of(rows) == [task_id, "another"]
        assert unpacked(rows[0].record or b"") == record_of(task_id)

    def test_a_transaction_is_written_whole_or_not_at_all(self, store: Store) -> None:
        store.apply([added("a")])
        with pytest.raises(JournalError, match="UNIQUE"):
            store.apply([added("b"), added("a")])
        assert ids_of(store.tasks()) == ["a"]
        store.apply([added("c")])
        assert ids_of(store.tasks()) == ["a", "c"]

    def test_nothing_is_written_if_sqlite_rolls_back_by_itself(self, store: Store) -> None:
        again = ("INSERT OR ROLLBACK INTO added (task_id) VALUES (?)", ("a",))
        with pytest.raises(JournalError, match="UNIQUE"):
            store.apply([added("a"), again, added("b")])
        assert store.tasks() == []
        store.apply([added("b")])
        assert ids_of(store.tasks()) == ["b"]

    def test_nothing_is_written_if_a_value_is_unusable(self, store: Store) -> None:
        with pytest.raises(JournalError):
            store.apply([added("a"), (META, ("name", object()))])
        assert store.tasks() == []

    def test_a_full_disk_keeps_the_earlier_content(self, store: Store) -> None:
        store.apply([added("a")])
        (pages,) = store._fetch_one("PRAGMA page_count")
        store._fetch_one(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match="full"):
            store.apply([added(f"{number:0500}") for number in range(100)])
        assert ids_of(store.tasks()) == ["a"]
        store._fetch_one(f"PRAGMA max_page_count = {pages * 100}")
        store.apply([added("b")])
        assert ids_of(store.tasks()) == ["a", "b"]

    def test_only_durable_writes_wait_for_the_disk(self, store: Store) -> None:
        done: list[str] = []
        store._connection.set_trace_callback(done.append)
        store.apply([added("a")], durably=True)
        store.apply([added("b")])
        pragmas = [statement for statement in done if "synchronous" in statement]
        assert pragmas == ["PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"]

    def test_tasks_are_read_in_the_order_of_adding(self, store: Store) -> None:
        for task_id in ("c", "a", "b"):
            store.apply([added(task_id)])
        assert ids_of(store.tasks()) == ["c", "a", "b"]

    def test_a_list_of_tasks_shows_which_have_ended_without_their_records(
        self, store: Store
    ) -> None:
        store.apply([added("a"), *ended("b")])
        assert [row.record for row in store.tasks()] == [None, b""]
        assert [row.files for row in store.tasks()] == [None, None]

    def test_finished_tasks_are_read_in_pages(self, store: Store) -> None:
        store.apply([*ended("a"), added("b"), *ended("c"), *ended("d")])
        first = store.ended(0, 2)
        assert ids_of(first) == ["a", "c"]
        assert ids_of(store.ended(first[-1].number, 2)) == ["d"]
        assert store.ended(first[-1].number + 1, 2) == []

    def test_a_meta_value_replaces_the_earlier_one(self, store: Store) -> None:
        assert store.meta("label") is None
        store.apply([(META, ("label", "one"))])
        store.apply([(META, ("label", "two"))])
        assert store.meta("label") == "two"

    def test_intents_are_creations_without_a_task_oldest_first(self, store: Store) -> None:
        store.apply(
            [(INTEND, (1.0, "{}", None, None, None)), (INTEND, (2.0, "[]", "id", "", None))]
        )
        store.apply([(INTEND, (0.5, "{}", None, "broke", "Song"))])
        assert store.intents() == [(1.0, "{}", None, None), (0.5, "{}", "broke", "Song")]

    def test_a_song_has_one_creation(self, store: Store) -> None:
        number = store.apply([(CLAIM, (1.0, "song"))])
        with pytest.raises(JournalError, match="UNIQUE"):
            store.apply([(CLAIM, (2.0, "song"))])
        store.apply([(CLAIM, (3.0, "another"))])
        assert store.claim("song") == (number, 1.0, None, None)
        assert store.claim("unknown") is None

    def test_creations_without_a_song_are_not_compared(self, store: Store) -> None:
        store.apply([(CLAIM, (1.0, None)), (CLAIM, (2.0, None))])
        assert len(store.intents()) == 2

    def test_one_task_is_found_by_its_id(self, store: Store) -> None:
        store.apply(ended("a"))
        store.apply([added("b")])
        assert [store.task("a"), store.task("b")] == list(store.rows())
        assert store.task("c") is None

    def test_a_reader_sees_later_writes(self, store: Store, path: Path) -> None:
        with closing(Store.read(path)) as reader:
            store.apply([added("a")])
            assert ids_of(reader.tasks()) == ["a"]
            store.apply([added("b")])
            assert ids_of(reader.tasks()) == ["a", "b"]
            reader.check()

    def test_a_reader_sees_later_writes_through_a_link_too(self, store: Store, path: Path) -> None:
        (path.parent / "elsewhere").mkdir()
        link = path.parent / "elsewhere" / "link"
        link.symlink_to(path)
        store.apply([added("a")])
        with closing(Store.read(link)) as reader:
            assert ids_of(reader.tasks()) == ["a"]

    def test_a_reader_creates_no_file(self, path: Path) -> None:
        made(path, added("a"))
        with closing(Store.read(path)) as reader, pytest.raises(JournalError, match="readonly"):
            reader.apply([added("b")])
        assert ids_of(rows_in(path)) == ["a"]

    def test_a_reader_raises_an_error_if_a_writer_began_meanwhile(self, path: Path) -> None:
        made(path, *(write for number in range(600) for write in ended(f"{number}")))
        with closing(Store.read(path)) as reader:
            rows = reader.rows()
            assert next(rows).task_id == "0"
            with opened(path) as store:
                with pytest.raises(JournalError, match="was changed while it was read"):
                    list(rows)
                store.apply([added("more")])
            with pytest.raises(JournalError, match="was changed while it was read"):
                reader.check()
        assert len(rows_in(path)) == 601

    def test_a_reader_can_be_closed_after_a_writer_began(self, path: Path) -> None:
        made(path, added("a"))
        with closing(Store.read(path)) as reader:
            assert ids_of(reader.tasks()) == ["a"]
            made(path, added("b"))

    def test_a_reader_raises_an_error_if_the_file_was_removed_meanwhile(self, path: Path) -> None:
        made(path, added("a"))
        with closing(Store.read(path)) as reader:
            path.unlink()
            with pytest.raises(JournalError, match="was changed while it was read"):
                reader.tasks()

    def test_a_reader_delays_no_writer(self, store: Store, path: Path) -> None:
        store.apply([write for number in range(300) for write in ended(f"{number}")])
        with closing(Store.read(path)) as reader:
            rows = reader.rows()
            assert next(rows).task_id == "0"
            store.apply([added("more")])
            assert ids_of(list(rows))[:299] == [f"{number}" for number in range(1, 300)]
        assert len(store.tasks()) == 301

    def test_all_rows_are_read_once(self, store: Store) -> None:
        ids = [f"{number}" for number in range(1001)]
        store.apply(map(added, ids))
        assert ids_of(list(store.rows())) == ids

    def test_a_database_that_stays_locked_is_an_error(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vocalsep_async._journal.store._BUSY_TIMEOUT", 0.01)
        with (
            opened(path) as store,
            closing(sqlite3.connect(path, isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="locked"):
                store.apply([added("a")])
            other.execute("ROLLBACK")
            store.apply([added("b")])
            assert ids_of(store.tasks()) == ["b"]

    def test_a_database_that_is_locked_briefly_is_waited_for(
        self, store: Store, path: Path
    ) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            moment = threading.Timer(0.05, other.execute, ["COMMIT"])
            moment.start()
            store.apply([added("a")])
            moment.join()
        assert ids_of(store.tasks()) == ["a"]


class TestClosing:
    """A closed store releases its file."""

    def test_a_store_can_be_closed_again(self, path: Path) -> None:
        store = Store.open(path)
        store.close()
        with opened(path):
            store.close()
            assert "in use" in opening_error(path)

    def test_a_store_can_be_closed_half_way_through_reading(self, path: Path) -> None:
        made(path, added("a"), added("b"))
        store = Store.read(path)
        rows = store.rows()
        assert next(rows).task_id == "a"
        store.close()
        with pytest.raises(JournalError, match="closed"):
            store.tasks()

    def test_the_use_of_a_closed_store_is_refused(self, path: Path) -> None:
        store = Store.open(path)
        store.close()
        with pytest.raises(JournalError, match="closed"):
            store.tasks()
        with pytest.raises(JournalError, match="closed"):
            store.apply([added("a")])

    def test_a_store_that_could_not_be_opened_releases_the_file(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(_store: Store) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Store, "check", interrupted)
            with pytest.raises(KeyboardInterrupt):
                Store.open(path)
        with opened(path) as store:
            assert store.tasks() == []

    @pytest.mark.parametrize("call", ["tasks", "intents", "rows", "ended", "meta", "check"])
    def test_every_read_from_a_damaged_file_raises_an_error(
        self, store: Store, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken:
            def execute(self, *_: object) -> None:
                raise sqlite3.DatabaseError("database disk image is malformed")

        arguments = {"ended": (0, 10), "meta": ("label",)}.get(call, ())
        with monkeypatch.context() as patch:
            patch.setattr(store, "_connection", Broken())
            with pytest.raises(JournalError, match="malformed"):
                list(getattr(store, call)(*arguments) or ())
