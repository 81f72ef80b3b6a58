"""The journal as a batch sees it: what is told to it is kept, or somebody hears of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from batch.journals import AtOnce, at_once
from journal.contents import ODD_IDS, changed, files_of, outcome_of, record_of, rows_in
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Journal, JournalError, TaskOutcome, TaskRef
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.journal import JournalFile, Known
from vocalsep_async._journal.store import Store
from vocalsep_async.errors import ClientClosedError, InvalidArgumentError

pytestmark = pytest.mark.anyio

URL = "https://api.example"
CANARY = "canary-in-the-coal-mine"
CREATING = """
import asyncio, json, sys
from journal.contents import outcome_of
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async import TaskRef

async def main():
    async with JournalFile(sys.argv[1]) as journal:
        for number in range(50):
            journal.add([TaskRef(f"t{number}")])
            journal.end(outcome_of(f"t{number}"), lambda failure: None)
        await asyncio.gather(*(journal.intend({"n": number}) for number in range(50)))
        print(json.dumps(sorted(intent.request["n"] for intent in await journal.intents())))

asyncio.run(main())
"""
TESTS_ARE_IMPORTABLE = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
REQUEST = {"type": "split_stem", "taskId": "source"}
WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


class Told(list[JournalError | None]):
    """What a *then* was told, each time."""

    def __init__(self) -> None:
        super().__init__()
        self.news = anyio.Event()

    def __call__(self, failure: JournalError | None) -> None:
        self.append(failure)
        self.news.set()


def of(ids: list[str]) -> list[TaskRef]:
    return [TaskRef(task_id) for task_id in ids]


def content_of(path: Path) -> bytes:
    """All bytes of all its files."""
    return b"".join(file.read_bytes() for file in files_of(path))


def made_anew(path: Path) -> None:
    path.write_bytes(b"")


def unfinished(task_id: str) -> TaskOutcome:
    """How a wait ended that saw no end of the task."""
    error = ClientClosedError("closed")
    return TaskOutcome(
        task_id=task_id, status="PENDING", task=None, error=error, polls=4, elapsed=9.0
    )


@asynccontextmanager
async def abandonable(path: Path) -> AsyncIterator[JournalFile]:
    """An open journal, which is let go of even if it cannot be written."""
    journal = JournalFile(path)
    await journal.open()
    try:
        yield journal
    finally:
        with suppress(JournalError):
            await journal.aclose()


async def known_in(path: Path) -> list[Known]:
    async with JournalFile(path) as journal:
        return await journal.known()


class Limiter:
    """Holds up what journals do in their threads."""

    def __init__(self) -> None:
        self.reached, self.may_go = threading.Event(), threading.Event()

    async def until_reached(self) -> None:
        await asyncio.to_thread(self.reached.wait, 30)

    def __call__(self) -> None:
        self.reached.set()
        assert self.may_go.wait(60)


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limiter]:
    """Stores wait here when they are open; they are closed after the test."""
    gate, stores = Limiter(), []
    really = Store._prepare

    def prepared(store: Store) -> None:
        really(store)
        stores.append(store)
        gate()

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_prepare", prepared)
        yield gate
    for store in stores:
        store.close()


@contextmanager
def held_up(patch: pytest.MonkeyPatch, gate: Limiter) -> Iterator[None]:
    """Writes wait at the gate before they are begun."""
    really = Store.apply

    def apply(store: Store, *args: Any, **kwargs: Any) -> None:
        gate()
        really(store, *args, **kwargs)

    with patch.context() as context:
        context.setattr(Store, "apply", apply)
        try:
            yield
        finally:
            gate.may_go.set()


class TestItsArguments:
    """They are checked when it is made; the file is not touched."""

    @pytest.mark.parametrize("unusable", [None, 7, b"bytes", "", " \n", "a\0b", ["a"]])
    def test_a_path_that_is_none_is_refused(self, unusable: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="the path of a file"):
            Journal(unusable)

    @pytest.mark.parametrize("unusable", [7, b"team", "two\nlines", "\ud800", "\x1b[31m"])
    def test_a_label_that_cannot_be_printed_is_refused(self, unusable: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="label must be a printable string"):
            Journal("path", label=unusable)

    def test_nothing_is_made_before_it_is_opened(self, path: Path) -> None:
        journal = Journal(str(path), label="team")
        assert (journal.path, journal.label, journal.keep_links) == (path, "team", False)
        assert "closed" in repr(journal)
        assert files_of(path) == []


class TestOpeningAndClosing:
    """One at a time, and always closed in the end."""

    async def test_it_says_how_it_stands(self, path: Path) -> None:
        journal = JournalFile(path)
        assert repr(journal) == f"<JournalFile {str(path)!r}, closed>"
        async with journal:
            journal.note("a", "PENDING", 1)
            assert repr(journal) == f"<JournalFile {str(path)!r}, 1 writes waiting>"
            assert journal.is_open
        assert repr(journal) == f"<JournalFile {str(path)!r}, closed>"
        assert not journal.is_open

    async def test_a_second_writer_is_refused_at_once(self, path: Path) -> None:
        async with JournalFile(path):
            with pytest.raises(JournalError, match="in use by another batch or process"):
                await JournalFile(path).open()

    async def test_it_is_not_opened_twice(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            with pytest.raises(JournalError, match="is open already"):
                await journal.open()
            journal.add(of(["a"]))
        assert len(rows_in(path)) == 1

    async def test_it_is_not_opened_twice_at_the_same_time(
        self, path: Path, opening: Limiter
    ) -> None:
        journal = JournalFile(path)
        first = asyncio.create_task(journal.open())
        await opening.until_reached()
        with pytest.raises(JournalError):
            await journal.open()
        opening.may_go.set()
        await first
        await journal.aclose()

    async def test_it_may_be_closed_again_and_opened_again(self, path: Path) -> None:
        journal = JournalFile(path)
        await journal.aclose()
        for task_id in ("a", "b"):
            async with journal:
                journal.add(of([task_id]))
            await journal.aclose()
        assert [row.task_id for row in rows_in(path)] == ["a", "b"]

    async def test_two_may_close_it_at_the_same_time(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            journal.add(of(["a"]))
            await asyncio.gather(journal.aclose(), journal.aclose())
        assert len(await known_in(path)) == 1

    async def test_a_closed_one_says_that_it_is(self, path: Path) -> None:
        journal = JournalFile(path)
        uses: list[Callable[[], Any]] = [
            lambda: journal.add(of(["a"])),
            lambda: journal.note("a", "PENDING", 1),
            lambda: journal.learned({}),
        ]
        for use in uses:
            with pytest.raises(JournalError, match="is not open: async with"):
                use()
        for call in (journal.flush, journal.known, journal.durations, journal.intents):
            with pytest.raises(JournalError, match="is not open: async with"):
                await call()
        with pytest.raises(JournalError, match="is not open: async with"):
            await journal.intend({})

    def test_one_of_a_loop_that_has_ended_says_so_and_lets_go(self, path: Path) -> None:
        journal = JournalFile(path)
        asyncio.run(journal.open())

        async def use_it_in_another() -> None:
            with pytest.raises(JournalError, match="another event loop"):
                journal.add(of(["a"]))
            for call in (journal.flush, journal.known, journal.aclose):
                with pytest.raises(JournalError, match="another event loop"):
                    await call()
            assert not journal.is_open
            assert await known_in(path) == []

        asyncio.run(use_it_in_another())

    async def test_one_that_could_not_be_opened_is_closed(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = JournalFile(path)
        with monkeypatch.context() as patch:
            patch.setattr("vocalsep_async._journal.store.SCHEMA", 0)
            patch.setattr("vocalsep_async._journal.store._APPLICATION", 7)
            async with JournalFile(path):
                pass
        with pytest.raises(JournalError, match="no journal of this package"):
            await journal.open()
        assert not journal.is_open
        made_anew(path)
        async with journal:
            assert await journal.known() == []

    async def test_cancelled_while_it_opens_it_is_free_for_the_next_one(
        self, path: Path, opening: Limiter
    ) -> None:
        async def use() -> None:
            async with JournalFile(path):
                await anyio.sleep_forever()

        task = asyncio.create_task(use())
        await opening.until_reached()
        task.cancel()
        opening.may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with JournalFile(path) as journal:
            assert await journal.known() == []

    async def test_in_a_scope_that_is_cancelled_while_it_opens_it_is_closed_again(
        self, path: Path, opening: Limiter
    ) -> None:
        async def cancel() -> None:
            await opening.until_reached()
            scope.cancel()
            opening.may_go.set()

        canceller = asyncio.create_task(cancel())
        with anyio.CancelScope() as scope:
            async with JournalFile(path):
                await anyio.sleep_forever()
        await canceller
        async with JournalFile(path) as journal:
            assert await journal.known() == []

    @pytest.mark.parametrize("shape", ["task", "scope"])
    async def test_who_is_cancelled_in_its_block_leaves_all_written(
        self, path: Path, shape: str
    ) -> None:
        async def use() -> None:
            with anyio.CancelScope() as scope:
                async with JournalFile(path) as journal:
                    journal.add(of(["a", "b"]))
                    journal.end(outcome_of("a"), told)
                    if shape == "scope":
                        scope.cancel()
                    else:
                        task.cancel()
                    await anyio.sleep_forever()

        told = Told()
        task = asyncio.create_task(use())
        await asyncio.wait([task])
        assert told == [None]
        assert [known.has_ended for known in await known_in(path)] == [True, False]


class TestWhoseItIs:
    """Tasks of two accounts do not mix."""

    async def test_a_new_one_belongs_to_the_first_who_uses_it(self, path: Path) -> None:
        for _ in range(2):
            async with JournalFile(path, label="team") as journal:
                await journal.belongs_to(URL)

    @pytest.mark.parametrize("label", ["other", "", None])
    async def test_another_label_is_refused_with_both_named(
        self, path: Path, label: str | None
    ) -> None:
        async with JournalFile(path, label="team") as journal:
            await journal.belongs_to(URL)
        async with JournalFile(path, label=label) as journal:
            with pytest.raises(JournalError, match="label") as caught:
                await journal.belongs_to(URL)
        assert f"has the label 'team', not {label or ''!r}" in str(caught.value)
        assert str(path) in str(caught.value)

    async def test_another_api_is_refused_with_both_named(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            await journal.belongs_to(URL)
            with pytest.raises(JournalError, match="use another file") as caught:
                await journal.belongs_to("https://api.example:8443")
        assert f"has the base_url '{URL}', not 'https://api.example:8443'" in str(caught.value)

    async def test_a_slash_at_its_end_makes_no_other_api(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            await journal.belongs_to("https://api.example/")
            await journal.belongs_to("https://api.example")


class TestWhatItKeeps:
    """Everything that was told comes back."""

    async def test_tasks_come_back_with_all_that_is_known_of_them(self, path: Path) -> None:
        ref = TaskRef("a", type="split_stem", created_at=WHEN)
        async with JournalFile(path) as journal:
            journal.add([ref, TaskRef("b")])
            journal.note("b", "QUEUED", 3)
            journal.end(outcome_of("a"), Told())
            now = await journal.known()
        then = await known_in(path)
        assert now == then
        assert [known.ref for known in then] == [ref, TaskRef("b")]
        assert [known.status for known in then] == ["SUCCESS", "QUEUED"]
        assert [known.polls for known in then] == [2, 3]
        assert [known.has_ended for known in then] == [True, False]

    @pytest.mark.parametrize("task_id", ODD_IDS, ids=range(len(ODD_IDS)))
    async def test_an_id_is_kept_as_it_is_whatever_is_in_it(self, path: Path, task_id: str) -> None:
        async with JournalFile(path) as journal:
            journal.add(of([task_id, "another"]))
            journal.note(task_id, "PENDING", 1)
            journal.end(outcome_of(task_id), Told())
        (row, other) = rows_in(path)
        assert row.task_id == task_id
        assert unpacked(row.record or b"")["taskId"] == task_id
        assert (other.task_id, other.record, other.polls) == ("another", None, 0)

    async def test_a_status_that_no_text_can_hold_hurts_nobody(self, path: Path) -> None:
        async with abandonable(path) as journal:
            journal.add(of(["a"]))
            journal.note("a", "\ud800", 1)
            journal.end(outcome_of("a"), told := Told())
            await told.news.wait()
        assert told == [None]
        assert [row.status for row in rows_in(path)] == ["SUCCESS"]

    async def test_a_task_that_is_added_again_stays_where_it_was_and_its_wait_begins_anew(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = iter([1000.0, 2000.0])
        monkeypatch.setattr("vocalsep_async._journal.journal.time.time", lambda: next(clock))
        async with JournalFile(path) as journal:
            journal.add(of(["a", "b"]))
            journal.add(of(["b", "c"]))
            known = await journal.known()
        assert [(each.ref.task_id, each.added_at) for each in known] == [
            ("a", 1000),
            ("b", 2000),
            ("c", 2000),
        ]

    async def test_a_note_that_comes_late_takes_nothing_back(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            journal.add(of(["a"]))
            journal.end(outcome_of("a"), Told())
            journal.note("a", "PENDING", 9)
            (known,) = await journal.known()
        assert (known.status, known.polls, known.has_ended) == ("SUCCESS", 2, True)

    async def test_an_outcome_without_a_record_leaves_the_task_open(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            journal.add(of(["a"]))
            journal.end(unfinished("a"), told := Told())
            await journal.flush()
            assert told == [None]
            (known,) = await journal.known()
        assert not known.has_ended

    async def test_files_that_were_saved_are_kept_and_none_are_none(self, path: Path) -> None:
        saved = attrs.evolve(outcome_of("a"), files={"vocal": Path("é/v.mp3")})
        async with JournalFile(path) as journal:
            journal.add(of(["a", "b"]))
            for task_id in ("a", "b"):
                journal.end(outcome_of(task_id), Told())
            journal.saved(saved, told := Told())
            journal.saved(outcome_of("b"), told)
        assert told == [None, None]
        assert [row.files for row in rows_in(path)] == ['{"vocal": "\\u00e9/v.mp3"}', None]

    async def test_what_was_learned_is_kept_in_its_last_form(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            assert await journal.durations() is None
            journal.learned({"a": [1, 2]})
            journal.learned({"a": [3]})
        async with JournalFile(path) as journal:
            assert await journal.durations() == {"a": [3]}

    async def test_those_that_have_ended_come_some_at_a_time(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            journal.add(of(["a", "b", "c"]))
            for task_id in ("c", "a"):
                journal.end(outcome_of(task_id), Told())
            await journal.flush()
            (first,) = await journal.ended(0, 1)
            (second,) = await journal.ended(first.number, 10)
        assert [first.task_id, second.task_id] == ["a", "c"]
        assert first.elapsed == 1.5

    async def test_a_hundred_tasks_take_less_than_a_kilobyte_each(self, path: Path) -> None:
        ids = [f"{number:032x}" for number in range(100)]
        async with JournalFile(path) as journal:
            journal.add(of(ids))
            for task_id in ids:
                journal.end(outcome_of(task_id), Told())
        assert len(content_of(path)) < 100 * 1024


class TestDamage:
    """What cannot have been written by this package is an error, not a traceback."""

    async def damaged(self, path: Path, *statements: str) -> JournalFile:
        async with JournalFile(path):
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
    async def test_a_task_that_cannot_be(self, path: Path, columns: str, values: str) -> None:
        statement = f"INSERT INTO added ({columns}) VALUES ({values})"
        async with await self.damaged(path, statement) as journal:
            with pytest.raises(JournalError, match=re.escape(str(path))):
                await journal.known()

    async def test_a_record_that_cannot_be(self, path: Path) -> None:
        add = "INSERT INTO added (number, task_id, added_at) VALUES (1, 'a', 1)"
        end = "INSERT INTO ended (number, polls, record) VALUES (1, 1, 'text')"
        async with await self.damaged(path, add, end) as journal:
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
    async def test_an_intent_that_cannot_be(self, path: Path, values: str) -> None:
        statement = f"INSERT INTO intents (began_at, request) VALUES ({values})"
        async with await self.damaged(path, statement) as journal:
            with pytest.raises(JournalError, match=re.escape(str(path))):
                await journal.intents()

    async def test_learned_durations_that_cannot_be(self, path: Path) -> None:
        statement = "INSERT INTO meta VALUES ('durations', '[1, 2')"
        async with await self.damaged(path, statement) as journal:
            with pytest.raises(JournalError, match="damaged"):
                await journal.durations()

    async def test_a_kind_of_separation_that_came_later_is_no_damage(self, path: Path) -> None:
        statement = "INSERT INTO added (task_id, added_at, type) VALUES ('a', 1, 'karaoke')"
        async with await self.damaged(path, statement) as journal:
            (known,) = await journal.known()
        assert known.ref == TaskRef("a")
        assert known.status is None


class TestSecrets:
    """What would let a reader of the file fetch what is not theirs is not in it."""

    @pytest.mark.parametrize("keep_links", [False, True])
    async def test_no_query_of_a_link_is_anywhere_in_its_files_unless_wanted(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, *, keep_links: bool
    ) -> None:
        # Not compressed, so that it would be seen.
        monkeypatch.setattr("vocalsep_async._journal.codec._LEVEL", 0)
        link = f"https://cdn.example/v.mp3?Signature={CANARY}#{CANARY}"
        record = record_of("a") | {"callbackUrl": link, "errorMessage": f"not reached: {link}"}
        record["response"] = {"vocalUrl": link, "originData": [{"audio_url": link}]}
        async with JournalFile(path, keep_links=keep_links) as journal:
            journal.add(of(["a"]))
            journal.note("a", "PENDING", 1)
            journal.end(outcome_of("a", record), Told())
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


class TestIntents:
    """A creation is written down before it is sent, and afterwards what came of it."""

    async def test_one_that_was_begun_is_told_by_the_next_run(self, path: Path) -> None:
        before = datetime.now(UTC)
        async with JournalFile(path) as journal:
            await journal.intend(REQUEST)
        async with JournalFile(path) as journal:
            (intent,) = await journal.intents()
        assert intent.request == REQUEST
        assert intent.error is None
        assert before.timestamp() <= intent.began_at.timestamp() <= datetime.now(UTC).timestamp()
        assert intent.began_at.tzinfo is UTC

    async def test_one_that_came_to_a_task_is_a_task_that_is_tracked(self, path: Path) -> None:
        ref = TaskRef("new", type="split_stem", created_at=WHEN)
        async with JournalFile(path) as journal:
            number = await journal.intend(REQUEST)
            await journal.created(number, ref)
            assert await journal.intents() == ()
            (known,) = await journal.known()
        assert known.ref == ref
        assert not known.has_ended

    async def test_one_that_came_to_a_task_without_a_date_is_one(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            await journal.created(await journal.intend(REQUEST), TaskRef("new"))
        (known,) = await known_in(path)
        assert known.ref == TaskRef("new")

    async def test_one_that_came_to_nothing_is_forgotten(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            await journal.not_created(await journal.intend(REQUEST), None)
            assert await journal.intents() == ()

    @pytest.mark.parametrize("error", ["no answer", "", "odd \ud800"])
    async def test_one_of_which_nobody_knows_is_told_with_what_went_wrong(
        self, path: Path, error: str
    ) -> None:
        async with JournalFile(path) as journal:
            await journal.not_created(await journal.intend(REQUEST), error)
            (intent,) = await journal.intents()
        assert intent.error is not None
        assert intent.error.startswith(error.removesuffix("\ud800"))

    async def test_what_went_wrong_is_kept_without_queries_of_links_unless_wanted(
        self, path: Path
    ) -> None:
        error = "cannot fetch https://cdn.example/v.mp3?sig=hush: 404"
        for keep_links, told in (
            (True, error),
            (False, "cannot fetch https://cdn.example/v.mp3 404"),
        ):
            async with JournalFile(path, keep_links=keep_links) as journal:
                number = await journal.intend(REQUEST)
                await journal.not_created(number, error)
                (intent,) = await journal.intents()
                assert intent.error == told
                await journal.not_created(number, None)

    async def test_two_at_one_moment_are_two(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vocalsep_async._journal.journal.time.time", lambda: 7.0)
        numbers = []
        for n in (1, 2):  # each with a journal of its own, as a call has that is given a path
            async with JournalFile(path) as journal:
                numbers.append(await journal.intend({"n": n}))
        async with JournalFile(path) as journal:
            await journal.not_created(numbers[0], None)
            assert [intent.request for intent in await journal.intents()] == [{"n": 2}]

    async def test_many_may_be_begun_at_the_same_time_while_a_batch_writes(
        self, path: Path
    ) -> None:
        # In a process of its own: two threads in one connection may crash it.
        done = await anyio.run_process(
            [sys.executable, "-c", CREATING, str(path)], check=False, env=TESTS_ARE_IMPORTABLE
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        assert json.loads(done.stdout) == list(range(50))
        assert all(known.has_ended for known in await known_in(path))

    async def test_one_is_on_the_disk_before_anything_is_sent(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with JournalFile(path) as journal:
            with held_up(monkeypatch, gate := Limiter()):
                task = asyncio.create_task(journal.intend(REQUEST))
                await gate.until_reached()
                assert not task.done()
                with closing(Store.read(path)) as reader:
                    assert reader.intents() == []
                    gate.may_go.set()
                    await task
                    assert len(reader.intents()) == 1

    async def test_the_id_of_a_task_is_not_lost_by_who_is_cancelled_when_it_has_come(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def use() -> None:
            async with JournalFile(path) as journal:
                number = await journal.intend(REQUEST)
                with held_up(monkeypatch, gate):
                    await journal.created(number, TaskRef("new"))

        gate = Limiter()
        task = asyncio.create_task(use())
        await gate.until_reached()
        task.cancel()
        await checkpoint()
        gate.may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with JournalFile(path) as journal:
            assert [known.ref.task_id for known in await journal.known()] == ["new"]
            assert await journal.intents() == ()

    async def test_a_cancellation_is_not_hidden_by_what_went_wrong_meanwhile(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with JournalFile(path) as journal:
            with held_up(monkeypatch, gate := Limiter()), Full(monkeypatch):
                task = asyncio.create_task(journal.intend({"a": "x" * 100_000}))
                await gate.until_reached()
                task.cancel()
                await checkpoint()
                gate.may_go.set()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
        assert "is full" in "".join(caught.value.__notes__)

    async def test_one_that_was_created_is_taken_in_by_the_next_batch(self, path: Path) -> None:
        async with JournalFile(path) as journal:
            await journal.created(await journal.intend(REQUEST), TaskRef("new"))
            journal.add(of(["old"]))
            before = await journal.known()
            journal.take_in()
            after = await journal.known()
        assert [known.ref.task_id for known in after] == ["new", "old"]
        times = [known.added_at for known in (*before, *after)]
        assert times[0] is None
        assert before[0].age() == 0.0
        assert None not in times[1:]
        assert times[1] == times[3]


class Full:
    """A disk that takes nothing more."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.throttled = 0

    def __enter__(self) -> Self:
        really = Store.apply

        def apply(store: Store, writes: Any, **options: Any) -> None:
            self.throttled += 1
            (pages,) = store._one("PRAGMA page_count")
            store._one(f"PRAGMA max_page_count = {pages}")
            really(store, writes, **options)

        self._patch.setattr(Store, "apply", apply)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


class TestDisksThatRefuse:
    """Nothing is said to be written that is not."""

    async def test_who_waits_for_a_write_gets_the_failure_and_nothing_is_there(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = Told()
        journal = JournalFile(path)
        await journal.open()
        journal.add(of(["a"]))
        await journal.flush()
        with Full(monkeypatch):
            journal.add(of([f"{number:0500}" for number in range(100)]))
            journal.end(outcome_of("a"), told)
            with pytest.raises(JournalError, match=f"the journal {path}: database or disk is full"):
                await journal.flush()
            journal.saved(outcome_of("a"), told)
            with pytest.raises(JournalError, match="full"):
                await journal.aclose()
        assert [type(failure) for failure in told] == [JournalError, JournalError]
        assert not journal.is_open
        (row,) = rows_in(path)
        assert (row.task_id, row.record) == ("a", None)

    async def test_after_a_failure_nothing_more_is_written_even_if_there_is_room_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = JournalFile(path)
        await journal.open()
        with Full(monkeypatch) as full:
            journal.add(of([f"{number:0500}" for number in range(100)]))
            with pytest.raises(JournalError, match="full"):
                await journal.flush()
            journal.add(of(["a"]))
            with pytest.raises(JournalError, match="full"):
                await journal.flush()
        with pytest.raises(JournalError, match="full"):
            await journal.aclose()
        assert full.throttled == 1
        assert rows_in(path) == []

    async def test_one_that_failed_may_be_opened_anew(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = JournalFile(path)
        await journal.open()
        with Full(monkeypatch):
            journal.add(of([f"{number:0500}" for number in range(100)]))
            with pytest.raises(JournalError, match="full"):
                await journal.aclose()
        async with journal:
            journal.add(of(["a"]))
        assert [row.task_id for row in rows_in(path)] == ["a"]

    async def test_an_intent_that_was_not_written_is_an_error(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with JournalFile(path) as journal:
            with Full(monkeypatch), pytest.raises(JournalError, match="full"):
                await journal.intend({"a": "x" * 100_000})
            assert await journal.intents() == ()

    async def test_whatever_breaks_a_write_is_told_to_who_waits_for_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(Store, "apply", broken)
            async with abandonable(path) as journal:
                journal.add(of(["a"]))
                journal.end(outcome_of("a"), told := Told())
                await told.news.wait()
        assert len(told) == 1
        assert told[0] is not None


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """When writes reached the file, and how many together; in virtual time."""
    seen: list[tuple[float, int]] = []
    really = Store.apply

    def apply(store: Store, writes: Any, *, durably: bool = False) -> None:
        seen.append((anyio.current_time(), len(writes)))
        really(store, writes, durably=durably)

    monkeypatch.setattr("vocalsep_async._journal.journal.run_sync", at_once)
    monkeypatch.setattr("vocalsep_async._journal.writer.Thread", AtOnce)
    monkeypatch.setattr(Store, "apply", apply)
    return seen


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestWhenItWrites:
    """What nobody waits for waits for company; what somebody waits for is written now."""

    async def test_notes_of_ten_seconds_are_written_together(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async with JournalFile(path) as journal:
            began = anyio.current_time()
            for polls in range(4):
                journal.note("a", "PENDING", polls)
                journal.note(f"b{polls}", "PENDING", 1)
                await anyio.sleep(2)
            assert groups == []
            await anyio.sleep(30)
            assert groups == [(began + 10, 5)]

    async def test_an_outcome_is_written_at_once_and_makes_notes_of_its_task_needless(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async with JournalFile(path) as journal:
            began = anyio.current_time()
            journal.note("a", "PENDING", 1)
            journal.note("b", "PENDING", 1)
            journal.learned({})
            await anyio.sleep(1)
            written = anyio.Event()
            journal.end(outcome_of("a"), lambda _failure: written.set())
            await written.wait()
            assert anyio.current_time() == began + 1
            await anyio.sleep(30)
        assert groups == [(began + 1, 1), (began + 10, 2)]

    async def test_notes_wait_no_longer_for_company_that_is_not_needed_any_more(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async with JournalFile(path) as journal:
            began = anyio.current_time()
            journal.note("a", "PENDING", 1)
            await anyio.sleep(1)
            journal.end(outcome_of("a"), Told())
            journal.note("b", "PENDING", 1)
            await anyio.sleep(30)
            assert groups == [(began + 1, 1), (began + 10, 1)]

    async def test_new_tasks_are_written_at_once_and_together(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async with JournalFile(path) as journal:
            began = anyio.current_time()
            journal.add(of(["a", "b", "c"]))
            journal.add(of(["d"]))
            await anyio.sleep(5)
        assert groups == [(began, 4)]

    async def test_outcomes_of_one_moment_are_one_write_and_told_in_their_order(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        order: list[str] = []

        def noted(task_id: str, _failure: JournalError | None) -> None:
            order.append(task_id)

        async with JournalFile(path) as journal:
            for task_id in ("a", "b", "c"):
                journal.end(outcome_of(task_id), partial(noted, task_id))
            await journal.flush()
            assert order == ["a", "b", "c"]
        assert [number for _, number in groups] == [3]

    async def test_who_comes_after_a_write_that_was_begun_from_a_callback_waits_for_it(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        order: list[str] = []

        def noted(name: str) -> Callable[[JournalError | None], None]:
            return lambda _failure: order.append(name)

        def as_another_task_would() -> None:
            journal.end(unfinished("c"), noted("later"))

        def told(_failure: JournalError | None) -> None:
            asyncio.get_running_loop().call_soon(as_another_task_would)
            journal.end(outcome_of("b"), noted("b"))

        async with JournalFile(path) as journal:
            journal.end(outcome_of("a"), told)
            await journal.flush()
        assert order == ["b", "later"]
        assert len(groups) == 2

    async def test_an_outcome_with_nothing_to_write_is_told_without_a_write(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async with JournalFile(path) as journal:
            journal.end(unfinished("a"), told := Told())
            journal.saved(unfinished("a"), told)
            await journal.flush()
            assert told == [None, None]
        assert groups == []

    async def test_whoever_is_told_sees_it_in_the_file(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        seen: list[int] = []
        async with JournalFile(path) as journal:
            journal.add(of(["a"]))
            journal.end(outcome_of("a"), lambda _failure: seen.append(len(rows_in(path))))
            await journal.flush()
        assert seen == [1]
        assert groups

    async def test_a_creation_waits_for_no_company(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async with JournalFile(path) as journal:
            began = anyio.current_time()
            journal.note("a", "PENDING", 1)
            await journal.intend(REQUEST)
            assert groups == [(began, 1)]

    async def test_many_may_close_it_at_any_moment(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        async def close(turns: int) -> None:
            for _ in range(turns):
                await checkpoint()
            await journal.aclose()
            assert not journal.is_open

        async with JournalFile(path) as journal:
            journal.add(of(["a"]))
            await asyncio.gather(*(close(turns) for turns in range(30)))
        assert len(groups) == 1
        assert len(rows_in(path)) == 1

    @pytest.mark.parametrize("turns", range(30))
    async def test_whoever_writes_while_it_closes_is_told_once_and_the_truth(
        self, path: Path, groups: list[tuple[float, int]], turns: int
    ) -> None:
        async def write() -> None:
            for _ in range(turns):
                await checkpoint()
            try:
                journal.end(outcome_of("a"), told)
            except JournalError as error:
                told(error)

        told = Told()
        async with JournalFile(path) as journal:
            journal.add(of(["a"]))
            await asyncio.gather(journal.aclose(), write())
        assert len(told) == 1
        (row,) = rows_in(path)
        assert told == [None] if row.record is not None else told != [None]
        assert groups

    @pytest.mark.parametrize("turns", range(30))
    async def test_what_is_noted_while_it_closes_does_not_outlive_that(
        self, path: Path, groups: list[tuple[float, int]], turns: int
    ) -> None:
        async def note() -> None:
            for _ in range(turns):
                await checkpoint()
            with suppress(JournalError):
                journal.note("a", "PENDING", 1)
                journal.learned({"a": []})

        journal = JournalFile(path)
        async with journal:
            await asyncio.gather(journal.aclose(), note())
        with pytest.raises(JournalError, match="is not open"):
            journal.note("a", "PENDING", 2)
        groups.clear()
        async with journal:
            await anyio.sleep(30)
        assert groups == []

    async def test_closing_waits_for_nothing_but_the_write(
        self, path: Path, groups: list[tuple[float, int]]
    ) -> None:
        began = anyio.current_time()
        async with JournalFile(path) as journal:
            journal.note("a", "PENDING", 1)
        assert groups == [(began, 1)]
        assert anyio.current_time() == began
