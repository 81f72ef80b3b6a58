"""One rate limit for several processes, in Redis or Valkey; install ``vocalsep-async[redis]``.

Give each client a `RedisLimiter` with the same account; docs/how-to/processes.md has whole
programs.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from anyio.lowlevel import checkpoint_if_cancelled

from vocalsep_async._tasks import set_within, shared_task
from vocalsep_async.contrib._redis.budget import SharedBudget, Taken
from vocalsep_async.contrib._redis.learning import Learning
from vocalsep_async.contrib._redis.loss import Mode
from vocalsep_async.contrib._redis.notices import Notices
from vocalsep_async.contrib._redis.protocol import Reply, decoded
from vocalsep_async.contrib._redis.question import Question
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError
from vocalsep_async.limiter import Bid, Limiter, LimiterSnapshot, Slot, SlotResult
from vocalsep_async.policies import STORE_BEAT, STORE_PROBE_GAP, RateLimit

try:
    from vocalsep_async.contrib._redis.store import (
        Client,
        Store,
        StoreLostError,
        StoreRefusedError,
        client_of,
    )
except ModuleNotFoundError as _error:
    if _error.name is None or _error.name.partition(".")[0] != "redis":
        raise
    raise ImportError(
        "vocalsep_async.contrib.redis needs redis: install the extra redis, "
        "as vocalsep-async[redis]",
        name=_error.name,
    ) from None

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from vocalsep_async._learned import SharedDurations

__all__ = ["RedisLimiter"]

_ACCOUNT = re.compile(r"[A-Za-z0-9._:@-]{1,100}")
_REPORTS_WAIT = 1.0
"""Seconds for which reports wait for a question to go with, at most."""
_MOST_PERIODS = 0.1
"""The same, in periods of the limit."""
_SHORTEST_WAIT = 1e-6
"""Seconds; a shorter wait is none, because no timer is that fine."""
_SAME_PAUSE = 0.2
"""Seconds by which a later end of a pause is news."""


class RedisLimiter(Limiter):
    """Shares the rate limit of one account between processes, in a Redis or Valkey store.

    Each client has a limiter of its own, with the same *account*; all of them together keep to the
    limit, on the store's clock. A slot costs one round trip to the store. If the store cannot be
    reached, nothing is sent for some seconds; then each process continues with its last share of
    the budget, for a minute at most. The limiter keeps trying the store, and recovers by itself.

    The store must be Redis 7 or later, or Valkey. It holds counters, times, how long tasks of each
    type take, as all processes have learned together, and random names of processes; nothing of the
    API key.

    Args:
        store: URL of the store, or a client of ``redis.asyncio``, which stays open and serves one
            event loop.
        account: a name for the account, the same in all its processes: 1 to 100 letters, digits or
            any of ``._:@-``. Not the API key.
        rate_limit: the limit of the account, the same in all its processes. If they differ, the
            strictest one holds.
        on_store_loss: "share" continues with a share of the budget while the store is away, "wait"
            sends nothing.

    Raises:
        InvalidArgumentError: an argument is not as described.
    """

    def __init__(
        self,
        store: str | Redis | RedisCluster,
        *,
        account: str,
        rate_limit: RateLimit = RateLimit(),  # noqa: B008 - a frozen value
        on_store_loss: Literal["share", "wait"] = "share",
    ) -> None:
        name: object = account
        if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
            raise InvalidArgumentError("account must be 1 to 100 letters, digits or any of ._:@-")
        if not isinstance(rate_limit, RateLimit):
            raise InvalidArgumentError("rate_limit must be a RateLimit")
        if on_store_loss not in ("share", "wait"):
            raise InvalidArgumentError('on_store_loss must be "share" or "wait"')
        if not isinstance(store, Client):
            client_of(store)
        self._address = store
        self._account = account
        self._budget = SharedBudget(rate_limit, shares=on_store_loss == "share")
        self._notices = Notices(account)
        self._learning: Learning | None = None
        self._process = os.getpid()
        self._timer: asyncio.TimerHandle | None = None
        self._lives = 0
        """Event loops, clients and processes that it has served."""
        self._has_moved = False
        self._unbind()

    def _unbind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._lives += 1
        self._store: Store | None = None
        self._turn = asyncio.Lock()
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Event()
        self._called_at = -math.inf
        self._announced = (-math.inf, "")

    def __repr__(self) -> str:
        budget = self._budget
        return (
            f"<RedisLimiter of {self._account}: {budget.rate:.2f} requests/s, "
            f"{budget.in_flight} in flight, {budget.sent} sent, {budget.throttled} throttled>"
        )

    # Slots

    async def acquire(self, bid: Callable[[], Bid]) -> Slot:
        """Wait for a slot and take it.

        Raises:
            ConfigurationError: the store refuses this process or the script, or its client belongs
                to an event loop that was closed.
        """
        await checkpoint_if_cancelled()
        # One question at a time: its answer holds for the others, too.
        async with self._turn:
            question = self._question(bid)
            try:
                while not isinstance(granted := await self._attempt(question), _Slot):
                    self._changed.clear()
                    await set_within(self._changed, granted)
                return granted
            finally:
                self._abandon(question)

    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:
        """Take a slot if there is one; otherwise the seconds after which to ask again.

        Raises:
            ConfigurationError: the store refuses this process or the script.
        """
        question = self._question(bid)
        try:
            granted = await self._attempt(question)
            # No answer came: the store is asked again, but not immediately.
            return granted or STORE_PROBE_GAP
        finally:
            self._abandon(question)

    def _question(self, bid: Callable[[], Bid]) -> Question:
        if self._process != os.getpid():
            # Forked: the parent goes on under its name, and with the slots that it has.
            self._process = os.getpid()
            self._leave()
        return Question(self._budget.reports.new_slot(), bid)

    async def _attempt(self, question: Question) -> _Slot | float:
        """A slot, or the seconds after which to try again."""
        now = _now()
        self._note(now)
        match self._budget.mode(now):
            case Mode.SHARED:
                wait = max(self._budget.free_at, question.ask_at(now)) - now
                return wait if wait > _SHORTEST_WAIT else await self._ask(question)
            case Mode.OWN_SHARE:
                taken = self._budget.take_own(now)
                return self._slot(taken) if isinstance(taken, Taken) else taken
            case _:
                return self._budget.wait(now)

    async def _ask(self, question: Question) -> _Slot | float:
        question.value = question.bid()
        question.is_under_way = True
        # In a task of its own: a question that is cancelled may be granted nevertheless.
        asking = shared_task(self._ask_store(question), "vocalsep question")
        await asyncio.wait([asking])
        # Raises errors of the store's client that it does not document.
        asking.result()
        if question.refusal is not None:
            raise question.refusal
        taken, question.taken = question.taken, None
        return max(0.0, question.ask_at(_now()) - _now()) if taken is None else self._slot(taken)

    async def _ask_store(self, question: Question) -> None:
        life = self._lives
        try:
            async with self._one_at_a_time:
                await self._ask_in_turn(question, life)
        except ConfigurationError as error:
            question.refusal = error
        finally:
            question.is_under_way = False
            if question.is_abandoned:
                self._abandon(question)

    async def _ask_in_turn(self, question: Question, life: int) -> None:
        if question.is_abandoned or life != self._lives:
            return
        reply = await self._exchange(question.slot, question.value)
        question.on_reply(reply, _now())
        if reply is not None and reply.is_granted:
            question.taken = self._budget.take(question.slot)

    def _slot(self, taken: Taken) -> _Slot:
        return _Slot(self, taken, self._lives)

    def _abandon(self, question: Question) -> None:
        """Give back what the question was granted, or may have been."""
        question.is_abandoned = True
        if question.is_under_way:
            return
        if question.taken is not None:
            self._slot(question.taken).release(SlotResult.UNUSED)
        elif question.is_doubtful:
            self._budget.forget_slot(question.slot, _now())
            self._report_soon()

    def wake(self) -> None:
        """The bid of the `acquire` under way may have become higher."""
        self._changed.set()

    def _on_end(
        self, taken: Taken, life: int, result: SlotResult, retry_after: float | None
    ) -> None:
        if life != self._lives:
            return  # `move` has taken the request for lost
        now = _now()
        self._budget.end(taken, result, now, retry_after)
        self._note(now)
        self._report_soon()

    # The store

    async def _exchange(
        self, slot: str | None = None, bid: Bid | None = None, *, leaves: bool = False
    ) -> Reply | None:
        """Call the script; None if no answer came. One call at a time.

        Raises:
            ConfigurationError: the store refused the first call.
        """
        sent = self._called_at = _now()
        call = self._budget.next_call(sent, slot, bid, leaves=leaves)
        reply, problem = None, "its answer was to an earlier question"
        try:
            reply = decoded(await self._connected().ask(call.arguments(sent)))
        except StoreLostError as error:
            problem = str(error)
        except StoreRefusedError as error:
            problem = str(error)
            if self._budget.loss.known is None:
                # Those that wait for the store find out for themselves.
                self._budget.loss.forget()
                self._changed.set()
                raise ConfigurationError(self._notices.refusal(problem)) from None
        self._on_exchanged(reply, problem, sent)
        return reply

    def _on_exchanged(self, reply: Reply | None, problem: str, sent: float) -> None:
        now = _now()
        if reply is None:
            self._notices.problem = problem
            self._budget.loss.on_failure(sent)
            self._plan(STORE_PROBE_GAP)
        else:
            self._notices.on_reply(self._budget, reply, now)
            was_away = self._budget.loss.since is not None
            self._budget.on_reply(reply, sent, now)
            if was_away:
                self._changed.set()
            self._plan(0.0 if self._learns(reply.learned, now) else STORE_BEAT)
            if self._budget.reports.are_waiting:
                self._report_soon()
        self._note(now)

    def _connected(self) -> Store:
        if self._store is None:
            address = self._address
            is_borrowed = isinstance(address, Client)
            if is_borrowed and self._has_moved:
                raise ConfigurationError(
                    "the Redis client of the limiter belongs to an event loop that was closed; "
                    "give RedisLimiter the URL of the store instead"
                )
            client = address if isinstance(address, Client) else client_of(address)
            self._store = Store(client, self._account, is_borrowed=is_borrowed)
        return self._store

    def _note(self, now: float) -> None:
        """Tell of what has changed."""
        self._notices.note(self._budget, now)
        pause = self._budget.pause(now)
        if pause is None:
            self._announced = (-math.inf, "")
        # Moments that the store has told differ by the time that its answers take.
        elif pause[1] != self._announced[1] or pause[0] > self._announced[0] + _SAME_PAUSE:
            self._announced = pause
            if self.on_pause is not None:
                self.on_pause(*pause)

    # Calls without a question

    def _report_soon(self) -> None:
        limit = self._budget.limit
        wait = min(_REPORTS_WAIT, _MOST_PERIODS * limit.period)
        self._plan(0.0 if self._budget.reports.are_urgent else wait)

    def _plan(self, seconds: float) -> None:
        """Call the store after *seconds* at the latest."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._on_timer, self._lives)

    def _on_timer(self, life: int) -> None:
        self._timer = None
        shared_task(self._beat(life), "vocalsep limiter")

    async def _beat(self, life: int) -> None:
        async with self._one_at_a_time:
            if life != self._lives:
                return
            budget, now = self._budget, _now()
            idle_for = now - self._called_at
            is_needed = budget.loss.since is not None or budget.reports.are_waiting
            if is_needed or idle_for >= STORE_BEAT:
                # The next question meets the refusal, too.
                with suppress(ConfigurationError):
                    await self._exchange()
            else:
                self._plan(STORE_BEAT - idle_for)
            if self._learning is not None and self._learning.is_due(_now()):
                await self._learn(self._learning)

    # What is learned about durations

    def _share_durations(self, durations: SharedDurations, provider: str) -> None:
        if self._learning is None:
            self._learning = Learning(durations, provider)
        else:
            self._learning.share(durations)

    def _learns(self, version: int, now: float) -> bool:
        """Whether the store is to be called now because it holds *version*, or for other news."""
        if self._learning is None:
            return False
        self._learning.store_version = version
        return self._learning.is_due(now)

    async def _learn(self, learning: Learning) -> None:
        """Exchange what was learned with the store; without an answer, at a later beat."""
        if not self._budget.loss.is_present:
            return
        try:
            is_whole = learning.on_reply(await self._connected().learn(learning.next_call(_now())))
        except StoreLostError:
            return
        except StoreRefusedError as error:
            learning.is_off = True
            self._notices.learning_refused(str(error))
        else:
            if not is_whole:
                self._notices.learned_damage()

    # Life

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment; needs a running event loop."""
        return self._budget.snapshot(_now())

    @property
    def rate(self) -> float:
        """Requests per second that this process may expect."""
        return self._budget.rate

    def move(self, shift: float) -> None:
        """Continue in the running event loop; requests sent in the previous loop still count."""
        self._unbind()
        self._has_moved = True
        self._budget.move(shift, _now())
        self._note(_now())
        self._report_soon()

    async def aclose(self) -> None:
        """Leave the store; another client may use the limiter afterwards."""
        async with self._one_at_a_time:
            if self._store is not None:
                if self._budget.loss.is_present:
                    if self._learning is not None and self._learning.has_news:
                        await self._learn(self._learning)
                    await self._exchange(leaves=True)
                await self._store.aclose()
            self._leave()

    def _leave(self) -> None:
        self._unbind()
        self._budget.leave()
        self._notices = Notices(self._account)


class _Slot:
    """A slot of a `RedisLimiter`."""

    __slots__ = ("_life", "_limiter", "_taken")

    def __init__(self, limiter: RedisLimiter, taken: Taken, life: int) -> None:
        self._limiter = limiter
        self._taken = taken
        self._life = life

    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        """Report how the request ended."""
        self._limiter._on_end(  # noqa: SLF001 - the same module
            self._taken, self._life, result, retry_after
        )


def _now() -> float:
    # Cheaper than `anyio.current_time`, which detects the backend at every request.
    return asyncio.get_running_loop().time()
