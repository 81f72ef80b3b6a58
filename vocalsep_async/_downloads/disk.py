"""What must be on the disk, and nowhere else. All here blocks and runs in worker threads."""

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

# Never through a link that somebody planted, and never waiting for the other end of a pipe.
_CAREFUL = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
OPEN = os.O_RDWR | _CAREFUL
"""How a file is opened that somebody else may have put there."""
CREATE = OPEN | os.O_CREAT | os.O_EXCL
"""How a file is made that is not to be there yet."""


def make_folder(folder: Path, directory: Path) -> None:
    """Make *folder* if it is not there.

    Raises:
        OSError: it cannot be made, or links lead from it out of *directory*.
    """
    _check_inside(folder, directory)
    folder.mkdir(parents=True, exist_ok=True)
    _check_inside(folder, directory)


def _check_inside(folder: Path, directory: Path) -> None:
    if not folder.resolve().is_relative_to(directory.resolve()):
        raise OSError(errno.ELOOP, "a link leads out of the directory")


def synchronise_folder(folder: Path) -> None:
    """Have the names in *folder* on the disk.

    Raises:
        OSError: they are not known to be.
    """
    if sys.platform == "win32":  # pragma: no cover - it cannot open a folder, and needs no help
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep others who ask for the same from changing what is in *folder*.

    Raises:
        OSError: it cannot be opened.
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


def read_plain(path: Path) -> bytes | None:
    """The content of a file; None if there is none.

    Raises:
        OSError: it cannot be read, or is no plain file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except FileNotFoundError:
        return None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"{path.name} is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write_plain(path: Path, content: bytes) -> None:
    """Have *content* in a new file at *path*, in place of whatever is there.

    Raises:
        OSError: it could not be written.
    """
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, CREATE, 0o666), "wb") as file:
        file.write(content)


def replace(path: Path, content: bytes) -> None:
    """Have *content* at *path*: all of it, or what was there before; within `alone_in`.

    Raises:
        OSError: it could not be written.
    """
    for stale in _unfinished(path):
        stale.unlink(missing_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    synchronise_folder(path.parent)


def _unfinished(path: Path) -> list[Path]:
    """What processes that were killed left of their tries to replace *path*."""
    name = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{16}\.new")
    return [each for each in path.parent.iterdir() if name.fullmatch(each.name)]
