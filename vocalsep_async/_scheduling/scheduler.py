"""Which task is polled next, of all tasks of a client: its poll queues take turns."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from vocalsep_async._scheduling.callbacks import CallbackLosses
from vocalsep_async._scheduling.load import Load
from vocalsep_async._scheduling.queue import Backlog, PollQueue, Yielding
from vocalsep_async._scheduling.queue_entry import QueueEntry

E = TypeVar("E", bound=QueueEntry)

BATCH_YIELDS = Yielding(share=0.3)
"""Batches yield to what is much more urgent, whichever queue it is in."""
WAITS_YIELD = Yielding(share=0.1, limit=10.0)
"""Single waits yield less, since a caller awaits each of them, and only a little to any crowd."""


class NextPoll(NamedTuple):
    """What the next slot would be used for.

    Attributes:
        worth: expected delay of the task in seconds, which its poll ends: the age of information.
        growth: seconds by which the worth grows each second, in [0, 1]: the probability that the
            task has ended by now.
        must: whether the poll is due at any price: a deadline has come, or the task starves.
        queued: number of tasks of all queues that want polls, those being polled included.
    """

    worth: float
    growth: float
    must: bool
    queued: int


class Scheduler(Generic[E]):
    """Serves poll queues round robin: one for each batch, and one for all single waits.

    A queue without a due entry is skipped. A queue passes its turn while its best poll is worth
    much less than that of another one.

    Args:
        draw: returns random numbers, uniform in [0, 1).
        losses: of callbacks; None where none are expected.
    """

    # Queues alternate instead of sharing one price, so that a batch of ten thousand tasks does not
    # delay a single wait. Alternating without regard to worth would give half of the slots to
    # twenty waits that have just been polled.

    def __init__(self, draw: Callable[[], float], losses: CallbackLosses | None = None) -> None:
        self._draw = draw
        self._losses = losses or CallbackLosses()
        self._queues: deque[PollQueue[E]] = deque()
        self._load = Load()

    def queue(
        self,
        *,
        limit: float = math.inf,
        backlog: Backlog[E] | None = None,
        yields: Yielding = BATCH_YIELDS,
    ) -> PollQueue[E]:
        """Open a queue with at most *limit* polls in flight; see `PollQueue`."""
        queue = PollQueue(
            self._draw,
            limit=limit,
            backlog=backlog,
            yields=yields,
            load=self._load,
            losses=self._losses,
        )
        self._queues.append(queue)
        return queue

    def close(self, queue: PollQueue[E]) -> None:
        """Stop serving *queue*."""
        queue.is_open = False
        self._queues.remove(queue)

    def next_due(self, now: float) -> float:
        """Earliest moment at which `take` may return an entry; infinity for not before a change."""
        return min((queue.next_due(now) for queue in self._queues), default=math.inf)

    @property
    def next_change(self) -> float:
        """When `refresh` may change what `next_due` returns; infinity for not before a change."""
        return self._losses.next_change

    def refresh(self, now: float) -> bool:
        """Compute one slice of outdated keys; whether more are left to compute now."""
        self._losses.settle(now)
        return any(queue.refresh(now) for queue in self._queues)

    def peek(self, now: float, rate: float) -> NextPoll | None:
        """What `take` would take at *now*; None if it would take nothing.

        It changes no decision and compares no entries, so a limiter may ask as often as it wants.
        After None while `next_due` has come, `take` lowers a price, for which no slot is needed.

        For a backlog it describes the first task. If `take` finds that this task needs no poll of
        its own, it takes another one, or none.

        Args:
            now: the present moment.
            rate: polls per second that the rate limiter allows.
        """
        share = self._share(rate)
        offers = (queue.choose(now, share) for queue in self._turns(now, share))
        offer = next((each for each in offers if each is not None), None)
        if offer is None:
            return None
        return NextPoll(
            worth=offer.candidate.expected_delay(now),
            growth=offer.candidate.delay_growth(now),
            must=offer.must,
            queued=sum(map(len, self._queues)),
        )

    def take(self, now: float, rate: float) -> E | None:
        """Remove and return the entry to poll at *now*; None if no entry is due.

        Args:
            now: the present moment.
            rate: polls per second that the rate limiter allows.
        """
        share = self._share(rate)
        for queue in self._turns(now, share):
            # Its next turn comes after those of all other queues.
            self._queues.remove(queue)
            self._queues.append(queue)
            chosen = queue.take(now, share)
            if chosen is not None:
                self._load.on_poll(now, rate)
                return chosen
        return None

    def observe_end(self, now: float) -> None:
        """A task has ended; learn from those whose callbacks have not come."""
        # Where few callbacks get lost, most ends are learned from them, and short tasks end first.
        # The others have very likely been running: without them all tasks would seem to be short.
        if self._losses.are_few:
            for queue in self._queues:
                queue.observe_uncalled(now)

    def _turns(self, now: float, share: float) -> Sequence[PollQueue[E]]:
        """The queues in the order in which the slot is offered to them."""
        # Mostly one batch runs, beside the empty queue of single waits.
        if sum(map(bool, self._queues)) < 2:
            return tuple(self._queues)
        worths = {queue: queue.worth(now, share) for queue in self._queues}
        best = max((each for each in worths.values() if each < math.inf), default=0.0)
        passing = [each for each in self._queues if worths[each] < each.yields.bar(best)]
        return [each for each in self._queues if each not in passing] + passing

    def _share(self, rate: float) -> float:
        """Polls per second that each queue with tasks may expect."""
        return rate / max(1, sum(1 for queue in self._queues if queue))
