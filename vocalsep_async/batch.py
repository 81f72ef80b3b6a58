"""Many tasks at once: what `VocalSepClient.track` returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from vocalsep_async.models import BatchStats, TaskOutcome, TaskRef


class BatchRunner(ABC):
    """Tracks many tasks; made by `VocalSepClient.track`.

    An async context manager and an async iterator: one `TaskOutcome` for each id, in the order in
    which they become known. Leaving the block early ends the polls; the tasks at the provider go
    on.

        async with client.track(task_ids) as batch:
            async for outcome in batch:
                print(outcome.task_id, outcome.succeeded)

    A consumer that is slower than the polls delays none of them: outcomes are kept for it.
    Several consumers may iterate at once; each outcome goes to one of them.
    """

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def __aiter__(self) -> Self: ...

    @abstractmethod
    async def __anext__(self) -> TaskOutcome: ...

    @abstractmethod
    def add(self, task: str | TaskRef) -> None:
        """Track one more task, from now on; one that is open already is tracked once.

        With a journal, a task whose end is known there is not tracked again.

        Args:
            task: its id or ref.

        Raises:
            InvalidArgumentError: the id is unusable.
            ConfigurationError: the batch was closed or not entered.
        """

    @abstractmethod
    def notify(self, task: str | TaskRef) -> bool:
        """Poll a task soon, because something happened to it: for webhooks.

        Args:
            task: its id or ref.

        Returns:
            Whether the batch tracks it and has no outcome yet.

        Raises:
            InvalidArgumentError: the id is unusable.
            ConfigurationError: the batch was not entered.
        """

    @abstractmethod
    def close(self) -> None:
        """Take no more tasks: iteration ends when those that are open have their outcomes.

        Only needed with ``keep_open=True``; may be called again.
        """

    @abstractmethod
    def pending_ids(self) -> tuple[str, ...]:
        """The ids of the tasks that have no outcome yet, or had none when the block was left.

        Raises:
            ConfigurationError: the batch was not entered.
        """

    @property
    @abstractmethod
    def stats(self) -> BatchStats:
        """What the batch has done so far.

        Raises:
            ConfigurationError: the batch was not entered.
        """
