"""Sends requests: each waits for a slot at the limiter, and some are tried again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from vocalsep_async._binding import LoopBinding
from vocalsep_async._events import Events
from vocalsep_async._failures import FailureStreak, is_foreign
from vocalsep_async._request_queue import RequestQueue, RequestSlot
from vocalsep_async._timed_calls import TimedCall
from vocalsep_async._transport.api import Transport
from vocalsep_async.errors import VocalSepError
from vocalsep_async.instrumentation import RequestRetried
from vocalsep_async.policies import RetryPolicy
from vocalsep_async.providers import Request
from vocalsep_async.providers._envelope import Decode, decoded

T = TypeVar("T")
Acquire = Callable[[], Awaitable[RequestSlot]]


class RequestSender:
    """Sends requests, each in a slot of the limiter."""

    def __init__(
        self,
        queue: RequestQueue,
        transport: Transport,
        retry: RetryPolicy,
        events: Events,
        *,
        binding: LoopBinding,
        request_timeout: float,
    ) -> None:
        self.binding = binding
        self.request_timeout = request_timeout
        self.queue = queue
        self.retry = retry
        self.events = events
        self._transport = transport

    def bind(self) -> None:
        """Check, before anything waits, that requests can be sent at all.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: no asyncio event loop is running, or another one than before.
        """
        self.binding.bind()
        self._transport.bind()

    def distrust_connections(self) -> None:
        """Send the requests that follow on new connections, unless the session is borrowed."""
        self._transport.distrust_connections()

    async def send(self, slot: RequestSlot, request: Request, decode: Decode[T]) -> T:
        """Send *request* in *slot* and decode its answer.

        Raises:
            VocalSepError: sending or decoding failed.
        """
        # Decoded within the slot: most throttling arrives under HTTP 200, so only the decoder knows
        # how the request ended.
        with slot:
            try:
                return decoded(decode, *await self._transport.exchange(request))
            except VocalSepError as error:
                # The frames of the decoder hold the answer with its links, and tracebacks may show
                # local variables.
                raise error.with_traceback(None) from error.__cause__

    def send_with_retries(
        self,
        request: Request,
        send: Callable[[RequestSlot, int], Awaitable[T]],
        may_retry: Callable[[VocalSepError], bool],
        timeout: float | None = None,
        acquire: Acquire | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Wait for a slot and *send* a request in it, in the tries of the `RetryPolicy`.

        Args:
            request: what is sent.
            send: sends it in a slot; gets the number of the try, too, from 1.
            may_retry: says after which errors another try is allowed.
            timeout: seconds for all of it; None for no limit.
            acquire: takes a slot, where no *timeout* is given; None queues as a call.

        Raises:
            VocalSepError: the last try failed.
            RequestTimeoutError: time ran out.
        """
        # Before the queue: a closed client or a wrong event loop is reported without a wait.
        self.bind()
        # Not a coroutine of its own: most calls have no timeout, and need no frame for it.
        if timeout is None:
            return self._try(request, send, may_retry, None, acquire or self.queue.acquire)
        name = f"{request.method} {request.path} at {self._transport.host}"
        return self._try_until(TimedCall(name, timeout, self.queue), request, send, may_retry)

    async def _try_until(
        self,
        call: TimedCall,
        request: Request,
        send: Callable[[RequestSlot, int], Awaitable[T]],
        may_retry: Callable[[VocalSepError], bool],
    ) -> T:
        try:
            async with call.timer:
                return await self._try(request, send, may_retry, call, call.acquire)
        except TimeoutError as error:
            # Not a `RequestTimeoutError`, nor one that a user's tracing hook raised.
            if type(error) is TimeoutError and call.timer.expired():
                raise call.timeout_error() from None
            raise

    async def _try(
        self,
        request: Request,
        send: Callable[[RequestSlot, int], Awaitable[T]],
        may_retry: Callable[[VocalSepError], bool],
        call: TimedCall | None,
        acquire: Acquire,
    ) -> T:
        streak = FailureStreak()
        while True:
            # A slot for each try, because each counts against the rate limit.
            slot = await acquire()
            try:
                answer = await send(slot, streak.failures + 1)
            except VocalSepError as error:
                streak = streak.record(error)
                if streak.failures >= self.retry.attempts or not may_retry(error):
                    raise
                if call is not None:
                    call.on_failure(error)
                delay = streak.delay(error, self.retry, random.random)
                self.report_retry(request, streak, delay, error)
            else:
                if call is not None:
                    call.on_answer()
                return answer
            # After throttling there is no delay: `acquire` waits for the end of the pause.
            if delay > 0:
                await self.queue.sleep(delay)

    def report_retry(
        self, request: Request, streak: FailureStreak, delay: float, error: VocalSepError
    ) -> None:
        """Report that *request* failed with *error* and is sent again after *delay* seconds."""
        self.events.emit(
            RequestRetried(
                request=f"{request.method} {request.path}",
                attempt=streak.failures,
                delay=delay,
                # Without its traceback, which a listener that keeps events would keep too.
                error=error.with_traceback(None),
            )
        )

    def is_permanent(self, error: VocalSepError, streak: FailureStreak) -> bool:
        """Whether a wait whose last polls failed as *streak* counts ends with *error*."""
        if is_foreign(error):
            # Once the API was heard, what something in between answers is a disturbance.
            may_be_wrong = not self.queue.is_understood
            return may_be_wrong and streak.proves_wrong_address(error, self.retry)
        return streak.is_permanent(error, self.retry)
