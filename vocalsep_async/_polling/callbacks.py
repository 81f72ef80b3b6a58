"""What callbacks tell: a task is polled soon, or it has ended by the record that one brought."""

from __future__ import annotations

from collections.abc import Callable

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
    """

    def __init__(
        self,
        routes: Routes,
        *,
        target_of: Callable[[TaskRef], PollTarget | None],
        poll_soon: Callable[[PollTarget], None],
        receive: Callable[[TaskRef, SeparationTask], Verdict],
    ) -> None:
        self._routes = routes
        self._target_of = target_of
        self._poll_soon = poll_soon
        self._receive = receive

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
            if record is None or not self._ends(target, record):
                self._poll_soon(target)
        return bool(targets)

    def _ends(self, target: PollTarget, record: SeparationTask) -> bool:
        """Whether *record* ended the waits for *target*."""
        given = self._routes.recordable(target.ref, record)
        return given is not None and self._receive(target.ref, given).has_ended


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
