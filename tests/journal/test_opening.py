"""Opening and closing of a journal, and the account that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from journal.contents import outcome_of, rows_in
from journal.running import (
    Gate,
    Results,
    known_in,
    refs_of,
    using,
)

from vocalsep_async import JournalError
from vocalsep_async._journal.journal import JournalFile

pytestmark = pytest.mark.anyio

URL = "https://api.example"


class TestOpeningAndClosing:
    """One at a time, and always closed in the end."""

    async def test_a_second_writer_is_refused(self, path: Path) -> None:
        async with using(JournalFile(path)):
            with pytest.raises(JournalError, match="in use by another batch of this process"):
                await JournalFile(path).open()

    async def test_a_second_open_is_refused(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            with pytest.raises(JournalError, match="is already open"):
                await journal.open()
            journal.add(refs_of(["a"]))
        assert len(rows_in(path)) == 1

    async def test_a_second_open_during_the_first_is_refused(
        self, path: Path, opening: Gate
    ) -> None:
        journal = JournalFile(path)
        first = asyncio.create_task(journal.open())
        await opening.until_reached()
        with pytest.raises(JournalError):
            await journal.open()
        opening.may_go.set()
        await first
        await journal.aclose()

    async def test_it_can_be_closed_again_and_opened_again(self, path: Path) -> None:
        journal = JournalFile(path)
        await journal.aclose()
        for task_id in ("a", "b"):
            async with using(journal):
                journal.add(refs_of([task_id]))
            await journal.aclose()
        assert [row.task_id for row in rows_in(path)] == ["a", "b"]

    async def test_it_can_be_closed_twice_simultaneously(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            journal.add(refs_of(["a"]))
            await asyncio.gather(journal.aclose(), journal.aclose())
        assert len(await known_in(path)) == 1

    async def test_the_use_of_a_closed_journal_is_refused(self, path: Path) -> None:
        journal = JournalFile(path)
        uses: list[Callable[[], Any]] = [
            lambda: journal.add(refs_of(["a"])),
            lambda: journal.save_status("a", "PENDING", 1),
            lambda: journal.save_durations({}),
        ]
        for use in uses:
            with pytest.raises(JournalError, match="is not open: async with"):
                use()
        for call in (journal.flush, journal.known, journal.durations, journal.intents):
            with pytest.raises(JournalError, match="is not open: async with"):
                await call()
        with pytest.raises(JournalError, match="is not open: async with"):
            await journal.intend({})

    def test_a_journal_of_a_closed_loop_refuses_its_use_and_can_be_closed(self, path: Path) -> None:
        journal = JournalFile(path)
        asyncio.run(journal.open())

        async def use_it_in_another() -> None:
            with pytest.raises(JournalError, match="another event loop"):
                journal.add(refs_of(["a"]))
            for call in (journal.flush, journal.known, journal.aclose):
                with pytest.raises(JournalError, match="another event loop"):
                    await call()
            assert not journal.is_open
            assert await known_in(path) == []

        asyncio.run(use_it_in_another())

    async def test_a_journal_that_could_not_be_opened_is_closed(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = JournalFile(path)
        with monkeypatch.context() as patch:
            patch.setattr("vocalsep_async._journal.store._APPLICATION", 7)
            async with using(JournalFile(path)):
                pass
        with pytest.raises(JournalError, match="not a journal of this package"):
            await journal.open()
        assert not journal.is_open
        path.write_bytes(b"")  # noqa: ASYNC240
        async with using(journal):
            assert await journal.known() == []

    async def test_a_task_cancelled_while_opening_releases_the_journal(
        self, path: Path, opening: Gate
    ) -> None:
        async def use() -> None:
            async with using(JournalFile(path)):
                await anyio.sleep_forever()

        task = asyncio.create_task(use())
        await opening.until_reached()
        task.cancel()
        opening.may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with using(JournalFile(path)) as journal:
            assert await journal.known() == []

    async def test_a_scope_cancelled_while_opening_releases_the_journal(
        self, path: Path, opening: Gate
    ) -> None:
        async def cancel() -> None:
            await opening.until_reached()
            scope.cancel()
            opening.may_go.set()

        canceller = asyncio.create_task(cancel())
        with anyio.CancelScope() as scope:
            async with using(JournalFile(path)):
                await anyio.sleep_forever()
        await canceller
        async with using(JournalFile(path)) as journal:
            assert await journal.known() == []

    @pytest.mark.parametrize("shape", ["task", "scope"])
    async def test_a_cancelled_block_writes_everything(self, path: Path, shape: str) -> None:
        async def use() -> None:
            with anyio.CancelScope() as scope:
                async with using(JournalFile(path)) as journal:
                    journal.add(refs_of(["a", "b"]))
                    results.of(journal.save_outcome(outcome_of("a")))
                    if shape == "scope":
                        scope.cancel()
                    else:
                        task.cancel()
                    await anyio.sleep_forever()

        results = Results()
        task = asyncio.create_task(use())
        await asyncio.wait([task])
        assert await results.all() == [None]
        assert [known.has_ended for known in await known_in(path)] == [True, False]


class TestItsAccount:
    """Tasks of two accounts do not mix."""

    async def test_a_new_journal_belongs_to_its_first_account(self, path: Path) -> None:
        for _ in range(2):
            async with using(JournalFile(path, label="team")) as journal:
                await journal.check_owner(URL)

    @pytest.mark.parametrize("label", ["other", "", None])
    async def test_another_label_is_refused_and_both_are_named(
        self, path: Path, label: str | None
    ) -> None:
        async with using(JournalFile(path, label="team")) as journal:
            await journal.check_owner(URL)
        async with using(JournalFile(path, label=label)) as journal:
            with pytest.raises(JournalError, match="label") as caught:
                await journal.check_owner(URL)
        assert f"has the label 'team', not {label or ''!r}" in str(caught.value)
        assert str(path) in str(caught.value)

    async def test_another_api_is_refused_and_both_are_named(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.check_owner(URL)
            with pytest.raises(JournalError, match="use another file") as caught:
                await journal.check_owner("https://api.example:8443")
        assert f"has the base_url '{URL}', not 'https://api.example:8443'" in str(caught.value)

    async def test_a_trailing_slash_does_not_make_another_api(self, path: Path) -> None:
        async with using(JournalFile(path)) as journal:
            await journal.check_owner("https://api.example/")
            await journal.check_owner("https://api.example")
