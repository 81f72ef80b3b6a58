"""A batch with a journal: what an earlier run knew is taken over, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from batch.journals import Wall, journals_in_virtual_time, known_in, process, run
from batch.tracking import NEVER, add_all, numbered, outcomes_of, slowly
from downloads.stem_host import Held, StemHost, client_of
from fakes import FakeProvider, envelope, finished, record

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    Interval,
    Journal,
    JournalError,
    PollContext,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
)
from vocalsep_async._batch import recorder, runner
from vocalsep_async._journal.codec import packed
from vocalsep_async._journal.journal import JournalFile
from vocalsep_async._journal.store import Row
from vocalsep_async.durations import Durations

pytestmark = pytest.mark.anyio

SIGNED = "https://cdn.example/v.mp3?signature=secret"


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return journals_in_virtual_time(monkeypatch)


@pytest.fixture
def path(tmp_path: Path, wall: Wall) -> Path:
    return tmp_path / "batch.journal"


async def cut_off(
    provider: FakeProvider, *tasks: Any, journal: Path, after: float, **options: Any
) -> list[TaskOutcome]:
    """What came of a batch that is left after some seconds."""
    outcomes: list[TaskOutcome] = []
    async with (
        process(provider) as client,
        client.track(*tasks, journal=journal, **options) as batch,
    ):
        with anyio.move_on_after(after):
            async for outcome in batch:
                outcomes.append(outcome)  # noqa: PERF401 - it is broken off
    return outcomes


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def ended_with(task_id: str, **fields: Any) -> Any:
    return record(task_id, "SUCCESS", **fields)


# Outcomes that were written down


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


async def test_recorded_outcomes_come_though_no_ids_are_given(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, ["a", "b"], journal=path)
    provider.sent.clear()
    assert set(await run(provider, journal=path)) == {"a", "b"}
    assert provider.sent == []


@pytest.mark.parametrize("keeps", [False, True])
async def test_queries_of_links_are_handed_out_again_only_where_links_are_kept(
    provider: FakeProvider, path: Path, *, keeps: bool
) -> None:
    provider.script("a", ended_with("a", response={"vocalUrl": SIGNED}))
    async with Journal(path, keep_links=keeps) as journal:
        first = await run(provider, ["a"], journal=journal)
    second = await run(provider, journal=path)
    assert first["a"].result().stems["vocal"] == SIGNED
    again = second["a"].result().stems["vocal"]
    assert again == (SIGNED if keeps else SIGNED.partition("?")[0])


async def test_a_type_that_was_given_for_the_whole_batch_stays_that_of_its_records(
    provider: FakeProvider, path: Path
) -> None:
    provider.script("a", ended_with("a", response={"vocalUrl": "https://cdn.example/v.mp3"}))
    first = await run(provider, ["a"], journal=path, type="split_stem")
    second = await run(provider, journal=path)
    assert first["a"].result().type is SeparationType.SPLIT_STEM
    assert second["a"].result() == first["a"].result()


async def test_looks_of_both_runs_are_added_up(provider: FakeProvider, path: Path) -> None:
    provider.add("a", 100)
    await cut_off(provider, ["a"], journal=path, after=35, poll=Interval(10))
    before = len(provider.sent)
    outcomes = await run(provider, journal=path, poll=Interval(10))
    assert before == 4
    assert outcomes["a"].polls == len(provider.sent)
    assert outcomes["a"].elapsed >= 100
    third = await run(provider, journal=path)
    assert third == outcomes


async def test_a_status_that_was_seen_earlier_is_told_by_a_wait_that_saw_none(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=5, poll=Interval(100))
    outcomes = await run(provider, journal=path, timeout=1)
    assert outcomes["a"].status is TaskStatus.PENDING
    assert "never seen" not in str(outcomes["a"].error)
    assert outcomes["a"].polls == 1


async def test_the_looks_a_run_made_are_noted_for_the_next_but_one(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    for _ in range(3):
        await cut_off(provider, ["a"], journal=path, after=15, poll=Interval(10))
    known = await known_in(path)
    assert known["a"].polls == len(provider.sent) == 6
    assert known["a"].status == "PENDING"


async def test_an_outcome_is_written_down_before_it_is_handed_out(
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
                    "SELECT record IS NOT NULL FROM tasks WHERE task_id = ?", (outcome.task_id,)
                ).fetchone()
            assert found == (1,)


async def test_recorded_outcomes_count_in_the_numbers(provider: FakeProvider, path: Path) -> None:
    await run(provider, ["a", "b"], journal=path)
    provider.add("c", NEVER)
    async with process(provider) as client, client.track(["c"], journal=path) as batch:
        async for _ in batch:
            if batch.stats.finished == 2 and not cast("Any", batch)._ready:
                break
        now = batch.stats
        assert (now.finished, now.succeeded, now.pending) == (2, 2, 1)
        assert batch.pending_ids() == ("c",)


async def test_recorded_outcomes_are_read_only_as_far_as_they_are_wanted(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_ROWS", 3)
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
        assert len(cast("Any", batch)._ready) == 5
        assert sum(asked) == 6
        assert max(asked) == 3
        assert set(await outcomes_of(batch)) == set(ids)
    assert provider.sent == []


async def test_what_ends_while_recorded_outcomes_are_read_is_handed_out_once(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_ROWS", 1)
    monkeypatch.setattr(runner, "_READ_AHEAD", 2)
    provider.add("late", 50)
    await cut_off(provider, [*numbered(5), "late"], journal=path, after=20)
    async with process(provider) as client, client.track(["new"], journal=path) as batch:
        await anyio.sleep(100)
        assert batch.pending_ids() == ()
        outcomes = await outcomes_of(batch)
    assert set(outcomes) == {*numbered(5), "late", "new"}


async def test_a_block_left_while_recorded_outcomes_are_read_leaves_the_journal_closed(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_READ_AHEAD", 2)
    ids = numbered(6)
    await run(provider, ids, journal=path)
    async with process(provider) as client, client.track(journal=path) as batch:
        await anext(batch)
    assert set(await run(provider, journal=path)) == set(ids)


# Ids that had not ended


async def test_what_had_not_ended_is_tracked_though_it_is_not_given_again(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], 50)
    assert await cut_off(provider, ["a", "b"], journal=path, after=5) == []
    outcomes = await run(provider, ["c"], journal=path)
    assert {task_id for task_id, each in outcomes.items() if each.succeeded} == {"a", "b", "c"}


async def test_ids_that_are_given_again_are_one(provider: FakeProvider, path: Path) -> None:
    provider.add("a", 50)
    await cut_off(provider, ["a", "done"], journal=path, after=5)
    async with (
        process(provider) as client,
        client.track(["a", "done", "a"], journal=path, keep_open=True) as batch,
    ):
        for again in ("a", "done", TaskRef("a", type="split_stem")):
            batch.add(again)
        batch.close()
        assert set(await outcomes_of(batch)) == {"a", "done"}
    assert list(await known_in(path)) == ["a", "done"]


async def test_ids_that_are_added_later_are_kept_too(provider: FakeProvider, path: Path) -> None:
    add_all(provider, ["a", "b"], 50)
    async with process(provider) as client, client.track(["a"], journal=path) as batch:
        await anyio.sleep(2)
        batch.add("b")
    assert set(batch.pending_ids()) == {"a", "b"}
    assert set(await run(provider, journal=path)) == {"a", "b"}


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_ids_that_come_one_by_one_are_kept_as_they_are_read(
    provider: FakeProvider, path: Path, kind: str
) -> None:
    ids = numbered(4)
    add_all(provider, ids, 50)

    async def one_by_one() -> AsyncIterator[str]:
        for task_id in ids:
            yield task_id
            yield task_id

    def source() -> Any:
        return iter(ids * 2) if kind == "generator" else one_by_one()

    await cut_off(provider, source(), journal=path, after=5)
    assert list(await known_in(path)) == ids
    provider.script("t0", finished("t0"))
    assert len(await cut_off(provider, source(), journal=path, after=20)) == 1
    provider.sent.clear()
    assert set(await run(provider, source(), journal=path)) == set(ids)
    assert "t0" not in provider.sent


async def test_what_was_left_open_and_ends_before_it_is_named_again_is_handed_out_once(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", 20)
    await cut_off(provider, ["a"], journal=path, after=5)
    await anyio.sleep(20)
    provider.sent.clear()

    async def late() -> AsyncIterator[str]:
        await anyio.sleep(60)
        yield "a"

    async with process(provider) as client, client.track(late(), journal=path) as batch:
        assert [outcome.task_id async for outcome in batch] == ["a"]
    assert len(provider.sent) == 1


async def test_what_has_ended_and_is_added_again_is_handed_out_once(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", 0)
    async with (
        process(provider) as client,
        client.track(["a"], journal=path, keep_open=True) as batch,
    ):
        outcome = await anext(batch)
        batch.add("a")
        batch.close()
        assert [outcome async for outcome in batch] == []
        assert outcome.succeeded
    assert len(provider.sent) == 1


async def test_what_ran_out_of_time_may_be_added_again(provider: FakeProvider, path: Path) -> None:
    provider.add("a", 30)
    async with (
        process(provider) as client,
        client.track(["a"], journal=path, keep_open=True, timeout=20) as batch,
    ):
        assert isinstance((await anext(batch)).error, TaskTimeoutError)
        batch.add("a")
        assert (await anext(batch)).succeeded


async def test_a_client_that_was_closed_keeps_no_journal_from_others(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", 0)
    async with Journal(path) as journal:
        async with process(provider) as client:
            await client.get_task("a")
        with pytest.raises(ClientClosedError):
            async with client.track(["a"], journal=journal):
                pass  # pragma: no cover - it is not entered
        assert set(await run(provider, ["a"], journal=journal)) == {"a"}


async def test_a_great_many_left_over_ids_let_others_run_while_they_are_taken_up(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SLICE", 10)
    ids = numbered(35)
    add_all(provider, ids, NEVER)
    await cut_off(provider, ids, journal=path, after=1)
    provider.ends_all()
    assert set(await run(provider, journal=path)) == set(ids)


@pytest.mark.usefixtures("any_zone")
async def test_types_and_times_of_creation_survive(provider: FakeProvider, path: Path) -> None:
    created = datetime.now(UTC) - timedelta(seconds=300)
    ref = TaskRef("a", type="split_stem", created_at=created)
    provider.add("a", NEVER)
    await cut_off(provider, [ref], journal=path, after=5)
    assert (await known_in(path))["a"].ref == ref
    seen: list[PollContext] = []

    class Watching:
        def delay(self, context: PollContext) -> float:
            seen.append(context)
            return 10.0

    async with process(provider) as client:
        learned = client.durations.view(SeparationType.SPLIT_STEM)
        async with client.track(journal=path, poll=Watching()):
            await anyio.sleep(5)
        assert seen[0].durations == learned
        assert seen[0].age == pytest.approx(300, abs=20)


async def test_a_dead_key_is_not_the_end_of_the_tasks(provider: FakeProvider, path: Path) -> None:
    provider.add("a", NEVER)
    for code, error in ((401, AuthenticationError), (429, InsufficientCreditsError)):
        provider.script("b", envelope(code, "no"))
        outcomes = await run(provider, ["a", "b"], journal=path)
        assert {type(each.error) for each in outcomes.values()} == {error}
    provider.ends_all()
    outcomes = await run(provider, journal=path)
    assert {task_id for task_id, each in outcomes.items() if each.succeeded} == {"a", "b"}


async def test_a_source_is_left_alone_if_the_key_was_refused_while_left_over_ids_were_taken_up(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = numbered(300)
    add_all(provider, ids, NEVER)
    await cut_off(provider, ids, journal=path, after=1)
    monkeypatch.setattr(runner, "_SLICE", 1)
    provider.round_trip = 0
    for task_id in ids:
        provider.script(task_id, envelope(401, "no"))
    read: list[int] = []

    def source() -> Iterator[str]:
        for number in range(5000):
            read.append(number)
            yield f"new{number}"

    async with process(provider) as client, client.track(source(), journal=path) as batch:
        outcomes = await outcomes_of(batch)
    assert set(ids) <= outcomes.keys()
    assert {type(each.error) for each in outcomes.values()} == {AuthenticationError}
    assert len(read) < 2000


async def test_an_error_of_one_task_is_no_end_of_it_either(
    provider: FakeProvider, path: Path
) -> None:
    provider.script("a", envelope(404, "no"))
    first = await run(provider, ["a"], journal=path)
    assert first["a"].error is not None
    assert (await run(provider, journal=path))["a"].succeeded


# Deadlines


async def test_a_deadline_counts_from_the_first_run(
    provider: FakeProvider, path: Path, wall: Wall
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=10, timeout=100)
    wall.ahead += 30
    began = anyio.current_time()
    outcomes = await run(provider, ["a"], journal=path, timeout=100)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["a"].elapsed == pytest.approx(100, abs=0.1)
    assert anyio.current_time() - began == pytest.approx(60, abs=0.1)


async def test_a_deadline_counts_from_when_what_was_created_was_added(
    provider: FakeProvider, path: Path, wall: Wall
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
async def test_a_task_whose_time_ran_out_meanwhile_ends_at_once_without_a_request(
    provider: FakeProvider, path: Path, wall: Wall, given: str
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
    assert anyio.current_time() == pytest.approx(began, abs=0.1)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["a"].elapsed == pytest.approx(3610, abs=0.1)
    assert provider.sent == []


@pytest.mark.parametrize("named", ["none", "new ones"])
async def test_however_many_ran_out_of_time_meanwhile_all_end_at_once(
    provider: FakeProvider, path: Path, wall: Wall, named: str
) -> None:
    ids = numbered(2001)
    new = [] if named == "none" else ["a", "b"]
    add_all(provider, [*ids, *new], NEVER)
    await cut_off(provider, ids, journal=path, after=1, timeout=100)
    wall.ahead += 3600
    began = anyio.current_time()
    async with process(provider) as client, client.track(new, journal=path, timeout=100) as batch:
        for _ in ids:
            assert (await anext(batch)).task_id not in new
        assert anyio.current_time() == pytest.approx(began, abs=1)
        assert set(batch.pending_ids()) == set(new)


async def test_one_whose_time_ran_out_meanwhile_is_handed_out_once_however_late_it_is_named(
    provider: FakeProvider, path: Path, wall: Wall
) -> None:
    ids = numbered(1200)
    add_all(provider, ids, NEVER)
    for source in (ids, iter(ids), slowly(ids, 0.01)):
        await cut_off(provider, ids, journal=path, after=1, timeout=100)
        wall.ahead += 3600
        provider.sent.clear()
        outcomes = await run(provider, source, journal=path, timeout=100)
        assert outcomes.keys() == set(ids)
        assert provider.sent == []


async def test_one_that_was_not_found_is_handed_out_once_however_late_it_is_named(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], NEVER)
    await cut_off(provider, ["a"], journal=path, after=1)
    provider.script("a", envelope(404, "no"))
    outcomes = await run(provider, slowly(["b", "a"], 50), journal=path, timeout=100)
    assert outcomes.keys() == {"a", "b"}


async def test_one_that_is_added_again_when_its_time_ran_out_has_a_deadline_of_its_own(
    provider: FakeProvider, path: Path, wall: Wall
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


async def test_what_is_created_while_a_batch_begins_is_for_whom_it_is_added_to(
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


async def test_a_longer_timeout_tracks_on_what_ran_out_of_time(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", 200)
    first = await run(provider, ["a"], journal=path, timeout=50)
    assert isinstance(first["a"].error, TaskTimeoutError)
    second = await run(provider, journal=path, timeout=1000)
    assert second["a"].succeeded
    assert second["a"].elapsed >= 200


async def test_those_that_were_taken_in_earlier_run_out_of_time_earlier(
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


async def test_a_clock_that_was_set_back_gives_the_whole_time_again(
    provider: FakeProvider, path: Path, wall: Wall
) -> None:
    provider.add("a", NEVER)
    await cut_off(provider, ["a"], journal=path, after=10, timeout=100)
    wall.ahead -= 10 * 365 * 86400
    began = anyio.current_time()
    outcomes = await run(provider, ["a", "b"], journal=path, timeout=100)
    assert anyio.current_time() - began == pytest.approx(100, abs=0.1)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["b"].succeeded


async def test_a_clock_that_is_years_ahead_loses_nothing(
    provider: FakeProvider, path: Path, wall: Wall
) -> None:
    provider.add("a", 30)
    await cut_off(provider, ["a", "done"], journal=path, after=10)
    wall.ahead += 10 * 365 * 86400
    outcomes = await run(provider, ["b"], journal=path, timeout=100)
    assert isinstance(outcomes["a"].error, TaskTimeoutError)
    assert outcomes["b"].succeeded
    assert outcomes["done"].succeeded
    assert (await run(provider, journal=path))["a"].succeeded


# What was learned


async def test_durations_that_were_learned_survive(provider: FakeProvider, path: Path) -> None:
    await run(provider, numbered(25), journal=path)
    async with process(provider) as client:
        assert client.durations.view(None).completions == 0
        async with client.track(journal=path):
            assert client.durations.view(None).completions == 25


async def test_durations_are_written_down_now_and_then_not_only_at_the_end(
    provider: FakeProvider, path: Path
) -> None:
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


async def test_what_a_client_has_learned_itself_is_not_overwritten(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, numbered(5), journal=path)
    async with process(provider) as client:
        await client.get_task("another")
        async with client.track(journal=path):
            assert client.durations.view(None).completions == 1


def test_what_was_learned_survives_as_plain_values() -> None:
    told, taken = Durations(), Durations()
    for seconds in (20.0, 60.0, 61.0, 500.0):
        told._hazards.observe_completion(seconds, type_=SeparationType.SPLIT_STEM)
    held = taken._hazards.model(SeparationType.SPLIT_STEM)
    taken.update_from(told.to_dict())
    assert taken.to_dict() == told.to_dict()
    assert held.completions == 4
    assert held.due(10.0, 0.1) == told._hazards.model(SeparationType.SPLIT_STEM).due(10.0, 0.1)


@pytest.mark.parametrize("damage", ["null", "[]", '{"format": "other"}', "{", "\x00", "1e999"])
async def test_damaged_durations_are_a_journal_error_before_anything_is_sent(
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


# A journal that cannot be used


async def test_a_journal_of_another_account_is_refused_and_closed_again(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with Journal(path, label="one") as journal:
        await run(provider, ["done"], journal=journal)
    provider.sent.clear()
    with pytest.raises(JournalError, match="label"):
        await run(provider, ["a"], journal=path)
    async with Journal(path, label="two") as journal:
        with pytest.raises(JournalError, match="'one', not 'two'"):
            await run(provider, ["a"], journal=journal)
        assert journal._file.is_open
    assert provider.sent == []
    async with Journal(path, label="one") as journal:
        assert set(await run(provider, journal=journal)) == {"done"}


async def test_another_base_url_is_refused(provider: FakeProvider, path: Path) -> None:
    await run(provider, ["done"], journal=path)
    provider.sent.clear()
    async with process(provider, base_url="https://other.example") as client:
        with pytest.raises(JournalError, match="base_url"):
            async with client.track(["a"], journal=path):
                pass
    assert provider.sent == []
    assert set(await run(provider, journal=path)) == {"done"}


async def test_a_journal_that_is_not_open_is_refused(provider: FakeProvider, path: Path) -> None:
    with pytest.raises(JournalError, match="not open"):
        await run(provider, ["a"], journal=Journal(path))
    assert provider.sent == []


async def test_two_batches_cannot_have_one_journal_file_at_a_time(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client:
        async with client.track(["a"], journal=path):
            with pytest.raises(JournalError, match="in use"):
                async with client.track(["b"], journal=path):
                    pass
            assert "b" not in provider.sent
        async with client.track(journal=path) as batch:
            assert batch.pending_ids() == ("a",)


async def test_two_batches_cannot_have_one_journal_at_a_time(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client, Journal(path) as journal:
        async with client.track(["a"], journal=journal):
            with pytest.raises(JournalError, match="in use"):
                async with client.track(["b"], journal=journal):
                    pass
        async with client.track(journal=journal) as batch:
            assert batch.pending_ids() == ("a",)


@pytest.mark.parametrize(
    "damage",
    [
        "ended SET record = x'00'",
        "ended SET record = x''",
        "ended SET record = CAST('text' AS BLOB)",
        "ended SET files = '{'",
        "ended SET files = '[]'",
        f"ended SET files = '{'[' * 100_000}'",
        "added SET created_at = 1e300",
    ],
)
async def test_a_damaged_record_is_a_journal_error_that_names_the_file(
    provider: FakeProvider, path: Path, damage: str
) -> None:
    await run(provider, ["a"], journal=path)
    change(path, f"UPDATE {damage}")
    with pytest.raises(JournalError, match=r"batch\.journal"):
        await run(provider, ["b"], journal=path)


async def test_a_task_that_was_kept_as_ended_and_goes_on_is_a_journal_error(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, ["a"], journal=path)
    change(path, "UPDATE ended SET record = ?", packed({"successFlag": "PENDING"}, keep_links=True))
    with pytest.raises(JournalError, match="ended was kept as PENDING"):
        await run(provider, journal=path)


async def test_a_type_that_nobody_knows_yet_is_an_unknown_one(
    provider: FakeProvider, path: Path
) -> None:
    before = await run(provider, ["a"], journal=path)
    change(path, "UPDATE added SET type = 'a type of the future'")
    assert len(await run(provider, journal=path)) == len(before)


async def test_what_is_no_record_in_it_is_a_journal_error(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, ["a"], journal=path)
    change(path, "UPDATE ended SET record = (SELECT x'789c8b8e0500015d00bb')")  # packed "[]"
    with pytest.raises(JournalError, match="the record of task 'a' is damaged"):
        await run(provider, journal=path)


async def test_a_journal_that_cannot_be_written_ends_the_batch_and_hands_out_nothing_unwritten(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["late"], 50)
    handed_out: list[str] = []
    async with process(provider) as client:
        with pytest.raises(JournalError, match="readonly"):  # noqa: PT012 - or on leaving
            async with client.track(["early", "late"], journal=path) as batch:
                handed_out.append((await anext(batch)).task_id)
                change_to_read_only(batch)
                handed_out.extend([each.task_id async for each in batch])
    assert handed_out == ["early"]
    assert batch.pending_ids() == ()
    provider.sent.clear()
    assert set(await run(provider, journal=path)) == {"early", "late"}
    assert "early" not in provider.sent


def change_to_read_only(batch: Any) -> None:
    batch._recording._journal._store._connection.execute("PRAGMA query_only = ON")


async def test_a_journal_that_fails_only_at_the_end_is_told_when_the_block_is_left(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client:
        with pytest.raises(JournalError):  # noqa: PT012 - on leaving
            async with client.track(["a"], journal=path) as batch:
                await anyio.sleep(5)
                change_to_read_only(batch)
    async with Journal(path) as journal:
        assert [known.ref.task_id for known in await journal._file.known()] == ["a"]


async def test_a_journal_that_its_owner_closed_too_early_ends_the_batch(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", 20)
    async with process(provider) as client:
        journal = Journal(path)
        await journal._file.open()
        async with client.track(["a"], journal=journal) as batch:
            await anyio.sleep(5)
            await journal.aclose()
            with pytest.raises(JournalError, match="not open"), anyio.fail_after(1000):
                await anext(batch)


async def test_a_journal_that_its_owner_closed_too_early_ends_waits_that_ran_out_of_time_too(
    provider: FakeProvider, path: Path
) -> None:
    provider.round_trip = NEVER
    async with process(provider) as client:
        journal = Journal(path)
        await journal._file.open()
        async with client.track(["a"], journal=journal, timeout=20) as batch:
            await anyio.sleep(5)
            await journal.aclose()
            with pytest.raises(JournalError, match="not open"), anyio.fail_after(1000):
                await anext(batch)


async def test_a_task_that_is_added_to_a_journal_closed_too_early_ends_the_batch(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client:
        journal = Journal(path)
        await journal._file.open()
        async with client.track(["a"], journal=journal) as batch:
            await journal.aclose()
            batch.add("b")
            with pytest.raises(JournalError, match="not open"), anyio.fail_after(1000):
                await anext(batch)


async def test_a_journal_closed_by_its_owner_does_not_keep_anybody_from_leaving(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client:
        journal = Journal(path)
        await journal._file.open()
        async with client.track(["a"], journal=journal) as batch:
            await anyio.sleep(5)
            await journal.aclose()
        assert batch.pending_ids() == ("a",)


async def test_a_journal_of_ones_own_stays_open_for_the_next_batch(
    provider: FakeProvider, path: Path
) -> None:
    async with process(provider) as client, Journal(path) as journal:
        for task_id in "ab":
            async with client.track([task_id], journal=journal) as batch:
                outcomes = await outcomes_of(batch)
        assert set(outcomes) == {"a", "b"}
        assert journal._file.is_open
        assert len(await journal._file.known()) == 2


@pytest.mark.parametrize("word", ["\ud800", "TOO \udcff", "a\0b", "'; DROP TABLE tasks; --", ""])
async def test_whatever_word_the_api_has_for_a_status_the_batch_goes_on(
    provider: FakeProvider, path: Path, word: str
) -> None:
    provider.script("a", record("a", word), record("a", word), finished("a"))
    with anyio.fail_after(1000):
        outcomes = await run(provider, ["a"], journal=path)
    assert outcomes["a"].succeeded
    assert (await run(provider, journal=path)) == outcomes


@pytest.mark.parametrize("task_id", ["a\nb", "'\"", "ü\0", "x" * 512, " a "])
async def test_whatever_an_id_looks_like_it_is_kept_as_it_is(
    provider: FakeProvider, path: Path, task_id: str
) -> None:
    provider.add(task_id, 30)
    await cut_off(provider, [task_id], journal=path, after=5)
    outcomes = await run(provider, journal=path)
    assert outcomes[task_id].succeeded
    provider.sent.clear()
    assert await run(provider, [task_id], journal=path) == outcomes
    assert provider.sent == []


# Broken off


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_batch_that_is_cancelled_writes_what_it_knows(
    provider: FakeProvider, path: Path, how: str
) -> None:
    add_all(provider, ["a", "b"], 50)

    async def runs() -> None:
        await run(provider, ["done", "a", "b"], journal=path)

    if how == "task":
        call = asyncio.create_task(runs())
        await anyio.sleep(5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        with anyio.move_on_after(5):
            await runs()
    known = await known_in(path)
    assert {task_id: each.has_ended for task_id, each in known.items()} == {
        "done": True,
        "a": False,
        "b": False,
    }
    assert known["a"].polls >= 1


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_however_early_a_batch_is_cancelled_its_journal_can_be_used_again(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(runner, "_SLICE", 1)
    add_all(provider, ["a", "b"], 50)
    for steps in range(60):
        scope = anyio.CancelScope()

        async def runs(scope: anyio.CancelScope) -> None:
            with scope:
                await run(provider, ["a", "b"], journal=path)

        call = asyncio.create_task(runs(scope))
        for _ in range(steps):
            await asyncio.sleep(0)
        if how == "task":
            call.cancel()
        else:
            scope.cancel()
        await asyncio.wait([call])
        assert set(await known_in(path)) <= {"a", "b"}, f"after {steps} steps"


async def test_a_batch_that_is_cancelled_again_while_it_is_left_loses_nothing_that_was_handed_out(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a"], 10**6)
    for steps in range(1, 30):
        handed_out: list[str] = []

        async def runs(handed_out: list[str]) -> None:
            async with (
                process(provider) as client,
                client.track(["done", "a"], journal=path) as batch,
            ):
                async for outcome in batch:
                    handed_out.append(outcome.task_id)  # noqa: PERF401 - it is broken off

        call = asyncio.create_task(runs(handed_out))
        await anyio.sleep(5)
        call.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert handed_out == ["done"]
        known = await known_in(path)
        assert known["done"].has_ended, f"after {steps} steps"
        assert set(known) == {"done", "a"}
        await asyncio.sleep(0)


async def test_open_ids_are_told_before_during_and_after(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], 50)
    await cut_off(provider, ["a", "done"], journal=path, after=5)
    async with process(provider) as client:
        batch = client.track(["b"], journal=path)
        async with batch:
            assert set(batch.pending_ids()) == {"a", "b"}
            assert (await anext(batch)).task_id == "done"
            assert set(batch.pending_ids()) == {"a", "b"}
        assert set(batch.pending_ids()) == {"a", "b"}
        async with client.track(journal=path) as again:
            await outcomes_of(again)
            assert again.pending_ids() == ()
        assert again.pending_ids() == ()


async def test_a_begun_creation_is_told_when_a_batch_takes_the_journal_up(
    provider: FakeProvider, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Journal(path) as journal:
        await journal._file.intend({"type": "split_stem"})
        number = await journal._file.intend({"type": "separate_vocal"})
        await journal._file.not_created(number, "the answer was cut")
    with caplog.at_level(logging.WARNING, "vocalsep_async"):
        await run(provider, ["a"], journal=path)
    told = [heap_item.getMessage() for heap_item in caplog.records]
    assert len(told) == 2
    assert all("may have been created and billed" in each for each in told)
    assert '{"type": "split_stem"} (the program ended before the answer)' in told[0]
    assert '{"type": "separate_vocal"} (the answer was cut)' in told[1]


# Stems


class TestWithStems:
    @pytest.fixture
    def anyio_backend(self) -> str:
        """Sockets, threads and time are real here."""
        return "asyncio"

    async def test_the_second_run_fetches_nothing_that_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "batch.journal"
        async with StemHost() as host:
            ids = [host.add("a", "vocal", "drums"), host.add("b", "vocal")]
            host.failed.add("bad")
            runs: list[dict[str, TaskOutcome]] = []
            for given in ([*ids, "bad"], [], ids):
                async with (
                    client_of(host.url) as client,
                    client.track(given, journal=path, download_to=tmp_path) as batch,
                ):
                    runs.append(await outcomes_of(batch))
            async with client_of(host.url) as client, client.track(journal=path) as batch:
                runs.append(await outcomes_of(batch))
            assert sorted(host.polls) == ["a", "b", "bad"]
            assert len(host.seen) == 3
        first = runs[0]
        assert first["a"].files.keys() == {"vocal", "drums"}
        assert all(file.is_file() for each in first.values() for file in each.files.values())
        for later in runs[1:]:
            assert {key: each.files for key, each in later.items()} == {
                key: each.files for key, each in first.items()
            }
            assert all(each.download_error is None for each in later.values())

    async def test_stems_saved_after_the_journal_was_closed_end_the_batch(
        self, tmp_path: Path
    ) -> None:
        async with StemHost() as host:
            host.hook = held = Held("a/vocal")
            host.add("a", "vocal")
            journal = Journal(tmp_path / "batch.journal")
            await journal._file.open()
            async with (
                client_of(host.url) as client,
                client.track(["a"], journal=journal, download_to=tmp_path) as batch,
            ):
                await held.until(lambda: held.under_way == 1)
                await journal.aclose()
                held.let_go()
                with pytest.raises(JournalError, match="not open"), anyio.fail_after(30):
                    await anext(batch)

    async def test_what_ended_but_was_not_saved_is_saved_by_the_next_run(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "batch.journal"
        async with StemHost() as host:
            host.hook = held = Held("a/vocal")
            host.add("a", "vocal")
            async with (
                client_of(host.url) as client,
                client.track(["a"], journal=path, download_to=tmp_path),
            ):
                await held.until(lambda: held.under_way == 1)
            known = await known_in(path)
            assert known["a"].has_ended
            held.let_go()
            async with (
                client_of(host.url) as client,
                client.track(journal=path, download_to=tmp_path) as batch,
            ):
                outcomes = await outcomes_of(batch)
            assert outcomes["a"].files["vocal"].read_bytes() == host.files["a/vocal"]
            assert outcomes["a"].succeeded

    async def test_threads_do_what_the_other_tests_do_without(self, tmp_path: Path) -> None:
        path = tmp_path / "batch.journal"
        async with StemHost() as host:
            host.pending["a"] = 3
            host.add("a", "vocal")
            async with client_of(host.url) as client, client.track(["a"], journal=path) as batch:
                first = await outcomes_of(batch)
            assert first["a"].polls == 4
            async with client_of(host.url) as client, client.track(journal=path) as batch:
                second = await outcomes_of(batch)
            assert second["a"].polls == 4
            assert len(host.polls) == 4
