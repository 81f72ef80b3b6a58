"""Whom to look at next, of all who wait: every line gets its share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from vocalsep_async._scheduling.queue import Backlog, PollQueue
from vocalsep_async._scheduling.queue_entry import QueueEntry

C = TypeVar("C", bound=QueueEntry)


class Scheduler(Generic[C]):
    """Lines that take turns.

    A batch is a line, and all single waits together are one. Within a line candidates compete by
    worth; between lines slots go round, so that ten thousand tasks do not keep one waiting. A
    line that wants nothing now gives its turn away.

    Args:
        draw: gives numbers uniform in [0, 1).
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._queues: deque[PollQueue[C]] = deque()

    def queue(self, *, limit: float = math.inf, backlog: Backlog[C] | None = None) -> PollQueue[C]:
        """Open a line; at most *limit* of it are looked at, at once."""
        queue = PollQueue(self._draw, limit=limit, backlog=backlog)
        self._queues.append(queue)
        return queue

    def close(self, queue: PollQueue[C]) -> None:
        """Serve *line* no more."""
        queue.is_open = False
        self._queues.remove(queue)

    def next_due(self, now: float) -> float:
        """When `take` may return somebody; infinity for not before something changes."""
        return min((queue.next_due(now) for queue in self._queues), default=math.inf)

    def tidy(self, now: float) -> bool:
        """Bring one slice of outdated moments up to date; whether more is left."""
        return any(queue.tidy(now) for queue in self._queues)

    def take(self, now: float, rate: float) -> C | None:
        """Take out whom to look at now; None if nobody is worth a look.

        Args:
            now: the clock.
            rate: looks per second that the budget allows.
        """
        share = rate / max(1, sum(1 for queue in self._queues if queue))
        for _ in range(len(self._queues)):
            chosen = self._queues[0].take(now, share)
            self._queues.rotate(-1)
            if chosen is not None:
                return chosen
        return None
