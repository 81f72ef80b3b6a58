"""Whom to look at next, of all who wait: every line gets its share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from vocalsep_async.schedule.candidate import Candidate
from vocalsep_async.schedule.line import Line, Newcomers

C = TypeVar("C", bound=Candidate)


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
        self._lines: deque[Line[C]] = deque()

    def line(self, *, limit: float = math.inf, newcomers: Newcomers[C] | None = None) -> Line[C]:
        """Open a line; at most *limit* of it are looked at, at once."""
        line = Line(self._draw, limit=limit, newcomers=newcomers)
        self._lines.append(line)
        return line

    def close(self, line: Line[C]) -> None:
        """Serve *line* no more."""
        line.is_open = False
        self._lines.remove(line)

    def next_due(self, now: float) -> float:
        """When `take` may return somebody; infinity for not before something changes."""
        return min((line.next_due(now) for line in self._lines), default=math.inf)

    def tidy(self, now: float) -> bool:
        """Bring one slice of outdated moments up to date; whether more is left."""
        return any(line.tidy(now) for line in self._lines)

    def take(self, now: float, rate: float) -> C | None:
        """Take out whom to look at now; None if nobody is worth a look.

        Args:
            now: the clock.
            rate: looks per second that the budget allows.
        """
        share = rate / max(1, sum(1 for line in self._lines if line))
        for _ in range(len(self._lines)):
            chosen = self._lines[0].take(now, share)
            self._lines.rotate(-1)
            if chosen is not None:
                return chosen
        return None
