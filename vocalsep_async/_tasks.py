"""What has to be finished once it was begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def run_to_completion(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run *coroutine* to its end, also if whoever waits for it is cancelled meanwhile.

    The cancellation is raised afterwards. A shielded scope alone would not do: it keeps other
    scopes away, and not those who cancel the task itself.
    """
    task = asyncio.ensure_future(coroutine)
    cancellation: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancellation = error
    if cancellation is not None:
        # What went wrong in between is not more than the wish to stop.
        if not task.cancelled() and task.exception() is not None:
            cancellation.add_note(f"meanwhile: {task.exception()}")
        raise cancellation
    return task.result()
