"""Candidates without anybody behind them, and a budget that looks at them."""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterator

from vocalsep_async._scheduling.hazards import HazardModel
from vocalsep_async._scheduling.queue import PollQueue
from vocalsep_async._scheduling.queue_entry import QueueEntry


def taught(low: float, high: float, guess: float) -> HazardModel:
    """A model that has seen durations spread evenly from *low* to *high*."""
    model = HazardModel(guess)
    for step in range(200):
        model.observe_completion(0.0, low + (high - low) * (step * 73 % 200) / 200)
    return model


SWIFT, USUAL, SLOW = taught(1, 9, 5), taught(20, 90, 65), taught(6900, 7100, 7200)
COLD = HazardModel()
MODELS = (COLD, SWIFT, USUAL, SLOW)


class Song(QueueEntry):
    """Wants its next look a fixed gap after the last one, and the first when it began to wait."""

    def __init__(
        self,
        model: HazardModel = USUAL,
        *,
        created: float = 0.0,
        began: float = 0.0,
        gap: float = 1.0,
    ) -> None:
        super().__init__(model, created, began)
        self.gap = gap
        self.keys = 0
        """How often its key was computed."""

    def wants(self, price: float) -> float:
        return self.began if self.sent == -math.inf else self.sent + self.gap

    def key_at(self, price: float) -> float:
        self.keys += 1
        return super().key_at(price)

    def looked_at(self, now: float) -> None:
        """A look at *now* found it running."""
        self.sent, self.running_at = now, max(now - self.created, 0.0)


class FakeBacklog:
    """Newcomers; those that need no look of their own are None."""

    def __init__(self, *songs: Song | None, expected_delay: float = 40.0) -> None:
        self.songs = deque(songs)
        self.each = expected_delay

    def __len__(self) -> int:
        return len(self.songs)

    def expected_delay(self, now: float) -> float:
        return self.each

    def admit(self, now: float) -> Song | None:
        return self.songs.popleft()


def half() -> float:
    return 0.5


def line_of(
    *songs: Song,
    draw: Callable[[], float] = half,
    limit: float = math.inf,
    backlog: FakeBacklog | None = None,
) -> PollQueue[Song]:
    queue: PollQueue[Song] = PollQueue(draw, limit=limit, backlog=backlog)
    for song in songs:
        queue.enter(song)
    return queue


def settle(queue: PollQueue[Song], now: float) -> None:
    """Bring all keys up to date, as far as is allowed now."""
    while queue.tidy(now):
        pass


def answer(queue: PollQueue[Song], song: Song, now: float) -> None:
    """A look sent *now* is answered at once: the task still runs."""
    song.looked_at(now)
    queue.done_polling()
    queue.enter(song)


def poll(queue: PollQueue[Song], now: float, rate: float = 2.0) -> Song | None:
    """Use one slot of the budget."""
    settle(queue, now)
    song = queue.take(now, rate)
    if song is not None:
        answer(queue, song, now)
    return song


def slots(rate: float, start: float = 0.0) -> Iterator[float]:
    """When a budget has room for one more look."""
    return itertools.count(start, 1 / rate)


def group(size: int, seed: int = 1, *, now: float = 0.0) -> list[Song]:
    """Songs of all kinds and ages."""
    random_ = random.Random(seed)
    return [
        Song(random_.choice(MODELS), created=now - random_.uniform(0, 120), began=now)
        for _ in range(size)
    ]
