"""A task that may be looked at, as the schedule sees it."""

from __future__ import annotations

import math

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.ring import Linked


class QueueEntry(Linked):
    """One task, and what decides when it is looked at next.

    All moments are on the one clock whose ``now`` the schedule is given; ages are seconds since
    the creation.

    Args:
        model: what is known about how long such tasks take.
        created: when it was created; a guess where nobody knows.
        began: when somebody began to wait for it.

    Attributes:
        running_at: the age at which it was last seen running; 0 before the first look.
        sent: when the last look was sent; minus infinity before the first.
        latest: when it is looked at whatever the others are worth; infinity for never.
        promise: its place among those who have such a moment; None if it has none.
        draw: a number uniform in [0, 1) for each look; decides between equals, and jitter.
        entry: its place in a heap, which begins with its key; None while it does not wait.
        line: where it waits, or is looked at for; None before the first time.
    """

    __slots__ = (
        "began",
        "created",
        "deadline_item",
        "draw",
        "heap_item",
        "latest",
        "model",
        "queue",
        "running_at",
        "sent",
    )

    def __init__(self, model: HazardModel, created: float, began: float) -> None:
        super().__init__()
        self.model = model
        self.created = created
        self.began = began
        self.running_at = 0.0
        self.sent = -math.inf
        self.latest = math.inf
        self.draw = 0.5
        self.deadline_item: tuple[float, float, QueueEntry] | None = None
        self.heap_item: tuple[float, float, QueueEntry] | None = None
        self.queue: object = None

    def __lt__(self, other: QueueEntry) -> bool:
        return id(self) < id(other)  # only asked where key and draw are the same

    def wants(self, price: float) -> float:
        """When its policy wants the next look, if a look costs others *price* seconds."""
        raise NotImplementedError

    @property
    def waiting_since(self) -> float:
        """When it was looked at last, or began to wait for the first look."""
        return max(self.began, self.sent)

    def expected_delay(self, now: float) -> float:
        """Seconds for which it is expected to have been finished, unnoticed, by *now*."""
        return self.model.expected_delay(self.running_at, now - self.created)

    def key_at(self, price: float) -> float:
        """When it comes to be both wanted and worth *price* seconds."""
        key = self.wants(price)
        if price > 0:
            key = max(key, self.created + self.model.due(self.running_at, price))
        return key

    @property
    def waits(self) -> bool:
        """Whether it waits for its next look; not while one is under way."""
        return self.heap_item is not None

    @property
    def key(self) -> float:
        """When it is looked at, as things stand; infinity while it does not wait."""
        return math.inf if self.heap_item is None else self.heap_item[0]
