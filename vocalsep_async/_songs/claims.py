"""One creation for each song at a time, whichever calls of the process want its task."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal

from attrs import evolve, frozen

from vocalsep_async._creation import Gate
from vocalsep_async._tasks import run_to_completion
from vocalsep_async.errors import NotBegunError, VocalSepError
from vocalsep_async.models import TaskOutcome, TaskRef, TaskStatus
from vocalsep_async.policies import CREATION_ANSWER_PATIENCE

Origin = Literal["created", "known", "joined"]
"""Where a task comes from: this call has created it, the journal had it, or another call shares it.
"""
Key = tuple[str | None, str]
"""The journal, if there is one, and the identity of a song."""


@frozen
class Claimed:
    """The task of a song.

    Attributes:
        ref: the task.
        origin: where it comes from.
        outcome: how it ended in an earlier run; None if that is not known.
        intent: its creation in the journal; None if it was not found there.
        status: the last status that an earlier run saw; None if there is none.
    """

    ref: TaskRef
    origin: Origin
    outcome: TaskOutcome | None = None
    intent: int | None = None
    status: TaskStatus | str | None = None


Make = Callable[[Gate], Coroutine[Any, Any, Claimed]]
"""Finds the task of a song, or creates it."""


class Claims:
    """The songs whose tasks the calls of one client want at this moment."""

    def __init__(self) -> None:
        self._shared: dict[Key, _Shared] = {}

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """A block in which one call, or one run of many songs, keeps what it has claimed.

        At its end, a creation that no other call wants is given up: at once, or once the answer to
        its request has come.
        """
        caller = Caller(self._shared)
        try:
            yield caller
        finally:
            await run_to_completion(caller.leave())


class Caller:
    """One call, and the songs that it has claimed."""

    def __init__(self, shared: dict[Key, _Shared]) -> None:
        self._shared = shared
        self._claimed: dict[Key, _Shared] = {}

    async def task_of(self, key: Key, make: Make) -> Claimed:
        """The task of a song, which *make* finds or creates unless another call is at it.

        Raises:
            VocalSepError: what *make* raised, here or for the call that was first.
        """
        while True:
            shared = self._enter(key, make)
            is_first = shared.users == 1
            await asyncio.wait([shared.task])
            # Given up by the call before, or not begun because of a limit of that call.
            if not shared.task.cancelled() and (is_first or not shared.is_limited):
                claimed = shared.result()
                return claimed if is_first else evolve(claimed, origin="joined")

    def _enter(self, key: Key, make: Make) -> _Shared:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(make, lambda: self._shared.pop(key, None))
        if self._claimed.get(key) is not shared:
            self._claimed[key] = shared
            shared.users += 1
        return shared

    async def leave(self) -> None:
        """Give up what was claimed."""
        left = list(self._claimed.items())
        self._claimed.clear()
        for _, shared in left:
            shared.users -= 1
        if unwanted := [shared.end() for _, shared in left if shared.is_unwanted]:
            await asyncio.gather(*unwanted)
        for key, shared in left:
            if not shared.users and self._shared.get(key) is shared:
                del self._shared[key]


class _Shared:
    """The task of a song, while calls want it.

    Args:
        make: finds or creates it.
        on_failure: called if there is none, so that another call tries again.

    Attributes:
        users: the calls that want it.
    """

    def __init__(self, make: Make, on_failure: Callable[[], object]) -> None:
        self.users = 0
        self._gate = Gate()
        self._on_failure = on_failure
        self.task = asyncio.create_task(make(self._gate), name="vocalsep song")
        self.task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[Claimed]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._on_failure()

    @property
    def is_unwanted(self) -> bool:
        """Whether no call waits for what is under way."""
        return not self.users and not self.task.done()

    @property
    def is_limited(self) -> bool:
        """Whether it was not begun because of a limit of the call that wanted it first."""
        return isinstance(self.task.exception(), NotBegunError)

    def result(self) -> Claimed:
        """The task.

        Raises:
            VocalSepError: there is none.
        """
        error = self.task.exception()
        if isinstance(error, VocalSepError):
            # A copy: a shared error would collect the tracebacks of all calls.
            raise copy.copy(error) from error.__cause__
        return self.task.result()

    async def end(self) -> None:
        """Give up what is under way, unless another call joins it meanwhile."""
        if self._gate.is_sending:
            await asyncio.wait([self.task], timeout=CREATION_ANSWER_PATIENCE)
        if self.is_unwanted:
            self.task.cancel()
            await asyncio.wait([self.task])
