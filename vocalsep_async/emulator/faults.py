"""Faults that tests inject into the next requests."""

from __future__ import annotations

import enum
from collections import deque

from vocalsep_async.errors import InvalidArgumentError

_MAX_TIMES = 1_000_000


class Fault(enum.StrEnum):
    """A failure that `Emulator.inject` injects into the next requests to the API.

    A request with a fault has no effect, unless it is UNANSWERED: it creates no task and takes no
    credits. It still counts against the rate limit.
    """

    THROTTLED = "throttled"
    """"Too many requests", with the code and in the place that the emulator's options name."""
    MAINTENANCE = "maintenance"
    """Code 455."""
    SERVER_ERROR = "server_error"
    """Code 500."""
    NO_CREDITS = "no_credits"
    """Code 429 of sunoapi, 402 of kie."""
    UNAUTHORIZED = "unauthorized"
    """Code 401."""
    HTML = "html"
    """A web page under HTTP 200, as a proxy in between would send it."""
    EMPTY = "empty"
    """HTTP 200 without a body."""
    GARBAGE = "garbage"
    """JSON that is cut off."""
    DROPPED = "dropped"
    """The connection is closed without a response.

    Many HTTP clients, aiohttp's among them, send a GET again whose connection was dropped, so
    a client's code may notice only the second of two faults.
    """
    UNANSWERED = "unanswered"
    """The request is carried out, and the connection is closed without a response."""
    STALLED = "stalled"
    """No response until the emulator closes."""


class UploadFault(enum.StrEnum):
    """A failure that `Emulator.inject` injects into the next uploads.

    Nothing is kept of the file, but with SLOW.
    """

    REFUSED = "upload_refused"
    """HTTP 200 and code 200, but ``"success": false``, after the file was read."""
    UNAUTHORIZED = "upload_unauthorized"
    """HTTP 401, before the file was read."""
    TOO_LARGE = "upload_too_large"
    """HTTP 413, before the file was read."""
    SERVER_ERROR = "upload_server_error"
    """HTTP 500, after the file was read."""
    DROPPED = "upload_dropped"
    """The connection is closed after the first bytes of the file."""
    STALLED = "upload_stalled"
    """The file is not read, and there is no response, until the emulator closes."""
    SLOW = "upload_slow"
    """The file is read at 64 KiB in a tenth of a second, and kept."""


class FaultQueue:
    """The faults of the next requests, first in, first out; those of uploads by themselves."""

    def __init__(self) -> None:
        self._faults: deque[Fault] = deque()
        self._of_uploads: deque[UploadFault] = deque()

    def add(self, fault: Fault | UploadFault, times: int) -> None:
        """Append *fault* for *times* requests.

        Raises:
            InvalidArgumentError: *fault* is unknown, or *times* is not from 1 to a million.
        """
        # A list, because Python 3.11 raises a TypeError for a value that is no member of an enum.
        known = [*Fault, *UploadFault]
        if fault not in known:
            raise InvalidArgumentError(f"fault must be one of {', '.join(known)}, not {fault!r}")
        if type(times) is not int or not 1 <= times <= _MAX_TIMES:
            raise InvalidArgumentError(f"times must be a whole number from 1 to {_MAX_TIMES}")
        if fault in list(UploadFault):
            self._of_uploads.extend([UploadFault(fault)] * times)
        else:
            self._faults.extend([Fault(fault)] * times)

    def pop(self) -> Fault | None:
        """Remove and return the fault of the current request; None if it has none."""
        return self._faults.popleft() if self._faults else None

    def pop_upload(self) -> UploadFault | None:
        """Remove and return the fault of the current upload; None if it has none."""
        return self._of_uploads.popleft() if self._of_uploads else None
