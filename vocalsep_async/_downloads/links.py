"""The links of one task: when they have expired, one look brings fresh ones for all its stems."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import anyio

from vocalsep_async._downloads.selection import links_of
from vocalsep_async.models import SeparationTask

_LIFETIME = timedelta(days=14)
"""From the end of the task: as long as the API's documents promise at best."""


class StemLinks:
    """Where the stems of a task are.

    Args:
        task: its final record.
        look: gets a fresh one.
    """

    def __init__(self, task: SeparationTask, poll: Callable[[], Awaitable[SeparationTask]]) -> None:
        self.task = task
        self._poll = poll
        self._links = links_of(task)
        self._has_looked = False
        self._lock = anyio.Lock()

    def get(self, stem: str) -> str | None:
        """The newest link of *stem*; None if it has none any more."""
        return self._links.get(stem)

    def has_expired(self, stem: str) -> bool:
        """Whether the link is past its time, as far as that can be told."""
        link, now = self.get(stem), datetime.now(UTC)
        if link is None:
            return False
        ends = _end(link)
        if ends is not None:
            return ends <= now
        completed_at = self.task.completed_at
        return completed_at is not None and now - completed_at >= _LIFETIME

    async def renewed(self, stem: str, link: str) -> bool:
        """Look at the task again, once for all its stems; whether *stem* has another link now.

        Raises:
            VocalSepError: what the look met.
        """
        async with self._lock:
            if self._links.get(stem) == link and not self._has_looked:
                self._has_looked = True
                self.task = await self._poll()
                self._links = links_of(self.task)
            return self.get(stem) not in (None, link)


def _end(link: str) -> datetime | None:
    """When a signed link ends, by its query; None if that does not tell."""
    try:
        query = parse_qs(urlsplit(link).query)
        if "Expires" in query:
            return datetime.fromtimestamp(int(query["Expires"][0]), UTC)
        if "X-Amz-Date" in query and "X-Amz-Expires" in query:
            signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
            return signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    except (ValueError, OverflowError, OSError):
        return None  # a link may hold anything; the host will say whether it is good
    return None
