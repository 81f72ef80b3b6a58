"""A batch with a journal that is cancelled, warns of creations, or saves stems."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import anyio
import pytest
from batch.journals import (
    cut_off,
    known_in,
    process,
    run,
)
from batch.tracking import add_all, outcomes_of
from downloads.stem_host import Held, StemHost, client_of
from fakes import FakeProvider

from vocalsep_async import (
    Journal,
    JournalError,
    TaskOutcome,
)
from vocalsep_async._batch import runner

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_batch_writes_its_state(
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
async def test_a_batch_cancelled_at_any_step_releases_its_journal(
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


async def test_a_second_cancellation_while_leaving_loses_no_outcome_that_was_handed_out(
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
                    handed_out.append(outcome.task_id)  # noqa: PERF401 - it may be cancelled

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


async def test_pending_ids_are_available_during_and_after_the_block(
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


async def test_a_creation_without_a_known_result_is_logged_when_a_batch_opens_the_journal(
    provider: FakeProvider, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Journal(path) as journal:
        await journal._file.intend({"type": "split_stem"})
        number = await journal._file.intend({"type": "separate_vocal"})
        await journal._file.not_created(number, "the answer was cut")
    with caplog.at_level(logging.WARNING, "vocalsep_async"):
        await run(provider, ["a"], journal=path)
    messages = [each.getMessage() for each in caplog.records]
    assert len(messages) == 2
    assert all("may have been created and billed" in each for each in messages)
    assert '{"type": "split_stem"} (the program ended before the answer)' in messages[0]
    assert '{"type": "separate_vocal"} (the answer was cut)' in messages[1]


class TestWithStems:
    @pytest.fixture
    def anyio_backend(self) -> str:
        """Sockets, threads and time are real here."""
        return "asyncio"

    async def test_a_second_run_downloads_no_file_again(self, tmp_path: Path) -> None:
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

    async def test_stems_that_are_saved_after_the_journal_was_closed_end_the_batch(
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

    async def test_the_next_run_saves_the_stems_that_are_missing(self, tmp_path: Path) -> None:
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

    async def test_a_journal_works_with_real_threads(self, tmp_path: Path) -> None:
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
