"""`BatchRunner`: many tasks tracked on one rate limit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from vocalsep_async.models import BatchStats, TaskOutcome, TaskRef


class BatchRunner(ABC):
    """Tracks many tasks; made by `VocalSepClient.track`.

    An async context manager and an async iterator: it yields one `TaskOutcome` for each id, in the
    order in which outcomes become known. Leaving the block early stops the polls; the tasks go on
    at the provider::

        async with client.track(task_ids) as batch:
            async for outcome in batch:
                print(outcome.task_id, outcome.succeeded)

    A slow consumer delays no poll: outcomes are kept until they are fetched, even after the block.
    Several consumers may iterate simultaneously; each outcome goes to one of them.
    """

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Read the ids and begin to poll.

        Raises:
            InvalidArgumentError: an id of a collection is unusable; nothing was sent.
            ConfigurationError: the batch was entered before, or the client cannot be used in this
                event loop.
            ClientClosedError: the client was closed.
            JournalError: the journal is unusable.
        """

    @abstractmethod
    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the polls and downloads, and write the journal.

        Raises:
            JournalError: a write failed.
        """

    @abstractmethod
    def __aiter__(self) -> Self: ...

    @abstractmethod
    async def __anext__(self) -> TaskOutcome:
        """Wait for the next outcome.

        Raises:
            StopAsyncIteration: every task has its outcome, and no more tasks can come.
            ConfigurationError: the batch was not entered, or was entered in another event loop.
            JournalError: an outcome could not be written; it is not handed out.
            Exception: the error of a poll policy, of a tracing hook, or of the source of ids. That
                of the source is raised once: after the outcomes that were known, and after a first
                poll of each id before it.
        """

    @abstractmethod
    def add(self, task: str | TaskRef) -> None:
        """Track one more task; its timeout starts now.

        A task is not added twice while it is pending or its outcome has not been fetched. Once it
        has, the task is tracked again, and gets another outcome; with a journal, only if it has no
        final record there. Without ``keep_open=True`` iteration may have ended before; then iterate
        again.

        Args:
            task: its id or ref.

        Raises:
            InvalidArgumentError: the id is unusable.
            ConfigurationError: the batch was closed or not entered, or it was called in another
                thread or event loop.
        """

    @abstractmethod
    def notify(self, task: str | TaskRef) -> bool:
        """Poll a task as soon as the rate limit allows; for webhooks.

        `VocalSepClient.notify` does so for all waits and batches.

        Args:
            task: its id or ref.

        Returns:
            Whether the task is pending in this batch.

        Raises:
            InvalidArgumentError: the id is unusable.
            ConfigurationError: the batch was not entered, or it was called in another thread or
                event loop.
        """

    @abstractmethod
    def close(self) -> None:
        """Accept no more tasks: iteration ends once every task has its outcome.

        Only needed with ``keep_open=True``; may be called again.

        Raises:
            ConfigurationError: it was called in another thread than that of the event loop.
        """

    @abstractmethod
    def pending_ids(self) -> tuple[str, ...]:
        """The ids of the tasks without an outcome, or without one when the block was left.

        Raises:
            ConfigurationError: the batch was not entered, or it was called in another thread than
                that of the event loop, while that runs.
        """

    @property
    @abstractmethod
    def stats(self) -> BatchStats:
        """The numbers of the batch as they are now.

        Raises:
            ConfigurationError: the batch was not entered, or they were read outside the event loop.
        """
