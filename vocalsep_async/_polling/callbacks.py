"""What callbacks tell: a task is polled soon, or it has ended by the record that one brought."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vocalsep_async._polling.early import EarlyCallbacks
from vocalsep_async._polling.target import PollTarget, Verdict
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.providers._routes import Routes


class Callbacks:
    """Has the waits for a task profit from its callback.

    Args:
        routes: of the client.
        target_of: returns the target of a task; None if it is not waited for.
        poll_soon: polls a target soon.
        receive: handles a record as one of a poll, and judges it.
        early: callbacks that came before a wait.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        target_of: Callable[[TaskRef], PollTarget | None],
        poll_soon: Callable[[PollTarget], None],
        receive: Callable[[TaskRef, SeparationTask], Verdict],
        early: EarlyCallbacks,
    ) -> None:
        self._routes = routes
        self._target_of = target_of
        self._poll_soon = poll_soon
        self._receive = receive
        self.early = early

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
            if record is None or self.final(target.ref, record) is None:
                self._poll_soon(target)
        if not targets:
            self.early.remember(refs[0].task_id, record, asyncio.get_running_loop().time())
        return bool(targets)

    def on_begin(self, target: PollTarget) -> None:
        """The first wait for a task begins: a callback that came before has it polled at once."""
        callback = self.early.take(target.task_id, target.began)
        if callback is None:
            return
        target.poll_soon(target.began)
        if callback.record is not None:
            # Deferred: the caller has yet to keep the target that this ends.
            asyncio.get_running_loop().call_soon(self._end, target, callback.record)

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
