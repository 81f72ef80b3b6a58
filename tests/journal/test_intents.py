"""Creations are in the journal before they are sent, and their results afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from journal.running import (
    FullDisk,
    Gate,
    held_up,
    known_in,
    refs_of,
    using,
)

from vocalsep_async import TaskRef
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._journal.store import Store

pytestmark = pytest.mark.anyio

CREATING = """
import asyncio, json, sys
from journal.contents import outcome_of
from vocalsep_async import Journal, TaskRef

async def main():
    async with Journal(sys.argv[1]) as opened:
        journal = opened._file
        for number in range(50):
            journal.add([TaskRef(f"t{number}")])
        saves = [journal.save_outcome(outcome_of(f"t{number}")) for number in range(50)]
        await asyncio.gather(*(journal.intend({"n": number}) for number in range(50)), *saves)
        print(json.dumps(sorted(intent.request["n"] for intent in await journal.intents())))

asyncio.run(main())
"""
TESTS_ARE_IMPORTABLE = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
REQUEST = {"type": "split_stem", "taskId": "source"}
WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


class TestIntents:
    """An intent is saved before a creation is sent, and its result afterwards."""

    async def test_an_intent_is_known_to_the_next_run(self, path: Path) -> None:
        before = datetime.now(UTC)
        async with using(JournalFile(path)) as journal:
            await journal.intend(REQUEST)
        async with using(JournalFile(path)) as journal:
            (intent,) = await journal.intents()
        assert intent.request == REQUEST
        assert intent.error is None
        assert before.timestamp() <= intent.began_at.timestamp() <= datetime.now(UTC).timestamp()
        assert intent.began_at.tzinfo is UTC

    async def test_an_intent_that_created_a_task_becomes_a_known_task(self, path: Path) -> None:
        ref = TaskRef("new", type="split_stem", created_at=WHEN)
        async with using(JournalFile(path)) as journal:
            number = await journal.intend(REQUEST)
            await journal.created(number, ref)
            assert await journal.intents() == ()
            (known,) = await journal.known()
        assert known.ref == ref
        assert not known.has_ended

    async def test_a_created_task_can_be_without_a_creation_time(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.created(await journal.intend(REQUEST), TaskRef("new"))
        (known,) = await known_in(path)
        assert known.ref == TaskRef("new")

    async def test_an_intent_that_created_nothing_is_dropped(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.not_created(await journal.intend(REQUEST), None)
            assert await journal.intents() == ()

    @pytest.mark.parametrize("error", ["no answer", "", "odd \ud800"])
    async def test_an_intent_without_a_known_result_has_its_error(
        self, path: Path, error: str
    ) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.not_created(await journal.intend(REQUEST), error)
            (intent,) = await journal.intents()
        assert intent.error is not None
        assert intent.error.startswith(error.removesuffix("\ud800"))

    async def test_the_error_of_an_intent_has_no_queries_of_links_without_keep_links(
        self, path: Path
    ) -> None:
        error = "cannot fetch https://cdn.example/v.mp3?sig=hush: 404"
        for keep_links, results in (
            (True, error),
            (False, "cannot fetch https://cdn.example/v.mp3 404"),
        ):
            async with using(JournalFile(path, keep_links=keep_links)) as journal:
                number = await journal.intend(REQUEST)
                await journal.not_created(number, error)
                (intent,) = await journal.intents()
                assert intent.error == results
                await journal.not_created(number, None)

    async def test_two_intents_of_one_moment_are_kept_apart(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vocalsep_async._journal.journal.time.time", lambda: 7.0)
        numbers = []
        for n in (1, 2):  # each with a journal of its own, as a call has that is given a path
            async with using(JournalFile(path)) as journal:
                numbers.append(await journal.intend({"n": n}))
        async with using(JournalFile(path)) as journal:
            await journal.not_created(numbers[0], None)
            assert [intent.request for intent in await journal.intents()] == [{"n": 2}]

    async def test_many_intents_can_be_saved_while_a_batch_writes(self, path: Path) -> None:
        # In a process of its own: two threads in one connection may crash it.
        done = await anyio.run_process(
            [sys.executable, "-c", CREATING, str(path)], check=False, env=TESTS_ARE_IMPORTABLE
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        assert json.loads(done.stdout) == list(range(50))
        assert all(known.has_ended for known in await known_in(path))

    async def test_an_intent_is_on_the_disk_before_anything_is_sent(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with using(JournalFile(path)) as journal:
            with held_up(monkeypatch, gate := Gate()):
                task = asyncio.create_task(journal.intend(REQUEST))
                await gate.until_reached()
                assert not task.done()
                with closing(Store.read(path)) as reader:
                    assert reader.intents() == []
                    gate.may_go.set()
                    await task
                    assert len(reader.intents()) == 1

    async def test_a_cancellation_does_not_lose_the_id_of_a_created_task(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def use() -> None:
            async with using(JournalFile(path)) as journal:
                number = await journal.intend(REQUEST)
                with held_up(monkeypatch, gate):
                    await journal.created(number, TaskRef("new"))

        gate = Gate()
        task = asyncio.create_task(use())
        await gate.until_reached()
        task.cancel()
        await checkpoint()
        gate.may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with using(JournalFile(path)) as journal:
            assert [known.ref.task_id for known in await journal.known()] == ["new"]
            assert await journal.intents() == ()

    async def test_a_failed_write_does_not_hide_a_cancellation(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with using(JournalFile(path)) as journal:
            with held_up(monkeypatch, gate := Gate()), FullDisk(monkeypatch):
                task = asyncio.create_task(journal.intend({"a": "x" * 100_000}))
                await gate.until_reached()
                task.cancel()
                await checkpoint()
                gate.may_go.set()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
        assert "is full" in "".join(caught.value.__notes__)

    async def test_the_wait_of_a_created_task_begins_with_the_next_batch(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.created(await journal.intend(REQUEST), TaskRef("new"))
            journal.add(refs_of(["old"]))
            before = await journal.known()
            journal.add_created()
            after = await journal.known()
        assert [known.ref.task_id for known in after] == ["new", "old"]
        times = [known.added_at for known in (*before, *after)]
        assert times[0] is None
        assert before[0].age() == 0.0
        assert None not in times[1:]
        assert times[1] == times[3]
