"""What callbacks tell: a task is polled soon, or it has ended by the record that one brought."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol

from vocalsep_async._polling.memory import PollMemory
from vocalsep_async._polling.target import PollTarget, Verdict, identity_of
from vocalsep_async._scheduling.callbacks import PATIENCE
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.providers._routes import Routes


class _PollSoon(Protocol):
    def __call__(self, target: PollTarget, *, is_called: bool) -> None:
        """Poll *target* soon."""


class Callbacks:
    """Has the waits for a task profit from its callback.

    Args:
        routes: of the client.
        target_of: returns the target of a task; None if it is not waited for.
        poll_soon: polls a target soon.
        receive: handles a record as one of a poll, and judges it.
        memory: what earlier polls and callbacks have shown.
    """

    def __init__(
        self,
        routes: Routes,
        target_of: Callable[[TaskRef], PollTarget | None],
        poll_soon: _PollSoon,
        receive: Callable[[TaskRef, SeparationTask], Verdict],
        memory: PollMemory,
    ) -> None:
        self._routes = routes
        self._target_of = target_of
        self._poll_soon = poll_soon
        self._receive = receive
        self.early = memory.early
        self._losses = memory.losses
        self._learner = memory.learner

    def notify(self, task: str | TaskRef, record: SeparationTask | None) -> bool:
        """A callback for a task came, with a *record* if that proves itself; whether it is awaited.

        Raises:
            InvalidArgumentError: the id is unusable, the client cannot poll on its route, or the
                record is none of this task.
        """
        # A webhook may know the id alone.
        refs = self._routes.refs(task)
        _check(record, refs[0])
        targets = [target for ref in refs if (target := self._target_of(ref)) is not None]
        for target in targets:
            self.on_called(target, record)
        if not targets:
            self._keep(refs, record, asyncio.get_running_loop().time())
        return bool(targets)

    def on_called(self, target: PollTarget, record: SeparationTask | None = None) -> None:
        """A callback came for a task that is waited for."""
        target.on_called(asyncio.get_running_loop().time())
        if record is None or self.final(target.ref, record) is None:
            self._poll_soon(target, is_called=True)

    def _keep(self, refs: list[TaskRef], record: SeparationTask | None, now: float) -> None:
        for ref in refs:
            self._losses.on_late(identity_of(ref), now)
        # A callback that is late or repeated tells nothing new.
        if not any(map(self._has_ended, refs)):
            self.early.remember(refs[0].task_id, record, now)

    def _has_ended(self, ref: TaskRef) -> bool:
        return self._learner.has_ended(ref, self._routes.decoder(ref.route).route)

    def on_begin(self, target: PollTarget) -> None:
        """The first wait for a task begins: a callback that came before has it polled at once."""
        if target.awaits_callback and self._has_ended(target.ref):
            target.awaits_callback = False
        callback = self.early.take(target.task_id, target.began)
        if callback is None:
            return
        target.on_called(callback.came_at)
        target.poll_soon(target.began)
        if callback.record is not None:
            # Deferred: the caller has yet to keep the target that this ends.
            asyncio.get_running_loop().call_soon(self._end, target, callback.record)

    def on_end(self, target: PollTarget, task: SeparationTask) -> None:
        """The task has ended: learn whether its callback came in time."""
        if not target.expected_callback:
            return
        now, ended_at = asyncio.get_running_loop().time(), target.ended_at(task)
        # One that came long before the end did not tell it.
        earliest = -inf if ended_at is None else ended_at - PATIENCE
        if target.called_at is not None and target.called_at >= earliest:
            self._losses.on_callback()
        else:
            self._losses.on_end(target.identity, now if ended_at is None else min(ended_at, now))

    def early_end(self, ref: TaskRef) -> SeparationTask | None:
        """The final record that a callback brought before; None if none did."""
        callback = self.early.take(ref.task_id, asyncio.get_running_loop().time())
        if callback is None or callback.record is None:
            return None
        return self.final(ref, callback.record)

    def _end(self, target: PollTarget, record: SeparationTask) -> None:
        # The wait may have ended in the meantime.
        if self._target_of(target.ref) is target:
            self.final(target.ref, record)

    def final(self, ref: TaskRef, record: SeparationTask) -> SeparationTask | None:
        """The record with which a callback ended the waits for *ref*; None if it did not."""
        given = self._routes.recordable(ref, record)
        verdict = None if given is None else self._receive(ref, given)
        return verdict.task if verdict is not None and verdict.has_ended else None


def _check(record: object, ref: TaskRef) -> None:
    if record is None:
        return
    if not isinstance(record, SeparationTask):
        raise InvalidArgumentError(
            f"record must be a SeparationTask or None, not {type(record).__name__}"
        )
    if record.task_id != ref.task_id:
        raise InvalidArgumentError(
            f"the record is of task {printable(record.task_id)!r}, "
            f"and not of {printable(ref.task_id)!r}"
        )
