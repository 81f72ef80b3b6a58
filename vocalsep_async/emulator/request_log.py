"""What was asked and what was answered."""

from __future__ import annotations

from attrs import define, frozen


@frozen(kw_only=True)
class RequestRecord:
    """One request that was answered, or never will be.

    Attributes:
        at: when it came, in the seconds of ``time.monotonic()``.
        method: such as "GET".
        path: without the query, as it came.
        task_id: the task it asked about, created or wanted a file of; None if there is none.
        code: the code that counts: the one in the body or, for files and for what is not in
            the API's form, the HTTP status; None if there was no answer.
        refused: whether it was refused as one too many.
    """

    at: float
    method: str
    path: str
    task_id: str | None
    code: int | None
    throttled: bool


@define(kw_only=True)
class Entry:
    """A line of the log while its request is under way."""

    at: float
    method: str
    path: str
    task_id: str | None = None
    code: int | None = None
    throttled: bool = False
    unanswered: bool = False
    written: bool = False


class RequestLog:
    """The records, in the order of the answers."""

    def __init__(self) -> None:
        self._records: list[RequestRecord] = []

    def write(self, entry: Entry, http_status: int | None = None) -> None:
        """Add *entry* unless it was added before.

        Args:
            entry: the request.
            http_status: what counts if the answer had no code; None if there was no answer.
        """
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
            )
        )

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """All so far."""
        return tuple(self._records)
