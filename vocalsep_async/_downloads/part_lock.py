"""Whose a part is: its lock says so, and ends with the process that holds it.

A part that nobody holds is stale, and is taken up. Who finds it held makes another one of its own,
so two processes with the same target never write into the same file. All here blocks and runs in
worker threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from pathlib import Path
from typing import NamedTuple

from vocalsep_async._downloads.disk import CREATE, OPEN
from vocalsep_async._files import has_locks, try_lock

_TRIES = 3
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO, errno.EMLINK})


class PartLock(NamedTuple):
    """A part that is ours: where it is, its descriptor, and whether a lock keeps others away."""

    path: Path
    descriptor: int
    is_locked: bool


def claimed(target: Path) -> PartLock:
    """Take up the part of *target* that was left, or make one; remove what nobody can take up.

    Raises:
        OSError: none can be made there.
    """
    _remove_stale(target)
    path = target.with_name(f".{target.name}.part")
    descriptor = _taken_up(path)
    return (
        _begun(path, target) if descriptor is None else PartLock(path, descriptor, is_locked=True)
    )


def _taken_up(path: Path) -> int | None:
    """Open the part at *path* if it is there, nobody's, and a plain file; remove a planted link."""
    try:
        descriptor = os.open(path, OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            path.unlink(missing_ok=True)
        elif error.errno not in _NOT_OURS:
            raise
        return None
    if _is_plain(descriptor) and try_lock(descriptor) and _is_still(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _is_plain(descriptor: int) -> bool:
    """Whether it is a file, and no other name leads to it."""
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether *path* leads to it: who held it before may have renamed or removed it."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def _begun(path: Path, target: Path) -> PartLock:
    """Make a new part: at *path*, or under a name of its own where that one is in use.

    Where there are no locks, it is one that nobody else knows, and that is not kept.
    """
    if not has_locks(target.parent):
        own = _own(target)
        return PartLock(own, os.open(own, CREATE, 0o666), is_locked=False)
    for candidate in (path, *(_own(target) for _ in range(_TRIES))):
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(candidate, CREATE, 0o666)
            if try_lock(descriptor) and _is_still(descriptor, candidate):
                return PartLock(candidate, descriptor, is_locked=True)
            # Somebody took it for stale before it was locked, and may write into it now.
            os.close(descriptor)
    raise OSError(errno.EBUSY, "others take every part for stale")


def _own(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")


def _remove_stale(target: Path) -> None:
    """Remove the parts of processes that ended before they were whole, but for the first one."""
    own = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.part(\.json)?")
    for path in list(target.parent.iterdir()):
        if own.fullmatch(path.name):
            _remove_if_stale(path)


def _remove_if_stale(path: Path) -> None:
    if path.suffix == ".json":
        if not path.with_suffix("").exists():
            path.unlink(missing_ok=True)
        return
    descriptor = _taken_up(path)
    if descriptor is not None:
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        os.close(descriptor)
