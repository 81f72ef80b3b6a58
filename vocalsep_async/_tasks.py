"""Asyncio tasks that must run to completion once they began."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def run_to_completion(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run *coroutine* to completion, even when the caller is cancelled.

    The cancellation is raised afterwards.
    """
    task = asyncio.ensure_future(coroutine)
    cancellation: asyncio.CancelledError | None = None
    # The shield alone would not do: it stops the cancellation of other scopes, but not a
    # `Task.cancel` of the caller.
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancellation = error
    if cancellation is not None:
        # The cancellation takes precedence over a failure meanwhile, which becomes a note.
        if not task.cancelled() and task.exception() is not None:
            cancellation.add_note(f"meanwhile: {task.exception()}")
        raise cancellation
    return task.result()
