"""A task at the server, with what happened to it."""

from __future__ import annotations

import math

from vocalsep_async.models import SeparationType


class Job:
    """One separation task.

    Args:
        type: what it is; the client is not told before it is done.
        created: when it was created.
        duration: seconds it takes; infinity if it never finishes.
        tracked: when the client begins to track it.
        age_is_known: whether the client knows *created* from the start.

    Attributes:
        finished: when the server finishes it.
        is_measured: whether it counts; those that only make the load steady do not.
        noticed: when the client got the answer that says so; NaN before.
        looks: requests that asked about it, refused ones included.
        longest_gap: seconds between two answered looks, as far as it was running between them.
    """

    __slots__ = (
        "_looked_at",
        "age_is_known",
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
    ) -> None:
        self.type = type
        self.created = created
        self.finished = created + duration
        self.tracked = created if tracked is None else tracked
        self.age_is_known = age_is_known
        self.is_measured = True
        self.noticed = math.nan
        self.polls = 0
        self.longest_gap = 0.0
        self._looked_at = math.inf

    @property
    def ends(self) -> bool:
        """Whether it finishes at all."""
        return self.finished < math.inf

    @property
    def is_noticed(self) -> bool:
        """Whether the client knows that it is finished."""
        return self.noticed == self.noticed

    @property
    def ready(self) -> float:
        """When there was something to notice."""
        return max(self.finished, self.tracked)

    @property
    def delay(self) -> float:
        """Seconds for which it stayed unnoticed."""
        return self.noticed - self.ready

    def looked_at(self, sent: float) -> None:
        """Note a look that was answered."""
        self.longest_gap = max(self.longest_gap, min(sent, self.finished) - self._looked_at)
        self._looked_at = sent
