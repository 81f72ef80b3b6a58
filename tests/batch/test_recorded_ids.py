"""A batch with a journal goes on with the pending tasks of earlier runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
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
from batch.tracking import NEVER, add_all, numbered, outcomes_of
from fakes import FakeProvider, envelope, finished

from vocalsep_async import (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    Journal,
    PollContext,
    SeparationType,
    TaskRef,
    TaskTimeoutError,
)
from vocalsep_async._batch import runner

pytestmark = pytest.mark.anyio


async def test_pending_tasks_are_tracked_without_their_ids_being_given_again(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], 50)
    assert await cut_off(provider, ["a", "b"], journal=path, after=5) == []
    outcomes = await run(provider, ["c"], journal=path)
    assert {task_id for task_id, each in outcomes.items() if each.succeeded} == {"a", "b", "c"}


async def test_an_id_that_is_given_again_is_tracked_once(
    provider: FakeProvider, path: Path
) -> None:
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


async def test_ids_that_are_added_later_are_recorded_too(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["a", "b"], 50)
    async with process(provider) as client, client.track(["a"], journal=path) as batch:
        await anyio.sleep(2)
        batch.add("b")
    assert set(batch.pending_ids()) == {"a", "b"}
    assert set(await run(provider, journal=path)) == {"a", "b"}


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_ids_of_an_iterator_are_recorded_as_they_are_read(
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


async def test_a_pending_task_that_ends_before_its_id_is_read_again_is_handed_out_once(
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


async def test_a_finished_task_that_is_added_again_is_handed_out_once(
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


async def test_an_expired_task_can_be_added_again(provider: FakeProvider, path: Path) -> None:
    provider.add("a", 30)
    async with (
        process(provider) as client,
        client.track(["a"], journal=path, keep_open=True, timeout=20) as batch,
    ):
        assert isinstance((await anext(batch)).error, TaskTimeoutError)
        batch.add("a")
        assert (await anext(batch)).succeeded


async def test_a_batch_of_a_closed_client_does_not_keep_the_journal(
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


async def test_loading_many_pending_ids_does_not_block_the_event_loop(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SLICE", 10)
    ids = numbered(35)
    add_all(provider, ids, NEVER)
    await cut_off(provider, ids, journal=path, after=1)
    provider.ends_all()
    assert set(await run(provider, journal=path)) == set(ids)


@pytest.mark.usefixtures("any_zone")
async def test_types_and_creation_times_are_recorded(provider: FakeProvider, path: Path) -> None:
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


async def test_tasks_stay_pending_in_the_journal_when_the_key_is_rejected(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    for code, error in ((401, AuthenticationError), (429, InsufficientCreditsError)):
        provider.every_answer = lambda _, code=code: envelope(code, "no")
        outcomes = await run(provider, ["a", "b"], journal=path)
        assert {type(each.error) for each in outcomes.values()} == {error}
    provider.ends_all()
    outcomes = await run(provider, journal=path)
    assert {task_id for task_id, each in outcomes.items() if each.succeeded} == {"a", "b"}


async def test_a_key_rejected_while_pending_ids_are_loaded_stops_the_source(
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


async def test_a_task_with_an_error_stays_pending_in_the_journal(
    provider: FakeProvider, path: Path
) -> None:
    provider.script("a", envelope(404, "no"))
    first = await run(provider, ["a"], journal=path)
    assert first["a"].error is not None
    assert (await run(provider, journal=path))["a"].succeeded
