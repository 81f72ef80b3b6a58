"""Tracking many tasks at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import aclosing
from types import TracebackType
from typing import Self

import anyio

from vocalsep_async.batch.intake import Tasks, all_at_once, one_by_one
from vocalsep_async.batch.roster import Roster
from vocalsep_async.batch.saving import Save, Savings
from vocalsep_async.batch.stats import BatchStats
from vocalsep_async.errors import ConfigurationError
from vocalsep_async.models import SeparationType, TaskOutcome, TaskRef
from vocalsep_async.polling import Poller
from vocalsep_async.schedule import PollPolicy

_READ_AHEAD = 1_000
"""Ids from a source without length that wait for their first look; outcomes not fetched."""
_MOST_OPEN = 100_000
"""Ids from such a source that are tracked at once."""
_REMEMBERED = 100_000
"""Finished ids from such a source that are recognised when they come again."""


class BatchRunner:
    """Tracks many tasks; made by `VocalSepClient.track`.

    An async context manager and an async iterator: one `TaskOutcome` for each id, in the order in
    which they are known. Leaving the block early ends the looks; the tasks at the provider go on.

        async with client.track(task_ids) as batch:
            async for outcome in batch:
                print(outcome.task_id, outcome.ok)

    A consumer that is slower than the looks delays none of them: outcomes are kept for it.
    Several may iterate at once; each outcome goes to one of them.
    """

    def __init__(
        self,
        poller: Poller,
        tasks: Tasks,
        *,
        type_: SeparationType | None,
        max_concurrency: int,
        timeout: float | None,
        policy: PollPolicy,
        keep_open: bool,
        save: Save | None = None,
    ) -> None:
        self._poller = poller
        self._tasks = tasks
        self._type = type_
        self._limit = max_concurrency
        self._timeout = timeout
        self._policy = policy
        self._keep_open = keep_open
        self._is_entered = False
        self._is_closed = False
        self._roster: Roster | None = None
        self._reader: asyncio.Task[None] | None = None
        self._source_error: Exception | None = None
        self._read_before: OrderedDict[str, None] = OrderedDict()
        self._ready: deque[TaskOutcome] = deque()
        self._savings = None if save is None else Savings(save, self._hand_out, self._broke)
        self._news = anyio.Event()

    def __repr__(self) -> str:
        if self._roster is None:
            return "<BatchRunner, not entered>"
        return f"<BatchRunner: {len(self._roster)} pending, {self._roster.tally.finished} finished>"

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise ConfigurationError("a batch is entered once; make another one with track()")
        self._is_entered = True
        refs = await all_at_once(self._tasks)
        self._roster = Roster(
            self._poller,
            type_=self._type,
            limit=self._limit,
            timeout=self._timeout,
            policy=self._policy,
            deliver=self._deliver,
        )
        if refs is None:
            self._reader = asyncio.create_task(self._read(), name="vocalsep batch reader")
            return self
        try:
            async for ref in one_by_one(refs):
                self._roster.take_in(ref)
            self._roster.warn_of_too_many()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self._is_closed, self._keep_open = True, False
        # First all that needs no waiting: whoever leaves may be cancelled while it waits.
        self._entered().release()
        if self._savings is not None:
            self._savings.release()
        self._news.set()
        if self._reader is not None:
            self._reader.cancel()
        with anyio.CancelScope(shield=True):
            if self._reader is not None:
                await asyncio.wait([self._reader])
            if self._savings is not None:
                await self._savings.ended()
            await self._poller.ended()

    def _entered(self) -> Roster:
        if self._roster is None:
            raise ConfigurationError(
                "a batch works within its block: async with client.track(task_ids) as batch: ..."
            )
        return self._roster

    # What goes in

    def add(self, task: str | TaskRef) -> None:
        """Track one more task, from now on; one that is open already is tracked once.

        Args:
            task: its id or ref.

        Raises:
            ConfigurationError: the id is unusable, or the batch was closed or not entered.
        """
        roster = self._entered()
        if self._is_closed:
            raise ConfigurationError("the batch is closed; add tasks before close()")
        roster.take_in(TaskRef.of(task))
        roster.warn_of_too_many()

    def notify(self, task: str | TaskRef) -> bool:
        """Look at a task soon, because something happened to it: for webhooks.

        Args:
            task: its id or ref.

        Returns:
            Whether the batch tracks it and has no outcome yet.

        Raises:
            ConfigurationError: the id is unusable, or the batch was not entered.
        """
        return self._entered().hurry(TaskRef.of(task).task_id)

    def close(self) -> None:
        """Take no more tasks: iteration ends when those that are open have their outcomes.

        Only needed with ``keep_open=True``; may be called again.
        """
        self._is_closed, self._keep_open = True, False
        self._news.set()

    async def _read(self) -> None:
        try:
            async with aclosing(one_by_one(self._tasks)) as refs:
                async for ref in refs:
                    await self._take_in(ref, self._entered())
        except Exception as error:  # noqa: BLE001 - whatever the caller's iterator raised
            self._source_error = error
        finally:
            self._news.set()

    async def _take_in(self, ref: TaskRef, roster: Roster) -> None:
        if ref.task_id not in self._read_before:
            self._remember(ref.task_id)
            roster.take_in(ref)
            roster.warn_of_too_many()
        while self._has_enough(roster):
            await self._until_news()

    def _remember(self, task_id: str) -> None:
        self._read_before[task_id] = None
        if len(self._read_before) > _REMEMBERED:
            self._read_before.popitem(last=False)

    def _has_enough(self, roster: Roster) -> bool:
        """Whether reading on would only use memory."""
        waiting = max(roster.unasked, len(self._ready) + self._being_saved)
        return waiting >= _READ_AHEAD or len(roster) >= _MOST_OPEN

    # What comes out

    def _deliver(self, outcome: TaskOutcome | None) -> None:
        if outcome is not None and self._savings is not None:
            self._savings.take(outcome)
        elif outcome is not None:
            self._ready.append(outcome)
        if self._reader is not None and self._entered().error is not None:
            self._reader.cancel()
        self._news.set()

    def _hand_out(self, outcome: TaskOutcome) -> None:
        self._ready.append(outcome)
        self._news.set()

    def _broke(self, error: Exception) -> None:
        self._entered().failure = error
        self._news.set()

    @property
    def _being_saved(self) -> int:
        return 0 if self._savings is None else len(self._savings)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskOutcome:
        roster = self._entered()
        # Here, where cancelling it loses no outcome, a consumer lets others run.
        await asyncio.sleep(0)
        while True:
            if self._ready:
                self._news.set()
                return self._ready.popleft()
            self._raise_failure(roster)
            if self._is_finished(roster):
                raise StopAsyncIteration
            await self._until_news()

    def _raise_failure(self, roster: Roster) -> None:
        error, self._source_error = self._source_error, None
        if error is not None:
            raise error
        if roster.failure is not None:
            raise roster.failure

    def _is_finished(self, roster: Roster) -> bool:
        is_read = self._reader is None or self._reader.done()
        expects_more = self._keep_open and roster.error is None
        return is_read and not expects_more and not len(roster) and not self._being_saved

    async def _until_news(self) -> None:
        if self._news.is_set():
            self._news = anyio.Event()
        await self._news.wait()

    @property
    def stats(self) -> BatchStats:
        """What the batch has done so far.

        Raises:
            ConfigurationError: the batch was not entered.
        """
        return self._entered().stats()
