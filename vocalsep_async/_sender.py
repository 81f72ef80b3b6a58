"""One request through the budget, and its tries."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TypeVar

from vocalsep_async._limiter import Limiter, Slot
from vocalsep_async._transport.api import Request, Transport
from vocalsep_async.errors import DecodeError, ErrorAction, TaskNotFoundError, VocalSepError
from vocalsep_async.policies import RetryPolicy

T = TypeVar("T")
Decode = Callable[[int, Mapping[str, str], bytes], T]

_UNREADABLE_IN_A_ROW = 5
"""Answers that do not decode; after so many the address is not this API's."""


class RequestSender:
    """Sends requests when the gate lets them, and reports to it how they ended."""

    def __init__(self, limiter: Limiter, transport: Transport, retry: RetryPolicy) -> None:
        self.limiter = limiter
        self.retry = retry
        self._transport = transport

    def bind(self) -> None:
        """Check, before anything waits, that requests can be sent at all.

        Raises:
            ClientClosedError: the client was closed.
            ConfigurationError: no asyncio event loop is running, or another one than before.
        """
        self._transport.bind()

    async def send(self, slot: Slot, request: Request, decode: Decode[T]) -> T:
        """Send *request* with a permit that was queued for, and decode its answer.

        Raises:
            VocalSepError: what sending or decoding met.
        """
        with slot:
            return decode(*await self._transport.exchange(request))

    async def send_with_retries(
        self, request: Request, decode: Decode[T], may_repeat: Callable[[VocalSepError], bool]
    ) -> T:
        """Queue, send *request* and decode its answer, in as many tries as the `RetryPolicy` gives.

        *may_repeat* says after which errors there is another try. After a refusal there is no
        delay but the pause that everybody observes at the gate.

        Raises:
            VocalSepError: what the last try met.
        """
        self.bind()
        failures = 0
        while True:
            slot = await self.limiter.acquire()
            try:
                return await self.send(slot, request, decode)
            except VocalSepError as error:
                failures += 1
                if failures >= self.retry.attempts or not may_repeat(error):
                    raise
                throttled = error.action is ErrorAction.THROTTLE
            if not throttled:
                await self.limiter.sleep(self.retry.delay(failures, random.random()))

    def is_permanent(self, error: VocalSepError, in_a_row: int) -> bool:
        """Whether a wait ends with *error*.

        Args:
            error: what a request met.
            in_a_row: how many requests in a row met this kind. The tries of a `RetryPolicy` are
                also the grace of a task unknown to the API, and of an address in doubt.
        """
        if error.action is ErrorAction.RAISE:
            return True
        if isinstance(error, DecodeError):
            return in_a_row >= _UNREADABLE_IN_A_ROW
        has_grace = isinstance(error, TaskNotFoundError) or self.limiter.doubts(error)
        return has_grace and in_a_row >= self.retry.attempts
