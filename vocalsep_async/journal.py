"""A journal: what a batch knows, in a file, so that another run goes on where one ended."""

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
    """Keeps what a batch knows in a file, so that another run goes on where one ended.

    It holds the ids, the last status of each task and its final record, the files that were
    saved, what was learned about durations, and creations that were begun; never the key, and no
    query of a link unless *keep_links*. Pass it, or its path alone, to `VocalSepClient.track` and
    `VocalSepClient.create_task`. Use it as ``async with Journal(path) as journal`` to pass it to
    several calls in a row; a call that is given a path opens and closes it itself.

    After a kill, all that was handed out is there; how often pending tasks were polled, and what
    was learned, may be ten seconds old. After a power cut the last seconds may be missing; what
    they held is asked again.

    Args:
        path: the file; made if it is not there, readable by its owner alone. One process at a
            time may write to it; a file of the same name with ``.lock`` beside it says so.
        label: what to call the account; a journal with another label is refused. None for no
            label.
        keep_links: whether links are kept whole. Their queries may be signatures that let every
            reader fetch the files; without them each link costs one poll when it is used.

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
        return (
            f"<Journal {str(self._path)!r}, closed>" if self._opened is None else repr(self._opened)
        )

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def label(self) -> str | None:
        """What the account is called; None for no label."""
        return self._label

    @property
    def keep_links(self) -> bool:
        """Whether links are kept whole."""
        return self._keep_links

    @property
    def _file(self) -> JournalFile:
        """The machinery, for the calls that a journal is passed to."""
        if self._opened is None:
            # SQLite and all that is loaded when it is needed: not every start wants to wait.
            from vocalsep_async._journal.journal import JournalFile  # noqa: PLC0415

            self._opened = JournalFile(self._path, label=self._label, keep_links=self._keep_links)
        return self._opened

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            JournalError: it is in use, damaged, of a newer version, or no journal at all.
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
            JournalError: it could not be written.
        """
        if self._opened is not None:
            await self._opened.aclose()

    async def intents(self) -> tuple[Intent, ...]:
        """Creations that may have been carried out, and billed, without their ids being known.

        They are never sent again; find them in the provider's own list of tasks.

        Raises:
            JournalError: the journal is not open, or damaged.
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
