"""Locks on files: they end with the process, however that ends."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import fcntl


def try_lock(descriptor: int) -> bool:
    """Lock an open file; False if somebody else holds it, or the file system has no locks."""
    if sys.platform == "win32":  # pragma: no cover - there are no such locks
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
