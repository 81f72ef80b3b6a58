"""The log of requests: what was requested, and with which code it was answered."""

from __future__ import annotations

from attrs import define, frozen


@frozen(kw_only=True)
class RequestRecord:
    """One request that the emulator received.

    Attributes:
        at: time of arrival in seconds of ``time.monotonic()``.
        method: HTTP method, such as "GET".
        path: path as received, without the query.
        task_id: the task that was polled, created, or whose file was requested; None if the
            request concerns no task.
        code: the code in the body or, for files and for responses that are not in the API's
            form, the HTTP status; None if no response was sent.
        throttled: whether the response was "too many requests".
        request_id: the header ``CF-RAY`` of the response, which a client's errors carry in their
            ``response_headers``; None for files and for responses that are not in the API's form.
    """

    at: float
    method: str
    path: str
    task_id: str | None
    code: int | None
    throttled: bool
    request_id: str | None


@define(kw_only=True)
class LogEntry:
    """A request in progress; its record is made when the response is sent."""

    at: float
    method: str
    path: str
    task_id: str | None = None
    code: int | None = None
    throttled: bool = False
    request_id: str | None = None
    unanswered: bool = False
    written: bool = False


class RequestLog:
    """The records, in the order of the responses."""

    def __init__(self) -> None:
        self._records: list[RequestRecord] = []

    def write(self, entry: LogEntry, http_status: int | None = None) -> None:
        """Append the record of *entry*, once; further calls do nothing.

        Args:
            entry: the request.
            http_status: takes the place of a code that the entry lacks; None if there is no
                response.
        """
        # aiohttp prepares a response also for a request whose connection was closed on purpose.
        if entry.written:
            return
        entry.written = True
        code = http_status if entry.code is None else entry.code
        self._records.append(
            RequestRecord(
                at=entry.at,
                method=entry.method,
                path=entry.path,
                task_id=entry.task_id,
                code=None if entry.unanswered else code,
                throttled=entry.throttled,
                request_id=None if entry.unanswered else entry.request_id,
            )
        )

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """All records so far."""
        # A copy: a test in another thread may iterate over it.
        return tuple(self._records)
