"""Primitives of the file system: durable, and safe from planted links.

All functions block and run in worker threads.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocalsep_async._files import wait_for_lock

# Other users may write into the folder: never follow a link that was planted there, and never wait
# for the other end of a pipe.
_CAREFUL = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
OPEN = os.O_RDWR | _CAREFUL
"""Flags that open an existing file which another user may have put there."""
CREATE = OPEN | os.O_CREAT | os.O_EXCL
"""Flags that make a file, and fail if there is one."""
# Answers of file systems that have no fsync, for folders (SMB, FUSE, shared folders of virtual
# machines) or at all. Nothing was lost, and nothing better can be done there.
_NO_FSYNC = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR}
)


def make_folder(folder: Path, directory: Path) -> None:
    """Make *folder* and its parents unless they exist.

    Raises:
        OSError: it cannot be made, or links lead from it out of *directory*.
    """
    # Before, so that nothing is made outside; and after, since a link may have come in between.
    _check_inside(folder, directory)
    folder.mkdir(parents=True, exist_ok=True)
    _check_inside(folder, directory)


def _check_inside(folder: Path, directory: Path) -> None:
    if not folder.resolve().is_relative_to(directory.resolve()):
        raise OSError(errno.ELOOP, "a link leads out of the directory")


def synchronise(descriptor: int) -> None:
    """Write an open file or folder to the disk; goes on if its file system cannot do that.

    Raises:
        OSError: the file system can do it, and failed.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def synchronise_folder(folder: Path) -> None:
    """Write the names in *folder* to the disk; `synchronise` of a file does not include its name.

    Raises:
        OSError: the names may not be on the disk.
    """
    if sys.platform == "win32":  # pragma: no cover - it cannot open a folder, and needs no fsync
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        synchronise(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of *folder*; waits for it as long as another thread or process holds it.

    Raises:
        OSError: the folder cannot be opened.
    """
    if sys.platform == "win32":  # pragma: no cover - it cannot open a folder
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        wait_for_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def read_regular(path: Path) -> bytes | None:
    """The content of a regular file; None if there is no file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except FileNotFoundError:
        return None
    # Asked of the descriptor: what is at the path may have changed since.
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"{path.name} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_new(path: Path, content: bytes) -> None:
    """Write *content* to a new file, in place of what is at *path*; neither atomic nor durable.

    Raises:
        OSError: it could not be written.
    """
    # Removed and not truncated: an existing file may have another name, elsewhere.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, CREATE, 0o666), "wb") as file:
        file.write(content)


def replace_file(path: Path, content: bytes) -> None:
    """Write *content* to *path*, all of it or nothing, and to the disk.

    The caller holds `locked_folder`: unfinished files of others are removed.

    Raises:
        OSError: it could not be written.
    """
    for unfinished in _unfinished(path):
        unfinished.unlink(missing_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            # Before the rename: after a power failure, the name must not be without the content.
            synchronise(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    synchronise_folder(path.parent)


def _unfinished(path: Path) -> list[Path]:
    """The files that killed processes left of their attempts to replace *path*."""
    name = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{16}\.new")
    return [each for each in path.parent.iterdir() if name.fullmatch(each.name)]
