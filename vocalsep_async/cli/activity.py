"""What a run is doing, gathered from the events of its client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

from attrs import evolve, frozen

from vocalsep_async import (
    BatchStats,
    DownloadProgress,
    ErrorAction,
    Event,
    TaskOutcome,
    TaskRef,
    TaskTimeoutError,
    VocalSepError,
)
from vocalsep_async.instrumentation import (
    CreationSent,
    OutcomeDelivered,
    Paused,
    PollFinished,
    PollStarted,
    Resumed,
    StemFailed,
    StemSaved,
    TaskFinished,
    Throttled,
)
from vocalsep_async.policies import LONG_SILENCE

_RATE_WINDOW = 10.0
"""Seconds over which the request rate is averaged.

The period of the rate limit: over a shorter one, a burst would seem to exceed the limit.
"""
_MAX_SLOWEST = 3


def loop_time() -> float:
    """The time of the running event loop, in seconds.

    Events may come from its callbacks, where anyio knows of no task and so of no loop.
    """
    return asyncio.get_running_loop().time()


@frozen(kw_only=True)
class Pause:
    """The client sends nothing.

    Attributes:
        seconds: until the end of the pause.
        reason: why, in a few words.
    """

    seconds: float
    reason: str


@frozen(kw_only=True)
class Silence:
    """Polls have had no usable answer for some time.

    Attributes:
        seconds: since the first of these polls was sent.
        error: how the last one failed; None if none has ended yet.
        task_id: the task, where only its polls fail; None where all do.
    """

    seconds: float
    error: VocalSepError | None
    task_id: str | None


@frozen(kw_only=True)
class StemCounts:
    """The stems that were to be saved.

    Attributes:
        saved: how many are on disk.
        missing: how many are not.
        tasks: tasks that succeeded, and of which stems are missing.
        reason: why the first one is missing; None if none is.
    """

    saved: int = 0
    missing: int = 0
    tasks: int = 0
    reason: str | None = None

    def plus(self, outcome: TaskOutcome) -> StemCounts:
        """The counts with the stems of *outcome*."""
        missing = outcome.not_saved
        first = next(iter(missing.values()), None)
        return StemCounts(
            saved=self.saved + len(outcome.files),
            missing=self.missing + len(missing),
            tasks=self.tasks + bool(missing),
            reason=self.reason or (None if first is None else str(first)),
        )


@frozen(kw_only=True)
class SongLine:
    """What one song of a run is doing.

    Attributes:
        name: the song.
        state: what it is doing, in words.
        seconds: for how long it has been doing that.
    """

    name: str
    state: str
    seconds: float


@frozen(kw_only=True)
class Snapshot:
    """Progress of a batch at one moment.

    Attributes:
        batch: counts of the batch.
        requests: polls and creations sent.
        throttled: how many of them the API throttled.
        request_rate: requests per second over the last ten seconds.
        pause: the pause of the client; None if it is not paused.
        silence: failures for ten seconds or more; None if there are none.
        slowest: the labels, or else the ids, of the tasks that have been pending longest, and for
            how many seconds since their first poll.
        files: progress of the downloads that are running.
        stems: the stems of the outcomes so far.
        noun: what the tasks are called: "song" where all have labels, else "task".
        songs: what the songs of a run are doing that have begun; None where tasks are tracked.
        timed_out: outcomes so far of tasks that ran out of time, which the batch counts as failed.
    """

    batch: BatchStats
    requests: int
    throttled: int
    request_rate: float
    pause: Pause | None = None
    silence: Silence | None = None
    slowest: tuple[tuple[str, float], ...] = ()
    files: tuple[DownloadProgress, ...] = ()
    stems: StemCounts = StemCounts()
    noun: str = "task"
    songs: tuple[SongLine, ...] | None = None
    timed_out: int = 0

    @property
    def total(self) -> int:
        """Tasks of the batch so far."""
        return self.batch.pending + self.batch.finished

    @property
    def results(self) -> str:
        """How many tasks succeeded and failed at the provider, whether or not they were saved."""
        unsaved = self.stems.tasks
        failed = self.batch.failed - unsaved - self.timed_out
        late = f", {self.timed_out:,} timed out" if self.timed_out else ""
        return f"{self.batch.succeeded + unsaved:,} succeeded, {failed:,} failed{late}"


class Activity:
    """A listener that keeps what the progress and the report show.

    No event says how many bytes of a file have arrived: pass `on_progress` to `DownloadOptions`.

    Args:
        clock: returns the time in seconds.
        expects_songs: whether the tasks that are to come have labels.
    """

    def __init__(
        self, clock: Callable[[], float] = loop_time, *, expects_songs: bool = False
    ) -> None:
        self._clock = clock
        self._requests = 0
        self._throttled = 0
        self._recent_requests: deque[float] = deque()
        self._pause: tuple[float, str] | None = None
        """When it ends, and its reason."""
        self._polls_under_way = 0
        self._silence: _Failure | None = None
        """Since the first poll after the last answer."""
        self._failing_tasks: dict[str, _Failure] = {}
        self._first_polls: dict[str, float] = {}
        """The tasks that were polled and have not ended, in the order of their first polls."""
        self._ended_at: dict[str, float] = {}
        self._files: dict[tuple[str, str], DownloadProgress] = {}
        self._stems = StemCounts()
        self._timed_out = 0
        self._labels: dict[str, str] = {}
        self._has_unlabelled = False
        self._expects_songs = expects_songs

    def __call__(self, event: Event) -> None:
        """Handle *event*."""
        now = self._clock()
        match event:
            case PollStarted():
                self._on_request(now)
                self._on_poll_started(event, now)
            case PollFinished():
                self._on_poll_finished(event, now)
            case CreationSent():
                self._on_request(now)
            case Throttled():
                self._throttled += 1
            case Paused():
                self._pause = now + event.duration, event.reason
            case Resumed():
                self._pause = None
            case TaskFinished():
                self._ended_at[event.task_id] = now
                self._forget(event.task_id)
            case OutcomeDelivered():
                self._stems = self._stems.plus(event.outcome)
                self._timed_out += isinstance(event.outcome.error, TaskTimeoutError)
                # Of a task that only the journal named, this is the first that is known.
                self._note_label(event.outcome.task_id, event.outcome.label)
                # Not every outcome is that of a task that ended: some ran out of time.
                self._forget(event.outcome.task_id)
            case StemSaved() | StemFailed():
                self._files.pop((event.task_id, event.stem), None)

    def on_progress(self, progress: DownloadProgress) -> None:
        """Record the progress of a file."""
        self._files[progress.task_id, progress.stem] = progress

    def on_task(self, task: str | TaskRef) -> None:
        """Record the label of a task, which events of its polls do not have."""
        if isinstance(task, TaskRef):
            self._note_label(task.task_id, task.label)
        else:
            self._note_label(task, None)

    def take_age(self, task_id: str) -> float | None:
        """Seconds since this run found that a task has ended; None if it did not.

        It did not if the outcome is from the journal. The answer is given once for each end.
        """
        ended_at = self._ended_at.pop(task_id, None)
        return None if ended_at is None else self._clock() - ended_at

    def snapshot(self, batch: BatchStats) -> Snapshot:
        """The progress of *batch* at this moment."""
        now = self._clock()
        # In the order of their first polls: the first ones have been pending longest.
        slowest = islice(self._first_polls.items(), _MAX_SLOWEST)
        return Snapshot(
            batch=batch,
            requests=self._requests,
            throttled=self._throttled,
            request_rate=self._request_rate(now),
            pause=self._pause_at(now),
            silence=self._silence_at(now),
            slowest=tuple(
                (self._labels.get(task_id, task_id), now - at) for task_id, at in slowest
            ),
            files=tuple(self._files.values()),
            stems=self._stems,
            noun=self._noun,
            timed_out=self._timed_out,
        )

    @property
    def _noun(self) -> str:
        are_songs = (self._labels or self._expects_songs) and not self._has_unlabelled
        return "song" if are_songs else "task"

    def _note_label(self, task_id: str, label: str | None) -> None:
        if label is not None:
            self._labels[task_id] = label
        elif task_id not in self._labels:
            self._has_unlabelled = True

    def _on_request(self, now: float) -> None:
        self._requests += 1
        self._recent_requests.append(now)
        self._drop_old_requests(now)

    def _on_poll_started(self, event: PollStarted, now: float) -> None:
        self._polls_under_way += 1
        self._first_polls.setdefault(event.task_id, now)
        if self._silence is None:
            self._silence = _Failure(now)

    def _on_poll_finished(self, event: PollFinished, now: float) -> None:
        self._polls_under_way -= 1
        error = event.error
        if isinstance(error, VocalSepError) and error.action is ErrorAction.RETRY:
            self._on_failure(event.task_id, now - event.duration, error)
        # A poll that was cancelled says nothing about the API; all else is an answer.
        elif error is None or isinstance(error, VocalSepError):
            self._silence = _Failure(now) if self._polls_under_way else None
            self._failing_tasks.pop(event.task_id, None)

    def _on_failure(self, task_id: str, began: float, error: VocalSepError) -> None:
        known = self._failing_tasks.get(task_id, _Failure(began))
        self._failing_tasks[task_id] = evolve(known, error=error)
        self._silence = evolve(self._silence or _Failure(began), error=error)

    def _forget(self, task_id: str) -> None:
        self._first_polls.pop(task_id, None)
        self._failing_tasks.pop(task_id, None)

    def _request_rate(self, now: float) -> float:
        self._drop_old_requests(now)
        return len(self._recent_requests) / _RATE_WINDOW

    def _drop_old_requests(self, now: float) -> None:
        while self._recent_requests and self._recent_requests[0] <= now - _RATE_WINDOW:
            self._recent_requests.popleft()

    def _pause_at(self, now: float) -> Pause | None:
        if self._pause is None or self._pause[0] <= now:
            return None
        return Pause(seconds=self._pause[0] - now, reason=self._pause[1])

    def _silence_at(self, now: float) -> Silence | None:
        # The task that has been failing longest, unless all polls fail.
        first = next(iter(self._failing_tasks.items()), (None, None))
        for task_id, failure in ((None, self._silence), first):
            if failure is not None and now - failure.began >= LONG_SILENCE:
                return Silence(seconds=now - failure.began, error=failure.error, task_id=task_id)
        return None


@frozen
class _Failure:
    """Polls without a usable answer.

    Attributes:
        began: when the first of them was sent.
        error: how the last one failed; None if none has ended yet.
    """

    began: float
    error: VocalSepError | None = None
