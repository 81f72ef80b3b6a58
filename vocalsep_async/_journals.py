"""Journals that are given as paths: open once for all calls of a client that use one at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from vocalsep_async._events import Events
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.instrumentation import JournalClosed, JournalOpened
from vocalsep_async.journal import Journal

if TYPE_CHECKING:
    from vocalsep_async._journal.journal import JournalFile

JournalLike = Journal | str | os.PathLike[str]


class OpenJournals:
    """The journals that the calls of one client have opened.

    Args:
        events: of the client.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._open: dict[str, _Shared] = {}

    def use(self, journal: JournalLike | None) -> AbstractAsyncContextManager[JournalFile | None]:
        """A block with the file of *journal*, which is opened and closed if only a path was given.

        Raises:
            InvalidArgumentError: *journal* cannot be the path of one; nothing has begun.
        """
        if journal is None:
            return nullcontext()
        if isinstance(journal, Journal):
            return nullcontext(journal._file)  # noqa: SLF001 - the machinery behind what users hold
        return self._using(Journal(journal)._file)  # noqa: SLF001

    @asynccontextmanager
    async def _using(self, file: JournalFile) -> AsyncIterator[JournalFile]:
        place = os.path.realpath(file.path)  # noqa: ASYNC240 - as fast as opening it
        shared = self._open.setdefault(place, _Shared(file, place))
        shared.users += 1
        try:
            async with shared.changing:
                if not shared.file.is_open:
                    await shared.file.open()
                    self._events.emit(JournalOpened(path=shared.file.path))
            yield shared.file
        finally:
            shared.users -= 1
            await run_to_completion(self._leave(shared))

    async def _leave(self, shared: _Shared) -> None:
        async with shared.changing:
            if shared.users:
                return
            self._open.pop(shared.place, None)
            if shared.file.is_open:
                try:
                    await shared.file.aclose()
                finally:
                    self._events.emit(JournalClosed(path=shared.file.path))


class _Shared:
    """A journal that was given as a path, and how many calls use it."""

    def __init__(self, file: JournalFile, place: str) -> None:
        self.file = file
        self.place = place
        self.users = 0
        self.changing = asyncio.Lock()
        """Held while it is opened or closed."""
