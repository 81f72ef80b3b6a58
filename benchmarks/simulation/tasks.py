"""A simulated separation task, with the measurements of its polls."""

from __future__ import annotations

import math

from vocalsep_async.models import SeparationType


class SimulatedTask:
    """One separation task; all moments are in virtual time.

    Args:
        type: its type; clients that do not know types learn it when the task has finished.
        created: when it was created.
        duration: seconds that it takes; infinity if it never finishes.
        tracked: when the client begins to track it; None for *created*.
        age_is_known: whether the client knows *created* from the start.
        batch: the batch that it belongs to; None for a single wait.

    Attributes:
        finished: when it finishes; infinity for never.
        is_measured: whether it counts in the results; tasks that only make the load steady do not.
        noticed: when the client received the answer that it has finished; NaN before.
        polls: number of polls, throttled ones included.
        longest_gap: longest time in seconds between two answered polls, up to *finished*.
    """

    __slots__ = (
        "_last_poll",
        "age_is_known",
        "batch",
        "created",
        "finished",
        "is_measured",
        "longest_gap",
        "noticed",
        "polls",
        "tracked",
        "type",
    )

    def __init__(
        self,
        type: SeparationType,  # noqa: A002 - the API's word
        created: float,
        duration: float,
        *,
        tracked: float | None = None,
        age_is_known: bool = True,
        batch: str | None = None,
    ) -> None:
        self.type = type
        self.created = created
        self.finished = created + duration
        self.tracked = created if tracked is None else tracked
        self.age_is_known = age_is_known
        self.batch = batch
        self.is_measured = True
        self.noticed = math.nan
        self.polls = 0
        self.longest_gap = 0.0
        self._last_poll = math.inf

    @property
    def ends(self) -> bool:
        """Whether it ever finishes."""
        return self.finished < math.inf

    @property
    def is_noticed(self) -> bool:
        """Whether the client knows that it has finished."""
        return not math.isnan(self.noticed)

    @property
    def ready(self) -> float:
        """When the client could first notice that it has finished."""
        return max(self.finished, self.tracked)

    @property
    def delay(self) -> float:
        """Seconds from `ready` until it was noticed."""
        return self.noticed - self.ready

    def on_poll(self, sent: float) -> None:
        """Record an answered poll that was sent at *sent*."""
        self.longest_gap = max(self.longest_gap, min(sent, self.finished) - self._last_poll)
        self._last_poll = sent
