"""Tracking many tasks at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Coroutine
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vocalsep_async._batch.intake import Tasks, all_at_once, one_by_one
from vocalsep_async._batch.saver import Save, StemSaver
from vocalsep_async._batch.tracker import BatchTracker
from vocalsep_async._polling.poller import Poller
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.batch import BatchRunner
from vocalsep_async.errors import ConfigurationError
from vocalsep_async.models import BatchStats, SeparationType, TaskOutcome, TaskRef
from vocalsep_async.policies import PollPolicy

if TYPE_CHECKING:
    from vocalsep_async._batch.recorder import BatchRecorder
    from vocalsep_async._journal.journal import Known

_READ_AHEAD = 1_000
"""Ids from a source without length that wait for their first look; outcomes not fetched."""
_MOST_OPEN = 100_000
"""Ids from such a source that are tracked at once."""
_REMEMBERED = 100_000
"""Finished ids from such a source that are recognised when they come again."""
_SLICE = 500
"""Tasks that are taken up in one go, without letting others run."""

Record = Callable[[Callable[[Exception], None]], "BatchRecorder"]
"""Makes a recording that tells of what breaks it."""


class Runner(BatchRunner):
    """The batch behind `BatchRunner`."""

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
        record: Record | None = None,
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
        self._tracker: BatchTracker | None = None
        self._reader: asyncio.Task[None] | None = None
        self._replayer: asyncio.Task[None] | None = None
        self._source_error: Exception | None = None
        self._read_before: OrderedDict[str, None] = OrderedDict()
        self._ready: deque[TaskOutcome] = deque()
        self._savings = None if save is None else StemSaver(save, self._broke)
        self._recording = None if record is None else record(self._broke)
        self._passing = 0
        """Outcomes that are being written down or whose stems are being saved."""
        self._news = asyncio.Event()
        """For those who iterate: there is an outcome, or there will be none."""
        self._room = asyncio.Event()
        """For those who read ids or earlier outcomes: there may be room for more."""

    def __repr__(self) -> str:
        if self._tracker is None:
            return "<BatchRunner, not entered>"
        return f"<BatchRunner: {len(self._tracker)} pending, {self._tracker.counters.finished} finished>"

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise ConfigurationError("a batch is entered once; make another one with track()")
        self._is_entered = True
        refs = await all_at_once(self._tasks)
        left = [] if self._recording is None else await self._recording.open()
        try:
            self._tracker = self._new_roster()
        except BaseException:
            if self._recording is not None:
                await self._recording.close()
            raise
        try:
            await self._begin(self._tracker, left, refs)
        except BaseException:
            await self._leave()
            raise
        return self

    def _new_roster(self) -> BatchTracker:
        return BatchTracker(
            self._poller,
            type_=self._type,
            limit=self._limit,
            timeout=self._timeout,
            policy=self._policy,
            deliver=self._deliver,
            changed=self._changed,
            note=None if self._recording is None else self._recording.note,
        )

    async def _begin(
        self, tracker: BatchTracker, left: list[Known], refs: Collection[TaskRef] | None
    ) -> None:
        for number, known in enumerate(left, start=1):
            tracker.take_in(known.ref, known.age())
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        if self._recording is not None:
            self._replayer = _task(self._replay(self._recording), "vocalsep batch replay")
        if refs is None:
            self._reader = _task(self._read(), "vocalsep batch reader")
            return
        async for ref in one_by_one(refs):
            self._take_in_named(ref, tracker)
        tracker.warn_of_too_many()

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
        for task in self._sources():
            task.cancel()
        await run_to_completion(self._ended())

    def _sources(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._reader, self._replayer) if task is not None]

    async def _ended(self) -> None:
        """Wait for what was broken off, and have all written down."""
        if sources := self._sources():
            await asyncio.wait(sources)
        if self._savings is not None:
            await self._savings.ended()
        await self._poller.wait_closed()
        if self._recording is not None:
            await self._recording.close()

    def _entered(self) -> BatchTracker:
        if self._tracker is None:
            raise ConfigurationError(
                "a batch works within its block: async with client.track(task_ids) as batch: ..."
            )
        return self._tracker

    # What goes in

    def add(self, task: str | TaskRef) -> None:
        tracker = self._entered()
        if self._is_closed:
            raise ConfigurationError("the batch is closed; add tasks before close()")
        ref = TaskRef.of(task)
        if self._recording is not None:
            self._recording.again(ref.task_id)
        self._take_in_named(ref, tracker)
        tracker.warn_of_too_many()

    def _take_in_named(self, ref: TaskRef, tracker: BatchTracker) -> None:
        """Track *ref*, unless what became of it is handed out anyway."""
        if self._recording is not None:
            if self._recording.is_over(ref.task_id):
                return
            self._recording.add(ref.merged(TaskRef(ref.task_id, type=self._type)))
        tracker.take_in(ref)

    def notify(self, task: str | TaskRef) -> bool:
        return self._entered().poll_soon(TaskRef.of(task).task_id)

    def close(self) -> None:
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

    async def _take_in(self, ref: TaskRef, tracker: BatchTracker) -> None:
        if ref.task_id not in self._read_before:
            self._remember(ref.task_id)
            self._take_in_named(ref, tracker)
            tracker.warn_of_too_many()
        while self._has_enough(tracker):
            await _next(self._room)

    def _remember(self, task_id: str) -> None:
        self._read_before[task_id] = None
        if len(self._read_before) > _REMEMBERED:
            self._read_before.popitem(last=False)

    async def _replay(self, recording: BatchRecorder) -> None:
        """Hand out what an earlier run has seen the end of."""
        tracker = self._entered()
        try:
            async with aclosing(recording.outcomes()) as outcomes:
                async for outcome in outcomes:
                    tracker.counters.ended(outcome)
                    self._passing += 1
                    self._save(outcome)
                    while len(self._ready) + self._passing >= _READ_AHEAD:
                        await _next(self._room)
        except Exception as error:  # noqa: BLE001 - handed to whoever iterates
            self._broke(error)
        finally:
            self._news.set()

    def _has_enough(self, tracker: BatchTracker) -> bool:
        """Whether reading on would only use memory."""
        waiting = max(tracker.unasked, len(self._ready) + self._passing)
        return waiting >= _READ_AHEAD or len(tracker) >= _MOST_OPEN

    # What comes out: an outcome is written down, its stems are saved, then it is handed out

    def _deliver(self, outcome: TaskOutcome) -> None:
        self._passing += 1
        self._record(outcome)
        self._changed()

    def _changed(self) -> None:
        """There may be room for more ids; or nobody looks any more, which may come at any time."""
        tracker = self._entered()
        if self._reader is not None and tracker.error is not None:
            self._reader.cancel()
        if tracker.error is not None or tracker.failure is not None:
            self._news.set()
        self._room.set()

    def _record(self, outcome: TaskOutcome) -> None:
        if self._recording is None:
            self._save(outcome)
        else:
            self._recording.end(outcome, self._save)

    def _save(self, outcome: TaskOutcome) -> None:
        if self._savings is None:
            self._hand_out(outcome)
        elif self._recording is None:
            self._savings.save(outcome, self._hand_out)
        else:
            written = partial(self._recording.saved, done=self._hand_out)
            self._savings.save(outcome, written)

    def _hand_out(self, outcome: TaskOutcome) -> None:
        self._passing -= 1
        self._ready.append(outcome)
        self._news.set()

    def _broke(self, error: Exception) -> None:
        self._entered().failure = error
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskOutcome:
        tracker = self._entered()
        if self._ready:
            # Here, where cancelling it loses no outcome, a consumer lets others run.
            await asyncio.sleep(0)
        while True:
            if self._ready:
                self._room.set()
                return self._ready.popleft()
            self._raise_failure(tracker)
            if self._is_finished(tracker):
                raise StopAsyncIteration
            await _next(self._news)

    def _raise_failure(self, tracker: BatchTracker) -> None:
        error, self._source_error = self._source_error, None
        if error is not None:
            raise error
        if tracker.failure is not None:
            raise tracker.failure

    def _is_finished(self, tracker: BatchTracker) -> bool:
        is_read = all(task.done() for task in self._sources())
        expects_more = self._keep_open and tracker.error is None
        return is_read and not expects_more and not len(tracker) and not self._passing

    def pending_ids(self) -> tuple[str, ...]:
        return self._entered().pending()

    @property
    def stats(self) -> BatchStats:
        return self._entered().stats()


async def _next(event: asyncio.Event) -> None:
    """Wait until *event* is set once more."""
    event.clear()
    await event.wait()


def _task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.create_task(coroutine, name=name)
