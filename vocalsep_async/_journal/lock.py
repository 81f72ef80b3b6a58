"""One writer at a time."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from vocalsep_async._files import try_lock
from vocalsep_async.errors import JournalError


class Lock:
    """Held by who writes to a journal: a file beside it.

    SQLite has locks of its own on the journal itself.

    Raises:
        JournalError: somebody else holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.lock")
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        if os.name != "nt" and not self._is_held():
            os.close(self._descriptor)
            raise JournalError(f"{path} is in use by another batch or process")
        _held.add(self)

    def _is_held(self) -> bool:
        if not try_lock(self._descriptor):
            return False
        # Who held it a moment ago may have removed it, and somebody else made a new one.
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go of it; may be called again."""
        if self._descriptor >= 0:
            # A file that nobody has open is no lock, where it cannot be removed.
            with suppress(OSError):
                self._path.unlink()
        self.drop()

    def drop(self) -> None:
        """Have no part in it any more, and leave it to the others who have it open."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _held.discard(self)
            os.close(descriptor)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _drop_all() -> None:  # pragma: no cover - runs in processes that are not measured
    for lock in list(_held):
        lock.drop()


if hasattr(os, "register_at_fork"):  # pragma: no branch - elsewhere no process is forked
    # What is forked may outlive its parent, and would keep the journal from those after it.
    os.register_at_fork(after_in_child=_drop_all)
