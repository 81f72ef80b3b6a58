"""One writer at a time."""

from __future__ import annotations

import os
from pathlib import Path

from vocalsep_async._locks import try_lock
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
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(descriptor)
