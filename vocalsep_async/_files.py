"""Locks on open files, released by the system when the process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import sys

if sys.platform != "win32":  # pragma: no branch - Windows has no such locks
    import fcntl


def try_lock(descriptor: int) -> bool:
    """Lock an open file; False if another process or descriptor holds it, or locks do not work."""
    try:
        return take_lock(descriptor)
    except OSError:
        return False


def take_lock(descriptor: int) -> bool:
    """Lock an open file; False if another process or descriptor holds it.

    Raises:
        OSError: the file system has no locks.
    """
    if sys.platform == "win32":  # pragma: no cover - Windows has no such locks
        raise OSError(errno.ENOLCK, "there are no such locks on Windows")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # PermissionError: some network file systems say so of a lock that is held.
    except (BlockingIOError, PermissionError):
        return False
    return True


def wait_for_lock(descriptor: int) -> None:
    """Wait until an open file can be locked, and lock it; return immediately without locks."""
    if sys.platform == "win32":  # pragma: no cover - Windows has no such locks
        return
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
