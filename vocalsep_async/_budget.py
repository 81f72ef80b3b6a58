"""`Budget`: what one account may send, for all its clients in a process, in any loop and thread."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast
from weakref import WeakMethod, WeakSet, ref

from vocalsep_async._limiting import Grant, Line, Place, RateLimitState
from vocalsep_async._tasks import after_fork, call_in
from vocalsep_async.policies import ABSENCE_PATIENCE, LONGEST_SPREAD, RateLimit

_BUSY = 1.0
"""Seconds after which to ask again where it is not known when a slot will be free."""
Ending = Callable[[RateLimitState, Grant, float], object]
"""Records how a request ended, at a moment."""


class Pause(NamedTuple):
    """A pause of all members.

    Attributes:
        until: when it ends.
        reason: why there is one, such as "throttled".
    """

    until: float
    reason: str


Announce = Callable[[Pause], object]


class Member:
    """One client of a budget.

    Attributes:
        in_flight: its requests under way.
    """

    def __init__(self) -> None:
        self.in_flight: set[Grant] = set()


class SharingMember(Member):
    """One of several clients of a budget, in the running event loop.

    Args:
        announce: a method, called in that loop with each pause that another member met. It is held
            weakly, as is the loop.
    """

    def __init__(self, announce: Announce) -> None:
        super().__init__()
        self._loop = ref(asyncio.get_running_loop())
        self._announce = WeakMethod(announce)

    def announce(self, pause: Pause) -> None:
        """Tell the client of *pause*, in its event loop."""
        loop, announce = self._loop(), self._announce()
        # Otherwise the client is gone, and not removed yet.
        if loop is not None and announce is not None:
            call_in(loop, announce, pause)

    def has_lost(self, grant: Grant, now: float, patience: float) -> bool:
        """Whether the end of *grant* will not be reported, or not soon.

        Args:
            grant: one of its requests.
            now: the present moment.
            patience: seconds from the start of a request, for an event loop that stands still.
        """
        loop = self._loop()
        if loop is None or loop.is_closed():
            return True
        return not loop.is_running() and now - grant.started >= patience


class Waiter(Place):
    """A place in the line of a budget, for a coroutine of the running event loop."""

    __slots__ = ("_loop", "due", "woken")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.woken = asyncio.Event()
        self.due = -math.inf
        """When it asks again, if it is not woken before."""

    def wake(self) -> bool:
        """Have it ask again; False if its event loop was closed."""
        if _running_loop() is self._loop:
            self.woken.set()
            return True
        return call_in(self._loop, self.woken.set)


_BUDGETS: WeakSet[Budget] = WeakSet()


def _restart_all() -> None:
    for budget in tuple(_BUDGETS):
        budget.restart()


after_fork(_restart_all)


class Budget:
    """The state of a rate limiter, shared by its members: clients in any event loop and thread.

    All moments are seconds on one clock, which the members have in common. A waiter has a place in
    a line, and sleeps in its own event loop until a slot is probably free. A place whose loop is
    busy when it is its turn holds up the others only for a moment.

    Args:
        limit: the limit of the account; None if it is not known.
    """

    def __init__(self, limit: RateLimit | None) -> None:
        self.limit = limit
        self._state = RateLimitState(limit)
        # Reentrant, because the garbage collector may end a request, and a signal handler may read
        # the state, in a thread that holds it.
        self._lock = threading.RLock()
        self._line = Line()
        self._members: dict[SharingMember, None] = {}
        self._gone: deque[Member] = deque()
        """Members whose client is gone, to be removed; a finalizer must not wait for the lock."""
        self._pause_reason: str | None = None
        self._announced_until = -math.inf
        self._appointed = -math.inf
        """When the last one that could not wait was told to come again."""
        _BUDGETS.add(self)

    def restart(self) -> None:
        """Go on in a process that was forked, without the clients of the one before."""
        # Another thread may have held the lock, which then stays locked in this process.
        self._lock = threading.RLock()
        self._line = Line()
        self._gone.extend(self._members)
        self._members.clear()

    # Members

    def join(self, member: SharingMember) -> None:
        """Let *member* take slots."""
        with self._lock:
            self._members[member] = None

    def leave(self, member: Member, now: float) -> None:
        """Let *member* take no more; what it has under way is taken for lost."""
        with self._lock:
            self._drop(member, now)

    def _drop(self, member: Member, now: float) -> None:
        self._members.pop(cast("SharingMember", member), None)
        self._lose(member, now)

    def on_gone(self, member: Member) -> None:
        """The client of *member* was not closed, and is gone; for finalizers."""
        self._gone.append(member)

    @property
    def is_shared(self) -> bool:
        """Whether bids are compared, because there are several members."""
        return len(self._members) > 1

    def is_used(self, now: float) -> bool:
        """Whether there are members, or what was sent still counts."""
        with self._lock:
            self._drop_gone(now)
            return bool(self._members) or not self._state.is_settled(now)

    # Slots

    def take(self, member: Member, now: float) -> Grant | None:
        """A slot, if one is free and no request waits for it."""
        with self._lock:
            if self._state.wait(now) > 0 or (self._line and self._line.leader is not None):
                return None
            return self._start(member, now)

    def enter(self, waiter: Waiter) -> None:
        """Let *waiter* wait for a slot, with `attempt`."""
        with self._lock:
            self._line.append(waiter)

    def leave_line(self, waiter: Waiter) -> None:
        """Let *waiter* wait no longer, with a slot or without."""
        with self._lock:
            was_awaited = self._line.leader is waiter or waiter.called_at is not None
            self._line.remove(waiter)
            if was_awaited:
                self._wake_leader()

    def attempt(self, member: Member, waiter: Waiter, now: float) -> Grant | float:
        """A slot if it is the turn of *waiter*; otherwise the seconds after which to ask again."""
        with self._lock:
            waiter.is_absent, waiter.called_at = False, None
            wait = self._wait(now)
            wait = self._until_turn(waiter, wait) if wait > 0 else self._call_next(waiter, now)
            if wait > 0:
                waiter.due = now + wait
                return wait
            self._line.take_turn(waiter)
            grant = self._start(member, now)
            self._wake_leader()
            return grant

    def _wait(self, now: float) -> float:
        wait = self._state.wait(now)
        if wait > 0 and (self.is_shared or self._gone):
            self._lose_unreported(now)
            wait = self._state.wait(now)
        return wait

    def _until_turn(self, waiter: Waiter, wait: float) -> float:
        """How long *waiter* sleeps while no slot is free for *wait* seconds."""
        if self.is_shared:
            # A client that ends without a word wakes none of the others.
            wait = min(wait, self._state.period)
        # The first place wakes the next one as it leaves; the others sleep until it is their turn,
        # in case that its event loop stands still.
        if ahead := self._line.ahead(waiter):
            wait += ahead * self._state.gap + ABSENCE_PATIENCE
        return wait

    def _call_next(self, waiter: Waiter, now: float) -> float:
        """Call the place whose turn it is; 0 if that is *waiter*, else the seconds to sleep."""
        while (following := cast("Waiter", self._line.next(now))) is not waiter:
            if following.called_at is None:
                following.called_at = now
                if not following.wake():
                    self._line.remove(following)
                    continue
            left = following.called_at + ABSENCE_PATIENCE - now
            if left > 0:
                return left
            # Its event loop has no time: the others go on without it.
            following.is_absent = True
        return 0.0

    def _start(self, member: Member, now: float) -> Grant:
        grant = self._state.start(now)
        member.in_flight.add(grant)
        return grant

    def _wake_leader(self) -> None:
        while (leader := cast("Waiter | None", self._line.leader)) and not leader.wake():
            self._line.remove(leader)

    def end(
        self,
        member: Member,
        grant: Grant,
        now: float,
        record: Ending,
        reason: str | None = None,
    ) -> Pause | None:
        """*record* how a request ended.

        Args:
            member: whose request it was.
            grant: its slot.
            now: the present moment.
            record: changes the state.
            reason: of the pause that it begins; None if it begins none, but perhaps an outage.

        Returns:
            The pause that began or got longer; None without one, or if the request was taken for
            lost before.
        """
        with self._lock:
            if grant not in member.in_flight:
                return None
            member.in_flight.remove(grant)
            record(self._state, grant, now)
            if reason is None and self._state.is_outage:
                reason = "outage"
            pause = None if reason is None else self._begin_pause(member, now, reason)
            # Most ends allow nothing earlier than before: the spacing decides.
            if self._line and now + self._state.wait(now) < self._leader_due:
                self._wake_leader()
            return pause

    @property
    def _leader_due(self) -> float:
        leader = cast("Waiter | None", self._line.leader)
        return -math.inf if leader is None else leader.due

    def appoint(self, now: float) -> float:
        """Seconds after which one that cannot wait asks again: each at another moment."""
        with self._lock:
            wait = self._wait(now)
            if math.isinf(wait):
                wait = _BUSY
            # The requests in the line come first.
            earliest = now + wait + len(self._line) * self._state.gap
            following = self._appointed + self._state.gap
            is_next = earliest < following <= earliest + LONGEST_SPREAD
            self._appointed = following if is_next else earliest
            return self._appointed - now

    # Pauses

    def _begin_pause(self, member: Member, now: float, reason: str) -> Pause | None:
        until = self._state.paused_until(now)
        # Requests that were under way when the pause began are throttled too, and change nothing.
        if until <= self._announced_until:
            return None
        self._announced_until, self._pause_reason = until, reason
        pause = Pause(until, reason)
        for each in self._members:
            if each is not member:
                each.announce(pause)
        return pause

    def pause(self, now: float) -> Pause | None:
        """The present pause; None without one. A pause is over once a request was answered."""
        with self._lock:
            if not self._state.is_paused or self._pause_reason is None:
                return None
            return Pause(self._state.paused_until(now), self._pause_reason)

    # Requests whose ends are not reported

    def _lose(self, member: Member, now: float) -> None:
        while member.in_flight:
            self._state.on_lost(member.in_flight.pop(), now)

    def _lose_unreported(self, now: float) -> None:
        """Take for lost what is under way in event loops that do not run."""
        self._drop_gone(now)
        for member in self._members:
            for grant in tuple(member.in_flight):
                if member.has_lost(grant, now, self._state.period):
                    member.in_flight.discard(grant)
                    self._state.on_lost(grant, now)

    def _drop_gone(self, now: float) -> None:
        while self._gone:
            self._drop(self._gone.popleft(), now)

    # The clock

    def move(self, shift: float, now: float) -> None:
        """Go on with a clock that is *shift* seconds ahead; *now* is the moment on it.

        What is under way is taken for lost.
        """
        with self._lock:
            for member in self._members:
                self._lose(member, now - shift)
            self._state.move(shift, now)
            self._announced_until += shift
            self._appointed += shift

    # What it shows

    @property
    def rate(self) -> float:
        """Requests per second that are allowed now; infinity while no limit is known."""
        return self._state.rate

    @property
    def is_paused(self) -> bool:
        """Whether a pause began and no request was answered since."""
        return self._state.is_paused

    @property
    def ceiling(self) -> float:
        """The highest rate; infinity while no limit is known."""
        return self._state.ceiling

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; infinity for not before an answer."""
        with self._lock:
            return self._state.wait(now)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
