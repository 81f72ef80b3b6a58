"""`Journal` as users hold it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client
from journal.contents import files_of, rows_in

from vocalsep_async import Journal, JournalError, TaskRef
from vocalsep_async.errors import InvalidArgumentError

pytestmark = pytest.mark.anyio

NEVER_CLOSED = """
import asyncio, sys
from vocalsep_async import Journal, TaskRef

async def main():
    journal = Journal(sys.argv[1])
    await journal.__aenter__()
    journal._file.add([TaskRef("a")])
    await journal._file.flush()
    if sys.argv[2] == "busy":
        journal._file.add([TaskRef("b")])
        await asyncio.sleep(0)

asyncio.run(main())
"""


class TestItsArguments:
    """They are checked when it is made; the file is not touched."""

    @pytest.mark.parametrize("unusable", [None, 7, b"bytes", "", " \n", "a\0b", ["a"]])
    def test_an_unusable_path_is_refused(self, unusable: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="the path of a file"):
            Journal(unusable)

    @pytest.mark.parametrize("unusable", [7, b"team", "two\nlines", "\ud800", "\x1b[31m"])
    def test_an_unprintable_label_is_refused(self, unusable: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="label must be a printable string"):
            Journal("path", label=unusable)

    def test_its_arguments_are_its_properties_and_no_file_is_made(self, path: Path) -> None:
        journal = Journal(str(path), label="team", keep_links=True)
        assert (journal.path, journal.label, journal.keep_links) == (path, "team", True)
        plain = Journal(path)
        assert (plain.path, plain.label, plain.keep_links) == (path, None, False)
        assert files_of(path) == []

    @pytest.mark.parametrize("name", ["path", "label", "keep_links"])
    def test_its_properties_cannot_be_set(self, path: Path, name: str) -> None:
        with pytest.raises(AttributeError):
            setattr(Journal(path), name, None)


class TestItsBlock:
    """It is open within its block only, and shows it."""

    async def test_its_repr_shows_its_path_and_state(self, path: Path) -> None:
        journal = Journal(path)
        closed = f"<Journal {str(path)!r}, closed>"
        assert repr(journal) == closed
        async with journal as opened:
            assert opened is journal
            assert repr(journal) == f"<Journal {str(path)!r}, 0 writes waiting>"
            journal._file.save_status("a", "PENDING", 1)
            assert repr(journal) == f"<Journal {str(path)!r}, 1 writes waiting>"
        assert repr(journal) == closed

    async def test_it_can_be_opened_again_after_its_block(self, path: Path) -> None:
        journal = Journal(path)
        for task_id in ("a", "b"):
            async with journal:
                journal._file.add([TaskRef(task_id)])
        assert [row.task_id for row in rows_in(path)] == ["a", "b"]

    async def test_it_is_closed_when_its_block_raises(self, path: Path) -> None:
        journal = Journal(path)
        with pytest.raises(ZeroDivisionError):
            async with journal:
                raise ZeroDivisionError
        assert "closed" in repr(journal)
        assert files_of(path) == [path]

    async def test_it_can_be_closed_early_and_more_than_once(self, path: Path) -> None:
        async with Journal(path) as journal:
            journal._file.add([TaskRef("a")])
            await journal.aclose()
            await journal.aclose()
        assert [row.task_id for row in rows_in(path)] == ["a"]

    async def test_closing_a_journal_that_was_never_opened_does_nothing(self, path: Path) -> None:
        await Journal(path).aclose()
        assert files_of(path) == []

    async def test_a_second_open_is_refused_and_does_not_close_it(self, path: Path) -> None:
        async with Journal(path) as journal:
            with pytest.raises(JournalError, match="is already open"):
                await journal.__aenter__()
            with pytest.raises(JournalError, match="in use by another batch of this process"):
                await Journal(path).__aenter__()
            assert await journal.intents() == ()

    async def test_its_use_while_it_is_closed_is_refused(
        self, provider: FakeProvider, path: Path
    ) -> None:
        journal = Journal(path)
        with pytest.raises(JournalError, match="is not open"):
            await journal.intents()
        async with make_client() as client:
            with pytest.raises(JournalError, match="is not open"):
                async with client.track(["a"], journal=journal):
                    pass
        assert provider.sent == []
        assert files_of(path) == []

    def test_its_use_in_another_event_loop_is_refused(self, path: Path) -> None:
        journal = Journal(path)
        asyncio.run(journal.__aenter__())
        try:
            with pytest.raises(JournalError, match="another event loop"):
                asyncio.run(journal.intents())
        finally:
            with pytest.raises(JournalError, match="another event loop"):
                asyncio.run(journal.aclose())
        assert "closed" in repr(journal)

    async def test_its_intents_are_those_without_a_known_task(self, path: Path) -> None:
        async with Journal(path) as journal:
            for request in ({"n": 1}, {"n": 2}):
                number = await journal._file.intend(request)
            await journal._file.created(number, TaskRef("new"))
            (intent,) = await journal.intents()
        assert intent.request == {"n": 1}


async def test_two_calls_in_a_row_can_use_one_journal(provider: FakeProvider, path: Path) -> None:
    async with make_client() as client, Journal(path) as journal:
        for task_id in ("a", "b"):
            provider.add(task_id, 0)
            async with client.track([task_id], journal=journal) as batch:
                ids = {outcome.task_id async for outcome in batch}
    assert ids == {"a", "b"}
    assert provider.sent == ["a", "b"]


@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_a_program_that_never_closes_its_journal_ends_and_loses_no_write(
    path: Path, state: str
) -> None:
    command = [sys.executable, "-c", NEVER_CLOSED, str(path), state]
    with anyio.fail_after(60):
        done = await anyio.run_process(command, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    written = [row.task_id for row in rows_in(path)]
    assert written == (["a"] if state == "idle" else ["a", "b"])
