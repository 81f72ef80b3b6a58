"""The content of a journal: tasks, outcomes and durations, without secrets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from journal.contents import ODD_IDS, changed, files_of, outcome_of, record_of, rows_in
from journal.running import (
    abandonable,
    known_in,
    refs_of,
    unfinished,
    using,
)

from vocalsep_async import JournalError, TaskRef
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.journal import JournalFile

pytestmark = pytest.mark.anyio

CANARY = "canary-in-the-coal-mine"
WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def content_of(path: Path) -> bytes:
    """All bytes of all files of a journal."""
    return b"".join(file.read_bytes() for file in files_of(path))


class TestTasks:
    """What was saved is read again."""

    async def test_tasks_are_read_as_they_were_saved(self, path: Path) -> None:
        ref = TaskRef("a", type="split_stem", created_at=WHEN)
        async with using(JournalFile(path)) as journal:
            journal.add([ref, TaskRef("b")])
            journal.save_status("b", "QUEUED", 3)
            await journal.save_outcome(outcome_of("a"))
            now = await journal.known()
        then = await known_in(path)
        assert now == then
        assert [known.ref for known in then] == [ref, TaskRef("b")]
        assert [known.status for known in then] == ["SUCCESS", "QUEUED"]
        assert [known.polls for known in then] == [2, 3]
        assert [known.has_ended for known in then] == [True, False]

    @pytest.mark.parametrize(
        "task_id", [each for each in map(str.strip, ODD_IDS) if each.isprintable()]
    )
    async def test_an_odd_id_is_stored_unchanged(self, path: Path, task_id: str) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of([task_id, "another"]))
            journal.save_status(task_id, "PENDING", 1)
            await journal.save_outcome(outcome_of(task_id))
        (row, other) = rows_in(path)
        assert row.task_id == task_id
        assert unpacked(row.record or b"")["taskId"] == task_id
        assert (other.task_id, other.record, other.polls) == ("another", None, 0)

    async def test_a_status_with_a_lone_surrogate_is_stored(self, path: Path) -> None:
        async with abandonable(path) as journal:
            journal.add(refs_of(["a"]))
            journal.save_status("a", "\ud800", 1)
            await journal.save_outcome(outcome_of("a"))
        assert [row.status for row in rows_in(path)] == ["SUCCESS"]

    async def test_a_task_that_is_added_again_keeps_its_place_and_its_wait_begins_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = iter([1000.0, 2000.0])
        monkeypatch.setattr("vocalsep_async._journal.journal.time.time", lambda: next(clock))
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a", "b"]))
            journal.add(refs_of(["b", "c"]))
            known = await journal.known()
        assert [(each.ref.task_id, each.added_at) for each in known] == [
            ("a", 1000),
            ("b", 2000),
            ("c", 2000),
        ]

    async def test_a_late_status_does_not_replace_a_final_one(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            await journal.save_outcome(outcome_of("a"))
            journal.save_status("a", "PENDING", 9)
            (known,) = await journal.known()
        assert (known.status, known.polls, known.has_ended) == ("SUCCESS", 2, True)

    async def test_an_outcome_without_a_record_leaves_the_task_pending(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            await journal.save_outcome(unfinished("a"))
            (known,) = await journal.known()
        assert not known.has_ended

    async def test_the_paths_of_saved_files_are_stored(self, path: Path) -> None:
        saved = attrs.evolve(outcome_of("a"), files={"vocal": Path("é/v.mp3")})
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a", "b"]))
            for task_id in ("a", "b"):
                await journal.save_outcome(outcome_of(task_id))
            await journal.save_files(saved)
            await journal.save_files(outcome_of("b"))
        assert [row.files for row in rows_in(path)] == ['{"vocal": "\\u00e9/v.mp3"}', None]

    async def test_the_last_durations_are_stored(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            assert await journal.durations() is None
            journal.save_durations({"a": [1, 2]})
            journal.save_durations({"a": [3]})
        async with using(JournalFile(path)) as journal:
            assert await journal.durations() == {"a": [3]}

    async def test_finished_tasks_are_read_in_pages(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a", "b", "c"]))
            for task_id in ("c", "a"):
                await journal.save_outcome(outcome_of(task_id))
            await journal.flush()
            (first,) = await journal.ended(0, 1)
            (second,) = await journal.ended(first.number, 10)
        assert [first.task_id, second.task_id] == ["a", "c"]
        assert first.elapsed == 1.5

    async def test_a_hundred_tasks_take_less_than_a_kilobyte_each(self, path: Path) -> None:
        ids = [f"{number:032x}" for number in range(100)]
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(ids))
            for task_id in ids:
                await journal.save_outcome(outcome_of(task_id))
        assert len(content_of(path)) < 100 * 1024


class TestDamage:
    """Values that this package cannot have written raise `JournalError`."""

    async def damaged(self, path: Path, *statements: str) -> JournalFile:
        async with using(JournalFile(path)):
            pass
        changed(path, *statements)
        return JournalFile(path)

    @pytest.mark.parametrize(
        "columns, values",
        [
            pytest.param("task_id, added_at", "'a', 'soon'", id="a moment that is none"),
            pytest.param("task_id, added_at, created_at", "'a', 1, 1e300", id="far in the future"),
            pytest.param("task_id, added_at, created_at", "'a', 1, 9e999", id="never created"),
            pytest.param("task_id, added_at, polls", "'a', 1, 'many'", id="polls that are none"),
            pytest.param("task_id, added_at", "x'00', 1", id="an id of bytes"),
            pytest.param("task_id, added_at", "CAST(x'ff' AS TEXT), 1", id="an id that is no text"),
            pytest.param("task_id, added_at", "'', 1", id="an empty id"),
        ],
    )
    async def test_an_impossible_task_is_an_error(
        self, path: Path, columns: str, values: str
    ) -> None:
        statement = f"INSERT INTO added ({columns}) VALUES ({values})"
        async with using(await self.damaged(path, statement)) as journal:
            with pytest.raises(JournalError, match=re.escape(str(path))):
                await journal.known()

    async def test_an_impossible_record_is_an_error(self, path: Path) -> None:
        add = "INSERT INTO added (number, task_id, added_at) VALUES (1, 'a', 1)"
        end = "INSERT INTO ended (number, polls, record) VALUES (1, 1, 'text')"
        async with using(await self.damaged(path, add, end)) as journal:
            with pytest.raises(JournalError, match=re.escape(str(path))):
                await journal.ended(0, 10)

    @pytest.mark.parametrize(
        "values",
        [
            pytest.param("'soon', '{}'", id="a moment that is none"),
            pytest.param("1e300, '{}'", id="far in the future"),
            pytest.param("1, '{'", id="a request that breaks off"),
            pytest.param(f"1, '{'[' * 100_000}'", id="a request that is too deep"),
            pytest.param("1, CAST(x'ff' AS TEXT)", id="a request that is no text"),
            pytest.param("1, x'80ff'", id="a request of bytes"),
            pytest.param("1, '[1]'", id="a request that is no object"),
        ],
    )
    async def test_an_impossible_intent_is_an_error(self, path: Path, values: str) -> None:
        statement = f"INSERT INTO intents (began_at, request) VALUES ({values})"
        async with using(await self.damaged(path, statement)) as journal:
            with pytest.raises(JournalError, match=re.escape(str(path))):
                await journal.intents()

    async def test_a_table_with_other_columns_is_refused_at_opening(self, path: Path) -> None:
        columns = "number, began_at, NULL AS request, task_id, error"
        statements = (
            "ALTER TABLE intents RENAME TO sound",
            f"CREATE TABLE intents AS SELECT {columns} FROM sound",
        )
        journal = await self.damaged(path, *statements)
        with pytest.raises(JournalError, match="the table intents has other columns"):
            await journal.open()

    async def test_impossible_durations_are_an_error(self, path: Path) -> None:
        statement = "INSERT INTO meta VALUES ('durations', '[1, 2')"
        async with using(await self.damaged(path, statement)) as journal:
            with pytest.raises(JournalError, match="damaged"):
                await journal.durations()

    async def test_an_unknown_kind_of_separation_is_read_as_none(self, path: Path) -> None:
        statement = "INSERT INTO added (task_id, added_at, type) VALUES ('a', 1, 'karaoke')"
        async with using(await self.damaged(path, statement)) as journal:
            (known,) = await journal.known()
        assert known.ref == TaskRef("a")
        assert known.status is None


class TestSecrets:
    """A reader of the file cannot use it to download stems."""

    @pytest.mark.parametrize("keep_links", [False, True])
    async def test_no_query_of_a_link_is_in_any_of_its_files_without_keep_links(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, *, keep_links: bool
    ) -> None:
        # Not compressed, so that it would be seen.
        monkeypatch.setattr("vocalsep_async._journal.codec._LEVEL", 0)
        link = f"https://cdn.example/v.mp3?Signature={CANARY}#{CANARY}"
        record = record_of("a") | {"callbackUrl": link, "errorMessage": f"not reached: {link}"}
        record["response"] = {"vocalUrl": link, "originData": [{"audio_url": link}]}
        async with using(JournalFile(path, keep_links=keep_links)) as journal:
            journal.add(refs_of(["a"]))
            journal.save_status("a", "PENDING", 1)
            await journal.save_outcome(outcome_of("a", record))
            await journal.flush()
            content = content_of(path)
            assert {file.name.removeprefix(path.name) for file in files_of(path)} == {
                "",
                "-shm",
                "-wal",
                ".lock",
            }
        assert b"https://cdn.example/v.mp3" in content
        assert (CANARY.encode() in content) is keep_links
        assert (CANARY.encode() in content_of(path)) is keep_links
