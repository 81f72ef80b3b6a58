"""The loop: whoever is due is looked at, when the gate lets it.

One asyncio task drives all waits of a client while there are any, and one more carries each look
that is under way. A task that waits for its next look costs an entry in the agenda and nothing
else. Users never hold a task group or a cancel scope of this module open: a wait follows a watch,
and whoever leaves last ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio

from vocalsep_async._text import printable
from vocalsep_async.decoding import Decoder, age_of, certain_duration
from vocalsep_async.errors import (
    AuthenticationError,
    ClientClosedError,
    InsufficientCreditsError,
    Verdict,
    VocalSepError,
)
from vocalsep_async.models import SeparationTask, SeparationType, TaskRef
from vocalsep_async.polling.asking import Asker
from vocalsep_async.polling.gate import Permit
from vocalsep_async.polling.watching import Follower, Watch, is_hopeless, is_known
from vocalsep_async.schedule import Agenda, Durations, PollPolicy
from vocalsep_async.transport import Request

_logger = logging.getLogger("vocalsep_async")

_RECORD_INFO = "/api/v1/vocal-removal/record-info"
_SHORTEST_GAP = 1.0
"""Seconds; a wait that joins another brings the next look forward, but not closer than this."""
_FIRST_LEAD, _LONGEST_LEAD = 0.5, 5.0
"""Seconds that an answer is given before a deadline: at first, and at most."""
_SHOWN_STATUS = 60
"""Characters of an unknown status that are worth showing."""
_MOST_WARNINGS = 20
_REMEMBERED = 10_000
"""Finished tasks that are not learned from twice."""


class Poller:
    """All waits of one client."""

    def __init__(self, asker: Asker, decoder: Decoder, durations: Durations) -> None:
        self.durations = durations
        self._asker = asker
        self._decoder = decoder
        self._agenda: Agenda[Watch] = Agenda()
        self._watches: dict[str, Watch] = {}
        self._driver: asyncio.Task[None] | None = None
        self._changed = anyio.Event()
        self._lead = _FIRST_LEAD
        asker.gate.on_pause = self._give_up_behind
        self._warned: set[str] = set()
        self._learned: OrderedDict[str, None] = OrderedDict()

    # Looking once

    async def look_repeatedly(self, ref: TaskRef) -> SeparationTask:
        """Look at *ref*, in as many tries as the `RetryPolicy` gives.

        Raises:
            VocalSepError: what the last try met; maintenance is not waited out.
        """
        return self._noted(
            await self._asker.repeatedly(
                _record_request(ref),
                partial(self._decoder.task, ref),
                lambda error: error.verdict in (Verdict.RETRY, Verdict.PAUSE_EVERYONE),
            )
        )

    def _noted(self, task: SeparationTask) -> SeparationTask:
        self._warn_of_unknown(task)
        if task.is_final:
            self._learn(task)
        return task

    # Following

    @asynccontextmanager
    async def follow(
        self,
        ref: TaskRef,
        policy: PollPolicy,
        deadline: float,
        *,
        once: bool = False,
        every_look: bool = False,
    ) -> AsyncIterator[Follower]:
        """Have *ref* looked at, at once and then as *policy* says, until the block is left.

        All who follow a task share its looks.

        Args:
            ref: the task.
            policy: when to look again.
            deadline: when the wait ends, on the event loop's clock; infinity for never.
            once: whether it ends with the first look.
            every_look: whether the follower is told of each look.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: the client cannot be used in this event loop.
        """
        self._asker.bind()
        follower = Follower(ref.task_id, policy, deadline, once=once, every_look=every_look)
        watch = self._join(ref, follower)
        try:
            yield follower
        finally:
            watch.followers.remove(follower)
            if not watch.followers:
                await self._abandon(watch)

    def _join(self, ref: TaskRef, follower: Follower) -> Watch:
        now = anyio.current_time()
        watch = self._watches.get(ref.task_id)
        if watch is None:
            watch = self._watches[ref.task_id] = Watch(ref, _age_now(ref), now)
        else:
            watch.told(ref, _age_now(ref), now)
        watch.followers.append(follower)
        if watch.is_looked_at:
            follower.polls += 1
        else:
            soon = max(now, watch.sent + _SHORTEST_GAP)
            self._enter(watch, min(soon, self._agenda.due(watch)))
        if self._driver is None or self._driver.done():
            self._driver = _task(self._drive(), "vocalsep driver")
        if follower.deadline < self._asker.gate.paused_until() and not watch.is_looked_at:
            follower.fail(follower.timeout_error())
        return watch

    async def _abandon(self, watch: Watch) -> None:
        self._drop(watch)
        ending = [watch.look]
        if not self._watches:
            ending.append(self._driver)
            self._driver = None
        await _cancelled(ending)

    def _drop(self, watch: Watch) -> None:
        self._agenda.discard(watch)
        if self._watches.get(watch.ref.task_id) is watch:
            del self._watches[watch.ref.task_id]

    def _enter(self, watch: Watch, due: float) -> None:
        self._agenda.put(watch, due)
        self._changed.set()

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`."""
        self._asker.gate.close()
        watches = list(self._watches.values())
        self._end_all(ClientClosedError("the client was closed while a wait was under way"))
        for watch in watches:
            await self._abandon(watch)

    # The loop

    async def _drive(self) -> None:
        try:
            # Under an eager task factory this runs before anybody knows the task.
            await asyncio.sleep(0)
            while True:
                await self._until_due()
                await self._look_at_those_due(anyio.current_time())
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            # Whoever waits must learn that nobody looks any more, whatever it was.
            self._end_all(error)

    async def _look_at_those_due(self, now: float) -> None:
        """Queue once for all that are due by *now*: each is first come, first served."""
        gate = self._asker.gate
        async with gate.turn:
            while self._agenda.next_due() <= now:
                permit = await gate.next_permit()
                watch = self._agenda.pop(now)
                if watch is None:
                    permit.give_back()
                else:
                    self._begin_look(watch, permit)

    def _begin_look(self, watch: Watch, permit: Permit) -> None:
        watch.begins_look(anyio.current_time())
        look = _task(self._look(watch, permit), f"vocalsep look {watch.ref.task_id}")
        watch.look = look
        # A look that is cancelled before it begins never enters its permit's block.
        look.add_done_callback(permit.give_back)
        look.add_done_callback(partial(self._look_again_if_cancelled, watch))

    def _look_again_if_cancelled(self, watch: Watch, look: asyncio.Task[None]) -> None:
        """Whoever cancelled a look from outside did not mean those who wait for it."""
        watched = self._watches.get(watch.ref.task_id) is watch
        if look.cancelled() and watched and watch.look is look:
            watch.look = None
            self._enter(watch, asyncio.get_running_loop().time())

    async def _until_due(self) -> None:
        while (wait := self._agenda.next_due() - anyio.current_time()) > 0:
            self._changed = anyio.Event()
            with anyio.move_on_after(wait):
                await self._changed.wait()

    async def _look(self, watch: Watch, permit: Permit) -> None:
        try:
            task, age = await self._asker.send(
                permit, _record_request(watch.ref), partial(self._sighting, watch.ref)
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
        self, ref: TaskRef, status: int, headers: Mapping[str, str], body: bytes
    ) -> tuple[SeparationTask, float | None]:
        task = self._decoder.task(ref, status, headers, body)
        return task, None if task.is_final else age_of(task, headers)

    def _saw(self, watch: Watch, task: SeparationTask, age: float | None) -> None:
        now = anyio.current_time()
        latency = now - watch.sent
        self._lead = min(max(2 * latency, 0.8 * self._lead), _LONGEST_LEAD)
        self._warn_of_unknown(task)
        if age is not None:
            watch.learned_age(age, now)
        for follower in watch.followers:
            follower.saw(task)
        if task.is_final:
            self._learn(task, watch.ref.type, watch.running_at)
            self._drop(watch)
            return
        model = self.durations.model(watch.ref.type)
        watch.still_runs(model)
        self._enter(watch, watch.next_look(model, self._lead))
        _give_up(watch, self._asker.gate.paused_until())

    def _met(self, watch: Watch, error: VocalSepError) -> None:
        for follower in watch.followers:
            follower.met(error)
        in_a_row = watch.failed(error)
        if isinstance(error, (AuthenticationError, InsufficientCreditsError, ClientClosedError)):
            self._end_all(error)
        elif error.verdict is Verdict.RAISE or is_hopeless(
            error, in_a_row, self._asker.retry.attempts
        ):
            self._end(watch, error)
        else:
            self._try_again(watch, error)
            for follower in watch.followers:
                follower.will_be_repeated()

    def _try_again(self, watch: Watch, error: VocalSepError) -> None:
        now = anyio.current_time()
        if error.verdict is Verdict.RETRY:
            delay = self._asker.retry.delay(watch.failures, random.random())
            self._enter(watch, watch.repeats_at(delay, now, self._lead))
            return
        self._enter(watch, now)
        self._give_up_behind(self._asker.gate.paused_until())

    def _give_up_behind(self, pause_end: float) -> None:
        """End the waits whose deadline comes before anybody may ask again.

        A look that is under way may still bring the end of its task.
        """
        for watch in self._watches.values():
            if not watch.is_looked_at:
                _give_up(watch, pause_end)

    def _end(self, watch: Watch, error: Exception) -> None:
        self._drop(watch)
        for follower in watch.followers:
            follower.fail(error)

    def _end_all(self, error: Exception) -> None:
        for watch in list(self._watches.values()):
            self._end(watch, error)

    # Learning

    def _learn(
        self,
        task: SeparationTask,
        watched_as: SeparationType | None = None,
        running_at: float = 0.0,
    ) -> None:
        """Learn from a finished task, once; up to *running_at* its age was learned from before."""
        if task.task_id in self._learned:
            return
        duration = certain_duration(task)
        if duration is None:
            return
        self._learned[task.task_id] = None
        if len(self._learned) > _REMEMBERED:
            self._learned.popitem(last=False)
        self.durations.saw_completion(
            duration,
            type_=task.type,
            watched_as=watched_as,
            since=min(running_at, duration),
        )

    def _warn_of_unknown(self, task: SeparationTask) -> None:
        if is_known(task.status):
            return
        status = printable(str(task.status), _SHOWN_STATUS)
        if status not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(status)
            _logger.warning("unknown status %r is taken for pending", status)


def _give_up(watch: Watch, pause_end: float) -> None:
    for follower in watch.followers:
        if follower.deadline < pause_end:
            follower.fail(follower.timeout_error())


def _record_request(ref: TaskRef) -> Request:
    return Request("GET", _RECORD_INFO, query={"taskId": ref.task_id})


def _age_now(ref: TaskRef) -> float | None:
    """Seconds since the creation, if the caller knows it; from here on the loop's clock runs."""
    if ref.created_at is None:
        return None
    return (datetime.now(UTC) - ref.created_at).total_seconds()


def _task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Make a task that serves all waits: none of them lends it its context variables."""
    return asyncio.create_task(coroutine, name=name, context=contextvars.Context())


async def _cancelled(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancel *tasks*, all of them first, and wait until they have cleaned up."""
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    if running:
        with anyio.CancelScope(shield=True):
            await asyncio.wait(running)
