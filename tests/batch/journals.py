"""Helpers for tests of batches with a journal: virtual time, and each run a process of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from batch.tracking import outcomes_of, runner_of
from fakes import FakeProvider, make_client

from vocalsep_async import Journal, TaskOutcome, VocalSepClient
from vocalsep_async._accounts import ACCOUNTS
from vocalsep_async._journal.journal import KnownTask
from vocalsep_async.batch import BatchRunner

T = TypeVar("T")


class WallClock:
    """A wall clock that runs with the event loop's clock, and can be set."""

    def __init__(self) -> None:
        self.ahead = 1_800_000_000.0

    def time(self) -> float:
        return self.ahead + asyncio.get_running_loop().time()


async def run_inline(function: Callable[..., T], *arguments: Any) -> T:
    """`anyio.to_thread.run_sync` without a thread, which virtual time would not wait for."""
    await checkpoint()
    try:
        return function(*arguments)
    finally:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0)


class InlineExecutor(Executor):
    """An executor without threads: a call is done when it has been submitted."""

    def __init__(self, *_: object, **_options: object) -> None:
        pass

    def submit(self, function: Callable[..., T], /, *arguments: Any, **options: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(function(*arguments, **options))
        return future


def journals_in_virtual_time(patch: pytest.MonkeyPatch) -> WallClock:
    """Make journals work in the loop's own thread, by the clock that is returned."""
    wall = WallClock()
    clock = SimpleNamespace(time=wall.time)
    patch.setattr("vocalsep_async._journal.journal.run_sync", run_inline)
    patch.setattr("vocalsep_async._journal.writer.ThreadPoolExecutor", InlineExecutor)
    for module in ("_journal.journal", "_polling.stateless"):
        patch.setattr(f"vocalsep_async.{module}.time", clock)
    return wall


@asynccontextmanager
async def process(fake: FakeProvider, **options: Any) -> AsyncIterator[VocalSepClient]:
    """A client that knows nothing of earlier ones."""
    fake._closed = False
    ACCOUNTS.restart()
    async with make_client(**options) as client:
        yield client


async def run(
    provider: FakeProvider, *tasks: Any, journal: Path | Journal, **options: Any
) -> dict[str, TaskOutcome]:
    """All outcomes of one batch, in a process of its own."""
    async with (
        process(provider) as client,
        client.track(*tasks, journal=journal, **options) as batch,
    ):
        return await outcomes_of(batch)


async def cut_off(
    provider: FakeProvider, *tasks: Any, journal: Path, after: float, **options: Any
) -> list[TaskOutcome]:
    """The outcomes of a batch that is left after some seconds."""
    outcomes: list[TaskOutcome] = []
    async with (
        process(provider) as client,
        client.track(*tasks, journal=journal, **options) as batch,
    ):
        with anyio.move_on_after(after):
            async for outcome in batch:
                outcomes.append(outcome)  # noqa: PERF401 - it may be cancelled
    return outcomes


async def known_in(path: Path) -> dict[str, KnownTask]:
    """The tasks in a journal."""
    async with Journal(path) as journal:
        return {known.ref.task_id: known for known in await journal._file.known()}


def change(path: Path, statement: str, *values: object) -> None:
    """Run a statement on the file of a closed journal."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def make_read_only(batch: BatchRunner) -> None:
    """Make all further writes to the journal of a batch fail."""
    recorder = runner_of(batch)._recorder
    assert recorder is not None
    assert recorder._journal._store is not None
    recorder._journal._store._connection.execute("PRAGMA query_only = ON")
