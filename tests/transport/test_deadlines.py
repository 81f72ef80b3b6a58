"""How long an exchange may take: its own deadline beside the caller's cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from virtual_time import VirtualTimeLoop

from vocalsep_async._transport.deadlines import Deadline


def _in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _clock() -> float:
    return asyncio.get_running_loop().time()


async def _within(seconds: float, wait: Callable[[], Awaitable[object]]) -> None:
    with Deadline(_this_task(), seconds):
        await wait()


def test_a_deadline_ends_a_longer_wait_with_a_timeout() -> None:
    async def test() -> None:
        began = _clock()
        with pytest.raises(TimeoutError):
            await _within(5.0, lambda: asyncio.sleep(60.0))
        assert _clock() == began + 5.0
        # The task is as before: it can wait, and others can cancel it.
        assert _this_task().cancelling() == 0
        await asyncio.sleep(1.0)

    _in_virtual_time(test())


def test_a_deadline_leaves_alone_what_is_done_in_time_and_what_comes_after_it() -> None:
    async def test() -> None:
        await _within(5.0, lambda: asyncio.sleep(4.0))
        await asyncio.sleep(60.0)
        assert _this_task().cancelling() == 0

    _in_virtual_time(test())


def test_a_deadline_passes_an_error_on() -> None:
    async def fail() -> None:
        await asyncio.sleep(1.0)
        raise ConnectionError("cut")

    async def test() -> None:
        with pytest.raises(ConnectionError, match="cut"):
            await _within(5.0, fail)

    _in_virtual_time(test())


@pytest.mark.parametrize("after", [0.0, 4.0, 5.0])
def test_a_cancellation_by_the_caller_passes_a_deadline_also_at_the_same_moment(
    after: float,
) -> None:
    async def test() -> None:
        waiting = asyncio.create_task(_within(5.0, lambda: asyncio.sleep(60.0)))
        asyncio.get_running_loop().call_later(after, waiting.cancel)
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    _in_virtual_time(test())


def test_a_deadline_in_a_task_that_goes_on_after_a_cancellation_ends_with_a_timeout() -> None:
    async def survive() -> None:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            # Not counted down, as in a task that closes its connections before it ends.
            with pytest.raises(TimeoutError):
                await _within(5.0, lambda: asyncio.sleep(60.0))

    async def test() -> None:
        surviving = asyncio.create_task(survive())
        await asyncio.sleep(1.0)
        surviving.cancel()
        await surviving

    _in_virtual_time(test())


def test_what_ends_at_the_moment_of_its_deadline_keeps_its_result() -> None:
    async def go_on() -> None:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            return

    async def test() -> None:
        await _within(5.0, go_on)
        assert _this_task().cancelling() == 0

    _in_virtual_time(test())
