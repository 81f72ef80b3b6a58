"""The file: private, refused if it is anything else, and whole whatever the disk does."""

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
    record_of,
    refusal,
    rows_in,
)

from vocalsep_async import JournalError
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.store import SCHEMA, Row, Store

META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
INTEND = "INSERT INTO intents (began_at, request, task_id, error) VALUES (?, ?, ?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path) as store:
        yield store


def ids_of(rows: list[Row]) -> list[str]:
    return [row.task_id for row in rows]


class TestThePrivacyOfItsFiles:
    """Links and texts of others may be in there."""

    @pytest.fixture(autouse=True)
    def _generous(self) -> Iterator[None]:
        before = os.umask(0)
        yield
        os.umask(before)

    def test_all_files_are_their_owner_s_alone_while_it_is_open_and_after(self, path: Path) -> None:
        with opened(path) as store:
            store.apply([added("a")])
            with closing(Store.read(path)) as reader:
                assert reader.tasks()
            names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files_of(path)}
            ends = ("", "-shm", "-wal", ".lock")
            assert names == {f"{path.name}{end}": 0o600 for end in ends}
        assert files_of(path) == [path]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_file_that_is_there_keeps_the_mode_its_owner_gave_it(self, path: Path) -> None:
        path.touch(0o640)
        with opened(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o640


class TestWhatIsOpened:
    """A journal of this package, or what may become one."""

    def test_a_path_where_nothing_is(self, path: Path) -> None:
        with opened(path) as store:
            assert store.tasks() == []

    def test_an_empty_file(self, path: Path) -> None:
        path.touch()
        with opened(path) as store:
            assert store.tasks() == []

    def test_what_was_left_of_a_journal_whose_making_was_cut_off(self, path: Path) -> None:
        changed(path, "PRAGMA journal_mode = WAL")
        assert path.stat().st_size
        with opened(path) as store:
            assert store.tasks() == []

    def test_one_that_was_made_before_with_all_that_is_in_it(self, path: Path) -> None:
        made(path, added("a"), *ended("b"))
        with opened(path) as store:
            assert ids_of(store.tasks()) == ["a", "b"]

    @pytest.mark.parametrize("name", ["a?b#c%20d", "with blanks", "عود", "'quoted\"", "-wal"])
    def test_a_file_of_any_name(self, tmp_path: Path, name: str) -> None:
        made(tmp_path / name, added("a"))
        assert [file.name for file in tmp_path.iterdir()] == [name]
        assert ids_of(rows_in(tmp_path / name)) == ["a"]

    def test_a_path_that_is_relative(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_a_link_to_where_a_journal_is_to_be(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path)
        made(link, added("a"))
        assert link.is_symlink()
        assert ids_of(rows_in(path)) == ["a"]


class TestWhatIsRefused:
    """With a sentence that names the file, which stays as it was."""

    def assert_refused(self, path: Path, *parts: str) -> None:
        before = path.read_bytes()
        said = refusal(path)
        assert str(path) in said
        assert all(part in said for part in parts), said
        assert files_of(path) == [path]
        with pytest.raises(JournalError, match=r".") as caught:
            Store.read(path)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == before

    def test_a_text_file(self, path: Path) -> None:
        path.write_text("dear diary\n", encoding="ascii")
        self.assert_refused(path, "is no journal of this package")

    def test_a_file_that_is_shorter_than_any_database(self, path: Path) -> None:
        path.write_bytes(b"SQLite")
        self.assert_refused(path, "is no journal of this package")

    def test_a_file_that_only_begins_as_a_database(self, path: Path) -> None:
        path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4080)
        self.assert_refused(path, "file is not a database")

    def test_a_database_of_somebody_else(self, path: Path) -> None:
        changed(path, "CREATE TABLE songs (title)")
        self.assert_refused(path, "is a database, but no journal of this package")

    def test_a_database_that_another_program_marked_as_its_own(self, path: Path) -> None:
        changed(path, "PRAGMA application_id = 77")
        self.assert_refused(path, "is a database, but no journal of this package")

    def test_a_journal_of_a_newer_version(self, path: Path) -> None:
        made(path, *ended("a"))
        changed(path, f"PRAGMA user_version = {SCHEMA + 1}", "CREATE TABLE news (what)")
        self.assert_refused(path, f"is of version {SCHEMA + 1}", f"knows {SCHEMA}", "update")

    def test_a_journal_without_its_tables(self, path: Path) -> None:
        made(path)
        changed(path, "DROP TABLE added")
        with pytest.raises(JournalError, match=r"no such table: .*added"):
            rows_in(path)

    def test_a_folder(self, path: Path) -> None:
        path.mkdir()
        assert refusal(path) == f"{path} is no file"
        assert list(path.parent.iterdir()) == [path]
        with pytest.raises(JournalError, match="is no file"):
            Store.read(path)

    def test_a_pipe_that_nobody_writes_to(self, path: Path) -> None:
        os.mkfifo(path)
        assert refusal(path) == f"{path} is no file"
        with pytest.raises(JournalError, match="is no file"):
            Store.read(path)

    def test_a_device(self) -> None:
        with pytest.raises(JournalError, match="/dev/null is no file"):
            Store.read(Path("/dev/null"))

    @pytest.mark.parametrize("place", ["missing/batch.journal", "file/batch.journal"])
    def test_a_path_that_leads_nowhere(self, path: Path, place: str) -> None:
        (path.parent / "file").touch()
        path = path.parent / place
        assert refusal(path).startswith(f"the journal {path}: ")
        assert not path.parent.is_dir()
        with pytest.raises(JournalError, match="the journal"):
            Store.read(path)

    def test_links_in_a_circle(self, path: Path) -> None:
        path.symlink_to(path.with_name("other"))
        path.with_name("other").symlink_to(path)
        assert str(path) in refusal(path)
        with pytest.raises(JournalError, match="the journal"):
            Store.read(path)

    def test_a_file_with_two_names_to_write_to(self, path: Path) -> None:
        made(path, *ended("a"))
        other = path.with_name("other")
        other.hardlink_to(path)
        for name in (path, other):
            assert "has another name too (a hard link)" in refusal(name)
            assert ids_of(rows_in(name)) == ["a"]
        assert files_of(path) == [path]
        other.unlink()
        assert ids_of(rows_in(made(path))) == ["a"]

    @pytest.mark.parametrize("place", ["/", "."])
    def test_a_path_without_a_name(self, place: str) -> None:
        assert str(Path(place).resolve()) in refusal(Path(place))

    def test_a_name_that_is_too_long(self, tmp_path: Path) -> None:
        assert "too long" in refusal(tmp_path / ("x" * 300))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written_to(self, path: Path) -> None:
        path.parent.chmod(0o500)
        try:
            assert "Permission denied" in refusal(path)
        finally:
            path.parent.chmod(0o700)

    def test_to_read_what_is_not_there(self, path: Path) -> None:
        with pytest.raises(JournalError, match="No such file"):
            Store.read(path)
        assert files_of(path) == []


class TestWritesAndReads:
    """All of a group is written or none of it."""

    @pytest.mark.parametrize("task_id", ODD_IDS, ids=range(len(ODD_IDS)))
    def test_an_id_is_kept_as_it_is_whatever_is_in_it(self, path: Path, task_id: str) -> None:
        made(path, *ended(task_id), added("another"))
        rows = rows_in(path)
        assert ids_of(rows) == [task_id, "another"]
        assert unpacked(rows[0].record or b"") == record_of(task_id)

    def test_all_is_written_or_nothing(self, store: Store) -> None:
        store.apply([added("a")])
        with pytest.raises(JournalError, match="UNIQUE"):
            store.apply([added("b"), added("a")])
        assert ids_of(store.tasks()) == ["a"]
        store.apply([added("c")])
        assert ids_of(store.tasks()) == ["a", "c"]

    def test_nothing_is_written_if_sqlite_has_rolled_back_by_itself(self, store: Store) -> None:
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

    def test_a_full_disk_takes_nothing_and_what_was_there_stays(self, store: Store) -> None:
        store.apply([added("a")])
        (pages,) = store._one("PRAGMA page_count")
        store._one(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match="full"):
            store.apply([added(f"{number:0500}") for number in range(100)])
        assert ids_of(store.tasks()) == ["a"]
        store._one(f"PRAGMA max_page_count = {pages * 100}")
        store.apply([added("b")])
        assert ids_of(store.tasks()) == ["a", "b"]

    def test_what_must_survive_a_power_cut_waits_for_the_disk_and_the_rest_does_not(
        self, store: Store
    ) -> None:
        done: list[str] = []
        store._connection.set_trace_callback(done.append)
        store.apply([added("a")], durably=True)
        store.apply([added("b")])
        pragmas = [statement for statement in done if "synchronous" in statement]
        assert pragmas == ["PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"]

    def test_tasks_come_in_the_order_in_which_they_were_added(self, store: Store) -> None:
        for task_id in ("c", "a", "b"):
            store.apply([added(task_id)])
        assert ids_of(store.tasks()) == ["c", "a", "b"]

    def test_a_list_of_tasks_tells_who_has_ended_without_the_records(self, store: Store) -> None:
        store.apply([added("a"), *ended("b")])
        assert [row.record for row in store.tasks()] == [None, b""]
        assert [row.files for row in store.tasks()] == [None, None]

    def test_those_that_have_ended_come_some_at_a_time(self, store: Store) -> None:
        store.apply([*ended("a"), added("b"), *ended("c"), *ended("d")])
        first = store.ended(0, 2)
        assert ids_of(first) == ["a", "c"]
        assert ids_of(store.ended(first[-1].number, 2)) == ["d"]
        assert store.ended(first[-1].number + 1, 2) == []

    def test_a_word_is_replaced_by_the_next_one(self, store: Store) -> None:
        assert store.meta("label") is None
        store.apply([(META, ("label", "one"))])
        store.apply([(META, ("label", "two"))])
        assert store.meta("label") == "two"

    def test_only_creations_without_a_task_are_told_oldest_first(self, store: Store) -> None:
        store.apply([(INTEND, (1.0, "{}", None, None)), (INTEND, (2.0, "[]", "id", ""))])
        store.apply([(INTEND, (0.5, "{}", None, "broke"))])
        assert store.intents() == [(1.0, "{}", None), (0.5, "{}", "broke")]

    def test_a_reader_sees_what_is_written_meanwhile(self, store: Store, path: Path) -> None:
        with closing(Store.read(path)) as reader:
            store.apply([added("a")])
            assert ids_of(reader.tasks()) == ["a"]
            store.apply([added("b")])
            assert ids_of(reader.tasks()) == ["a", "b"]
            reader.check()

    def test_a_reader_sees_that_through_a_link_too(self, store: Store, path: Path) -> None:
        (path.parent / "elsewhere").mkdir()
        link = path.parent / "elsewhere" / "link"
        link.symlink_to(path)
        store.apply([added("a")])
        with closing(Store.read(link)) as reader:
            assert ids_of(reader.tasks()) == ["a"]

    def test_a_reader_writes_nothing(self, path: Path) -> None:
        made(path, added("a"))
        with closing(Store.read(path)) as reader, pytest.raises(JournalError, match="readonly"):
            reader.apply([added("b")])
        assert ids_of(rows_in(path)) == ["a"]

    def test_a_reader_says_when_somebody_began_to_write_meanwhile(self, path: Path) -> None:
        made(path, *(write for number in range(600) for write in ended(f"{number}")))
        with closing(Store.read(path)) as reader:
            rows = reader.rows()
            assert next(rows).task_id == "0"
            with opened(path) as store:
                with pytest.raises(JournalError, match="was written to meanwhile: look again"):
                    list(rows)
                store.apply([added("more")])
            with pytest.raises(JournalError, match="was written to meanwhile: look again"):
                reader.check()
        assert len(rows_in(path)) == 601

    def test_a_reader_that_has_read_all_minds_no_writer(self, path: Path) -> None:
        made(path, added("a"))
        with closing(Store.read(path)) as reader:
            assert ids_of(reader.tasks()) == ["a"]
            made(path, added("b"))

    def test_a_reader_says_when_the_file_was_removed_meanwhile(self, path: Path) -> None:
        made(path, added("a"))
        with closing(Store.read(path)) as reader:
            path.unlink()
            with pytest.raises(JournalError, match="look again"):
                reader.tasks()

    def test_a_reader_holds_up_no_writer(self, store: Store, path: Path) -> None:
        store.apply([write for number in range(300) for write in ended(f"{number}")])
        with closing(Store.read(path)) as reader:
            rows = reader.rows()
            assert next(rows).task_id == "0"
            store.apply([added("more")])
            assert ids_of(list(rows))[:299] == [f"{number}" for number in range(1, 300)]
        assert len(store.tasks()) == 301

    def test_all_rows_come_once_however_many_there_are(self, store: Store) -> None:
        ids = [f"{number}" for number in range(1001)]
        store.apply(map(added, ids))
        assert ids_of(list(store.rows())) == ids

    def test_somebody_else_who_keeps_the_database_locked_is_told_of(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vocalsep_async._journal.store._PATIENCE", 0.01)
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

    def test_somebody_else_who_locks_the_database_for_a_moment_is_waited_for(
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
    """Then it is somebody else's turn."""

    def test_it_may_be_closed_again(self, path: Path) -> None:
        store = Store.open(path)
        store.close()
        with opened(path):
            store.close()
            assert "in use" in refusal(path)

    def test_it_may_be_closed_by_who_stopped_reading_half_way(self, path: Path) -> None:
        made(path, added("a"), added("b"))
        store = Store.read(path)
        rows = store.rows()
        assert next(rows).task_id == "a"
        store.close()
        with pytest.raises(JournalError, match="closed"):
            store.tasks()

    def test_a_closed_one_is_no_use(self, path: Path) -> None:
        store = Store.open(path)
        store.close()
        with pytest.raises(JournalError, match="closed"):
            store.tasks()
        with pytest.raises(JournalError, match="closed"):
            store.apply([added("a")])

    def test_one_that_could_not_be_opened_lets_go_of_the_file(
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
    def test_whatever_reads_from_a_damaged_file_says_so(
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
