"""Reading of the ids that a batch is given, which may come from an endless source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Sized
from typing import TypeVar

from vocalsep_async import _arguments
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import TaskRef

Tasks = Iterable[str | TaskRef] | AsyncIterable[str | TaskRef]
RefOf = Callable[[str | TaskRef], TaskRef]
G = TypeVar("G")
M = TypeVar("M")

_SLICE = 500
"""Ids that are read before the event loop may run other tasks."""


async def read_collection(tasks: Tasks, ref_of: RefOf) -> Collection[TaskRef] | None:
    """The refs of a collection, each id once; None for an iterator, which is read bit by bit.

    Raises:
        InvalidArgumentError: an id is unusable, or has two labels.
    """
    if not isinstance(tasks, Sized) or not isinstance(tasks, Iterable):
        return None
    refs: dict[str, TaskRef] = {}
    async for ref in iterate(tasks, ref_of):
        known = refs.setdefault(ref.task_id, ref)
        if known is not ref:
            refs[ref.task_id] = _arguments.merged(known, ref)
    return refs.values()


async def iterate(
    tasks: Iterable[G] | AsyncIterable[G], made_of: Callable[[G], M]
) -> AsyncGenerator[M]:
    """What *made_of* makes of each of *tasks*; the event loop runs other tasks in between.

    Raises:
        InvalidArgumentError: one of them is unusable; those before it were yielded.
    """
    if isinstance(tasks, AsyncIterable):
        iterator = aiter(tasks)
        try:
            async for task in iterator:
                yield made_of(task)
        finally:
            # A generator's own cleanup must not wait for the garbage collector. The caller cannot
            # close a generator that was created in the call of track().
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
        return
    for number, task in enumerate(tasks, start=1):
        yield made_of(task)
        if number % _SLICE == 0:
            await asyncio.sleep(0)


def is_own_cancellation(error: BaseException) -> bool:
    """Whether *error* is the cancellation of the task that reads, not one that a source raised."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def from_source(error: BaseException) -> BaseException:
    """The error to raise for one that a source raised while it was read."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    # Raised as it is, it would pass for a cancellation of the consumer.
    failure = InvalidArgumentError(
        "the source of ids was cancelled by something other than the batch; some may be missing"
    )
    failure.__cause__ = error
    return failure
