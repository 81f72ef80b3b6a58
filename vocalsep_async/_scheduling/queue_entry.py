"""One task in a poll queue."""

from __future__ import annotations

import math
from typing import Any, Self

from vocalsep_async._scheduling.callbacks import PATIENCE
from vocalsep_async._scheduling.hazards import HazardModel


class QueueEntry:
    """One task, with everything that decides when it is polled next.

    Moments are in seconds on the clock that supplies ``now`` to the schedule; ages are seconds
    since the creation of the task.

    Args:
        model: what is known about how long such tasks take.
        created: when the task was created; a guess if that is not known.
        began: when the wait for the task began.

    Attributes:
        running_at: the age at which the task was last seen running; 0 before the first poll.
        uncalled_at: the age up to which the model has counted the task as running, because its
            callback has not come; 0 for never.
        sent: when the last poll was sent; minus infinity before the first.
        latest: deadline of the next poll, which takes precedence over all prices; infinity for
            none.
        awaits_callback: whether a callback may still tell the end of the task, so that it is polled
            only where that is worth a request all the same; see `callbacks`.
        queue: the queue in which the entry waits or from which it was taken; None before the
            first push. Set by the queue.
        draw: random number, uniform in [0, 1), drawn at each push. It orders entries with equal
            keys and serves as jitter. Set by the queue.
        heap_item: the valid item of the entry in the `PriceHeap`, which begins with its key; None
            while the entry does not wait. Set by that heap.
        deadline_item: the valid item of the entry in the `DeadlineHeap`; None without a deadline.
            Set by that heap.
        before: the entry that precedes this one in the `WaitingOrder`, and
        after: the one that follows it; None for none. Set by that order.
    """

    # A batch of 10,000 tasks holds as many entries: slots keep each of them small.
    __slots__ = (
        "after",
        "awaits_callback",
        "before",
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
        "uncalled_at",
    )

    def __init__(self, model: HazardModel, created: float, began: float) -> None:
        self.model = model
        self.created = created
        self.began = began
        self.running_at = 0.0
        self.uncalled_at = 0.0
        self.sent = -math.inf
        self.latest = math.inf
        self.awaits_callback = False
        self.queue: Any = None
        self.draw = 0.5
        self.heap_item: tuple[float, float, QueueEntry] | None = None
        self.deadline_item: tuple[float, float, QueueEntry] | None = None
        self.before: Self | None = None
        self.after: Self | None = None

    def __lt__(self, other: QueueEntry) -> bool:
        # Heap items are compared up to here only if both key and draw are equal; any order will do.
        return id(self) < id(other)

    def wants(self, price: float) -> float:
        """When the poll policy wants the next poll, given a price of *price* seconds."""
        raise NotImplementedError

    @property
    def waiting_since(self) -> float:
        """When the last poll was sent or the wait began, whichever came later."""
        return max(self.began, self.sent)

    def expected_delay(self, now: float) -> float:
        """Expected seconds for which the task has been finished, unnoticed, by *now*.

        Where a callback may still tell the end, they count only as far as it may get lost.
        """
        delay = self.model.expected_delay(self.running_at, now - self.created)
        return delay * self.queue.loss_share if self.awaits_callback else delay

    def delay_growth(self, now: float) -> float:
        """Seconds by which `expected_delay` grows each second at *now*, in [0, 1].

        This is the probability that the task has ended by now.
        """
        growth = self.model.ended(self.running_at, now - self.created)
        return growth * self.queue.loss_share if self.awaits_callback else growth

    def key_at(self, price: float) -> float:
        """When the policy wants a poll and the expected delay has reached *price* seconds."""
        key = self.wants(price)
        return max(key, self.due_at(price)) if price > 0 else key

    def due_at(self, price: float) -> float:
        """When the expected delay has reached *price* seconds, above 0."""
        if self.awaits_callback:
            price /= self.queue.loss_share
        return self.created + self.model.due(self.running_at, price)

    @property
    def counted_at(self) -> float:
        """The age up to which the model has counted the task as running."""
        return max(self.running_at, self.uncalled_at)

    def observe_running(self, age: float) -> None:
        """Learn that the task was running at *age*."""
        if age > self.running_at:
            self.model.observe_running(self.counted_at, age)
            self.running_at = age

    def observe_uncalled(self, now: float) -> None:
        """Learn that the task has very likely been running, since no callback told its end."""
        age = now - PATIENCE - self.created
        if age > self.counted_at:
            self.model.observe_running(self.counted_at, age)
            self.uncalled_at = age

    @property
    def waits(self) -> bool:
        """Whether the entry waits in a queue; False while its poll is in flight."""
        return self.heap_item is not None

    @property
    def key(self) -> float:
        """When the entry is due, as last computed; infinity while it does not wait."""
        return math.inf if self.heap_item is None else self.heap_item[0]
