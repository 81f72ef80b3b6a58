"""How long one exchange may take."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Deadline:
    """Cancels what *task* awaits in the ``with`` block, once that has taken *seconds*.

    It raises a `TimeoutError` then, as ``asyncio.timeout`` does at three times the cost, which
    every request would pay.

    Args:
        task: the one that enters the block.
        seconds: for the whole block.

    Attributes:
        is_over: whether that time has passed.
    """

    __slots__ = ("_cancelling", "_task", "_timer", "is_over")

    def __init__(self, task: asyncio.Task[Any], seconds: float) -> None:
        self._task = task
        self._cancelling = task.cancelling()
        self.is_over = False
        self._timer = task.get_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self.is_over = True
        self._task.cancel()

    def put_off(self, seconds: float) -> None:
        """Give the rest of the block *seconds* from now; not once the time is over."""
        self._timer.cancel()
        self._timer = self._task.get_loop().call_later(seconds, self._end)

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        # A cancellation beside that by the timer is of the caller, and passes.
        is_only_ours = self.is_over and self._task.uncancel() <= self._cancelling
        if is_only_ours and error_type is asyncio.CancelledError:
            raise TimeoutError from error
