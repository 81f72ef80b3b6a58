"""Reading the ids that a batch is given, of which there may be no end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Sized

from vocalsep_async.models import TaskRef

Tasks = Iterable[str | TaskRef] | AsyncIterable[str | TaskRef]

_SLICE = 500
"""Ids that are read in one go, without letting others run."""


async def all_at_once(tasks: Tasks) -> Collection[TaskRef] | None:
    """The refs of *tasks*, each id once, where all are there; None where they come one by one.

    Raises:
        ConfigurationError: one of them is unusable.
    """
    if not isinstance(tasks, Sized) or not isinstance(tasks, Iterable):
        return None
    refs: dict[str, TaskRef] = {}
    async for ref in one_by_one(tasks):
        known = refs.setdefault(ref.task_id, ref)
        if known is not ref:
            refs[ref.task_id] = known.merged(ref)
    return refs.values()


async def one_by_one(tasks: Tasks) -> AsyncGenerator[TaskRef]:
    """The refs of *tasks*, which others may run in between.

    Raises:
        ConfigurationError: one of them is unusable; those before it were read.
    """
    if isinstance(tasks, AsyncIterable):
        iterator = aiter(tasks)
        try:
            async for task in iterator:
                yield TaskRef.of(task)
        finally:
            # Nobody else goes on with a generator that was passed as it was made.
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
        return
    for number, task in enumerate(tasks, start=1):
        yield TaskRef.of(task)
        if number % _SLICE == 0:
            await asyncio.sleep(0)
