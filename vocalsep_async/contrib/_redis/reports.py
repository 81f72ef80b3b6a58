"""What a process has to tell the store: the slots that it holds, and how requests have ended."""

from __future__ import annotations

import itertools

from vocalsep_async.contrib._redis.protocol import Report
from vocalsep_async.limiter import SlotResult

_PROMPT = {SlotResult.THROTTLED, SlotResult.MAINTENANCE, SlotResult.UNUSED}
"""Ends that matter to other processes immediately: they pause, or free a slot."""


class Reports:
    """The slots of a process that are not settled with the store.

    Reports are sent in numbered batches: a batch whose reply was lost is sent again, as it was, and
    the store takes it once.

    Args:
        process: name of this process.

    Attributes:
        held: ids of the slots whose requests are under way.
        batch: number of the batch that is sent next.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.held: set[str] = set()
        self.batch = 0
        self._numbers = itertools.count(1)
        self._sent: tuple[Report, ...] = ()
        """The batch that the store may not have got."""
        self._waiting: list[Report] = []

    def new_slot(self) -> str:
        """An id for a slot, or for a question."""
        return f"{self.process}:{next(self._numbers)}"

    def end(self, report: Report) -> None:
        """The request of a slot has ended."""
        self.held.discard(report.slot)
        self._waiting.append(report)

    @property
    def are_urgent(self) -> bool:
        """Whether one of them should not wait for the next question."""
        return any(each.result in _PROMPT for each in (*self._sent, *self._waiting))

    @property
    def are_waiting(self) -> bool:
        """Whether there are any."""
        return bool(self._sent or self._waiting)

    def next_batch(self) -> tuple[Report, ...]:
        """The reports to send; the same ones again until `on_reply`."""
        if not self._sent and self._waiting:
            self._sent, self._waiting = tuple(self._waiting), []
            self.batch += 1
        return self._sent

    def on_reply(self) -> None:
        """The store has the last batch."""
        self._sent = ()

    def forget_before(self, moment: float) -> None:
        """Drop what ended before *moment*, which changes nothing any more."""
        # The batch that was sent stays as it is: it may be known under its number.
        self._waiting = [each for each in self._waiting if each.ended >= moment]

    def move(self, shift: float, now: float) -> None:
        """Go on with a clock that is *shift* seconds ahead; requests under way are lost *now*."""
        self._sent = tuple(_moved(each, shift) for each in self._sent)
        self._waiting = [_moved(each, shift) for each in self._waiting]
        for slot in sorted(self.held):
            self.end(Report(slot, SlotResult.LOST, now))


def _moved(report: Report, shift: float) -> Report:
    return Report(report.slot, report.result, report.ended + shift, report.retry_after)
