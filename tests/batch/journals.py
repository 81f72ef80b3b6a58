"""Batches with a journal in virtual time, each run as if in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from batch.tracking import outcomes_of
from fakes import FakeProvider, make_client

from vocalsep_async import Journal, TaskOutcome, VocalSepClient
from vocalsep_async._journal.journal import Known

T = TypeVar("T")


class Wall:
    """A wall clock that goes with the event loop's, until somebody sets it."""

    def __init__(self) -> None:
        self.ahead = 1_800_000_000.0

    def time(self) -> float:
        return self.ahead + asyncio.get_running_loop().time()


async def at_once(function: Callable[..., T], *arguments: Any) -> T:
    """What `anyio.to_thread.run_sync` does, without a thread: virtual time would pass it by."""
    await checkpoint()
    try:
        return function(*arguments)
    finally:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0)


class AtOnce:
    """A thread that is none: what it is given is done when it has been given."""

    def __init__(self, name: str) -> None:
        pass

    def do(self, work: Callable[[], None]) -> None:
        work()

    def close(self) -> None:
        pass


def journals_in_virtual_time(patch: pytest.MonkeyPatch) -> Wall:
    """Have journals work in the loop's own thread, and read the clock that is returned."""
    wall = Wall()
    clock = SimpleNamespace(time=wall.time)
    patch.setattr("vocalsep_async._journal.journal.run_sync", at_once)
    patch.setattr("vocalsep_async._journal.writer.Thread", AtOnce)
    for module in ("_journal.journal", "_polling.stateless"):
        patch.setattr(f"vocalsep_async.{module}.time", clock)
    return wall


@asynccontextmanager
async def process(provider: FakeProvider, **options: Any) -> AsyncIterator[VocalSepClient]:
    """A client that knows nothing of those before it."""
    provider._closed = False
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


async def known_in(path: Path) -> dict[str, Known]:
    async with Journal(path) as journal:
        return {known.ref.task_id: known for known in await journal._file.known()}
