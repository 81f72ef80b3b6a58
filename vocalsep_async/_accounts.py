"""What the clients of one account share in this process: a budget, and what they have learned."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType
from typing import NamedTuple
from weakref import WeakKeyDictionary

from vocalsep_async._budget import Budget
from vocalsep_async._learned import SharedDurations
from vocalsep_async._tasks import after_fork
from vocalsep_async.policies import ACCOUNT_MEMORY, MAX_IDLE_ACCOUNTS, RateLimit


class Identity(NamedTuple):
    """Which account it is.

    Attributes:
        host: of the API, in lower case.
        port: of the API.
        key: a keyed hash of the API key, which means nothing outside this process.
    """

    host: str
    port: int | None
    key: bytes


class Account:
    """One account, on one clock.

    Attributes:
        budgets: for each limit that its clients state; one, unless they contradict each other.
        durations: how long its tasks take, as its clients have learned together.
        uses: clients that have joined, and not left.
        left_at: when the last of them has left.
    """

    def __init__(self) -> None:
        self.budgets: dict[RateLimit | None, Budget] = {}
        self.durations = SharedDurations()
        self.uses = 0
        self.left_at = 0.0

    def budget(self, limit: RateLimit | None) -> Budget:
        """The budget of those clients that state *limit*."""
        return self.budgets.setdefault(limit, Budget(limit))

    def others(self, limit: RateLimit | None, now: float) -> list[Budget]:
        """Budgets in use whose clients state other limits than *limit*."""
        return [each for each in self._used(now) if each.limit != limit]

    def still_counts(self, now: float) -> bool:
        """Whether the requests of its clients still count against a limit."""
        return bool(self._used(now))

    def _used(self, now: float) -> list[Budget]:
        return [each for each in tuple(self.budgets.values()) if each.is_used(now)]

    def take_over(self, before: Account, shift: float, now: float) -> None:
        """Go on with what *before* was, on a clock that is *shift* seconds ahead."""
        for limit, budget in before.budgets.items():
            if limit not in self.budgets:
                budget.move(shift, now)
                self.budgets[limit] = budget
        before.budgets = {}


class _Clock:
    """The accounts of the event loops that have a clock in common."""

    def __init__(self) -> None:
        self.accounts: dict[Identity, Account] = {}
        self._idle: OrderedDict[Identity, None] = OrderedDict()
        """Those without a client, in the order in which the last one left."""

    def use(self, identity: Identity) -> Account:
        account = self.accounts.setdefault(identity, Account())
        account.uses += 1
        self._idle.pop(identity, None)
        return account

    def leave(self, identity: Identity, account: Account, now: float) -> None:
        account.uses -= 1
        account.left_at = now
        # In a forked process there is another account in its place.
        if not account.uses and self.accounts.get(identity) is account:
            self._idle[identity] = None

    def forget(self, now: float) -> None:
        """Forget the accounts that no client has used for long, and those that are too many."""
        while self._idle:
            identity = next(iter(self._idle))
            account = self.accounts[identity]
            is_old = now - account.left_at >= ACCOUNT_MEMORY
            if not (is_old or len(self._idle) > MAX_IDLE_ACCOUNTS) or account.still_counts(now):
                return
            del self._idle[identity], self.accounts[identity]


class Lease:
    """The use of an account by a client, in one event loop.

    Attributes:
        account: the account.
        clock: that of the event loop.
    """

    def __init__(
        self, accounts: Accounts, clock: _Clock, identity: Identity, now: Callable[[], float]
    ) -> None:
        self._accounts = accounts
        self.clock = clock
        self._identity = identity
        self._now = now
        self._is_released = False
        self.account = clock.use(identity)

    def __del__(self) -> None:
        # A finalizer must not wait for a lock.
        if not self._is_released:
            self._accounts.gone.append(partial(self.clock.leave, self._identity, self.account))

    def release(self) -> None:
        """End the use; may be called again."""
        if not self._is_released:
            self._is_released = True
            self._accounts.leave(self.clock, self._identity, self.account, self._now())


class Accounts:
    """All accounts that clients in this process use.

    Attributes:
        gone: what ends the uses of clients that are gone without a word.
    """

    def __init__(self) -> None:
        # Reentrant, for a signal handler or a finalizer in a thread that holds it.
        self._lock = threading.RLock()
        self._system = _Clock()
        self._own: WeakKeyDictionary[asyncio.AbstractEventLoop, _Clock] = WeakKeyDictionary()
        """Of event loops with a clock of their own, as tests have them."""
        self.gone: deque[Callable[[float], object]] = deque()

    def join(self, identity: Identity, before: Lease | None = None, shift: float = 0.0) -> Lease:
        """Use an account in the running event loop.

        Args:
            identity: which account.
            before: how the client used it in an event loop that was closed, which ends; None if
                there was none.
            shift: seconds by which the clock of this loop is ahead of that of the one before.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        with self._lock:
            clock = self._clock_of(loop)
            lease = Lease(self, clock, identity, loop.time)
            if before is not None:
                # A clock that is not the system's had only the loop that was closed.
                if before.clock not in (clock, self._system):
                    lease.account.take_over(before.account, shift, now)
                before.release()
            self._clean(clock, now)
            return lease

    def leave(self, clock: _Clock, identity: Identity, account: Account, now: float) -> None:
        """End a use of *account*."""
        with self._lock:
            clock.leave(identity, account, now)
            self._clean(clock, now)

    def _clean(self, clock: _Clock, now: float) -> None:
        while self.gone:
            self.gone.popleft()(now)
        clock.forget(now)

    def _clock_of(self, loop: asyncio.AbstractEventLoop) -> _Clock:
        if has_system_clock(loop):
            return self._system
        return self._own.setdefault(loop, _Clock())

    def __len__(self) -> int:
        with self._lock:
            return sum(len(each.accounts) for each in (self._system, *self._own.values()))

    def restart(self) -> None:
        """Begin without any account, in a process that was forked."""
        # Another thread may have held the lock, which then stays locked in this process.
        self._lock = threading.RLock()
        for clock in (self._system, *self._own.values()):
            for account in clock.accounts.values():
                account.durations.restart()
        self._system, self._own = _Clock(), WeakKeyDictionary()


ACCOUNTS = Accounts()
after_fork(ACCOUNTS.restart)


def contradiction(base_url: str, limit: RateLimit | None, others: Iterable[Budget]) -> str:
    """The warning about clients of one account that state different limits."""
    stated = ", ".join(_limit(each.limit) for each in others)
    return (
        f"this client of {base_url} states {_limit(limit)} for its account, but another one in "
        f"this process states {stated}: each keeps to its own limit, and the API may throttle "
        "both; give all clients of an account the same rate_limit"
    )


def _limit(limit: RateLimit | None) -> str:
    return "no limit" if limit is None else f"{limit.max_requests} requests per {limit.period:g} s"


def has_system_clock(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the clock of *loop* is that of the system: not a virtual one, as tests have them."""
    function = getattr(loop.time, "__func__", loop.time)
    # Loops that are no Python code, such as those of uvloop, have no clocks of their own.
    return function is asyncio.BaseEventLoop.time or not isinstance(function, FunctionType)
