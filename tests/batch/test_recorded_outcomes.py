"""A batch with a journal hands out the outcomes of earlier runs without a request."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import (
    cut_off,
    known_in,
    process,
    run,
)
from batch.tracking import NEVER, add_all, numbered, outcomes_of, runner_of
from fakes import FakeProvider, record

from vocalsep_async import (
    Interval,
    Journal,
    SeparationType,
    TaskStatus,
)
from vocalsep_async._batch import recorder, runner
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._journal.store import Row

pytestmark = pytest.mark.anyio

SIGNED = "https://cdn.example/v.mp3?signature=secret"


def ended_with(task_id: str, **fields: Any) -> Any:
    return record(task_id, "SUCCESS", **fields)


async def test_a_second_run_hands_out_the_same_outcomes_without_a_request(
    provider: FakeProvider, path: Path
) -> None:
    ids = numbered(5)
    for number, task_id in enumerate(ids):
        provider.add(task_id, 7.0 * number)
    provider.script("t1", record("t1", "GENERATE_AUDIO_FAILED", errorMessage="too quiet"))
    first = await run(provider, ids, journal=path)
    provider.sent.clear()
    second = await run(provider, ids, journal=path)
    assert second == first
    assert provider.sent == []
    assert set(first) == set(ids)
    assert first["t4"].polls > 1
    assert first["t4"].elapsed >= 28
    assert not first["t1"].succeeded


async def test_recorded_outcomes_are_handed_out_without_ids_being_given(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, ["a", "b"], journal=path)
    provider.sent.clear()
    assert set(await run(provider, journal=path)) == {"a", "b"}
    assert provider.sent == []


@pytest.mark.parametrize("keeps", [False, True])
async def test_queries_of_links_are_restored_only_with_keep_links(
    provider: FakeProvider, path: Path, *, keeps: bool
) -> None:
    provider.script("a", ended_with("a", response={"vocalUrl": SIGNED}))
    async with Journal(path, keep_links=keeps) as journal:
        first = await run(provider, ["a"], journal=journal)
    second = await run(provider, journal=path)
    assert first["a"].result().stems["vocal"] == SIGNED
    again = second["a"].result().stems["vocal"]
    assert again == (SIGNED if keeps else SIGNED.partition("?")[0])


async def test_the_type_of_a_batch_is_recorded_for_its_tasks(
    provider: FakeProvider, path: Path
) -> None:
    provider.script("a", ended_with("a", response={"vocalUrl": "https://cdn.example/v.mp3"}))
    first = await run(provider, ["a"], journal=path, type="split_stem")
    second = await run(provider, journal=path)
    assert first["a"].result().type is SeparationType.SPLIT_STEM
    assert second["a"].result() == first["a"].result()


async def test_the_polls_of_both_runs_are_added_up(provider: FakeProvider, path: Path) -> None:
    provider.add("a", 100)
    await cut_off(provider, ["a"], journal=path, after=35, poll=Interval(10))
    before = len(provider.sent)
    outcomes = await run(provider, journal=path, poll=Interval(10))
    assert before == 4
    assert outcomes["a"].polls == len(provider.sent)
    assert outcomes["a"].elapsed >= 100
    third = await run(provider, journal=path)
    assert third == outcomes


async def test_a_timeout_without_an_answer_has_the_status_of_the_earlier_run(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=5, poll=Interval(100))
    provider.round_trip = 100
    outcomes = await run(provider, journal=path, timeout=10)
    assert outcomes["a"].status is TaskStatus.PENDING
    assert "last seen PENDING" in str(outcomes["a"].error)
    assert outcomes["a"].polls == 2


async def test_polls_are_added_up_over_three_runs(provider: FakeProvider, path: Path) -> None:
    provider.add("a", NEVER)
    for _ in range(3):
        await cut_off(provider, ["a"], journal=path, after=15, poll=Interval(10))
    known = await known_in(path)
    assert known["a"].polls == len(provider.sent) == 6
    assert known["a"].status == "PENDING"


async def test_an_outcome_is_in_the_journal_before_it_is_handed_out(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], 3)
    async with (
        process(provider) as client,
        client.track(["a", "b"], journal=path) as batch,
    ):
        async for outcome in batch:
            with closing(sqlite3.connect(path)) as connection:
                found = connection.execute(
                    "SELECT record IS NOT NULL FROM added JOIN ended USING (number) "
                    "WHERE task_id = ?",
                    (outcome.task_id,),
                ).fetchone()
            assert found == (1,)


async def test_stats_count_recorded_outcomes(provider: FakeProvider, path: Path) -> None:
    await run(provider, ["a", "b"], journal=path)
    provider.add("c", NEVER)
    async with process(provider) as client, client.track(["c"], journal=path) as batch:
        async for _ in batch:
            if batch.stats.finished == 2 and not runner_of(batch)._deliveries.ready:
                break
        now = batch.stats
        assert (now.finished, now.succeeded, now.pending) == (2, 2, 1)
        assert batch.pending_ids() == ("c",)


async def test_recorded_outcomes_are_read_as_the_consumer_fetches_them(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_PAGE", 3)
    monkeypatch.setattr(runner, "_READ_AHEAD", 5)
    ids = numbered(40)
    await run(provider, ids, journal=path)
    provider.sent.clear()
    asked: list[int] = []
    there = JournalFile.ended

    async def counted(self: JournalFile, after: int, most: int) -> list[Row]:
        rows = await there(self, after, most)
        asked.append(len(rows))
        return rows

    monkeypatch.setattr(JournalFile, "ended", counted)
    async with process(provider) as client, client.track(journal=path) as batch:
        await anyio.sleep(1000)
        assert len(runner_of(batch)._deliveries.ready) == 5
        assert sum(asked) == 6
        assert max(asked) == 3
        assert set(await outcomes_of(batch)) == set(ids)
    assert provider.sent == []


async def test_a_task_that_ends_while_recorded_outcomes_are_read_is_handed_out_once(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_PAGE", 1)
    monkeypatch.setattr(runner, "_READ_AHEAD", 2)
    provider.add("late", 50)
    await cut_off(provider, [*numbered(5), "late"], journal=path, after=20)
    async with process(provider) as client, client.track(["new"], journal=path) as batch:
        await anyio.sleep(100)
        assert batch.pending_ids() == ()
        outcomes = await outcomes_of(batch)
    assert set(outcomes) == {*numbered(5), "late", "new"}


async def test_leaving_while_recorded_outcomes_are_read_closes_the_journal(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_READ_AHEAD", 2)
    ids = numbered(6)
    await run(provider, ids, journal=path)
    async with process(provider) as client, client.track(journal=path) as batch:
        await anext(batch)
    assert set(await run(provider, journal=path)) == set(ids)
