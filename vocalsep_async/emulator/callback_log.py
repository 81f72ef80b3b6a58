"""The log of callbacks: what was posted, where to, and how it was answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from vocalsep_async.emulator.callback_faults import CallbackKind
from vocalsep_async.emulator.callback_posts import CallbackPost


def _read_only(headers: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(headers))


@frozen(kw_only=True)
class CallbackRecord:
    """One attempt of the emulator to post a callback.

    Attributes:
        at: time of the attempt in seconds of ``time.monotonic()``.
        task_id: the task.
        kind: whether it was genuine, lost, repeated or forged.
        url: where it was posted.
        headers: the headers that sign it; empty if it is unsigned.
        body: the JSON that was posted, byte by byte.
        http_status: how it was answered; None without an answer within 15 seconds, and
            for a callback that was lost.
    """

    at: float
    task_id: str
    kind: CallbackKind
    url: str
    headers: Mapping[str, str] = field(converter=_read_only)
    body: bytes
    http_status: int | None

    @property
    def code(self) -> int:
        """The code in the body: 200 for a success, 202 for a task that is not finished."""
        return int(self.json["code"])

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object."""
        read: dict[str, Any] = json.loads(self.body)
        return read


class CallbackLog:
    """The records, in the order of their answers."""

    def __init__(self) -> None:
        self._records: list[CallbackRecord] = []

    def write(self, at: float, post: CallbackPost, http_status: int | None) -> None:
        """Append a record of *post*."""
        self._records.append(
            CallbackRecord(
                at=at,
                task_id=post.task_id,
                kind=post.kind,
                url=str(post.url),
                headers=post.headers,
                body=post.body,
                http_status=http_status,
            )
        )

    @property
    def records(self) -> tuple[CallbackRecord, ...]:
        """All records so far."""
        # A copy: a test in another thread may iterate over it.
        return tuple(self._records)
