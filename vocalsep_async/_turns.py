"""Turns of requests at the limiter: one request at a time asks it, and this says which is next."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

_Waiting = OrderedDict["asyncio.Future[None]", None]
"""Requests without the turn, in the order of arrival."""

_MANY_GIVEN_UP = 2
"""Calls given up, of the last 32 events, for overload to begin; one is enough for it to last."""
_RECENT = (1 << 32) - 1
_MEMORY = 60.0
"""Seconds after which a call that was given up says nothing any more."""
_OTHERS_EVERY = 8
"""While creations of songs wait, one of so many turns goes to a call or to polls."""
_OLDEST_EVERY = 8
"""In overload, one of so many turns goes to the oldest call: a patient one is served, too."""


class Turns:
    """Hands the turn to ask the limiter from request to request.

    The creations of songs come first, but for every eighth turn. Calls and the polls of the poll
    loop alternate while both wait. Calls get the turn first come, first served; in overload newest
    first, except for every eighth turn.

    Attributes:
        is_taken: whether a request has the turn. To take it while it is free, set this.
        overload: to be told of calls that are given up.
        is_closing: whether all requests are about to fail: the last one to come is then the last.
    """

    # First come, first served would give each slot of an overloaded client to the call with the
    # least time left, and all answers would come too late.

    def __init__(self) -> None:
        self.is_taken = False
        self.overload = Overload()
        self.is_closing = False
        self._creations: _Waiting = OrderedDict()
        self._creations_in_a_row = 0
        self._calls: _Waiting = OrderedDict()
        self._polls: _Waiting = OrderedDict()
        self._polls_are_next = False
        self._overloaded_turns = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for the turn."""
        return len(self._creations) + len(self._calls) + len(self._polls)

    async def wait_as_call(self) -> None:
        """Wait for the turn and take it, for a call."""
        await self._wait_in(self._calls)
        self.overload.on_turn()

    async def wait_as_creation(self) -> None:
        """Wait for the turn and take it, for the creation of a song, of which few wait."""
        await self._wait_in(self._creations)

    async def wait_as_polls(self) -> None:
        """Wait for the turn and take it, for one of the polls of the poll loop."""
        await self._wait_in(self._polls)

    async def _wait_in(self, waiting: _Waiting) -> None:
        turn = asyncio.get_running_loop().create_future()
        waiting[turn] = None
        try:
            await turn
        except BaseException:
            waiting.pop(turn, None)
            # Cancelled when it had just been given the turn.
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Hand the turn to the next request."""
        # Mostly none waits. One that was cancelled waits until its task runs.
        following = self._next() if self._creations or self._calls or self._polls else None
        if following is None:
            self.is_taken = False
        else:
            following.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        if self._creations_in_a_row + 1 < _OTHERS_EVERY:
            return self._next_creation() or self._next_of_others()
        return self._next_of_others() or self._next_creation()

    def _next_creation(self) -> asyncio.Future[None] | None:
        following = _popped(self._creations, newest=False)
        self._creations_in_a_row += following is not None
        return following

    def _next_of_others(self) -> asyncio.Future[None] | None:
        self._creations_in_a_row = 0
        if self._polls_are_next:
            return self._next_polls() or self._next_call()
        return self._next_call() or self._next_polls()

    def _next_polls(self) -> asyncio.Future[None] | None:
        self._polls_are_next = False
        return _popped(self._polls, newest=False)

    def _next_call(self) -> asyncio.Future[None] | None:
        self._polls_are_next = True
        return _popped(self._calls, newest=self._is_newest_next())

    def _is_newest_next(self) -> bool:
        if not self._calls or self.is_closing:
            return False
        if not self.overload.lasts(asyncio.get_running_loop().time()):
            return False
        self._overloaded_turns += 1
        return self._overloaded_turns % _OLDEST_EVERY != 0


def _popped(waiting: _Waiting, *, newest: bool) -> asyncio.Future[None] | None:
    while waiting:
        turn, _ = waiting.popitem(last=newest)
        # A request that was cancelled leaves only when its task runs.
        if not turn.done():
            return turn
    return None


class Overload:
    """Whether calls are given up while they wait: more come in than the limiter lets out.

    A call is given up when its own timeout or its caller cancels it. Only that can be observed: a
    deadline that a caller keeps with ``asyncio.timeout`` does not show.
    """

    def __init__(self) -> None:
        self._recent = 0
        """A bit for each of the last events: whether a call was given up, or got its turn."""
        self._given_up_at = 0.0
        self._lasts = False

    def on_turn(self) -> None:
        """A call that waited got its turn."""
        self._recent = self._recent << 1 & _RECENT

    def on_given_up(self, now: float) -> None:
        """A call was given up, in the queue or before its answer came."""
        self._recent = self._recent << 1 & _RECENT | 1
        self._given_up_at = now

    def lasts(self, now: float) -> bool:
        """Whether there is overload."""
        if now - self._given_up_at > _MEMORY:
            self._recent = 0
        self._lasts = self._recent.bit_count() >= (1 if self._lasts else _MANY_GIVEN_UP)
        return self._lasts
