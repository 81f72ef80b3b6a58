"""Batching of a journal's writes: one transaction at a time, in a worker thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from vocalsep_async._journal.store import Store, Write
from vocalsep_async.errors import JournalError

_DEFERRAL = 10.0
"""Seconds for which deferred writes are collected.

At two polls per second, writing the status of pending tasks every two seconds cost 2 to 5 % of the
CPU time of the polls.
"""

OnWritten = Callable[[JournalError | None], None]
"""Called in the event loop once its writes are stored (None), or with the reason why not."""


class Writer:
    """Applies writes to *store* in order; those that arrive during a write share the next one.

    Args:
        store: the database.
        name: the journal's name for error messages.
        deferred: returns the deferred writes and clears them.

    Attributes:
        failure: why nothing is written any more; None while the writer works.
    """

    # Callbacks instead of a task for each outcome, which took half as long as a poll. The thread
    # is the writer's own, so that a loop whose default executor is busy delays no outcome.
    def __init__(self, store: Store, name: str, deferred: Callable[[], Iterable[Write]]) -> None:
        self._store = store
        self._name = name
        self._deferred = deferred
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="vocalsep-journal")
        self._writes: list[Write] = []
        self._callbacks: list[OnWritten] = []
        self._is_writing = False
        self._scheduled: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.failure: JournalError | None = None

    def __len__(self) -> int:
        """How many writes wait for the one that is under way."""
        return len(self._writes)

    def put(self, *writes: Write, on_written: OnWritten | None = None) -> None:
        """Write in the next iteration of the event loop, then call *on_written*."""
        self._writes += writes
        if on_written is not None:
            self._callbacks.append(on_written)
        self._schedule()

    def schedule_deferred(self) -> None:
        """Write what is deferred within ten seconds."""
        if self._timer is None:
            self._timer = self._loop.call_later(_DEFERRAL, self._put_deferred)

    def flush(self, on_written: OnWritten) -> None:
        """Write everything, deferred writes included, then call *on_written*."""
        self._put_deferred()
        self.put(on_written=on_written)

    def _put_deferred(self) -> None:
        self._stop_timer()
        self.put(*self._deferred())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if not self._is_writing and self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = None
        writes, self._writes = self._writes, []
        callbacks, self._callbacks = self._callbacks, []
        if not writes or self.failure is not None:
            _call(callbacks, self.failure)
            return
        self._is_writing = True
        self._executor.submit(self._write, writes, callbacks)

    def _write(self, writes: list[Write], callbacks: list[OnWritten]) -> None:
        """Apply *writes*; runs in the worker thread."""
        error = self._attempt(writes)
        # The loop may have been closed without the journal: then no caller waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, callbacks, error)

    def _attempt(self, writes: list[Write]) -> BaseException | None:
        try:
            self._store.apply(writes)
        except BaseException as error:  # noqa: BLE001 - passed to the callbacks
            return error
        return None

    def _end(self, callbacks: list[OnWritten], error: BaseException | None) -> None:
        self._is_writing = False
        failure = None if error is None else self._as_journal_error(error)
        self.failure = self.failure or failure
        _call(callbacks, failure)
        if self._writes or self._callbacks:
            self._schedule()  # does nothing if one of the callbacks has done so

    def _as_journal_error(self, error: BaseException) -> JournalError:
        if isinstance(error, JournalError):
            return error
        failure = JournalError(f"the journal {self._name}: {type(error).__name__}")
        failure.__cause__ = error
        return failure

    def close(self) -> None:
        """Fail all writes that are not under way, and end the thread after the one that is."""
        self.failure = self.failure or JournalError(f"the journal {self._name} was closed")
        self._executor.shutdown(wait=False)
        self._stop_timer()
        # The caller may run in another loop after the writer's own has been closed.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._schedule)


def _call(callbacks: Iterable[OnWritten], failure: JournalError | None) -> None:
    for callback in callbacks:
        callback(failure)
