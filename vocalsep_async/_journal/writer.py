"""Writes for a store, in their order, in a thread of their own.

Callbacks all through, and one thread for as long as the journal is open: a task and a borrowed
thread for each outcome cost as much as half a look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from vocalsep_async._journal.store import Store, Write
from vocalsep_async._journal.thread import Thread
from vocalsep_async.errors import JournalError

_UNHURRIED = 10.0
"""Seconds for which writes wait for company where nobody waits for them.

At two looks a second, to write down every two seconds what they saw cost 2 to 5 % of the looks.
"""

Then = Callable[[JournalError | None], None]
"""Told when something is written, or that it could not be."""


class Writer:
    """The one who writes to a store; what comes while it writes goes in one transaction.

    Args:
        store: where to write.
        name: what to call it in errors.
        rest: gives what is to be written in time, and forgets it.
    """

    def __init__(self, store: Store, name: str, rest: Callable[[], Iterable[Write]]) -> None:
        self._store = store
        self._name = name
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._thread = Thread("vocalsep-journal")
        self._writes: list[Write] = []
        self._thens: list[Then] = []
        self._is_writing = False
        self._start: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.failure: JournalError | None = None
        """Why nothing is written any more."""

    def __len__(self) -> int:
        """How many writes wait for the one that is under way."""
        return len(self._writes)

    def put(self, *writes: Write, then: Then | None = None) -> None:
        """Write them as soon as this turn of the loop is over; tell *then* when all is written."""
        self._writes += writes
        if then is not None:
            self._thens.append(then)
        self._hurry()

    def write_rest_in_time(self) -> None:
        """Write the rest within ten seconds."""
        if self._timer is None:
            self._timer = self._loop.call_later(_UNHURRIED, self._hurry_all)

    def flush(self, then: Then) -> None:
        """Write all there is, and tell *then*."""
        self._hurry_all()
        self.put(then=then)

    def _hurry_all(self) -> None:
        self._stop_timer()
        self._writes += self._rest()
        self._hurry()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hurry(self) -> None:
        if not self._is_writing and self._start is None:
            self._start = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._start = None
        writes, self._writes = self._writes, []
        thens, self._thens = self._thens, []
        if not writes or self.failure is not None:
            _tell(thens, self.failure)
            return
        self._is_writing = True
        self._thread.do(partial(self._write, writes, thens))

    def _write(self, writes: list[Write], thens: list[Then]) -> None:
        """Write them; runs in the thread."""
        error = self._attempt(writes)
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end, thens, error)

    def _attempt(self, writes: list[Write]) -> BaseException | None:
        try:
            self._store.apply(writes)
        except BaseException as error:  # noqa: BLE001 - handed to who waits for it
            return error
        return None

    def _end(self, thens: list[Then], error: BaseException | None) -> None:
        self._is_writing = False
        failure = None if error is None else self._worded(error)
        self.failure = self.failure or failure
        _tell(thens, failure)
        if self._writes or self._thens:
            # Whoever was told may have begun already: at most one start is under way.
            self._hurry()

    def _worded(self, error: BaseException) -> JournalError:
        if isinstance(error, JournalError):
            return error
        failure = JournalError(f"the journal {self._name}: {type(error).__name__}")
        failure.__cause__ = error
        return failure

    def close(self) -> None:
        """Write nothing more, and say so to all who still wait."""
        self.failure = self.failure or JournalError(f"the journal {self._name} was closed")
        self._thread.close()
        self._stop_timer()
        with suppress(RuntimeError):  # who closes it may be in another loop, as this one has ended
            self._loop.call_soon_threadsafe(self._hurry)


def _tell(thens: Iterable[Then], failure: JournalError | None) -> None:
    for then in thens:
        then(failure)
