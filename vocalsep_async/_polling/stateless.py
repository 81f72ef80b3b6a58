"""Polls once and says when to poll again, for callers that keep no client running.

Airflow triggers, Temporal activities, Celery tasks and cron jobs end after each poll and run again
later, perhaps in another process. What a waiter keeps in memory, they pass on as JSON.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, evolve, field, fields, frozen

from vocalsep_async import _validation
from vocalsep_async._failures import FailureStreak, is_refusal
from vocalsep_async._polling.direct import DirectPolls
from vocalsep_async._polling.refusals import CONFIRMATION, Refusals
from vocalsep_async._polling.target import LONGEST_AGE, Verdict
from vocalsep_async._request_queue import RequestSlot
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._scheduling.sibling_ages import GUESSED_AGE
from vocalsep_async._sender import RequestSender
from vocalsep_async.durations import view_of
from vocalsep_async.errors import InvalidArgumentError, VocalSepError
from vocalsep_async.models import PollDone, PollPending, SeparationTask, TaskRef, as_status
from vocalsep_async.policies import TURN_PATIENCE, PollContext, PollPolicy
from vocalsep_async.providers import Request

_BUSY = 1.0
"""Seconds before the next call where it is not known when a slot will be free."""


def _word(_instance: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidArgumentError("kind and status must be strings, or None")


def _moment(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None:
        _validation.number(value, attribute.name, minimum=-math.inf)


_count = _validation.at_least(0)


@frozen(kw_only=True)
class _State:
    """What one call passes on to the next; moments are seconds since 1970.

    Attributes:
        polls: polls that were sent.
        failures: of the `FailureStreak`, as are *same_kind* and *kind*.
        status: of the last record; None before the first.
        began: the moment of the first call.
        created: when the task was created; None if not known.
        understood: whether any answer came from this API.
        doubted: since when records have left the end in doubt; None without a doubt.
        turn: when the next call gets the slot that the last one did not; None if that had one.
    """

    # Flat, because it is what users store as JSON.
    polls: int = field(default=0, validator=_count)
    failures: int = field(default=0, validator=_count)
    same_kind: int = field(default=0, validator=_count)
    kind: str | None = field(default=None, validator=_word)
    status: str | None = field(default=None, validator=_word)
    began: float | None = field(default=None, validator=_moment)
    created: float | None = field(default=None, validator=_moment)
    understood: bool = field(default=False, validator=_validation.flag)
    doubted: float | None = field(default=None, validator=_moment)
    turn: float | None = field(default=None, validator=_moment)

    @property
    def streak(self) -> FailureStreak:
        return FailureStreak(self.failures, self.same_kind, self.kind)

    def polled(self, streak: FailureStreak, **changes: Any) -> _State:
        """The state after one more poll, whose failures in a row *streak* counts."""
        return evolve(self, polls=self.polls + 1, turn=None, **asdict(streak), **changes)


def _read(state: Any) -> _State:
    if state is None:
        return _State()
    names = {attribute.name for attribute in fields(_State)}
    if not isinstance(state, Mapping) or not set(state) <= names:
        raise InvalidArgumentError("state must be what the last PollPending had, or None")
    return _State(**state)


class StatelessPoller:
    """Polls one task once.

    Args:
        sender: whose limiter has to have a slot.
        polls: sends the poll.
        hazards: what is known about how long tasks take.
        receive: judges the record, given for how many seconds the state has its end in doubt.
        refusals: know whether any poll of the client returned a record.
        early_end: returns the final record that a callback brought; None if none did.
    """

    def __init__(
        self,
        sender: RequestSender,
        polls: DirectPolls,
        hazards: HazardTable,
        receive: Callable[[TaskRef, SeparationTask, float], Verdict],
        refusals: Refusals,
        *,
        early_end: Callable[[TaskRef], SeparationTask | None],
    ) -> None:
        self._sender = sender
        self._queue = sender.queue
        self._polls = polls
        self._hazards = hazards
        self._receive = receive
        self._refusals = refusals
        self._early_end = early_end

    async def poll(
        self, ref: TaskRef, policy: PollPolicy, state: Mapping[str, Any] | None
    ) -> PollDone | PollPending:
        """Poll *ref* if the rate limit allows it now.

        Raises:
            VocalSepError: no later poll can succeed.
            InvalidArgumentError: *state* is not the state of an earlier call.
        """
        known = _begun(_read(state), ref)
        self._sender.bind()
        task = self._early_end(ref)
        if task is not None:
            return PollDone(task)
        # The client may be new, and would doubt the address at each 405 again.
        if known.understood:
            self._queue.on_understood()
        slot = await self._acquire(known)
        if isinstance(slot, (int, float)):
            # Not 0: the caller would ask again and again while another request is ahead.
            return self._put_off(known, slot if 0 < slot < math.inf else _BUSY)
        request = self._polls.request(ref)
        try:
            task, age = await self._polls.send(
                slot, request, ref, attempt=known.polls + 1, failures=known.failures, with_age=True
            )
        except VocalSepError as error:
            return self._failed(known, request, error)
        verdict = self._receive(ref, task, _doubted_for(known))
        if verdict.has_ended:
            return PollDone(verdict.task)
        return self._running(known, ref, policy, verdict, age)

    async def _acquire(self, known: _State) -> RequestSlot | float:
        """A slot, or the seconds after which to ask again."""
        slot = await self._queue.try_acquire()
        # Mostly not queued: a caller that must not sleep comes back later.
        if isinstance(slot, RequestSlot) or known.turn is None or time.time() < known.turn:
            return slot
        return await self._queue.acquire_within(TURN_PATIENCE) or slot

    def _put_off(self, known: _State, seconds: float) -> PollPending:
        """Have the caller poll when it is its turn, and after *seconds* at the earliest."""
        now = time.time()
        if known.turn is not None and now < known.turn:
            # It came before its time, and does not get another one.
            return self._pending(known, max(seconds, known.turn - now))
        retry_in = self._queue.limiter.retry_in()
        delay = max(seconds, _BUSY if math.isinf(retry_in) else retry_in)
        return self._pending(evolve(known, turn=now + delay), delay)

    def _running(
        self,
        known: _State,
        ref: TaskRef,
        policy: PollPolicy,
        verdict: Verdict,
        age: float | None,
    ) -> PollPending:
        # The wall clock, because the next call may run in another process.
        now = time.time()
        known = known.polled(
            FailureStreak(),
            status=str(verdict.task.status),
            created=known.created if age is None else now - age,
            doubted=None if verdict.doubted_for is None else now - verdict.doubted_for,
        )
        context = PollContext(
            polls=known.polls,
            elapsed=_elapsed(known, now),
            age=_age(known, now),
            durations=view_of(self._hazards.model(ref.type)),
            draw=random.random(),
        )
        delay = policy.delay(context)
        wanted = _validation.number(delay, "the delay of a poll policy", minimum=0.0)
        if verdict.poll_at is not None:
            wanted = min(wanted, max(0.0, verdict.poll_at - asyncio.get_running_loop().time()))
        return self._pending(known, wanted)

    def _failed(self, known: _State, request: Request, error: VocalSepError) -> PollPending:
        streak = known.streak.record(error)
        is_doubtful = is_refusal(error) and streak.same_kind == 1 and self._has_record(known)
        if not is_doubtful and self._sender.is_permanent(error, streak):
            raise error
        delay = streak.delay(error, self._sender.retry, random.random)
        if is_doubtful:
            delay = CONFIRMATION
        self._sender.report_retry(request, streak, delay, error)
        return self._pending(known.polled(streak), delay)

    def _has_record(self, known: _State) -> bool:
        """Whether any poll succeeded, so that one refusal may come from something in between."""
        return known.status is not None or self._refusals.has_succeeded

    def _pending(self, known: _State, delay: float) -> PollPending:
        """Have the caller poll after *delay* seconds, or later if the rate limit wants it."""
        paused_for = self._queue.paused_until() - asyncio.get_running_loop().time()
        wait = max(paused_for, self._queue.limiter.snapshot().wait)
        if known.turn is None and delay < wait:
            return self._put_off(known, delay)
        earliest = max(delay, paused_for)
        status = None if known.status is None else as_status(known.status)
        known = evolve(known, understood=self._queue.is_understood)
        return PollPending(delay=earliest, state=asdict(known), status=status)


def _begun(known: _State, ref: TaskRef) -> _State:
    """Fill in what the first call, and the caller, know of the times."""
    if known.began is None:
        known = evolve(known, began=time.time())
    if known.created is None and ref.created_at is not None:
        known = evolve(known, created=ref.created_at.timestamp())
    return known


def _doubted_for(known: _State) -> float:
    return 0.0 if known.doubted is None else max(0.0, time.time() - known.doubted)


def _elapsed(known: _State, now: float) -> float:
    # The clock may have been set back between two calls.
    return 0.0 if known.began is None else max(0.0, now - known.began)


def _age(known: _State, now: float) -> float:
    """Seconds since the creation; a guess where it is not known, or cannot be true."""
    if known.created is not None and now - known.created <= LONGEST_AGE:
        return max(0.0, now - known.created)
    return GUESSED_AGE + min(_elapsed(known, now), LONGEST_AGE)
