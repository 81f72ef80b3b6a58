"""Files in a folder: durable, and safe from planted links.

All functions block and run in worker threads.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat

from vocalsep_async._downloads.folder import Folder, synchronise

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


def open_regular(folder: Folder, name: str) -> int:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    descriptor = folder.open(name, os.O_RDONLY | _CAREFUL)
    # Asked of the descriptor: what has the name may have changed since.
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"{name} is not a regular file", str(folder.path / name))
    return descriptor


def read_regular(folder: Folder, name: str) -> bytes | None:
    """The content of a regular file; None if there is no file.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    try:
        descriptor = open_regular(folder, name)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_new(folder: Folder, name: str, content: bytes) -> None:
    """Write *content* to a new file, in place of what is there; neither atomic nor durable.

    Raises:
        OSError: it could not be written.
    """
    # Removed and not truncated: an existing file may have another name, elsewhere.
    folder.unlink(name)
    with os.fdopen(folder.open(name, CREATE), "wb") as file:
        file.write(content)


def replace_file(folder: Folder, name: str, content: bytes) -> None:
    """Write *content* to a file, all of it or nothing, and to the disk.

    The caller holds the lock of *folder*: unfinished files of others are removed.

    Raises:
        OSError: it could not be written.
    """
    unfinished = re.compile(re.escape(f".{name}.") + r"[0-9a-f]{16}\.new")
    for each in filter(unfinished.fullmatch, folder.names()):
        folder.unlink(each)
    new = f".{name}.{secrets.token_hex(8)}.new"
    try:
        with os.fdopen(folder.open(new, CREATE), "wb") as file:
            file.write(content)
            file.flush()
            # Before the rename: after a power failure, the name must not be without the content.
            synchronise(file.fileno())
        folder.move(new, folder, name)
    except OSError:
        folder.unlink(new)
        raise
    folder.synchronise()
