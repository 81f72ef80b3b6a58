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


class Transaction:
    """Writes that are applied together.

    Attributes:
        writes: in the order in which they are applied.
    """

    __slots__ = ("_ended", "_failure", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self._ended = asyncio.Event()
        self._failure: JournalError | None = None

    def end(self, failure: JournalError | None) -> None:
        """The writes are stored (None), or will never be."""
        self._failure = failure
        self._ended.set()

    async def wait(self) -> None:
        """Wait until the writes are stored.

        Raises:
            JournalError: they were not.
        """
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure


class Writer:
    """Applies writes to *store* in order; those that arrive during a transaction share the next.

    Args:
        store: the database.
        name: the journal's name for error messages.
        deferred: returns the deferred writes and clears them.
    """

    # The thread is the writer's own, so that a loop whose default executor is busy delays no
    # outcome.
    def __init__(self, store: Store, name: str, deferred: Callable[[], Iterable[Write]]) -> None:
        self._store = store
        self._name = name
        self._deferred = deferred
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="vocalsep-journal")
        self._next = Transaction()
        self._is_writing = False
        self._scheduled: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: JournalError | None = None
        """Why nothing is written any more."""

    def __len__(self) -> int:
        """How many writes wait for the transaction that is under way."""
        return len(self._next.writes)

    def put(self, *writes: Write) -> Transaction:
        """Write in the next transaction, which is returned.

        It begins in the next iteration of the event loop, or when the one under way has ended.
        """
        self._next.writes += writes
        self._schedule()
        return self._next

    async def write(self, *writes: Write) -> None:
        """Write, after everything that was put before; without *writes*, only wait for that.

        Raises:
            JournalError: a write failed, or the journal was closed.
        """
        await self.put(*writes).wait()

    def schedule_deferred(self) -> None:
        """Write what is deferred within ten seconds."""
        if self._timer is None:
            self._timer = self._loop.call_later(_DEFERRAL, self._put_deferred)

    async def flush(self) -> None:
        """Write everything, deferred writes included.

        Raises:
            JournalError: a write failed, or the journal was closed.
        """
        await self._put_deferred().wait()

    def _put_deferred(self) -> Transaction:
        self._stop_timer()
        return self.put(*self._deferred())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if not self._is_writing and self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = None
        transaction, self._next = self._next, Transaction()
        if not transaction.writes or self._failure is not None:
            transaction.end(self._failure)
            return
        self._is_writing = True
        self._executor.submit(self._write, transaction)

    def _write(self, transaction: Transaction) -> None:
        """Apply a transaction; runs in the worker thread."""
        error = self._attempt(transaction.writes)
        # The loop may have been closed without the journal: then no caller waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, transaction, error)

    def _attempt(self, writes: list[Write]) -> BaseException | None:
        try:
            self._store.apply(writes)
        except BaseException as error:  # noqa: BLE001 - raised by the calls that wait
            return error
        return None

    def _end(self, transaction: Transaction, error: BaseException | None) -> None:
        self._is_writing = False
        failure = None if error is None else self._as_journal_error(error)
        self._failure = self._failure or failure
        transaction.end(failure)
        self._schedule()

    def _as_journal_error(self, error: BaseException) -> JournalError:
        if isinstance(error, JournalError):
            return error
        failure = JournalError(f"the journal {self._name}: {type(error).__name__}")
        failure.__cause__ = error
        return failure

    def close(self) -> None:
        """Fail all writes that are not under way, and end the thread after the one that is."""
        self._failure = self._failure or JournalError(f"the journal {self._name} was closed")
        self._executor.shutdown(wait=False)
        self._stop_timer()
