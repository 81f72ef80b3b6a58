"""Which callbacks a task gets, and what goes wrong with each; drawn from the seed and its id."""

from __future__ import annotations

import hashlib

from attrs import frozen

from vocalsep_async.emulator.callback_faults import FORGED, CallbackFaults, CallbackKind
from vocalsep_async.emulator.tasks import Task

_AT_THE_END = 1.0
_SOME_TIME_BEFORE = (0.2, 0.8)
"""Shares of the life of a task."""


@frozen(kw_only=True)
class PlannedCallback:
    """One callback that a task gets.

    Attributes:
        kind: GENUINE, IN_PROGRESS or a forged one.
        share: when, as a share of the life of the task; 1 at its end.
        delay: seconds by which it comes later than that.
        is_lost: whether it never arrives.
        is_reordered: whether the next callback overtakes it.
        repeat_after: seconds after which it comes once more; None if it does not.
        has_data: whether a failure names its task.
    """

    kind: CallbackKind
    share: float = _AT_THE_END
    delay: float = 0.0
    is_lost: bool = False
    is_reordered: bool = False
    repeat_after: float | None = None
    has_data: bool = True

    @property
    def is_forged(self) -> bool:
        """Whether it is not one of the service."""
        return self.kind in FORGED

    @property
    def is_late(self) -> bool:
        """Whether callbacks of the task that are due after it may come before it."""
        return self.is_reordered or self.delay > 0

    @property
    def reports_end(self) -> bool:
        """Whether the service tells the end of the task by it."""
        return self.kind is CallbackKind.GENUINE

    def due_at(self, task: Task) -> float:
        """Return the monotonic time at which it is due, but for its delay."""
        # Exactly the end, which the sum below may miss by a rounding error.
        if self.share == _AT_THE_END:
            return task.ends_at
        return task.created_at + self.share * (task.ends_at - task.created_at)


def plan(faults: CallbackFaults, seed: int, task_id: str) -> tuple[PlannedCallback, ...]:
    """Return the callbacks of a task, in the order in which they are due; its end is the last."""
    draws = _Draws(f"{seed}/{task_id}")
    early = [
        PlannedCallback(kind=kind, share=draws.some_time_before(kind))
        for kind in FORGED
        if draws.happens(kind, faults.share_of(kind))
    ]
    if draws.happens(CallbackKind.IN_PROGRESS, faults.in_progress):
        share = draws.some_time_before(CallbackKind.IN_PROGRESS)
        early.append(_of_the_service(CallbackKind.IN_PROGRESS, faults, draws, share))
    early.sort(key=lambda each: each.share)
    return (*early, _of_the_service(CallbackKind.GENUINE, faults, draws, _AT_THE_END))


def _of_the_service(
    kind: CallbackKind, faults: CallbackFaults, draws: _Draws, share: float
) -> PlannedCallback:
    is_lost = draws.happens(f"{kind} lost", faults.lost)
    is_repeated = draws.happens(f"{kind} repeated", faults.repeated) and not is_lost
    return PlannedCallback(
        kind=kind,
        share=share,
        delay=draws.between(f"{kind} delay", *faults.delay),
        is_lost=is_lost,
        is_reordered=draws.happens(f"{kind} reordered", faults.reordered),
        repeat_after=draws.between(f"{kind} again", *faults.delay) if is_repeated else None,
        has_data=not draws.happens(f"{kind} null_data", faults.null_data),
    )


@frozen
class _Draws:
    """Random values, each under a name, so that none depends on which others are drawn."""

    _source: str

    def _value(self, name: str) -> float:
        """Return a value from 0, included, to 1, excluded."""
        # A task's id may hold lone surrogates.
        named = f"{self._source}/{name}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.sha256(named).digest()[:6], "big") / 2**48

    def happens(self, name: str, share: float) -> bool:
        return self._value(name) < share

    def some_time_before(self, kind: CallbackKind) -> float:
        """Return the share of a task's life at which a callback of *kind* is due."""
        return self.between(f"{kind} at", *_SOME_TIME_BEFORE)

    def between(self, name: str, least: float, most: float) -> float:
        return least + (most - least) * self._value(name)
