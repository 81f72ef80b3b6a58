"""Callbacks that came before a wait for their task, for a bounded time."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from vocalsep_async.models import SeparationTask
from vocalsep_async.policies import EARLY_CALLBACK_PATIENCE, MAX_EARLY_CALLBACKS


class EarlyCallback(NamedTuple):
    """A callback of a task that nothing waited for.

    Attributes:
        came_at: when it came, on the event loop's clock.
        record: the task's record, if the callback proves itself; None otherwise.
    """

    came_at: float
    record: SeparationTask | None


class EarlyCallbacks:
    """Remembers the last callback of each task that nothing waited for when it came.

    A callback names no route, so it is remembered for all of them.
    """

    def __init__(self) -> None:
        self._callbacks: OrderedDict[str, EarlyCallback] = OrderedDict()

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._callbacks

    def __len__(self) -> int:
        return len(self._callbacks)

    def remember(self, task_id: str, record: SeparationTask | None, now: float) -> None:
        """Remember a callback of *now*; one with a *record* is not replaced by one without."""
        before = self._callbacks.pop(task_id, None)
        if record is None and before is not None:
            record = before.record
        self._callbacks[task_id] = EarlyCallback(now, record)
        self._forget(now)

    def take(self, task_id: str, now: float) -> EarlyCallback | None:
        """Forget the callback of a task, and return it; None if none came lately."""
        # Most clients never get one, and each of their waits asks.
        if not self._callbacks:
            return None
        self._forget(now)
        return self._callbacks.pop(task_id, None)

    def move(self, shift: float) -> None:
        """Go on with a clock that is *shift* seconds ahead."""
        for task_id, callback in self._callbacks.items():
            self._callbacks[task_id] = callback._replace(came_at=callback.came_at + shift)

    def _forget(self, now: float) -> None:
        callbacks = self._callbacks
        while callbacks and (len(callbacks) > MAX_EARLY_CALLBACKS or self._is_over(now)):
            callbacks.popitem(last=False)

    def _is_over(self, now: float) -> bool:
        oldest = next(iter(self._callbacks.values()))
        return now - oldest.came_at > EARLY_CALLBACK_PATIENCE
