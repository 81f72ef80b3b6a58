"""Queue entries for the tests of the scheduling package, and queues that hold them."""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.queue_entry import QueueEntry


def trained_model(low: float, high: float, guess: float) -> HazardModel:
    """A model that has learned durations spread evenly from *low* to *high*."""
    model = HazardModel(guess)
    for step in range(200):
        model.observe_completion(0.0, low + (high - low) * (step * 73 % 200) / 200)
    return model


FAST, TYPICAL = trained_model(1, 9, 5), trained_model(20, 90, 65)
SLOW = trained_model(6900, 7100, 7200)
UNTRAINED = HazardModel()
MODELS = (UNTRAINED, FAST, TYPICAL, SLOW)


class IntervalEntry(QueueEntry):
    """Wants its first poll when its wait begins, and each next one a fixed gap after the last."""

    def __init__(
        self,
        model: HazardModel = TYPICAL,
        *,
        created: float = 0.0,
        began: float = 0.0,
        gap: float = 1.0,
    ) -> None:
        super().__init__(model, created, began)
        self.gap = gap
        self.keys_computed = 0

    def wants(self, price: float) -> float:
        return self.began if self.sent == -math.inf else self.sent + self.gap

    def key_at(self, price: float) -> float:
        self.keys_computed += 1
        return super().key_at(price)

    def on_pending(self, now: float) -> None:
        """A poll at *now* found the task running."""
        self.sent, self.running_at = now, max(now - self.created, 0.0)


class FakeBacklog:
    """A backlog of given entries; None stands for a task that needs no poll of its own."""

    def __init__(self, *entries: IntervalEntry | None, expected_delay: float = 40.0) -> None:
        self.entries = deque(entries)
        self.delay = expected_delay

    def __len__(self) -> int:
        return len(self.entries)

    def expected_delay(self, now: float) -> float:
        return self.delay

    def delay_growth(self, now: float) -> float:
        return 0.5

    def admit(self, now: float) -> IntervalEntry | None:
        return self.entries.popleft()


def constant_draw() -> float:
    return 0.5


def queue_of(
    *entries: IntervalEntry,
    draw: Callable[[], float] = constant_draw,
    limit: float = math.inf,
    backlog: FakeBacklog | None = None,
) -> PollQueue[IntervalEntry]:
    queue: PollQueue[IntervalEntry] = PollQueue(draw, limit=limit, backlog=backlog)
    for entry in entries:
        queue.push(entry)
    return queue


def refresh_keys(queue: PollQueue[IntervalEntry], now: float) -> None:
    """Compute all outdated keys, as far as is allowed now."""
    while queue.refresh(now):
        pass


def answer_poll(queue: PollQueue[IntervalEntry], entry: IntervalEntry, now: float) -> None:
    """End the poll of *entry*, sent at *now*: its task still runs."""
    entry.on_pending(now)
    queue.end_poll()
    queue.push(entry)


def poll(queue: PollQueue[IntervalEntry], now: float, rate: float = 2.0) -> IntervalEntry | None:
    """Use one slot: take an entry and answer its poll immediately."""
    refresh_keys(queue, now)
    entry = queue.take(now, rate)
    if entry is not None:
        answer_poll(queue, entry, now)
    return entry


def slot_times(rate: float, start: float = 0.0) -> Iterator[float]:
    """The moments at which a rate limit has room for one more poll."""
    return itertools.count(start, 1 / rate)


def random_entries(size: int, seed: int = 1, *, now: float = 0.0) -> list[IntervalEntry]:
    """Entries of all models and ages."""
    random_ = random.Random(seed)
    return [
        IntervalEntry(random_.choice(MODELS), created=now - random_.uniform(0, 120), began=now)
        for _ in range(size)
    ]
