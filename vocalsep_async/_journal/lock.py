"""A lock file beside a journal: one writer at a time."""

from __future__ import annotations

import errno
import os
import weakref
from contextlib import suppress
from pathlib import Path

from vocalsep_async._files import take_lock
from vocalsep_async.errors import JournalError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""How file systems without locks refuse one; other errors are faults."""


class JournalLock:
    """The exclusive right to write to the journal at *path*, until it is released.

    Raises:
        JournalError: another journal object or another process holds the lock, or the file system
            has no locks.
    """

    # A file of its own, because SQLite takes and drops locks on the journal itself.
    def __init__(self, path: Path) -> None:
        self._journal = path
        self._path = path.with_name(f"{path.name}.lock")
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        if os.name != "nt" and not self._acquire():
            os.close(self._descriptor)
            raise JournalError(
                f"{path} is in use by another batch or process; wait for it, or use another journal"
            )
        _held.add(self)

    def _acquire(self) -> bool:
        try:
            if not take_lock(self._descriptor):
                return False
        except OSError as error:
            self.release()
            if error.errno not in _NO_LOCKS:
                raise
            raise JournalError(
                f"the file system of {self._journal} has no locks ({error.strerror}): put the "
                "journal on a local disk"
            ) from error
        # The previous holder may have removed the file between our open() and the lock, and a
        # third process may have made a new one: a lock on a removed file protects nothing.
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Unlock and remove the file; may be called again."""
        if self._descriptor >= 0:
            # A file that cannot be removed does no harm: without a holder it is not locked.
            with suppress(OSError):
                self._path.unlink()
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor only, so that the lock stays with the processes that share it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _held.discard(self)
            os.close(descriptor)


_held: weakref.WeakSet[JournalLock] = weakref.WeakSet()


def _abandon_all() -> None:  # pragma: no cover - runs in processes that are not measured
    for lock in list(_held):
        lock.abandon()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent where processes cannot fork
    # A forked child may outlive its parent, and would go on holding the lock.
    os.register_at_fork(after_in_child=_abandon_all)
