"""Helpers for tests of open journals: writes, gates in worker threads and full disks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from vocalsep_async import JournalError, TaskOutcome, TaskRef
from vocalsep_async._journal.journal import JournalFile, KnownTask
from vocalsep_async._journal.store import Store
from vocalsep_async.errors import ClientClosedError


class Results:
    """How writes end, in the order in which they do."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: list[JournalError | None] = []

    def of(self, write: Coroutine[Any, Any, None]) -> None:
        """Begin a write in a task of its own."""
        self._tasks.append(asyncio.create_task(self._keep(write)))

    async def _keep(self, write: Coroutine[Any, Any, None]) -> None:
        try:
            await write
        except JournalError as error:
            self._ended.append(error)
        else:
            self._ended.append(None)

    async def all(self) -> list[JournalError | None]:
        """Wait for all writes; None for each that is stored, and otherwise its error."""
        with anyio.fail_after(30):
            await asyncio.wait(self._tasks)
        return self._ended


def refs_of(ids: list[str]) -> list[TaskRef]:
    return [TaskRef(task_id) for task_id in ids]


def unfinished(task_id: str) -> TaskOutcome:
    """The outcome of a wait that ended before its task."""
    error = ClientClosedError("closed")
    return TaskOutcome(
        task_id=task_id, status="PENDING", task=None, error=error, polls=4, elapsed=9.0
    )


@asynccontextmanager
async def using(journal: JournalFile) -> AsyncIterator[JournalFile]:
    """Open a journal, and close it at the end of the block."""
    await journal.open()
    try:
        yield journal
    finally:
        await journal.aclose()


@asynccontextmanager
async def abandonable(path: Path) -> AsyncIterator[JournalFile]:
    """An open journal that is closed even if its last writes fail."""
    journal = JournalFile(path)
    await journal.open()
    try:
        yield journal
    finally:
        with suppress(JournalError):
            await journal.aclose()


async def known_in(path: Path) -> list[KnownTask]:
    """The tasks in a journal."""
    async with using(JournalFile(path)) as journal:
        return await journal.known()


class Gate:
    """Stops the worker threads that call it until it is opened."""

    def __init__(self) -> None:
        self.reached, self.may_go = threading.Event(), threading.Event()

    async def until_reached(self) -> None:
        await asyncio.to_thread(self.reached.wait, 30)

    def __call__(self) -> None:
        self.reached.set()
        assert self.may_go.wait(60)


@contextmanager
def held_up(patch: pytest.MonkeyPatch, gate: Gate) -> Iterator[None]:
    """Stop writes at the gate before they begin."""
    apply = Store.apply

    def apply_later(store: Store, *args: Any, **kwargs: Any) -> int:
        gate()
        return apply(store, *args, **kwargs)

    with patch.context() as context:
        context.setattr(Store, "apply", apply_later)
        try:
            yield
        finally:
            gate.may_go.set()


class FullDisk:
    """A disk without room for another page."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.attempts = 0

    def __enter__(self) -> Self:
        apply = Store.apply

        def apply_to_full_disk(store: Store, writes: Any, **options: Any) -> int:
            self.attempts += 1
            (pages,) = store._fetch_one("PRAGMA page_count")
            store._fetch_one(f"PRAGMA max_page_count = {pages}")
            return apply(store, writes, **options)

        self._patch.setattr(Store, "apply", apply_to_full_disk)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()
