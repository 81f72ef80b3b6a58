"""Writes of a journal: when they reach the file, and what happens if they cannot."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio.lowlevel import checkpoint
from journal.contents import added, outcome_of, rows_in
from journal.running import (
    FullDisk,
    Gate,
    Results,
    abandonable,
    held_up,
    refs_of,
    unfinished,
    using,
)
from virtual_time import VIRTUAL_TIME

from vocalsep_async import JournalError, TaskOutcome
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._journal.store import Store
from vocalsep_async._journal.writer import Writer

pytestmark = pytest.mark.anyio

REQUEST = {"type": "split_stem", "taskId": "source"}


class TestFailedWrites:
    """No call returns for a write that failed."""

    async def test_a_write_that_failed_raises_an_error_and_nothing_is_stored(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results = Results()
        journal = JournalFile(path)
        await journal.open()
        journal.add(refs_of(["a"]))
        await journal.flush()
        with FullDisk(monkeypatch):
            journal.add(refs_of([f"{number:0500}" for number in range(100)]))
            results.of(journal.save_outcome(outcome_of("a")))
            with pytest.raises(JournalError, match=f"the journal {path}: database or disk is full"):
                await journal.flush()
            results.of(journal.save_files(outcome_of("a")))
            with pytest.raises(JournalError, match="full"):
                await journal.aclose()
        assert [type(failure) for failure in await results.all()] == [JournalError, JournalError]
        assert not journal.is_open
        (row,) = rows_in(path)
        assert (row.task_id, row.record) == ("a", None)

    async def test_nothing_is_written_after_a_failure(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = JournalFile(path)
        await journal.open()
        with FullDisk(monkeypatch) as full:
            journal.add(refs_of([f"{number:0500}" for number in range(100)]))
            with pytest.raises(JournalError, match="full"):
                await journal.flush()
            journal.add(refs_of(["a"]))
            with pytest.raises(JournalError, match="full"):
                await journal.flush()
        with pytest.raises(JournalError, match="full"):
            await journal.aclose()
        assert full.attempts == 1
        assert rows_in(path) == []

    async def test_a_journal_that_failed_can_be_opened_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = JournalFile(path)
        await journal.open()
        with FullDisk(monkeypatch):
            journal.add(refs_of([f"{number:0500}" for number in range(100)]))
            with pytest.raises(JournalError, match="full"):
                await journal.aclose()
        async with using(journal):
            journal.add(refs_of(["a"]))
        assert [row.task_id for row in rows_in(path)] == ["a"]

    async def test_an_intent_that_was_not_written_raises_an_error(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with using(JournalFile(path)) as journal:
            with FullDisk(monkeypatch), pytest.raises(JournalError, match="full"):
                await journal.intend({"a": "x" * 100_000})
            assert await journal.intents() == ()

    async def test_an_unexpected_error_of_a_write_is_raised_as_a_journal_error(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(Store, "apply", broken)
            async with abandonable(path) as journal:
                journal.add(refs_of(["a"]))
                with pytest.raises(JournalError, match="MemoryError") as caught:
                    await journal.save_outcome(outcome_of("a"))
        assert isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestItsSchedule:
    """Statuses and durations are deferred; everything else is written immediately."""

    async def test_statuses_of_ten_seconds_are_written_together(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            began = anyio.current_time()
            for polls in range(4):
                journal.save_status("a", "PENDING", polls)
                journal.save_status(f"b{polls}", "PENDING", 1)
                await anyio.sleep(2)
            assert transactions == []
            await anyio.sleep(30)
            assert transactions == [(began + 10, 5)]

    async def test_an_outcome_is_written_immediately_and_replaces_the_status_of_its_task(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            began = anyio.current_time()
            journal.save_status("a", "PENDING", 1)
            journal.save_status("b", "PENDING", 1)
            journal.save_durations({})
            await anyio.sleep(1)
            await journal.save_outcome(outcome_of("a"))
            assert anyio.current_time() == began + 1
            await anyio.sleep(30)
        assert transactions == [(began + 1, 1), (began + 10, 2)]

    async def test_the_deferral_of_a_status_is_not_extended(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            began = anyio.current_time()
            journal.save_status("a", "PENDING", 1)
            await anyio.sleep(1)
            await journal.save_outcome(outcome_of("a"))
            journal.save_status("b", "PENDING", 1)
            await anyio.sleep(30)
            assert transactions == [(began + 1, 1), (began + 10, 1)]

    async def test_new_tasks_are_written_immediately_and_together(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            began = anyio.current_time()
            journal.add(refs_of(["a", "b", "c"]))
            journal.add(refs_of(["d"]))
            await anyio.sleep(5)
        assert transactions == [(began, 4)]

    async def test_simultaneous_outcomes_share_a_transaction_and_return_in_order(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        order: list[str] = []

        async def save(task_id: str) -> None:
            await journal.save_outcome(outcome_of(task_id))
            order.append(task_id)

        async with using(JournalFile(path)) as journal:
            await asyncio.gather(*map(save, ("a", "b", "c")))
        assert order == ["a", "b", "c"]
        assert [number for _, number in transactions] == [3]

    async def test_what_is_put_after_a_transaction_shares_the_next(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        order: list[str] = []

        async def save(*outcomes: TaskOutcome) -> None:
            for outcome in outcomes:
                await journal.save_outcome(outcome)
                order.append(outcome.task_id)

        async with using(JournalFile(path)) as journal:
            await asyncio.gather(
                save(outcome_of("a"), outcome_of("c")), save(unfinished("b"), unfinished("d"))
            )
        assert order == ["a", "b", "c", "d"]
        assert [number for _, number in transactions] == [1, 1]

    async def test_an_outcome_with_nothing_to_write_returns_without_a_write(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.save_outcome(unfinished("a"))
            await journal.save_files(unfinished("a"))
        assert transactions == []

    async def test_a_saved_outcome_is_in_the_file(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            await journal.save_outcome(outcome_of("a"))
            assert [row.task_id for row in rows_in(path)] == ["a"]
        assert transactions

    async def test_a_call_that_is_cancelled_still_writes(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            with anyio.move_on_after(0):
                await journal.save_outcome(outcome_of("a"))
        assert [row.record is not None for row in rows_in(path)] == [True]
        assert [number for _, number in transactions] == [2]

    async def test_an_intent_is_written_immediately(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async with using(JournalFile(path)) as journal:
            began = anyio.current_time()
            journal.save_status("a", "PENDING", 1)
            await journal.intend(REQUEST)
            assert transactions == [(began, 1)]

    async def test_it_can_be_closed_many_times_simultaneously(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        async def close(turns: int) -> None:
            for _ in range(turns):
                await checkpoint()
            await journal.aclose()
            assert not journal.is_open

        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            await asyncio.gather(*(close(turns) for turns in range(30)))
        assert len(transactions) == 1
        assert len(rows_in(path)) == 1

    @pytest.mark.parametrize("turns", range(30))
    async def test_a_write_while_it_closes_returns_only_if_it_is_stored(
        self, path: Path, transactions: list[tuple[float, int]], turns: int
    ) -> None:
        async def write() -> None:
            for _ in range(turns):
                await checkpoint()
            await journal.save_outcome(outcome_of("a"))

        results = Results()
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            results.of(write())
            await journal.aclose()
        (result,) = await results.all()
        (row,) = rows_in(path)
        assert (result is None) is (row.record is not None)
        assert transactions

    @pytest.mark.parametrize("turns", range(30))
    async def test_a_status_saved_while_it_closes_is_not_kept(
        self, path: Path, transactions: list[tuple[float, int]], turns: int
    ) -> None:
        async def note() -> None:
            for _ in range(turns):
                await checkpoint()
            with suppress(JournalError):
                journal.save_status("a", "PENDING", 1)
                journal.save_durations({"a": []})

        journal = JournalFile(path)
        async with using(journal):
            await asyncio.gather(journal.aclose(), note())
        with pytest.raises(JournalError, match="is not open"):
            journal.save_status("a", "PENDING", 2)
        transactions.clear()
        async with using(journal):
            await anyio.sleep(30)
        assert transactions == []

    async def test_closing_writes_deferred_statuses_immediately(
        self, path: Path, transactions: list[tuple[float, int]]
    ) -> None:
        began = anyio.current_time()
        async with using(JournalFile(path)) as journal:
            journal.save_status("a", "PENDING", 1)
        assert transactions == [(began, 1)]
        assert anyio.current_time() == began


def thread_of(name: str) -> threading.Thread:
    (thread,) = (each for each in threading.enumerate() if each.name.startswith(name))
    return thread


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the threads of writers that are made in this test only."""
    name = f"writer-{uuid4().hex}"
    named = partial(ThreadPoolExecutor, thread_name_prefix=name)
    monkeypatch.setattr(
        "vocalsep_async._journal.writer.ThreadPoolExecutor",
        lambda workers, **_options: named(workers),
    )
    return name


class TestItsThread:
    """One thread for all writes of a journal, which holds up neither the loop nor the program."""

    async def test_all_writes_are_made_in_order_by_one_other_thread(
        self, path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: set[str] = set()
        apply = Store.apply

        def watched(store: Store, writes: Any, **options: Any) -> int:
            threads.add(threading.current_thread().name)
            return apply(store, writes, **options)

        monkeypatch.setattr(Store, "apply", watched)
        ids = [f"t{number}" for number in range(200)]
        async with using(JournalFile(path)) as journal:
            for task_id in ids:
                journal.add(refs_of([task_id]))
                await checkpoint()
        assert [row.task_id for row in rows_in(path)] == ids
        assert len(threads) == 1
        assert threads.pop().startswith(name)

    async def test_a_busy_default_executor_delays_no_write(self, path: Path) -> None:
        loop, gate = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        async with using(JournalFile(path)) as journal:
            busy = loop.run_in_executor(None, gate.wait, 60)
            journal.add(refs_of(["a"]))
            with anyio.fail_after(30):
                await journal.save_outcome(outcome_of("a"))
            gate.set()
            await busy
        assert [row.record is not None for row in rows_in(path)] == [True]

    async def test_a_write_under_way_is_finished_by_a_writer_that_is_closed(
        self, path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = Store.open(path)
        writer, results = Writer(store, "journal", list), Results()
        with held_up(monkeypatch, gate := Gate()):
            results.of(writer.write(added("a")))
            await gate.until_reached()
            thread = thread_of(name)
            late = Results()
            late.of(writer.write(added("b")))
            await checkpoint()
            writer.close()
            writer.close()
            gate.may_go.set()
            await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()
        assert await results.all() == [None]
        assert [str(failure) for failure in await late.all()] == ["the journal journal was closed"]
        store.close()
        assert [row.task_id for row in rows_in(path)] == ["a"]

    def test_the_thread_of_a_writer_that_was_dropped_ends(self, path: Path, name: str) -> None:
        async def write() -> Store:
            store = Store.open(path)
            await Writer(store, "journal", list).write(added("a"))
            return store

        store = asyncio.run(write())
        gc.collect()
        for each in threading.enumerate():
            if each.name.startswith(name):
                each.join(timeout=30)
                assert not each.is_alive()
        store.close()

    def test_a_write_that_ends_after_its_loop_was_closed_is_kept(
        self, path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def begin() -> Store:
            store = Store.open(path)
            Writer(store, "journal", list).put(added("a"))
            await gate.until_reached()
            return store

        with held_up(monkeypatch, gate := Gate()):
            store = asyncio.run(begin())
            thread = thread_of(name)
            gate.may_go.set()
            thread.join(timeout=30)
        store.close()
        assert [row.task_id for row in rows_in(path)] == ["a"]
