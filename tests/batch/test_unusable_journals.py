"""A journal that cannot be read or written ends a batch, which hands out nothing unwritten."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from batch.journals import (
    change,
    cut_off,
    make_read_only,
    process,
    run,
)
from batch.tracking import NEVER, add_all, outcomes_of
from fakes import FakeProvider, finished, record

from vocalsep_async import (
    Journal,
    JournalError,
)
from vocalsep_async._journal.codec import packed

pytestmark = pytest.mark.anyio


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


async def test_a_second_batch_on_the_same_file_is_refused(
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


async def test_a_second_batch_on_the_same_journal_is_refused(
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
async def test_a_damaged_record_raises_an_error_that_names_the_file(
    provider: FakeProvider, path: Path, damage: str
) -> None:
    await run(provider, ["a"], journal=path)
    change(path, f"UPDATE {damage}")
    with pytest.raises(JournalError, match=r"batch\.journal"):
        await run(provider, ["b"], journal=path)


async def test_a_final_record_with_a_pending_status_is_refused(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, ["a"], journal=path)
    change(path, "UPDATE ended SET record = ?", packed({"successFlag": "PENDING"}, keep_links=True))
    with pytest.raises(JournalError, match="has the status PENDING"):
        await run(provider, journal=path)


async def test_an_unknown_type_is_read_as_none(provider: FakeProvider, path: Path) -> None:
    before = await run(provider, ["a"], journal=path)
    change(path, "UPDATE added SET type = 'a type of the future'")
    assert len(await run(provider, journal=path)) == len(before)


async def test_a_record_that_is_not_an_object_is_refused(
    provider: FakeProvider, path: Path
) -> None:
    await run(provider, ["a"], journal=path)
    change(path, "UPDATE ended SET record = (SELECT x'789c8b8e0500015d00bb')")  # packed "[]"
    with pytest.raises(JournalError, match="the record of task 'a' is damaged"):
        await run(provider, journal=path)


async def test_a_failed_write_ends_the_batch_and_hands_out_nothing_unwritten(
    provider: FakeProvider, path: Path
) -> None:
    add_all(provider, ["late"], 50)
    handed_out: list[str] = []
    async with process(provider) as client:
        with pytest.raises(JournalError, match="readonly"):  # noqa: PT012 - or on leaving
            async with client.track(["early", "late"], journal=path) as batch:
                handed_out.append((await anext(batch)).task_id)
                make_read_only(batch)
                handed_out.extend([each.task_id async for each in batch])
    assert handed_out == ["early"]
    assert batch.pending_ids() == ()
    provider.sent.clear()
    assert set(await run(provider, journal=path)) == {"early", "late"}
    assert "early" not in provider.sent


async def test_a_write_that_fails_at_the_end_is_raised_by_leaving(
    provider: FakeProvider, path: Path
) -> None:
    provider.add("a", NEVER)
    async with process(provider) as client:
        with pytest.raises(JournalError):  # noqa: PT012 - on leaving
            async with client.track(["a"], journal=path) as batch:
                await anyio.sleep(5)
                make_read_only(batch)
    async with Journal(path) as journal:
        assert [known.ref.task_id for known in await journal._file.known()] == ["a"]


async def test_a_journal_that_was_closed_too_early_ends_the_batch(
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


async def test_a_journal_that_was_closed_too_early_ends_the_batch_when_a_task_expires(
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


async def test_a_journal_that_was_closed_too_early_ends_the_batch_when_a_task_is_added(
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


async def test_a_batch_can_be_left_after_its_journal_was_closed(
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


async def test_a_batch_does_not_close_a_journal_that_it_was_given(
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
async def test_an_odd_status_is_recorded_and_the_batch_goes_on(
    provider: FakeProvider, path: Path, word: str
) -> None:
    provider.script("a", record("a", word), record("a", word), finished("a"))
    with anyio.fail_after(1000):
        outcomes = await run(provider, ["a"], journal=path)
    assert outcomes["a"].succeeded
    assert (await run(provider, journal=path)) == outcomes


@pytest.mark.parametrize("task_id", ["a  b", "'\"", "ü%00", "x" * 512, "歌声"])
async def test_an_odd_id_is_recorded_unchanged(
    provider: FakeProvider, path: Path, task_id: str
) -> None:
    provider.add(task_id, 30)
    await cut_off(provider, [task_id], journal=path, after=5)
    outcomes = await run(provider, journal=path)
    assert outcomes[task_id].succeeded
    provider.sent.clear()
    assert await run(provider, [task_id], journal=path) == outcomes
    assert provider.sent == []
