"""Who is followed, and what becomes of them.

A wait, or a batch for many, follows a watch; all who follow a task share its looks, and whoever
leaves last ends them. Users never hold a task group or a cancel scope of this package open.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import anyio

from vocalsep_async.decoding import Decoder, age_of
from vocalsep_async.errors import (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    Verdict,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask, TaskRef
from vocalsep_async.polling.asking import Asker
from vocalsep_async.polling.driver import Driver
from vocalsep_async.polling.gate import Permit
from vocalsep_async.polling.learning import Lessons
from vocalsep_async.polling.once import Single
from vocalsep_async.polling.waiting import Wait
from vocalsep_async.polling.watching import Follower, Trouble, Watch, record_request
from vocalsep_async.schedule import Durations, Line, Newcomers, Scheduler

_FIRST_LEAD, _LONGEST_LEAD = 0.5, 5.0
"""Seconds that an answer is given before a deadline: at first, and at most."""


class Crowd(Protocol):
    """Many who wait together."""

    def end(self, error: Exception) -> None:
        """Nobody looks for any of them any more, because of *error*."""


class Poller:
    """All waits of one client."""

    def __init__(self, asker: Asker, decoder: Decoder, durations: Durations) -> None:
        self.durations = durations
        self._asker = asker
        self._decoder = decoder
        self._lessons = Lessons(durations)
        self.single = Single(asker, decoder, self._lessons)
        self._scheduler: Scheduler[Watch] = Scheduler(random.random)
        self._waits_alone = self._scheduler.line()
        self._watches: dict[str, Watch] = {}
        self._waits: dict[Wait, Watch] = {}
        self._crowds: dict[Line[Watch], Crowd] = {}
        self._lead = _FIRST_LEAD
        self._driver = Driver(
            self._scheduler,
            asker.gate,
            look=self._look,
            cut_off=self._was_cut_off,
            broken=self._end_all,
        )
        asker.gate.on_pause = self._give_up_behind

    @property
    def rate(self) -> float:
        """Requests per second that the budget allows now; infinity while no limit is known."""
        return self._asker.gate.budget.rate

    # Looking once

    async def look_repeatedly(self, ref: TaskRef) -> SeparationTask:
        """Look at *ref*, in as many tries as the `RetryPolicy` gives.

        Raises:
            VocalSepError: what the last try met; maintenance is not waited out.
        """
        return self._lessons.noted(
            await self._asker.repeatedly(
                record_request(ref.task_id),
                partial(self._decoder.task, ref),
                lambda error: error.verdict in (Verdict.RETRY, Verdict.PAUSE_EVERYONE),
            )
        )

    # Following

    @asynccontextmanager
    async def follow(self, ref: TaskRef, wait: Wait) -> AsyncIterator[Wait]:
        """Have *ref* looked at, at once and then as *wait* wants, until the block is left.

        All who follow a task share its looks.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
        """
        self._asker.bind()
        wait.line = self._waits_alone
        watch = self._waits[wait] = self.join(ref, wait)
        wait.joins(watch)
        self._give_up(wait, watch, self._asker.gate.paused_until())
        try:
            yield wait
        finally:
            del self._waits[wait]
            self.leave(watch, wait)
            await self.ended()

    def gather(self, crowd: Crowd, *, limit: float, newcomers: Newcomers[Watch]) -> Line[Watch]:
        """Open a line for *crowd*; close it with `disperse`.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
        """
        self._asker.bind()
        line = self._scheduler.line(limit=limit, newcomers=newcomers)
        self._crowds[line] = crowd
        return line

    def disperse(self, line: Line[Watch]) -> None:
        """Close *line*: nobody in it is looked at any more; it may be called again."""
        if self._crowds.pop(line, None) is not None:
            self._scheduler.close(line)
            self._rest_if_idle()

    def join(self, ref: TaskRef, follower: Follower) -> Watch:
        """Have *follower* told of *ref*, which waits in its line for its looks."""
        watch = self._watches.get(ref.task_id)
        if watch is None:
            watch = self._begin(ref, follower)
            self._enter(watch)
        else:
            self._share(watch, ref, follower)
        return watch

    def admit(self, ref: TaskRef, follower: Follower) -> tuple[Watch, bool]:
        """As `join`, for a look that begins now; whether it needs one of its own."""
        if ref.task_id in self._watches:
            return self.join(ref, follower), False
        return self._begin(ref, follower), True

    def _begin(self, ref: TaskRef, follower: Follower) -> Watch:
        now = anyio.current_time()
        watch = Watch(ref, self.durations, _age_now(ref), now)
        watch.line = follower.line
        watch.follow(follower)
        watch.looks_before(follower.deadline - self._lead)
        self._watches[ref.task_id] = watch
        return watch

    def _share(self, watch: Watch, ref: TaskRef, follower: Follower) -> None:
        now = anyio.current_time()
        watch.told(ref, self.durations, _age_now(ref), now)
        watch.follow(follower)
        watch.looks_before(follower.deadline - self._lead)
        if not watch.is_looked_at:
            watch.is_wanted_soon(now)
            self._enter(watch)

    def tell(self, watch: Watch, ref: TaskRef) -> None:
        """Somebody who follows it already knows more of it."""
        watch.told(ref, self.durations, _age_now(ref), anyio.current_time())
        if watch.waits:
            watch.line.move(watch)

    def looks_at(self, task_id: str) -> int:
        """Looks at a task that its followers have seen the end of."""
        watch = self._watches.get(task_id)
        return 0 if watch is None else watch.polls - watch.is_looked_at

    def hurry(self, watch: Watch) -> None:
        """Something happened to the task: look at it soon."""
        watch.is_wanted_soon(anyio.current_time())
        if watch.waits:
            watch.line.move(watch)
            self.wake()

    def leave(self, watch: Watch, follower: Follower) -> None:
        """Take *follower* out; a look that nobody waits for any more is broken off."""
        watch.unfollow(follower)
        if not watch.followers:
            self._drop(watch)
            self._driver.break_off(watch.look)
            self._rest_if_idle()
        elif watch.waits:
            self._enter(watch)

    def _rest_if_idle(self) -> None:
        if not self._watches and not self._crowds:
            self._driver.rest()

    def _drop(self, watch: Watch) -> None:
        watch.line.leave(watch)
        if self._watches.get(watch.task_id) is watch:
            del self._watches[watch.task_id]

    def _enter(self, watch: Watch) -> None:
        """Let it wait for its next look in the line of who follows it newest."""
        watch.line.leave(watch)
        lines = (follower.line for follower in reversed(watch.followers))
        next((line for line in lines if line.is_open), self._waits_alone).enter(watch)
        self.wake()

    def wake(self) -> None:
        """Somebody is to be looked at, or sooner than was thought."""
        self._driver.wake()

    async def ended(self) -> None:
        """Wait until the looks that were broken off have ended."""
        await self._driver.ended()

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`."""
        self._asker.gate.close()
        watches = list(self._watches.values())
        self._end_all(ClientClosedError("the client was closed while a wait was under way"))
        for watch in watches:
            self._drop(watch)
            self._driver.break_off(watch.look)
        self._rest_if_idle()
        await self.ended()

    # What looks bring

    async def _look(self, watch: Watch, permit: Permit) -> None:
        try:
            task, age = await self._asker.send(
                permit, record_request(watch.task_id), partial(self._sighting, watch)
            )
            watch.look = None
            self._saw(watch, task, age)
        except VocalSepError as error:
            watch.look = None
            self._met(watch, error)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            # A user's tracing hook failed: whoever waits gets that very error.
            watch.look = None
            self._end(watch, error)

    def _sighting(
        self, watch: Watch, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, float | None]:
        task = self._decoder.task(TaskRef(watch.task_id, watch.type), status, headers, body)
        return task, None if task.is_final else age_of(task, headers)

    def _saw(self, watch: Watch, task: SeparationTask, age: float | None) -> None:
        now = anyio.current_time()
        self._lead = min(max(2 * (now - watch.sent), 0.8 * self._lead), _LONGEST_LEAD)
        watch.status, watch.trouble = task.status, None
        if age is not None:
            watch.learned_age(age, now)
        self._lessons.noted(task, watch)
        if task.is_final:
            self._drop(watch)
        for follower in watch.followers:
            follower.looked(None)
            follower.saw(watch, task)
        if not task.is_final and watch.followers:
            watch.still_runs()
            self._plan(watch)
            self._give_up_behind(self._asker.gate.paused_until())

    def _met(self, watch: Watch, error: VocalSepError) -> None:
        trouble = watch.failed(error)
        ends_all = isinstance(
            error, (AuthenticationError, InsufficientCreditsError, ClientClosedError)
        )
        if ends_all or self._asker.is_hopeless(error, trouble.of_a_kind):
            for follower in watch.followers:
                follower.looked(None)
            self._end(watch, error)
        elif watch.followers:
            trouble.repeated_at = anyio.current_time() + self._delay_after(trouble)
            self._plan(watch)
            self._tell_of_repetition(watch, error)
        if ends_all:
            self._end_all(error)

    def _delay_after(self, trouble: Trouble) -> float:
        """Seconds before the next try; after a refusal there is everybody's pause instead."""
        if trouble.error.verdict is not Verdict.RETRY:
            return 0.0
        return self._asker.retry.delay(trouble.failures, random.random())

    def _was_cut_off(self, watch: Watch) -> None:
        """Whoever cancelled a look from outside did not mean those who wait for it."""
        if self._watches.get(watch.task_id) is watch:
            self._plan(watch)

    def _plan(self, watch: Watch) -> None:
        watch.holds_last_looks(self._lead)
        self._enter(watch)

    def _tell_of_repetition(self, watch: Watch, error: VocalSepError) -> None:
        for follower in watch.followers:
            follower.looked(error)
            follower.missed(watch, error)
        self._give_up_behind(self._asker.gate.paused_until())

    # Giving up

    def _give_up_behind(self, pause_end: float) -> None:
        """End the waits whose deadline comes before anybody may ask again."""
        for wait, watch in self._waits.items():
            self._give_up(wait, watch, pause_end)

    def _give_up(self, wait: Wait, watch: Watch, pause_end: float) -> None:
        # A look that is under way may still bring the end of its task.
        if wait.deadline < pause_end and not watch.is_looked_at:
            wait.fail(watch, wait.timeout_error())

    def _end(self, watch: Watch, error: Exception) -> None:
        self._drop(watch)
        for follower in watch.followers:
            follower.fail(watch, error)

    def _end_all(self, error: Exception) -> None:
        for line, crowd in list(self._crowds.items()):
            self.disperse(line)
            crowd.end(error)
        for watch in list(self._waits.values()):
            self._end(watch, error)


def _age_now(ref: TaskRef) -> float | None:
    """Seconds since the creation, if the caller knows it; from here on the loop's clock runs."""
    if ref.created_at is None:
        return None
    return (datetime.now(UTC) - ref.created_at).total_seconds()
