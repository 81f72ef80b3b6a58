"""Helpers for tests of batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import anyio
from fakes import FakeProvider

from vocalsep_async import TaskOutcome, VocalSepClient
from vocalsep_async._batch.runner import Runner
from vocalsep_async._batch.tracker import BatchTracker
from vocalsep_async.batch import BatchRunner

NEVER = 1e7
"""Seconds; longer than any test runs."""


def numbered(number: int, prefix: str = "t") -> list[str]:
    return [f"{prefix}{n}" for n in range(number)]


def add_all(provider: FakeProvider, ids: Iterable[str], duration: float) -> None:
    for task_id in ids:
        provider.add(task_id, duration)


def runner_of(batch: BatchRunner) -> Runner:
    """The implementation of a batch."""
    assert isinstance(batch, Runner)
    return batch


def tracker_of(batch: BatchRunner) -> BatchTracker:
    """The open tasks of an entered batch."""
    return runner_of(batch)._entered()


async def outcomes_of(batch: BatchRunner) -> dict[str, TaskOutcome]:
    """All outcomes up to the end; a second outcome for an id is an error."""
    outcomes: dict[str, TaskOutcome] = {}
    async for outcome in batch:
        assert outcome.task_id not in outcomes, "two outcomes for one task"
        outcomes[outcome.task_id] = outcome
    return outcomes


async def fetched(batch: BatchRunner, ids: list[str]) -> None:
    """Append the ids of the outcomes to *ids*, also of those before an error."""
    async for outcome in batch:
        ids.append(outcome.task_id)  # noqa: PERF401 - it may be cancelled


async def tracked(client: VocalSepClient, *args: object, **options: object) -> list[TaskOutcome]:
    """The outcomes of a whole batch."""
    async with client.track(*args, **options) as batch:  # type: ignore[arg-type]
        return [outcome async for outcome in batch]


def is_clean(client: VocalSepClient, before: set[asyncio.Task[object]]) -> bool:
    """Whether nothing is left of any batch or wait: no task, no target, no request."""
    poller = client._engine.poller
    kept = poller._targets or poller._groups or poller._waiters or poller._single_waits
    return not kept and client.stats.in_flight == 0 and not asyncio.all_tasks() - before


async def slowly(ids: Iterable[str], gap: float) -> AsyncIterator[str]:
    for task_id in ids:
        yield task_id
        await anyio.sleep(gap)
