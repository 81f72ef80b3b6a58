"""Labels of tasks on their way through a batch, and through its journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from batch.journals import cut_off, process, run
from batch.tracking import NEVER, add_all, outcomes_of, tracked, tracker_of
from fakes import FakeProvider, finished
from journal.contents import rows_in

from vocalsep_async import InvalidArgumentError, TaskOutcome, TaskRef

pytestmark = pytest.mark.anyio


def labels_of(outcomes: dict[str, TaskOutcome]) -> dict[str, str | None]:
    return {task_id: each.label for task_id, each in outcomes.items()}


def labels_in(path: Path) -> dict[str, str | None]:
    return {row.task_id: row.label for row in rows_in(path)}


async def test_an_outcome_has_the_label_of_its_ref(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b", "c"], 10)
    async with process(provider) as client:
        outcomes = await tracked(client, [TaskRef("a", label="Song"), "b", TaskRef("c", label="C")])
    assert {each.task_id: each.label for each in outcomes} == {"a": "Song", "b": None, "c": "C"}


async def test_an_outcome_without_a_record_has_its_label_too(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client:
        found = await client.wait_for_tasks([TaskRef("a", label="Song")], timeout=5)
    assert found["a"].error is not None
    assert found["a"].label == "Song"


async def test_a_batch_forgets_the_labels_of_tasks_with_an_outcome(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b"], 10)
    refs = [TaskRef("a", label="A"), TaskRef("b", label="B")]
    async with process(provider) as client, client.track(refs) as batch:
        await outcomes_of(batch)
        assert tracker_of(batch)._labels == {}


async def test_a_label_may_be_given_to_a_task_that_is_tracked_already(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["a", "b"], 50)
    async with (
        process(provider) as client,
        client.track([TaskRef("a", label="old"), "b"], keep_open=True) as batch,
    ):
        await anyio.sleep(5)
        for task in (TaskRef("a", label="new"), TaskRef("b", label="B"), "a", "b"):
            batch.add(task)
        batch.close()
        assert labels_of(await outcomes_of(batch)) == {"a": "new", "b": "B"}


async def test_two_labels_of_one_task_are_refused_before_any_request(
    provider: FakeProvider,
) -> None:
    refs: list[str | TaskRef] = [TaskRef("a", label="One"), "a", TaskRef("a", label="Other")]
    words = "'a' has two labels, 'One' and 'Other'"
    async with process(provider) as client:
        with pytest.raises(InvalidArgumentError, match=words):
            await tracked(client, refs)
        with pytest.raises(InvalidArgumentError, match=words):
            await client.wait_for_tasks(refs)
        assert client.stats.requests == 0


async def test_a_label_goes_on_through_a_journal(provider: FakeProvider, path: Path) -> None:
    add_all(provider, ["open", "plain"], 50)
    refs = [TaskRef("open", label="Öffnung"), TaskRef("done", label="Done"), "plain"]
    assert len(await cut_off(provider, refs, journal=path, after=5)) == 1
    assert labels_in(path) == {"open": "Öffnung", "done": "Done", "plain": None}
    expected = {"open": "Öffnung", "done": "Done", "plain": None}
    assert labels_of(await run(provider, journal=path)) == expected
    # All have ended by now, and come from the journal alone.
    assert labels_of(await run(provider, journal=path)) == expected


@pytest.mark.parametrize("kind", ["collection", "added later"])
async def test_a_label_that_is_given_again_takes_the_place_of_the_one_in_the_journal(
    provider: FakeProvider, path: Path, kind: str
) -> None:
    provider.add("open", 50)
    refs = [TaskRef("open", label="Opn"), TaskRef("done", label="Dne")]
    await cut_off(provider, refs, journal=path, after=5)
    refs = [TaskRef("open", label="Open"), TaskRef("done", label="Done")]
    if kind == "collection":
        outcomes = await run(provider, *[refs], journal=path)
        assert labels_of(outcomes) == {"open": "Open", "done": "Done"}
    else:
        async with (
            process(provider) as client,
            client.track(journal=path, keep_open=True) as batch,
        ):
            for ref in refs:
                batch.add(ref)
            batch.close()
            assert labels_of(await outcomes_of(batch))["open"] == "Open"
    assert labels_in(path) == {"open": "Open", "done": "Done"}


async def test_the_same_label_given_again_is_not_written_again(
    provider: FakeProvider, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = TaskRef("done", label="Done")
    await run(provider, [ref], journal=path)

    def fail(*_: object) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr("vocalsep_async._journal.journal.JournalFile.save_label", fail)
    assert labels_of(await run(provider, [ref], journal=path)) == {"done": "Done"}


async def test_the_labels_of_an_iterator_are_recorded(provider: FakeProvider, path: Path) -> None:
    provider.every_answer = finished

    async def refs() -> AsyncIterator[TaskRef]:
        for name in ("a", "b"):
            yield TaskRef(name, label=name.upper())
            await anyio.sleep(1)

    assert labels_of(await run(provider, refs(), journal=path)) == {"a": "A", "b": "B"}
    assert labels_in(path) == {"a": "A", "b": "B"}


async def test_a_task_that_waits_again_keeps_its_label(provider: FakeProvider, path: Path) -> None:
    provider.add("a", NEVER)
    async with (
        process(provider) as client,
        client.track(
            [TaskRef("a", label="Song")], timeout=5, journal=path, keep_open=True
        ) as batch,
    ):
        assert (await anext(batch)).label == "Song"
        batch.add("a")
        batch.close()
    assert labels_in(path) == {"a": "Song"}
