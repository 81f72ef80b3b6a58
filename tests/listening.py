"""Listeners for tests, and what holds for the events that they get."""

from __future__ import annotations

import math
from collections import Counter
from typing import TypeVar

from vocalsep_async import Event
from vocalsep_async.instrumentation import (
    BatchFinished,
    BatchStarted,
    OutcomeDelivered,
    PollFinished,
    PollStarted,
    WaitFinished,
    WaitStarted,
)

E = TypeVar("E", bound=Event)


class Recorder(list[Event]):
    """A listener that keeps the events of some kinds, or of all."""

    def __init__(self, *kinds: type[Event]) -> None:
        self._kinds = kinds or (Event,)

    def __call__(self, event: Event) -> None:
        if isinstance(event, self._kinds):
            self.append(event)

    @property
    def names(self) -> list[str]:
        return [event.name for event in self]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, kind)]

    def the(self, kind: type[E]) -> E:
        """The only event of its kind."""
        (event,) = self.of(kind)
        return event


def check(events: list[Event]) -> None:
    """Check that *events*, all that a closed client emitted, are well-formed.

    What started finished exactly once. The polls that serve waits and batches of a task follow one
    another and are counted from 1, and those that they serve had started and not finished.
    """
    protocol = _Protocol()
    for event in events:
        protocol.follow(event)
    assert protocol.open == set(), "not finished"
    assert protocol.polls == [], "polls that never finished"
    assert +protocol.direct_polls == Counter(), "polls of calls that never finished"


class _Protocol:
    """What has started and not finished after a number of events."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.polls: list[tuple[PollStarted, set[str]]] = []
        self.direct_polls: Counter[tuple[str, int]] = Counter()
        self._started: set[str] = set()
        self._attempts: dict[str, int] = {}

    def follow(self, event: Event) -> None:
        match event:
            case WaitStarted(wait_id=one) | BatchStarted(batch_id=one):
                assert one not in self._started, "started twice"
                self._started.add(one)
                self.open.add(one)
            case WaitFinished(wait_id=one) | BatchFinished(batch_id=one):
                self.open.remove(one)
            case OutcomeDelivered(batch_id=one):
                assert one in self.open
            case PollStarted(task_id=task_id, attempt=attempt, wait_ids=()):
                self.direct_polls[task_id, attempt] += 1
            case PollFinished(task_id=task_id, attempt=attempt, wait_ids=()):
                self.direct_polls[task_id, attempt] -= 1
                assert self.direct_polls[task_id, attempt] >= 0, "a poll that never started"
            case PollStarted():
                self._start_poll(event)
            case PollFinished():
                self._finish_poll(event)

    def _start_poll(self, poll: PollStarted) -> None:
        # The count begins anew after all waits for the task have ended: only then may the last
        # poll, which was cancelled, still be about to end.
        is_alone = all(each.task_id != poll.task_id for each, _ in self.polls)
        assert is_alone or poll.attempt == 1, "two polls of one task"
        assert poll.attempt in {1, self._attempts.get(poll.task_id, 0) + 1}
        self._attempts[poll.task_id] = poll.attempt
        assert set(poll.wait_ids) <= self.open
        assert len(set(poll.wait_ids)) == len(poll.wait_ids)
        self.polls.append((poll, set(self.open)))

    def _finish_poll(self, poll: PollFinished) -> None:
        started = next(
            each
            for each in self.polls
            if (each[0].task_id, each[0].attempt) == (poll.task_id, poll.attempt)
        )
        self.polls.remove(started)
        _, open_then = started
        # Those that joined have started since, and may have left again.
        assert set(poll.wait_ids) <= open_then | self.open
        assert poll.duration >= 0
        assert (poll.error is None) == (poll.status is not None)
        assert poll.next_poll_in is None or 0 <= poll.next_poll_in < math.inf
