"""The implementation of `BatchRunner`: reads ids, tracks tasks and hands out outcomes."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Sized
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vocalsep_async._batch.counters import BatchCounters
from vocalsep_async._batch.delivery import Deliveries, Save
from vocalsep_async._batch.intake import (
    Tasks,
    from_source,
    is_own_cancellation,
    iterate,
    read_collection,
)
from vocalsep_async._batch.tracker import BatchTracker
from vocalsep_async._events import Events, new_id
from vocalsep_async._polling.poller import Poller
from vocalsep_async._scheduling.hazards import HazardTable
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.batch import BatchRunner
from vocalsep_async.errors import ConfigurationError, JournalError
from vocalsep_async.instrumentation import BatchFinished, BatchStarted, OutcomeDelivered
from vocalsep_async.journal import Journal
from vocalsep_async.models import (
    STEMS_READY,
    BatchStats,
    SeparationTask,
    SeparationType,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.policies import PollPolicy

if TYPE_CHECKING:
    from vocalsep_async._batch.recorder import BatchRecorder
    from vocalsep_async._journal.journal import KnownTask

_READ_AHEAD = 1_000
"""Limit of two things while an iterator of ids is read: ids never polled, and outcomes not
fetched."""
_MAX_OPEN = 100_000
"""Ids from an iterator that are tracked simultaneously."""
_REMEMBERED = 100_000
"""Ids from an iterator that are recognised when they come again."""
_SLICE = 500
"""Tasks from the journal that are added before the event loop may run other tasks."""


def recorder_in(
    journal: Journal | str | os.PathLike[str],
    *,
    base_url: str,
    hazards: HazardTable,
    restore: Callable[[TaskRef, Any], SeparationTask],
    events: Events,
) -> BatchRecorder:
    """A recorder in *journal*; a batch that gets a path opens and closes the journal itself."""
    # Imported late: SQLite slows the start down, and few programs use a journal.
    from vocalsep_async._batch.recorder import BatchRecorder  # noqa: PLC0415

    is_own = not isinstance(journal, Journal)
    opened = journal if isinstance(journal, Journal) else Journal(journal)
    return BatchRecorder(
        opened._file,  # noqa: SLF001 - the machinery behind what users hold
        is_own=is_own,
        base_url=base_url,
        hazards=hazards,
        restore=restore,
        events=events,
    )


_LEAST_IN_FLIGHT, _MOST_IN_FLIGHT = 8, 100
"""Polls that a batch may have in flight, where its user names no number."""


class Runner(BatchRunner):
    """Made by `VocalSepClient.track`, which checks the arguments."""

    def __init__(
        self,
        poller: Poller,
        tasks: Tasks,
        *,
        type_: SeparationType | None,
        max_concurrency: int | None,
        timeout: float | None,
        policy: PollPolicy,
        keep_open: bool,
        events: Events,
        save: Save | None = None,
        recorder: BatchRecorder | None = None,
    ) -> None:
        self._poller = poller
        self._tasks = tasks
        self._type = type_
        self._limit = max_concurrency
        self._timeout = timeout
        self._policy = policy
        self._keep_open = keep_open
        self._events = events
        self._batch_id = new_id("batch")
        self._entered_at = 0.0
        self._is_entered = False
        self._is_closed = False
        self._tracker: BatchTracker | None = None
        self._reader: asyncio.Task[None] | None = None
        self._replayer: asyncio.Task[None] | None = None
        self._source_error: BaseException | None = None
        self._unanswered: set[str] = set()
        """Ids from an iterator whose first poll has no answer yet."""
        self._seen_ids: OrderedDict[str, None] = OrderedDict()
        self._recorder = recorder
        self._counters = BatchCounters()
        self._deliveries = Deliveries(recorder, save, self._counters, timeout)
        self._reader_event = asyncio.Event()
        """Set when there may be room for more ids, or more outcomes of earlier runs."""

    def __repr__(self) -> str:
        if self._tracker is None:
            return "<BatchRunner, not entered>"
        pending, finished = len(self._tracker), self._counters.finished
        return f"<BatchRunner: {pending} pending, {finished} finished>"

    async def __aenter__(self) -> Self:
        self._poller.binding.check()
        if self._is_entered:
            raise ConfigurationError(
                "a batch can be entered only once; make another one with track()"
            )
        # Before the first await, so that a second entry meanwhile fails.
        self._is_entered = True
        self._entered_at = asyncio.get_running_loop().time()
        known = len(self._tasks) if isinstance(self._tasks, Sized) else 0
        # A copy: what a listener sets there is for the deliveries, not for the caller's block.
        self._deliveries.context = contextvars.copy_context()
        started = BatchStarted(batch_id=self._batch_id, tasks=known)
        self._deliveries.context.run(self._events.emit, started)
        try:
            await self._enter()
        except BaseException as error:
            self._emit_finished(error)
            raise
        return self

    async def _enter(self) -> None:
        # Before the journal is opened: an unusable id leaves it as it is.
        refs = await read_collection(self._tasks, self._poller.routes.ref)
        pending = [] if self._recorder is None else await self._recorder.open()
        try:
            self._tracker = self._new_tracker()
        except BaseException:
            if self._recorder is not None:
                await self._recorder.close()
            raise
        try:
            await self._start(self._tracker, pending, refs)
        except BaseException:
            await self._stop()
            raise

    def _new_tracker(self) -> BatchTracker:
        return BatchTracker(
            self._poller,
            wait_id=self._batch_id,
            type_=self._type,
            limit=self._limit or _concurrency(self._poller.limiter.snapshot().ceiling),
            timeout=self._timeout,
            policy=self._policy,
            counters=self._counters,
            on_outcome=self._on_outcome,
            on_change=self._on_change,
            on_pending=self._on_pending,
        )

    async def _start(
        self, tracker: BatchTracker, pending: list[KnownTask], refs: Collection[TaskRef] | None
    ) -> None:
        # Earlier tasks first: the tracker takes tasks in the order of their deadlines.
        for number, known in enumerate(pending, start=1):
            ref = self._poller.routes.ref(known.ref)
            if known.status in STEMS_READY:
                self._poller.doubts.give_up(ref)
            tracker.add(ref, known.age())
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        if refs is not None:
            async for ref in iterate(refs, self._poller.routes.ref):
                self._add_unless_over(ref, tracker)
            tracker.warn_of_too_many()
        # After the refs, whose labels the outcomes of earlier runs get, too.
        if self._recorder is not None:
            self._replayer = _task(self._replay(self._recorder), "vocalsep batch replay")
        if refs is None:
            self._reader = _task(self._read(), "vocalsep batch reader")

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._poller.binding.check()
        try:
            await self._stop()
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._emit_finished(error)

    def _emit_finished(self, error: BaseException | None) -> None:
        self._events.emit(
            BatchFinished(
                batch_id=self._batch_id,
                duration=asyncio.get_running_loop().time() - self._entered_at,
                stats=self._stats(),
                error=error,
            )
        )

    def _stats(self) -> BatchStats:
        if self._tracker is not None:
            return self._tracker.stats()
        # The journal could not be opened, or an id is unusable: no task is tracked.
        model = self._poller.hazards.model(self._type)
        return self._counters.stats(pending=0, rate=self._poller.rate, newest=0.0, model=model)

    async def _stop(self) -> None:
        self._is_closed, self._keep_open = True, False
        # First everything that does not wait: this call may be cancelled at its first await.
        self._entered().release()
        self._deliveries.stop()
        self._deliveries.changed.set()
        for task in self._sources():
            task.cancel()
        await run_to_completion(self._finish())

    def _sources(self) -> list[asyncio.Task[None]]:
        return [task for task in (self._reader, self._replayer) if task is not None]

    async def _finish(self) -> None:
        # The journal is the last: deliveries and polls that end may still write to it.
        await self._entered().forget()
        if sources := self._sources():
            await asyncio.wait(sources)
        await self._deliveries.wait_ended()
        await self._poller.wait_closed()
        if self._recorder is not None:
            await self._recorder.close()

    def _entered(self) -> BatchTracker:
        if self._tracker is None:
            raise ConfigurationError(
                "a batch works within its block: async with client.track(task_ids) as batch: ..."
            )
        return self._tracker

    # Ids

    def add(self, task: str | TaskRef) -> None:
        self._poller.binding.check()
        tracker = self._entered()
        if self._is_closed:
            raise ConfigurationError("the batch is closed; add tasks before close()")
        ref = self._poller.routes.ref(task)
        # Its caller cannot tell a task whose outcome is to be fetched from one that is pending.
        if self._recorder is not None and ref.task_id not in self._deliveries:
            self._recorder.reopen(ref.task_id)
        self._add_unless_over(ref, tracker)
        tracker.warn_of_too_many()

    def _add_unless_over(self, ref: TaskRef, tracker: BatchTracker) -> None:
        """Track *ref*, unless it has an outcome: tracked again, it would get a second one."""
        if self._recorder is not None:
            self._record(self._recorder, ref)
        if self._has_outcome(ref.task_id):
            self._unanswered.discard(ref.task_id)
        else:
            tracker.add(ref)

    def _has_outcome(self, task_id: str) -> bool:
        return task_id in self._deliveries or (
            self._recorder is not None and self._recorder.has_outcome(task_id)
        )

    def _record(self, recorder: BatchRecorder, ref: TaskRef) -> None:
        try:
            known = TaskRef(ref.task_id, type=self._type, route=self._poller.routes.name)
            recorder.add(ref.merged(known))
        except JournalError as error:
            self._deliveries.fail(error)

    def notify(self, task: str | TaskRef) -> bool:
        return self._entered().poll_soon(TaskRef.of(task).task_id)

    def close(self) -> None:
        self._poller.binding.check_thread()
        self._is_closed, self._keep_open = True, False
        self._deliveries.changed.set()

    async def _read(self) -> None:
        try:
            async with aclosing(iterate(self._tasks, self._poller.routes.ref)) as refs:
                async for ref in refs:
                    await self._add_from_source(ref, self._entered())
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            if is_own_cancellation(error):
                raise
            self._source_error = from_source(error)
        finally:
            self._deliveries.changed.set()

    async def _add_from_source(self, ref: TaskRef, tracker: BatchTracker) -> None:
        if ref.task_id not in self._seen_ids:
            self._remember(ref.task_id)
            self._unanswered.add(ref.task_id)
            self._add_unless_over(ref, tracker)
            tracker.warn_of_too_many()
        # After the id and not before it, because the source has already given it away.
        while self._has_enough(tracker):
            await _next_set(self._reader_event)

    def _remember(self, task_id: str) -> None:
        self._seen_ids[task_id] = None
        if len(self._seen_ids) > _REMEMBERED:
            self._seen_ids.popitem(last=False)

    async def _replay(self, recorder: BatchRecorder) -> None:
        try:
            async with aclosing(recorder.earlier_outcomes()) as outcomes:
                async for outcome in outcomes:
                    self._counters.on_outcome(outcome)
                    self._deliveries.add_recorded(outcome)
                    while len(self._deliveries) >= _READ_AHEAD:
                        await _next_set(self._reader_event)
        except Exception as error:  # noqa: BLE001 - raised to the consumer
            self._deliveries.fail(error)
        finally:
            self._deliveries.changed.set()

    def _has_enough(self, tracker: BatchTracker) -> bool:
        # More ids would only take memory: they would not be polled or fetched any sooner.
        waiting = max(tracker.never_polled, len(self._deliveries))
        return waiting >= _READ_AHEAD or len(tracker) >= _MAX_OPEN

    # What the tracker notifies of

    def _on_outcome(self, outcome: TaskOutcome) -> None:
        self._on_answer(outcome.task_id)
        self._deliveries.add(outcome)
        self._on_change()

    def _on_pending(self, task_id: str, status: TaskStatus | str, polls: int) -> None:
        self._on_answer(task_id)
        # A success whose links may still come is written once they have not: the next run takes
        # it for the sign that it need not wait for them again.
        if self._recorder is None or status in STEMS_READY:
            return
        # Within a poll: raised there, the error would pass for one of the poll.
        try:
            self._recorder.save_status(task_id, status, polls)
        except JournalError as error:
            self._deliveries.fail(error)

    def _on_answer(self, task_id: str) -> None:
        self._unanswered.discard(task_id)
        if self._source_error is not None and not self._unanswered:
            self._deliveries.changed.set()

    def _on_change(self) -> None:
        """There may be room for more ids, or polling ended with an error."""
        tracker = self._entered()
        if self._reader is not None and tracker.error is not None:
            self._reader.cancel()  # an endless source would give that error to endless tasks
        if tracker.error is not None or tracker.failure is not None:
            self._deliveries.changed.set()
        self._reader_event.set()

    # Outcomes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskOutcome:
        self._poller.binding.check()
        tracker = self._entered()
        ready = self._deliveries.ready
        if ready:
            # A consumer of many ready outcomes must not block the loop. Cancelling the call here
            # loses none, because it has taken none yet.
            await asyncio.sleep(0)
        while True:
            if ready:
                self._reader_event.set()
                outcome = self._deliveries.take()
                self._events.emit(OutcomeDelivered(batch_id=self._batch_id, outcome=outcome))
                return outcome
            # After the outcomes that are ready, which an error must not hide.
            self._raise_failure(tracker)
            if self._is_finished(tracker):
                raise StopAsyncIteration
            await _next_set(self._deliveries.changed)

    def _raise_failure(self, tracker: BatchTracker) -> None:
        # Raised once: the other tasks go on, and so may the iteration.
        if self._source_error is not None and not self._expects_known():
            error, self._source_error = self._source_error, None
            raise error
        for failure in (tracker.failure, self._deliveries.failure):
            if failure is not None:
                raise failure

    def _expects_known(self) -> bool:
        """Whether outcomes are to come that are known, or that a first poll may find.

        Most consumers end with the error, which would lose them.
        """
        is_replayed = self._replayer is None or self._replayer.done()
        return bool(self._unanswered) or bool(len(self._deliveries)) or not is_replayed

    def _is_finished(self, tracker: BatchTracker) -> bool:
        is_read = all(task.done() for task in self._sources())
        expects_more = self._keep_open and tracker.error is None
        return is_read and not expects_more and not len(tracker) and not len(self._deliveries)

    def pending_ids(self) -> tuple[str, ...]:
        self._poller.binding.check_thread()
        return self._entered().pending()

    @property
    def stats(self) -> BatchStats:
        self._poller.binding.check()
        return self._entered().stats()


async def _next_set(event: asyncio.Event) -> None:
    # Nothing is awaited between the check of the caller and this line, so no event is missed.
    event.clear()
    await event.wait()


def _task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.create_task(coroutine, name=name)


def _concurrency(ceiling: float) -> int:
    """Polls in flight where *ceiling* requests per second are allowed at most."""
    # Answers that take a second must not keep a batch from using the rate limit.
    return math.ceil(min(max(_LEAST_IN_FLIGHT, ceiling), _MOST_IN_FLIGHT))
