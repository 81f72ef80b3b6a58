"""`Journal`: the state of a batch or of songs in a file, so that the next run continues it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import Intent

if TYPE_CHECKING:
    from vocalsep_async._journal.journal import JournalFile


class Journal:
    """The state of a batch in a file, so that the next run continues where one ended.

    It contains the ids, the last status and the final record of each task, the paths of saved
    stems, the learned durations, which songs were created, and creations without a known result;
    never the API key, and no query of a link unless *keep_links*. Pass the journal, or only its
    path, to `VocalSepClient.track`, `VocalSepClient.separate`, `VocalSepClient.separate_many` and
    `VocalSepClient.create_task`. Several calls may use one journal in a
    row within ``async with Journal(path) as journal``; a call that is given a path opens and
    closes the file itself.

    After a kill every outcome that was handed out is in the file; the polls of pending tasks and
    the learned durations may be up to ten seconds old. After a power cut the last seconds may be
    missing, and their tasks are polled again.

    Args:
        path: the file; created if it does not exist, readable by its owner only. One process at a
            time may write to it, and holds a lock file of the same name with ``.lock`` beside it.
        label: a name for the account; a journal that has another label is rejected. None for no
            label.
        keep_links: whether links are stored with their queries. A query may be a signature, with
            which every reader of the file can fetch the stems; without queries each link costs
            one poll when it is used.

    Raises:
        InvalidArgumentError: an argument is unusable.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, label: str | None = None, keep_links: bool = False
    ) -> None:
        self._path = _checked_path(path)
        _check_label(label)
        self._label = label
        self._keep_links = keep_links
        self._opened: JournalFile | None = None

    def __repr__(self) -> str:
        state = "closed"
        if self._opened is not None and self._opened.is_open:
            state = f"{self._opened.waiting_writes} writes waiting"
        return f"<Journal {str(self._path)!r}, {state}>"

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def label(self) -> str | None:
        """The name of the account; None for no label."""
        return self._label

    @property
    def keep_links(self) -> bool:
        """Whether links are stored with their queries."""
        return self._keep_links

    @property
    def _file(self) -> JournalFile:
        """The machinery, for the calls that a journal is passed to; made on first use."""
        if self._opened is None:
            # SQLite is imported on first use, because it makes the import of the package slower.
            from vocalsep_async._journal.journal import JournalFile  # noqa: PLC0415

            self._opened = JournalFile(self._path, label=self._label, keep_links=self._keep_links)
        return self._opened

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            JournalError: it is in use, not a journal, damaged, of a newer version, or already
                open.
        """
        await self._file.open()
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Write what is left, and close the file; may be called again.

        Raises:
            JournalError: a write failed, or it was opened in another event loop.
        """
        if self._opened is not None:
            await self._opened.aclose()

    async def intents(self) -> tuple[Intent, ...]:
        """Creations that may have been carried out and billed, but whose ids are not known.

        Oldest first. They are never sent again; find them in the provider's own list of tasks.

        Raises:
            JournalError: the journal is not open, was opened in another event loop, or is
                damaged.
        """
        return await self._file.intents()


def _checked_path(path: object) -> Path:
    name: object = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InvalidArgumentError("a journal needs the path of a file")
    return Path(name)


def _check_label(label: object) -> None:
    if label is not None and not (isinstance(label, str) and label.isprintable()):
        raise InvalidArgumentError("label must be a printable string, or None")
