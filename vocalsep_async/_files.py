"""Locks on files: they end with the process, however that ends."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

if sys.platform != "win32":  # pragma: no branch - the other one has no such locks
    import fcntl


def has_locks(folder: Path) -> bool:
    """Whether files in *folder* can be locked; some network file systems cannot."""
    if sys.platform == "win32":  # pragma: no cover - there are no such locks
        return False
    with tempfile.TemporaryFile(dir=folder) as file:
        return try_lock(file.fileno())


def try_lock(descriptor: int) -> bool:
    """Lock an open file; False if somebody else holds it, or the file system has no locks."""
    if sys.platform == "win32":  # pragma: no cover - there are no such locks
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def wait_for_lock(descriptor: int) -> None:
    """Lock an open file when nobody else holds it; where there are no locks, at once."""
    if sys.platform == "win32":  # pragma: no cover - there are no such locks
        return
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
