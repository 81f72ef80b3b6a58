"""A lock file beside a journal: one writer at a time."""

from __future__ import annotations

import errno
import os
import platform
import weakref
from contextlib import suppress
from pathlib import Path

from vocalsep_async._files import take_lock
from vocalsep_async._text import printable
from vocalsep_async.errors import JournalError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""How file systems without locks refuse one; other errors are faults."""


_UNKNOWN = "another batch or process"
_LONGEST_TEXT = 300
"""Bytes that are read of what a lock file says of its holder."""


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
        holder = None if os.name == "nt" else self._acquire()
        if holder is not None:
            os.close(self._descriptor)
            raise JournalError(f"{path} is in use by {holder}; wait for it, or use another journal")
        _held.add(self)

    def _sign(self) -> None:
        """Write which process holds the lock, for the messages of others."""
        # The lock is what counts: one without a text is as good.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()} {platform.node()}".encode(), 0)

    def _acquire(self) -> str | None:
        """Take the lock; returns which process holds it, or None if this one does now."""
        try:
            if not take_lock(self._descriptor):
                return _holder(self._descriptor)
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
            is_there = os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            is_there = False
        if not is_there:
            return _UNKNOWN
        self._sign()
        return None

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


def _holder(descriptor: int) -> str:
    """Which process holds a lock, as far as its file says and that can be true."""
    try:
        number, _, host = os.pread(descriptor, _LONGEST_TEXT, 0).decode().partition(" ")
        pid = int(number)
    except (OSError, ValueError):
        return _UNKNOWN
    if pid == os.getpid() and host == platform.node():
        return "another batch of this process"
    if host != platform.node():
        return f"process {pid} on {printable(host)}"
    # The text of a holder that was killed stays, until the next one has written its own.
    return f"process {pid}" if _is_running(pid) else _UNKNOWN


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # of another user
    except (OSError, OverflowError):
        return False
    return True


_held: weakref.WeakSet[JournalLock] = weakref.WeakSet()


def _abandon_all() -> None:  # pragma: no cover - runs in processes that are not measured
    for lock in list(_held):
        lock.abandon()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent where processes cannot fork
    # A forked child may outlive its parent, and would go on holding the lock.
    os.register_at_fork(after_in_child=_abandon_all)
