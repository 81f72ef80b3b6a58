"""Queue in front of the limiter: the requests of a client that wait for their slots."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio

from vocalsep_async._events import Events
from vocalsep_async._failures import address_error, doubts_address
from vocalsep_async._turns import Turns
from vocalsep_async.errors import (
    APIError,
    ClientClosedError,
    DecodeError,
    ErrorAction,
    ServerError,
    TransportError,
    VocalSepError,
)
from vocalsep_async.instrumentation import Paused, Resumed, Throttled
from vocalsep_async.limiter import Bid, Limiter, Slot, SlotResult

_MAX_DOUBTS = 12
"""Answers that raise doubts about the address; after so many nothing is sent there, and until one
came from the API, no more requests than that are under way."""

T = TypeVar("T")


class RequestQueue:
    """Takes slots of *limiter*, one for each request.

    Only the request whose turn it is asks the limiter; the others wait. A cancelled request
    therefore leaves neither a hole nor a used slot. `Turns` says who is next.
    """

    def __init__(self, limiter: Limiter, events: Events) -> None:
        self.limiter = limiter
        self._events = events
        self._turns = Turns()
        self.answer_time = 0.0
        """Seconds that an answer usually takes; 0 where that is not known. Timed calls learn it."""
        self.is_understood = False
        """Whether any answer came from this API."""
        self._doubts = 0
        self._doubt: VocalSepError | None = None
        """The last error that raised doubts about the address."""
        self._under_way = 0
        """Requests under way; counted only until an answer came from this API."""
        self._one_ended = asyncio.Event()
        self._is_paused = False
        self._paused_until = -math.inf
        self._pause_cause: VocalSepError | None = None
        self._disturbance: VocalSepError | None = None
        """What the request met whose end is being reported, and may begin a pause."""
        self._asking: asyncio.Task[object] | None = None
        """The task that waits for the limiter; None while there is none."""
        self._asked_at = -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop in which slots were taken; None before."""
        self._is_interrupted = False
        """Whether `_interrupt` has cancelled that task."""
        self._closing = anyio.Event()
        self._is_released = False
        """Whether the limiter was closed, and may be handed to another client."""
        limiter.on_pause = self._on_pause

    def keep(self, before: RequestQueue) -> None:
        """Keep what *before*, the client's queue in a closed event loop, knows of the API."""
        self.is_understood, self._doubts = before.is_understood, before._doubts
        self._doubt, self.answer_time = before._doubt, before.answer_time
        # The limiter announces a pause that goes on, and this is what began it.
        self._disturbance = before.pause_cause()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn to ask the limiter."""
        return self._turns.waiting

    async def acquire(self, deadline: float | None = None) -> RequestSlot:
        """Queue for a slot and take it, for a call whose caller waits for the answer.

        Args:
            deadline: when the slot becomes useless and the caller cancels this, for the limiter;
                None for never.

        Raises:
            ClientClosedError: the queue was closed, before or meanwhile.
            VocalSepError: too many answers raised doubts about the address.
        """
        bid = self._bid_of_call if deadline is None else partial(self._bid_of_call, deadline)
        try:
            # Most calls find no queue, and need no coroutine for it.
            if self._turns.is_taken:
                await self._turns.wait_as_call()
            self._turns.is_taken = True
            return RequestSlot(self, await self._asked(bid), is_call=True)
        except asyncio.CancelledError:
            self.on_call_given_up()
            raise

    async def acquire_for_creation(self) -> RequestSlot:
        """Queue for a slot and take it, for the creation of a song, which comes before the others.

        Raises:
            ClientClosedError: the queue was closed, before or meanwhile.
            VocalSepError: too many answers raised doubts about the address.
        """
        if self._turns.is_taken:
            await self._turns.wait_as_creation()
        self._turns.is_taken = True
        return RequestSlot(self, await self._asked(self._bid_of_call))

    async def acquire_for_polls(self, bid: Callable[[], Bid]) -> RequestSlot:
        """Queue for a slot and take it, for one of the polls of the poll loop.

        Args:
            bid: as for `Limiter.acquire`.

        Raises:
            ClientClosedError: the queue was closed, before or meanwhile.
            VocalSepError: too many answers raised doubts about the address.
        """
        if self._turns.is_taken:
            await self._turns.wait_as_polls()
        self._turns.is_taken = True
        return RequestSlot(self, await self._asked(bid))

    async def _asked(self, bid: Callable[[], Bid]) -> Slot:
        """The slot that the limiter grants to the request with the turn, which ends."""
        try:
            self._check_open()
            while self._awaits_proof:
                self._one_ended.clear()
                await self._one_ended.wait()
                self._check_open()
            return await self._ask(self.limiter.acquire(bid))
        finally:
            self._turns.release()

    async def acquire_within(self, seconds: float) -> RequestSlot | None:
        """Queue for a slot for so many *seconds* and take it; None if none came.

        Raises:
            ClientClosedError: the queue was closed, before or meanwhile.
            VocalSepError: too many answers raised doubts about the address.
        """
        try:
            async with asyncio.timeout(seconds) as timer:
                if self._turns.is_taken:
                    await self._turns.wait_as_call()
                self._turns.is_taken = True
                return RequestSlot(self, await self._asked(self._bid_of_call))
        except TimeoutError:
            if not timer.expired():
                raise  # of a limiter of the user
            return None

    async def try_acquire(self) -> RequestSlot | float:
        """Take a slot, or return the seconds after which to ask again.

        Raises:
            ClientClosedError: the queue was closed.
            VocalSepError: too many answers raised doubts about the address.
        """
        self._check_open()
        if self._awaits_proof:
            return math.inf
        # The turn is handed over, so it is never free while a request queues.
        if self._turns.is_taken:
            return self.limiter.snapshot().wait
        self._turns.is_taken = True
        try:
            slot = await self._ask(self.limiter.try_acquire(self._bid_of_call))
        finally:
            self._turns.release()
        return slot if isinstance(slot, (int, float)) else RequestSlot(self, slot)

    @property
    def _awaits_proof(self) -> bool:
        """Whether the requests under way may be the last that an address in doubt gets."""
        return not self.is_understood and self._doubts + self._under_way >= _MAX_DOUBTS

    def _bid_of_call(self, deadline: float | None = None) -> Bid:
        return Bid(must=True, queued=1 + self._turns.waiting, deadline=deadline)

    async def _ask(self, question: Awaitable[T]) -> T:
        """Await *question*, a call of the limiter, unless `_interrupt` ends it."""
        # A cancel scope would do the same at ten times the cost. Never None: callers are tasks.
        asking = self._asking = cast("asyncio.Task[object]", asyncio.current_task())
        self._loop = asyncio.get_running_loop()
        self._asked_at = self._loop.time()
        self._is_interrupted = False
        try:
            return await question
        except asyncio.CancelledError as cancelled:
            # asyncio counts the caller's cancellations, and the one by `_interrupt`.
            if asking.cancelling() > self._is_interrupted:
                raise
            if not self._is_interrupted:
                # As itself, it would end the caller, such as the poll loop, without a word.
                raise RuntimeError("something cancelled the limiter, not its caller") from cancelled
            raise self._reason_to_stop() from None
        finally:
            self._asking = None
            if self._is_interrupted:
                asking.uncancel()

    def _interrupt(self) -> None:
        """End the wait for the limiter, for the reason that keeps another one from beginning."""
        if self._asking is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._asking.cancel()

    def _check_open(self) -> None:
        if self._closing.is_set() or self._is_wrong_address:
            raise self._reason_to_stop()

    def _reason_to_stop(self) -> VocalSepError:
        if self._doubt is None or self._closing.is_set():
            return ClientClosedError("the client is closed")
        return address_error(self._doubt)

    def was_free(self, moment: float) -> bool:
        """Whether a request could have been sent at *moment*: none waited, and none has to now."""
        has_waited = self._asking is not None and self._asked_at < moment
        return not has_waited and self.limiter.snapshot().wait <= 0

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*, or until the queue is closed."""
        with anyio.move_on_after(seconds):
            await self._closing.wait()

    def wake(self) -> None:
        """Notify the limiter that the bid of the waiting request may have become higher."""
        if self._asking is not None:
            self.limiter.wake()

    def close(self) -> None:
        """Fail every request that queues now or comes later."""
        self._closing.set()
        self._turns.is_closing = True
        self._one_ended.set()
        # The others in the queue fail one after the other, when they get their turn.
        self._interrupt()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_set()

    async def aclose(self) -> None:
        """Close the limiter, once all requests have ended; may be called again."""
        # Only the holder of the turn asks the limiter, and each later one finds the queue closed.
        if self._turns.is_taken:
            await self._turns.wait_as_call()
            self._turns.release()
        is_first, self._is_released = not self._is_released, True
        # By the second call, the limiter may belong to another client.
        if is_first:
            self.limiter.on_pause = None
            await self.limiter.aclose()

    # The ends of requests

    def on_call_given_up(self) -> None:
        """A call was cancelled, in the queue or before its answer came."""
        self._turns.overload.on_given_up(_now())

    def report(self, slot: Slot, error: BaseException | None) -> None:
        """Report how the request of *slot* ended: with *error*, or None for an answer."""
        if self._is_left:
            return
        if not self.is_understood:
            self._update_doubts(error)
        result = _result_of(error)
        retry_after = error.retry_after if isinstance(error, APIError) else None
        if isinstance(error, VocalSepError) and result is not SlotResult.ANSWERED:
            # Without its traceback, which would keep the frames of the request alive.
            self._disturbance = copy.copy(error).with_traceback(None)
        if isinstance(error, APIError) and result is SlotResult.THROTTLED:
            # Before the slot is released, which begins the pause.
            self._events.emit(Throttled(code=error.code, retry_after=retry_after))
        slot.release(result, retry_after=retry_after)
        self._disturbance = None
        if self._is_paused and result is SlotResult.ANSWERED:
            self._check_resumed()

    @property
    def _is_left(self) -> bool:
        """Whether the event loop was closed: the limiter takes what was in flight for lost."""
        # Python ends coroutines that a closed loop left behind, at any moment and in any loop.
        return self._loop is not None and self._loop.is_closed()

    def give_back(self, slot: Slot) -> None:
        """Give back a slot in which no request was tried."""
        self.on_ended()
        if not self._is_left:
            slot.release(SlotResult.UNUSED)

    def _update_doubts(self, error: BaseException | None) -> None:
        # Only an envelope proves that the API is at this address: a status may come from anything.
        if error is None or (isinstance(error, (APIError, DecodeError)) and error.in_envelope):
            self.on_understood()
        elif isinstance(error, VocalSepError) and doubts_address(error):
            self._doubts += 1
            # Without its traceback, which would keep the frames of the request alive.
            self._doubt = copy.copy(error).with_traceback(None)
        self.on_ended()

    def on_understood(self) -> None:
        """An answer came from this API, to this client or to one before it."""
        self.is_understood = True
        # Requests are not counted any more, so that the end of none would wake the next one.
        self._one_ended.set()

    def on_begun(self) -> None:
        """A request is about to be sent."""
        self._under_way += 1

    def on_ended(self) -> None:
        """A request is no longer under way."""
        self._under_way -= 1
        self._one_ended.set()

    @property
    def _is_wrong_address(self) -> bool:
        return self._doubts >= _MAX_DOUBTS and not self.is_understood

    # Pauses

    def _on_pause(self, until: float, reason: str) -> None:
        self._is_paused, self._paused_until = True, until
        self._pause_cause = self._disturbance
        self._events.emit(Paused(duration=until - _now(), reason=reason))

    def _check_resumed(self) -> None:
        # An answer to a request from before the pause does not end it.
        self._is_paused = self.limiter.snapshot().paused_until is not None
        if not self._is_paused:
            self._pause_cause = None
            self._events.emit(Resumed())

    def pause_cause(self) -> VocalSepError | None:
        """What the last request met that began or lengthened the present pause; None without one.

        None also if it was a request of another process.
        """
        return self._pause_cause if self._is_paused else None

    def paused_until(self) -> float:
        """The end of the pause, on the event loop's clock; now if there is none."""
        return max(self._paused_until, _now())


class RequestSlot:
    """A slot of the limiter, for one request.

    Send it within the slot's ``with`` block, which reports how it ended; or `release` the slot.
    """

    def __init__(self, queue: RequestQueue, slot: Slot, *, is_call: bool = False) -> None:
        self._queue = queue
        self._slot = slot
        self._is_call = is_call
        self._used = False
        queue.on_begun()

    def __enter__(self) -> Self:
        self._used = True
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is not None and self._is_call and isinstance(error, asyncio.CancelledError):
            self._queue.on_call_given_up()
        self._queue.report(self._slot, error)

    def release(self) -> None:
        """Give the slot back, unless it was used or released before."""
        if not self._used:
            self._used = True
            self._queue.give_back(self._slot)


def _result_of(error: BaseException | None) -> SlotResult:
    match error:
        case None:
            return SlotResult.ANSWERED
        case APIError(action=ErrorAction.THROTTLE):
            return SlotResult.THROTTLED
        case APIError(action=ErrorAction.MAINTENANCE):
            return SlotResult.MAINTENANCE
        # An answer of this API, though perhaps one that cannot be read.
        case APIError(in_envelope=True) | DecodeError(in_envelope=True) if not isinstance(
            error, ServerError
        ):
            return SlotResult.ANSWERED
        case APIError() | DecodeError() | TransportError(may_have_arrived=True):
            return SlotResult.FAILED
        # A cancelled request counts as well, unless the transport has marked it: the server may
        # have received it.
        case _:
            arrived = getattr(error, "may_have_arrived", True)
            return SlotResult.LOST if arrived else SlotResult.NOT_SENT


def _now() -> float:
    # Cheaper than `anyio.current_time`, which detects the backend at every request.
    return asyncio.get_running_loop().time()
