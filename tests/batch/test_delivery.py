"""The way of an outcome: its record is written, its stems are saved, it is handed out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from batch.tracking import numbered
from downloads.stem_host import eventually
from journal.contents import outcome_of, rows_in
from journal.running import FullDisk, Gate, held_up, refs_of, unfinished, using

from vocalsep_async import JournalError, SeparationTask, Stems, TaskOutcome, TaskRef, TaskStatus
from vocalsep_async._batch import delivery
from vocalsep_async._batch.counters import BatchCounters
from vocalsep_async._batch.delivery import Deliveries, Save
from vocalsep_async._batch.recorder import BatchRecorder
from vocalsep_async._events import Events
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async.models import DownloadReport

pytestmark = pytest.mark.anyio

EAGER: Any = getattr(asyncio, "eager_task_factory", None)


@pytest.fixture
def anyio_backend() -> str:
    """Journals write in real threads here."""
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


def ended(task_id: str) -> TaskOutcome:
    """The outcome of a task with stems."""
    stems = Stems(vocal="https://cdn.example/v.mp3")
    task = SeparationTask(task_id=task_id, status=TaskStatus.SUCCESS, stems=stems)
    return TaskOutcome(
        task_id=task_id, status=task.status, task=task, error=None, polls=1, elapsed=0.0
    )


async def saved_at_once(task: SeparationTask, _until: float, _label: str | None) -> DownloadReport:
    return DownloadReport(task_id=task.task_id, files=())


class Host:
    """Saves stems when it is allowed to."""

    def __init__(self) -> None:
        self.may_go = asyncio.Event()
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    async def save(self, task: SeparationTask, _until: float, _label: str | None) -> DownloadReport:
        self.begun.append(task.task_id)
        try:
            await self.may_go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(task.task_id)
            raise
        return await saved_at_once(task, _until, _label)


def saving(save: Save) -> Deliveries:
    """Deliveries without a journal."""
    return Deliveries(None, save, BatchCounters())


def recorder_of(journal: JournalFile) -> BatchRecorder:
    """The recorder of a batch that does not load what the journal has."""

    def restore(ref: TaskRef, record: object) -> SeparationTask:
        raise AssertionError(ref, record)

    return BatchRecorder(
        journal,
        is_own=False,
        base_url="https://a",
        hazards=HazardTable(),
        restore=restore,
        events=Events(),
    )


@asynccontextmanager
async def recorded(
    path: Path, ids: list[str], save: Save | None = None
) -> AsyncIterator[Deliveries]:
    """Deliveries with a journal that knows some tasks."""
    async with using(JournalFile(path)) as journal:
        journal.add(refs_of(ids))
        await journal.flush()
        deliveries = Deliveries(recorder_of(journal), save, BatchCounters())
        yield deliveries
        await deliveries.wait_ended()


def ids_of(outcomes: Any) -> list[str]:
    return [outcome.task_id for outcome in outcomes]


async def rounds(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


class TestWithoutAJournal:
    """Only stems keep an outcome from being handed out immediately."""

    async def test_an_outcome_is_ready_immediately_and_without_a_task(self) -> None:
        before = asyncio.all_tasks()
        deliveries = Deliveries(None, None, BatchCounters())
        deliveries.add(ended("a"))
        deliveries.add(unfinished("b"))
        assert ids_of(deliveries.ready) == ["a", "b"]
        assert deliveries.changed.is_set()
        assert asyncio.all_tasks() == before

    async def test_a_task_has_an_outcome_to_fetch_until_it_is_taken(self) -> None:
        deliveries = saving((host := Host()).save)
        assert "a" not in deliveries
        deliveries.add(ended("a"))
        assert "a" in deliveries
        host.may_go.set()
        await deliveries.wait_ended()
        assert "a" in deliveries
        assert deliveries.take().task_id == "a"
        assert "a" not in deliveries

    async def test_an_outcome_without_stems_does_not_wait_for_those_of_others(self) -> None:
        deliveries = saving((host := Host()).save)
        for task_id in numbered(9):
            deliveries.add(ended(task_id))
        deliveries.add(unfinished("b"))
        assert ids_of(deliveries.ready) == ["b"]
        assert len(deliveries) == 10
        host.may_go.set()
        await deliveries.wait_ended()

    async def test_the_stems_of_sixteen_tasks_are_saved_simultaneously_in_order_of_arrival(
        self,
    ) -> None:
        deliveries = saving((host := Host()).save)
        for task_id in numbered(40):
            deliveries.add(ended(task_id))
        await rounds()
        assert host.begun == numbered(16)
        assert not deliveries.ready
        host.may_go.set()
        await deliveries.wait_ended()
        assert host.begun == ids_of(deliveries.ready) == numbered(40)

    @pytest.mark.skipif(EAGER is None, reason="needs eager tasks, of Python 3.12")
    async def test_stems_are_saved_under_an_eager_task_factory(self) -> None:
        asyncio.get_running_loop().set_task_factory(EAGER)
        deliveries = saving(saved_at_once)
        for task_id in numbered(6):
            deliveries.add(ended(task_id))
        await deliveries.wait_ended()
        assert sorted(ids_of(deliveries.ready)) == numbered(6)
        await rounds()
        assert len(deliveries) == 6

    @pytest.mark.parametrize("seconds", [None, 0.0, 300.0])
    async def test_saving_is_told_until_when_the_wait_for_its_task_has_time(
        self, seconds: float | None
    ) -> None:
        given: list[float] = []

        async def save(task: SeparationTask, until: float, _label: str | None) -> DownloadReport:
            given.append(until)
            return await saved_at_once(task, until, _label)

        outcome = attrs.evolve(ended("a"), elapsed=100.0)
        began = asyncio.get_running_loop().time()
        deliveries = Deliveries(None, save, BatchCounters(), seconds)
        deliveries.add(outcome)
        await deliveries.wait_ended()
        ended_at = asyncio.get_running_loop().time()
        (until,) = given
        if seconds is None:
            assert until == -math.inf
        else:
            assert began <= until - seconds + 100.0 <= ended_at

    async def test_an_unexpected_error_of_saving_is_kept_for_the_consumer(self) -> None:
        async def broken(task: SeparationTask, _until: float, _label: str | None) -> DownloadReport:
            raise ZeroDivisionError(task.task_id)

        deliveries = saving(broken)
        for task_id in numbered(2):
            deliveries.add(ended(task_id))
        await deliveries.wait_ended()
        assert isinstance(deliveries.failure, ZeroDivisionError)
        assert str(deliveries.failure) == "t0"
        assert len(deliveries) == 0
        assert deliveries.changed.is_set()


class TestWithAJournal:
    """Nothing is handed out that a kill could still lose."""

    async def test_an_outcome_is_ready_when_its_record_is_in_the_file(self, path: Path) -> None:
        async with recorded(path, ["a"]) as deliveries:
            deliveries.add(outcome_of("a"))
            assert not deliveries.ready
            await eventually(lambda: bool(deliveries.ready))
            assert [row.record is not None for row in rows_in(path)] == [True]

    async def test_outcomes_keep_their_order_with_and_without_a_record(self, path: Path) -> None:
        ids = numbered(20)
        async with recorded(path, ids) as deliveries:
            for number, task_id in enumerate(ids):
                deliveries.add(unfinished(task_id) if number % 3 else outcome_of(task_id))
                await rounds(number % 4)
            await deliveries.wait_ended()
            assert ids_of(deliveries.ready) == ids

    async def test_stems_are_saved_after_the_record_and_before_their_paths(
        self, path: Path
    ) -> None:
        seen: list[bool] = []

        async def save(task: SeparationTask, _until: float, _label: str | None) -> DownloadReport:
            seen.extend(row.record is not None and row.files is None for row in rows_in(path))
            return await saved_at_once(task, _until, _label)

        async with recorded(path, ["a"], save) as deliveries:
            deliveries.add(outcome_of("a"))
            await eventually(lambda: bool(deliveries.ready))
        assert seen == [True]

    async def test_an_earlier_outcome_is_not_written_again(self, path: Path) -> None:
        async with recorded(path, ["a"]) as deliveries:
            deliveries.add_recorded(outcome_of("a"))
            assert ids_of(deliveries.ready) == ["a"]
        assert [row.record for row in rows_in(path)] == [None]

    async def test_an_outcome_that_cannot_be_written_is_not_handed_out(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def unexpected(
            task: SeparationTask, _until: float, _label: str | None
        ) -> DownloadReport:
            raise AssertionError(task)

        journal = JournalFile(path)
        await journal.open()
        deliveries = Deliveries(recorder_of(journal), unexpected, BatchCounters())
        with FullDisk(monkeypatch):
            journal.add(refs_of([f"{number:0500}" for number in range(100)]))
            deliveries.add(outcome_of("a"))
            await deliveries.wait_ended()
            assert isinstance(deliveries.failure, JournalError)
            assert not deliveries.ready
            with pytest.raises(JournalError, match="full"):
                await journal.aclose()

    async def test_at_most_500_outcomes_are_being_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = numbered(1_200)
        async with recorded(path, ids) as deliveries:
            before = len(asyncio.all_tasks())
            with held_up(monkeypatch, gate := Gate()):
                for task_id in ids:
                    deliveries.add(outcome_of(task_id))
                await gate.until_reached()
                assert len(deliveries) == 1_200
                assert len(asyncio.all_tasks()) - before == 500
                gate.may_go.set()
                await deliveries.wait_ended()
            assert ids_of(deliveries.ready) == ids

    async def test_outcomes_whose_stems_wait_keep_no_other_from_being_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "_MAX_RECORDING", 3)
        host, ids = Host(), numbered(10)
        async with recorded(path, ids, host.save) as deliveries:
            for task_id in ids:
                deliveries.add(outcome_of(task_id))
            deliveries.add(unfinished("late"))
            await eventually(lambda: bool(deliveries.ready))
            assert ids_of(deliveries.ready) == ["late"]
            assert all(row.record is not None for row in rows_in(path))
            host.may_go.set()
        assert len(deliveries.ready) == 11


class TestLeft:
    """When the block is left, downloads end, and writes are completed."""

    async def test_stems_that_are_being_saved_or_wait_are_given_up(self) -> None:
        deliveries = saving((host := Host()).save)
        for task_id in numbered(40):
            deliveries.add(ended(task_id))
        await rounds()
        deliveries.stop()
        await deliveries.wait_ended()
        assert host.begun == numbered(16)
        assert set(host.cancelled) == set(host.begun)
        assert len(deliveries) == 0
        assert deliveries.failure is None

    async def test_stems_whose_delivery_has_not_begun_are_given_up(self) -> None:
        deliveries = saving((host := Host()).save)
        deliveries.add(ended("a"))
        deliveries.stop()
        await deliveries.wait_ended()
        assert host.begun == []
        assert len(deliveries) == 0

    @pytest.mark.parametrize("most", [1, 500])
    async def test_outcomes_that_are_known_are_still_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        monkeypatch.setattr(delivery, "_MAX_RECORDING", most)
        ids = numbered(5)
        async with recorded(path, ids) as deliveries:
            for task_id in ids:
                deliveries.add(outcome_of(task_id))
            deliveries.stop()
            await deliveries.wait_ended()
            assert ids_of(deliveries.ready) == ids
        assert all(row.record is not None for row in rows_in(path))

    async def test_an_outcome_with_stems_to_save_is_written_but_not_handed_out(
        self, path: Path
    ) -> None:
        host = Host()
        async with recorded(path, ["a", "b"], host.save) as deliveries:
            deliveries.add(outcome_of("a"))
            deliveries.add(unfinished("b"))
            deliveries.stop()
            await deliveries.wait_ended()
            assert ids_of(deliveries.ready) == ["b"]
        assert host.begun == []
        assert [row.record is not None for row in rows_in(path)] == [True, False]

    async def test_a_wait_for_no_delivery_returns(self) -> None:
        deliveries = Deliveries(None, None, BatchCounters())
        deliveries.stop()
        await deliveries.wait_ended()
        assert len(deliveries) == 0
