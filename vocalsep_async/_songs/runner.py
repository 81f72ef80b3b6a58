"""The implementation of `SongRunner`: reads songs, has each go its way, and hands out outcomes."""

from __future__ import annotations

import asyncio
import copy
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sized
from contextlib import AsyncExitStack, aclosing
from functools import partial
from types import TracebackType
from typing import Literal, NamedTuple, Self

from attrs import evolve, frozen

from vocalsep_async._batch.intake import from_source, is_own_cancellation, iterate
from vocalsep_async._events import Events, new_id
from vocalsep_async._failures import is_refusal
from vocalsep_async._journals import JournalLike
from vocalsep_async._songs.budget import Budget
from vocalsep_async._songs.claims import Caller
from vocalsep_async._songs.labels import Labels, LabelTurn
from vocalsep_async._songs.separation import IdentifiedSong, Separations, SongOptions, Way
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.errors import (
    ConfigurationError,
    CreationUncertainError,
    JournalError,
    NotBegunError,
    VocalSepError,
)
from vocalsep_async.instrumentation import OutcomeDelivered
from vocalsep_async.models import TaskOutcome
from vocalsep_async.policies import MAX_PENDING, MIN_PENDING, PENDING_SECONDS
from vocalsep_async.songs import Song, SongRunner, Songs, SongStats

_MAX_SAVING = 16
"""Songs whose stems are saved simultaneously."""

_REMEMBERED = 10_000
"""Songs of an iterator that are recognised when they come again; the journal knows the others."""

End = Literal["succeeded", "failed", "uncertain", "not_begun"]


@frozen(kw_only=True)
class RunOptions:
    """How a run goes on; `VocalSepClient.separate_many` says what it means."""

    max_pending: int | None
    max_credits: float | None
    journal: JournalLike | None


class Runner(SongRunner):
    """Made by `VocalSepClient.separate_many`, which checks the arguments."""

    def __init__(
        self,
        separations: Separations,
        sources: Songs,
        options: SongOptions,
        run: RunOptions,
        events: Events,
    ) -> None:
        self._separations = separations
        self._poller = separations.parts.poller
        self._sources = sources
        self._options = options
        self._run = run
        self._events = events
        self._run_id = new_id("run")
        self._way: Way | None = None
        self._is_entered = False
        self._opened = AsyncExitStack()
        self._reader: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._outcomes: dict[str, asyncio.Future[TaskOutcome]] = {}
        """How each song ended, by its identity: of those that come twice, one goes the way."""
        self._ended: deque[str] = deque()
        """Those songs of an iterator that ended, in the order of their ends."""
        self._labels = Labels()
        self._labelled: deque[LabelTurn] = deque()
        """Their labels, in the same order."""
        self._last_known = asyncio.Event()
        """Set once it is known which song the last one is that was begun."""
        self._last_known.set()
        self._budget = Budget(separations.parts.provider.prices, run.max_credits)
        self._max_pending = run.max_pending or MAX_PENDING
        self._places = asyncio.Semaphore(self._max_pending)
        self._saving = asyncio.Semaphore(_MAX_SAVING)
        self._ready: deque[TaskOutcome] = deque()
        self._fetched = asyncio.Event()
        self._changed = asyncio.Event()
        self._source_error: BaseException | None = None
        self._failure: BaseException | None = None
        self._songs = 0
        self._repeated = 0
        self._ends: Counter[End] = Counter()

    def __repr__(self) -> str:
        if self._way is None:
            return "<SongRunner, not entered>"
        finished = self._ends.total()
        return f"<SongRunner: {self._songs - finished} pending, {finished} finished>"

    # The block

    async def __aenter__(self) -> Self:
        self._poller.binding.bind()
        if self._is_entered:
            raise ConfigurationError(
                "a run can be entered only once; make another one with separate_many()"
            )
        # Before the first await, so that a second entry meanwhile fails.
        self._is_entered = True
        sources = await self._checked()
        if self._run.max_pending is None:
            self._max_pending = _pending(self._poller.limiter.snapshot().ceiling)
            self._places = asyncio.Semaphore(self._max_pending)
        try:
            journal = self._separations.parts.journals.use(self._run.journal)
            file = await self._opened.enter_async_context(journal)
            records = await self._separations.records_in(file)
        except BaseException:
            await run_to_completion(self._opened.aclose())
            raise
        self._way = Way(self._separations.parts, self._options, records, budget=self._budget)
        self._reader = asyncio.create_task(self._read(sources), name="vocalsep songs")
        return self

    async def _checked(self) -> Songs:
        """The songs, of which those of a collection are checked before anything is sent."""
        self._budget.price(self._options.type)
        if not isinstance(self._sources, Sized):
            return self._sources
        async with aclosing(iterate(self._sources, self._song)) as songs:
            return [song async for song in songs]

    def _song(self, source: Song | object) -> Song:
        song = Song.of(source)  # type: ignore[arg-type]
        if song.type is not None:
            self._budget.price(song.type)
        return song

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._poller.binding.check()
        self._entered()
        self._budget.leave()
        self._cancel()
        await run_to_completion(self._leave())

    def _cancel(self) -> None:
        # First everything that does not wait: the caller may be cancelled at its first await.
        for task in self._tasks():
            task.cancel()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self._under_way, *filter(None, [self._reader])]

    async def _leave(self) -> None:
        await asyncio.wait(self._tasks())
        # Songs end after the answers to their creations; then the journal is closed.
        await self._opened.aclose()
        self._changed.set()

    def _entered(self) -> Way:
        if self._way is None:
            raise ConfigurationError(
                "a run works within its block: async with client.separate_many(songs) as run: ..."
            )
        return self._way

    # Songs

    async def _read(self, sources: Songs) -> None:
        try:
            async with aclosing(iterate(sources, self._song)) as songs:
                await self._begin_all(songs)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            if is_own_cancellation(error):
                raise
            self._source_error = from_source(error)
        finally:
            self._changed.set()

    async def _begin_all(self, songs: AsyncGenerator[Song]) -> None:
        while True:
            # Before the next song is read: a source may give songs as long as they are wanted.
            await self._room()
            await self._places.acquire()
            song = await anext(songs, None)
            if song is None:
                return
            self._songs += 1
            turn = self._labels.begin(song.name)
            before, self._last_known = self._last_known, asyncio.Event()
            order = _Order(before, self._last_known)
            delivery = self._deliver(song, turn, order)
            task = asyncio.create_task(delivery, name="vocalsep song of a run")
            self._under_way.add(task)
            task.add_done_callback(partial(self._on_end, turn, order))

    async def _room(self) -> None:
        """Wait until the consumer has fetched enough of what an iterator has led to."""
        while not isinstance(self._sources, Sized) and len(self._ready) >= self._max_pending:
            self._fetched.clear()
            await self._fetched.wait()

    async def _deliver(self, song: Song, turn: LabelTurn, order: _Order) -> None:
        place = _Place(self._places)
        try:
            outcome = await self._outcome(song, turn, order, place)
        except JournalError:
            raise  # of the run: what cannot be written must not go on
        except VocalSepError as error:
            outcome = _without_task(song, error)
        finally:
            place.leave()
        self._hand_out(outcome)

    async def _outcome(
        self, song: Song, turn: LabelTurn, order: _Order, place: _Place
    ) -> TaskOutcome:
        way = self._entered()
        try:
            identified = await way.identified(song)
            # Of songs that are the same, the first one of the source names the files in every run.
            await order.before.wait()
            await turn.take(identified.identity)
            known = self._outcomes.get(identified.identity)
            if known is None:
                future = asyncio.get_running_loop().create_future()
                self._outcomes[identified.identity] = future
        finally:
            turn.release()
            order.known.set()
        if known is not None:
            self._repeated += 1
            return evolve(await asyncio.shield(known), label=song.name)
        try:
            # The claim ends with the song: what is kept of it then is its outcome.
            async with self._separations.claims.caller() as caller:
                outcome = await self._separated(way, identified, caller, place)
        except BaseException as error:
            _fail(future, error)
            raise
        else:
            future.set_result(outcome)
            return outcome
        finally:
            self._forget_oldest(identified.identity)

    def _forget_oldest(self, ended: str) -> None:
        """Forget the song that ended first, if a source that may be endless gave too many."""
        if isinstance(self._sources, Sized):
            return
        self._ended.append(ended)
        if len(self._ended) > _REMEMBERED:
            del self._outcomes[self._ended.popleft()]

    def _forget_oldest_label(self, ended: LabelTurn) -> None:
        if isinstance(self._sources, Sized):
            return
        self._labelled.append(ended)
        if len(self._labelled) > _REMEMBERED:
            self._labelled.popleft().forget()

    async def _separated(
        self, way: Way, identified: IdentifiedSong, caller: Caller, place: _Place
    ) -> TaskOutcome:
        try:
            outcome = await way.ended(identified, caller)
        except VocalSepError as error:
            self._end_if_refused(error)
            raise
        if (refusal := way.refusal_in(outcome)) is not None:
            self._end_if_refused(refusal)
        place.leave()
        async with self._saving:
            return await way.saved(identified, outcome)

    def _end_if_refused(self, error: VocalSepError) -> None:
        """Create no more tasks if the account gets none."""
        if is_refusal(error):
            self._budget.end(error)
        if self._budget.has_ended and self._reader and not isinstance(self._sources, Sized):
            self._reader.cancel()  # an endless source would give that error to endless songs

    def _on_end(self, turn: LabelTurn, order: _Order, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        # Of one that was cancelled before it began, too.
        turn.release()
        order.known.set()
        self._forget_oldest_label(turn)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._budget.end(error)
            self._cancel()
        self._changed.set()

    # Outcomes

    def _hand_out(self, outcome: TaskOutcome) -> None:
        self._ends[_end_of(outcome)] += 1
        self._ready.append(outcome)
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskOutcome:
        self._poller.binding.check()
        self._entered()
        if self._ready:
            # A consumer of many ready outcomes must not block the loop.
            await asyncio.sleep(0)
        while True:
            if self._ready:
                outcome = self._ready.popleft()
                self._fetched.set()
                self._events.emit(OutcomeDelivered(batch_id=self._run_id, outcome=outcome))
                return outcome
            if self._failure is not None:
                raise self._failure
            if not self._under_way and (self._reader is None or self._reader.done()):
                self._raise_source_error()
                raise StopAsyncIteration
            # Nothing is awaited between the checks and this line, so no change is missed.
            self._changed.clear()
            await self._changed.wait()

    def _raise_source_error(self) -> None:
        if self._source_error is not None:
            error, self._source_error = self._source_error, None
            raise error

    @property
    def stats(self) -> SongStats:
        self._poller.binding.check()
        way = self._entered()
        return SongStats(
            songs=self._songs,
            pending=self._songs - self._ends.total(),
            succeeded=self._ends["succeeded"],
            failed=self._ends["failed"],
            uncertain=self._ends["uncertain"],
            not_begun=self._ends["not_begun"],
            created=way.created,
            joined=way.joined + self._repeated,
            known=way.known,
            credits_spent=self._budget.spent,
        )


def _pending(ceiling: float) -> int:
    """Songs under way at a time where *ceiling* requests per second are allowed at most."""
    return math.ceil(min(max(MIN_PENDING, ceiling * PENDING_SECONDS), MAX_PENDING))


class _Order(NamedTuple):
    """The place of a song in its source.

    Attributes:
        before: set once it is known which songs those before it are.
        known: set once it is known which song it is, or that it goes no further.
    """

    before: asyncio.Event
    known: asyncio.Event


class _Place:
    """One of the places of a run, for one song; left once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_taken = True

    def leave(self) -> None:
        """Give the place to the next song; may be called again."""
        if self._is_taken:
            self._is_taken = False
            self._places.release()


def _fail(future: asyncio.Future[TaskOutcome], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
        return
    future.set_exception(error)
    future.exception()  # retrieved: there may be no other song that waits for it


def _without_task(song: Song, error: VocalSepError) -> TaskOutcome:
    return TaskOutcome(
        task_id="",
        status=None,
        task=None,
        # Without its traceback, which would keep the frames of the song's way alive.
        error=copy.copy(error).with_traceback(None),
        polls=0,
        elapsed=0.0,
        label=song.name,
    )


def _end_of(outcome: TaskOutcome) -> End:
    if outcome.succeeded:
        return "succeeded"
    if isinstance(outcome.error, CreationUncertainError):
        return "uncertain"
    return "not_begun" if isinstance(outcome.error, NotBegunError) else "failed"
