"""One look at a time, for those who must not sleep: what there is to know travels as JSON.

Airflow triggers, Temporal activities, Celery tasks and cron jobs end after each look, and are run
again later, perhaps in another process. What a wait keeps in memory, they hand on.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
from attrs import asdict, evolve, field, fields, frozen

from vocalsep_async import _validation
from vocalsep_async._polling.learner import DurationLearner
from vocalsep_async._polling.target import LONGEST_AGE, kind_of, record_request
from vocalsep_async._scheduling.queue import GUESSED_AGE
from vocalsep_async._sender import RequestSender
from vocalsep_async.durations import DurationView
from vocalsep_async.errors import ErrorAction, InvalidArgumentError, VocalSepError
from vocalsep_async.models import PollDone, PollPending, SeparationTask, TaskRef, as_status
from vocalsep_async.policies import PollContext, PollPolicy
from vocalsep_async.providers._decoder import Decoder, age_of

_BUSY = 1.0
"""Seconds until asking again, where only an answer that is on its way makes room."""


def _word(_instance: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidArgumentError("kind and status must be strings, or None")


def _moment(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None:
        _validation.number(value, attribute.name, minimum=-math.inf)


def _flag(_instance: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{attribute.name} must be True or False")


_count = _validation.at_least(0)


@frozen(kw_only=True)
class _State:
    """What is handed on; moments are seconds since 1970.

    Attributes:
        understood: whether any answer was one of this API.
    """

    polls: int = field(default=0, validator=_count)
    failures: int = field(default=0, validator=_count)
    same_kind: int = field(default=0, validator=_count)
    kind: str | None = field(default=None, validator=_word)
    status: str | None = field(default=None, validator=_word)
    began: float | None = field(default=None, validator=_moment)
    created: float | None = field(default=None, validator=_moment)
    understood: bool = field(default=False, validator=_flag)


def _read(state: Any) -> _State:
    if state is None:
        return _State()
    names = {attribute.name for attribute in fields(_State)}
    if not isinstance(state, Mapping) or not set(state) <= names:
        raise InvalidArgumentError("state must be what the last PollPending had, or None")
    return _State(**state)


class StatelessPoller:
    """One look at one task.

    Args:
        asker: sends it.
        decoder: reads the answer.
        lessons: learns from it.
    """

    def __init__(self, sender: RequestSender, decoder: Decoder, learner: DurationLearner) -> None:
        self._sender = sender
        self._limiter = sender.limiter
        self._decoder = decoder
        self._learner = learner

    async def poll(
        self, ref: TaskRef, policy: PollPolicy, state: Mapping[str, Any] | None
    ) -> PollDone | PollPending:
        """Look at *ref* if the budget has room now.

        Raises:
            VocalSepError: asking again is no use.
            InvalidArgumentError: *state* is not what an earlier call gave.
        """
        known = _begun(_read(state), ref)
        self._sender.bind()
        self._limiter.is_understood |= known.understood
        slot = self._limiter.try_acquire()
        if slot is None:
            return self._later(known, 0.0)
        try:
            task, age = await self._sender.send(
                slot, record_request(ref.task_id), partial(self._sighting, ref)
            )
        except VocalSepError as error:
            return self._failed(known, error)
        self._learner.observe(task)
        return PollDone(task) if task.is_final else self._running(known, ref, policy, task, age)

    def _sighting(
        self, ref: TaskRef, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, float | None]:
        task = self._decoder.task(ref, status, headers, body)
        return task, None if task.is_final else age_of(task, headers)

    def _running(
        self,
        known: _State,
        ref: TaskRef,
        policy: PollPolicy,
        task: SeparationTask,
        age: float | None,
    ) -> PollPending:
        now = time.time()
        known = evolve(
            known,
            polls=known.polls + 1,
            failures=0,
            same_kind=0,
            kind=None,
            status=str(task.status),
            created=known.created if age is None else now - age,
        )
        context = PollContext(
            polls=known.polls,
            elapsed=_elapsed(known, now),
            age=_age(known, now),
            durations=DurationView(self._learner.hazards.model(ref.type)),
            draw=random.random(),
        )
        delay = policy.delay(context)
        return self._later(
            known, _validation.number(delay, "the delay of a poll policy", minimum=0.0)
        )

    def _failed(self, known: _State, error: VocalSepError) -> PollPending:
        kind = kind_of(error)
        same_kind = known.same_kind + 1 if known.kind == kind else 1
        if self._sender.is_permanent(error, same_kind):
            raise error
        failures = known.failures + 1
        known = evolve(
            known, polls=known.polls + 1, failures=failures, same_kind=same_kind, kind=kind
        )
        if error.action is not ErrorAction.RETRY:
            return self._later(known, 0.0)
        return self._later(known, self._sender.retry.delay(failures, random.random()))

    def _later(self, known: _State, delay: float) -> PollPending:
        """Not before the budget has room either."""
        now = anyio.current_time()
        budget = self._limiter.budget
        room = budget.wait(now)
        earliest = max(
            delay, budget.paused_until(now) - now, _BUSY if room == float("inf") else room
        )
        status = None if known.status is None else as_status(known.status)
        known = evolve(known, understood=self._limiter.is_understood)
        return PollPending(delay=earliest, state=asdict(known), status=status)


def _begun(known: _State, ref: TaskRef) -> _State:
    """Take over what the caller knows."""
    if known.began is None:
        known = evolve(known, began=time.time())
    if known.created is None and ref.created_at is not None:
        known = evolve(known, created=ref.created_at.timestamp())
    return known


def _elapsed(known: _State, now: float) -> float:
    """Seconds since the first call; not less than 0, whatever the clock was set to meanwhile."""
    return 0.0 if known.began is None else max(0.0, now - known.began)


def _age(known: _State, now: float) -> float:
    """Seconds since the creation; a guess where it is not known, or cannot be true."""
    if known.created is not None and now - known.created <= LONGEST_AGE:
        return max(0.0, now - known.created)
    return GUESSED_AGE + min(_elapsed(known, now), LONGEST_AGE)
