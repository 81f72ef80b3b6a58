"""Asyncio tasks that are shared or must finish, waits for events, and the end of event loops."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


def shared_task(
    coroutine: Coroutine[Any, Any, None], name: str, context: contextvars.Context | None = None
) -> asyncio.Task[None]:
    """Begin a task that serves many callers, in *context*; None is an empty one of its own."""
    # It must not run in the context variables of the caller that began it.
    if context is None:
        context = contextvars.Context()
    return asyncio.create_task(coroutine, name=name, context=context)


def after_fork(function: Callable[[], object]) -> None:
    """Call *function* in each process that is forked from this one, before anything else of it."""
    # A system that does not fork has no such function.
    getattr(os, "register_at_fork", dict)(after_in_child=function)


def call_in(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object
) -> bool:
    """Call *function* in *loop*, which may run in another thread; False if it was closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


def closer_of(close: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Have *close* called and awaited at the end of the running event loop.

    Keep the result as long as what is to be closed. Its `aclose` does it at once.
    """
    # `asyncio.run` and its like finish the asynchronous generators of a loop before they close it:
    # the only moment in which a loop that ends can still close connections.
    closer = _close_at_the_end(close)
    try:
        closer.asend(None).send(None)
    except StopIteration:
        """It waits at its `yield` now, and the loop knows of it."""
    return closer


async def _close_at_the_end(close: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await close()


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until *event* is set, which it is after *seconds* at the latest; infinity for never."""
    if math.isinf(seconds):
        await event.wait()
        return
    # A timer that sets the event costs a tenth of a cancel scope that would end the wait.
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()


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
