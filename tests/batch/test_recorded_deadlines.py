"""Deadlines and learned durations outlive the process that began a batch."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import (
    WallClock,
    change,
    cut_off,
    process,
    run,
)
from batch.tracking import NEVER, add_all, numbered, outcomes_of, slowly
from fakes import FakeProvider, envelope, record

from vocalsep_async import (
    Journal,
    JournalError,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskTimeoutError,
)
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async.durations import Durations

pytestmark = pytest.mark.anyio


async def test_a_deadline_counts_from_the_first_run(
    provider: FakeProvider, path: Path, wall: WallClock
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=10, timeout=100)
    wall.ahead += 30
    began = anyio.current_time()
    outcomes = await run(provider, ["a"], journal=path, timeout=100)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["a"].elapsed == pytest.approx(100, abs=0.1)
    assert anyio.current_time() - began == pytest.approx(60, abs=0.1)


async def test_the_deadline_of_a_created_task_counts_from_when_it_was_added(
    provider: FakeProvider, path: Path, wall: WallClock
) -> None:
    provider.add("a", NEVER)
    async with (
        Journal(path) as journal,
        process(provider) as client,
        client.track(journal=journal, keep_open=True, timeout=100) as batch,
    ):
        await journal._file.created(await journal._file.intend({}), TaskRef("a"))
        batch.add("a")
        await anyio.sleep(10)
    wall.ahead += 30
    began = anyio.current_time()
    outcomes = await run(provider, journal=path, timeout=100)
    assert outcomes["a"].elapsed == pytest.approx(100, abs=0.1)
    assert anyio.current_time() - began == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize("given", ["not", "as an id", "as a ref of known age", "with a type"])
async def test_a_task_that_expired_between_runs_gets_one_poll(
    provider: FakeProvider, path: Path, wall: WallClock, given: str
) -> None:
    ref = TaskRef("a", created_at=datetime.now(UTC))
    tasks: dict[str, list[str | TaskRef]] = {
        "not": [],
        "as an id": ["a"],
        "as a ref of known age": [ref],
        "with a type": [TaskRef("a", type="split_stem")],
    }
    provider.add("a", NEVER)
    await cut_off(provider, tasks[given] or ["a"], journal=path, after=10, timeout=100)
    provider.sent.clear()
    wall.ahead += 3600
    began = anyio.current_time()
    outcomes = await run(provider, tasks[given], journal=path, timeout=100)
    assert anyio.current_time() == pytest.approx(began, abs=0.2)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["a"].elapsed == pytest.approx(3610, abs=0.2)
    assert provider.sent == ["a"]


@pytest.mark.parametrize("named", ["none", "new ones"])
async def test_many_tasks_that_expired_between_runs_get_one_poll_each_at_the_allowed_rate(
    provider: FakeProvider, path: Path, wall: WallClock, named: str
) -> None:
    ids = numbered(601)
    new = [] if named == "none" else ["a", "b"]
    add_all(provider, [*ids, *new], NEVER)
    await cut_off(provider, ids, journal=path, after=1, timeout=100)
    wall.ahead += 3600
    provider.sent.clear()
    began = anyio.current_time()
    async with process(provider) as client, client.track(new, journal=path, timeout=100) as batch:
        outcomes = [await anext(batch) for _ in range(len(ids) + len(new))]
    assert all(isinstance(outcome.error, TaskTimeoutError) for outcome in outcomes)
    assert [provider.sent.count(task_id) for task_id in ids] == [1] * len(ids)
    assert anyio.current_time() - began == pytest.approx(len(ids) / 2, rel=0.1)


async def test_a_task_that_expired_between_runs_is_handed_out_once(
    provider: FakeProvider, path: Path, wall: WallClock
) -> None:
    ids = numbered(1200)
    add_all(provider, ids, NEVER)
    for source in (ids, iter(ids), slowly(ids, 0.01)):
        await cut_off(provider, ids, journal=path, after=1, timeout=100)
        wall.ahead += 3600
        provider.sent.clear()
        outcomes = await run(provider, source, journal=path, timeout=100)
        assert outcomes.keys() == set(ids)
        assert sorted(provider.sent) == sorted(ids)


async def test_a_task_that_was_not_found_is_handed_out_once(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], NEVER)
    await cut_off(provider, ["a"], journal=path, after=1)
    provider.script("a", envelope(404, "no"))
    outcomes = await run(provider, slowly(["b", "a"], 50), journal=path, timeout=100)
    assert outcomes.keys() == {"a", "b"}


async def test_an_expired_task_that_is_added_again_gets_a_new_deadline(
    provider: FakeProvider, path: Path, wall: WallClock
) -> None:
    provider.add("a", NEVER)
    async with (
        process(provider) as client,
        client.track(["a"], journal=path, timeout=100) as batch,
    ):
        assert (await anext(batch)).elapsed == pytest.approx(100, abs=0.1)
        batch.add("a")
        await anyio.sleep(10)
    wall.ahead += 30
    began = anyio.current_time()
    outcomes = await run(provider, ["a"], journal=path, timeout=100)
    assert outcomes["a"].elapsed == pytest.approx(100, abs=0.1)
    assert anyio.current_time() - began == pytest.approx(60, abs=0.1)


async def test_a_task_that_is_added_while_its_outcome_is_written_has_no_other_one(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=1)
    save = JournalFile.save_outcome
    async with (
        process(provider) as client,
        client.track(journal=path, timeout=10, keep_open=True) as batch,
    ):

        async def added_meanwhile(journal: JournalFile, outcome: TaskOutcome) -> None:
            batch.add("a")
            batch.close()
            await save(journal, outcome)

        monkeypatch.setattr(JournalFile, "save_outcome", added_meanwhile)
        outcomes = await outcomes_of(batch)
    assert outcomes.keys() == {"a"}
    assert outcomes["a"].elapsed == pytest.approx(10, abs=0.1)


async def test_a_task_created_while_a_batch_opens_waits_until_it_is_added(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.add("new", NEVER)
    known = JournalFile.known

    async def late(journal: JournalFile) -> Any:
        await journal.created(await journal.intend({}), TaskRef("new"))
        return await known(journal)

    monkeypatch.setattr(JournalFile, "known", late)
    async with (
        Journal(path) as journal,
        process(provider) as client,
        client.track(journal=journal, timeout=100) as batch,
    ):
        assert batch.pending_ids() == ()
        batch.add("new")
        assert (await anext(batch)).elapsed == pytest.approx(100, abs=0.1)


async def test_a_longer_timeout_continues_an_expired_task(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", 200)
    first = await run(provider, ["a"], journal=path, timeout=50)
    assert isinstance(first["a"].error, TaskTimeoutError)
    second = await run(provider, journal=path, timeout=1000)
    assert second["a"].succeeded
    assert second["a"].elapsed >= 200


async def test_deadlines_keep_their_order_in_the_next_run(
    provider: FakeProvider, path: Path
) -> None:
    refs = [
        TaskRef("a"),
        TaskRef("b", type="split_stem"),
        TaskRef("c"),
        TaskRef("d", type="split_stem"),
    ]
    add_all(provider, "abcd", NEVER)
    async with process(provider) as client, client.track(journal=path, keep_open=True) as batch:
        for ref in refs:
            batch.add(ref)
            await anyio.sleep(10)
    began = anyio.current_time() - 40
    ends: dict[str, float] = {}
    async with process(provider) as client, client.track(journal=path, timeout=100) as batch:
        batch.add("new")
        provider.script("new", *[record("new")] * 99)
        async for outcome in batch:
            ends[outcome.task_id] = anyio.current_time() - began
    assert ends == pytest.approx({"a": 100, "b": 110, "c": 120, "d": 130, "new": 140}, abs=0.5)


async def test_a_clock_that_was_set_back_gives_the_whole_timeout_again(
    provider: FakeProvider, path: Path, wall: WallClock
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=10, timeout=100)
    wall.ahead -= 10 * 365 * 86400
    began = anyio.current_time()
    outcomes = await run(provider, ["a", "b"], journal=path, timeout=100)
    assert anyio.current_time() - began == pytest.approx(100, abs=0.1)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["b"].succeeded


async def test_a_clock_that_is_years_ahead_loses_no_outcome(
    provider: FakeProvider, path: Path, wall: WallClock
) -> None:
    provider.add("a", 30)
    await cut_off(provider, ["a", "done"], journal=path, after=10)
    wall.ahead += 10 * 365 * 86400
    outcomes = await run(provider, ["b"], journal=path, timeout=100)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["b"].succeeded
    assert outcomes["done"].succeeded
    assert (await run(provider, journal=path))["a"].succeeded


async def test_learned_durations_are_recorded(provider: FakeProvider, path: Path) -> None:
    await run(provider, numbered(25), journal=path)
    async with process(provider) as client:
        assert client.durations.view(None).completions == 0
        async with client.track(journal=path):
            assert client.durations.view(None).completions == 25


async def test_learned_durations_are_recorded_regularly(provider: FakeProvider, path: Path) -> None:
    ids = numbered(21)
    async with (
        process(provider) as client,
        client.track([*ids, "slow"], journal=path) as batch,
    ):
        provider.add("slow", NEVER)
        for _ in ids:
            await anext(batch)
        await anyio.sleep(10)
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT 1 FROM meta WHERE name = 'durations'").fetchall()
        assert found == [(1,)]


async def test_recorded_durations_do_not_replace_those_of_the_client(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, numbered(5), journal=path)
    async with process(provider) as client:
        await client.get_task("another")
        async with client.track(journal=path):
            assert client.durations.view(None).completions == 1


def test_durations_can_be_restored_from_plain_values() -> None:
    learned, restored = Durations(), Durations()
    for seconds in (20.0, 60.0, 61.0, 500.0):
        learned._hazards.observe_completion(seconds, type_=SeparationType.SPLIT_STEM)
    held = restored._hazards.model(SeparationType.SPLIT_STEM)
    restored.update_from(learned.to_dict())
    assert restored.to_dict() == learned.to_dict()
    assert held.completions == 4
    assert held.due(10.0, 0.1) == learned._hazards.model(SeparationType.SPLIT_STEM).due(10.0, 0.1)


@pytest.mark.parametrize("damage", ["null", "[]", '{"format": "other"}', "{", "\x00", "1e999"])
async def test_damaged_durations_are_refused_before_anything_is_sent(
    provider: FakeProvider, path: Path, damage: str
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=1)
    provider.sent.clear()
    change(path, "UPDATE meta SET value = ? WHERE name = 'durations'", damage)
    if damage == "null":
        await cut_off(provider, journal=path, after=1)
        return
    with pytest.raises(JournalError, match="durations"):
        await run(provider, journal=path)
    assert provider.sent == []
    async with Journal(path):
        pass
