"""Trouble on demand."""

from __future__ import annotations

import enum
from collections import deque

from vocalsep_async.errors import InvalidArgumentError

_MOST = 1_000_000


class Fault(enum.StrEnum):
    """What can befall a request; it is then not carried out, a task is not created.

    A request that meets a fault still takes its place under the rate limit.
    """

    THROTTLED = "throttled"
    """The answer to too many requests, in the code and the place the emulator was told."""
    MAINTENANCE = "maintenance"
    """Code 455."""
    SERVER_ERROR = "server_error"
    """Code 500."""
    NO_CREDITS = "no_credits"
    """Code 429 of sunoapi, 402 of kie."""
    UNAUTHORIZED = "unauthorized"
    """Code 401."""
    HTML = "html"
    """A web page under HTTP 200, as something in between would send it."""
    EMPTY = "empty"
    """HTTP 200 and no body."""
    GARBAGE = "garbage"
    """JSON that breaks off in the middle."""
    DROPPED = "dropped"
    """The connection is closed without an answer.

    aiohttp's client repeats a dropped GET once by itself, as many others do; inject two to be
    sure that the caller notices.
    """
    STALLED = "stalled"
    """No answer, until the emulator closes."""


class FaultQueue:
    """The faults that the next requests will meet, in the order they were asked for."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()

    def add(self, fault: Fault, times: int) -> None:
        """Let *times* more requests meet *fault*.

        Raises:
            InvalidArgumentError: there is no such fault, or *times* is not from 1 to a million.
        """
        if fault not in list(Fault):
            raise InvalidArgumentError(f"{fault!r} is no fault; there are: {', '.join(Fault)}")
        if type(times) is not int or not 1 <= times <= _MOST:
            raise InvalidArgumentError(f"times must be a whole number from 1 to {_MOST}")
        self._waiting.extend([Fault(fault)] * times)

    def pop(self) -> Fault | None:
        """Return what the request at hand meets; None if nothing."""
        return self._waiting.popleft() if self._waiting else None
