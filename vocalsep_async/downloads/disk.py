"""What must be on the disk, and nowhere else. All here blocks and runs in worker threads."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path


def make_folder(folder: Path, directory: Path) -> None:
    """Make *folder* if it is not there.

    Raises:
        OSError: it cannot be made, or links lead from it out of *directory*.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(directory.resolve()):
        raise OSError(errno.ELOOP, "a link leads out of the directory")


def synchronise_folder(folder: Path) -> None:
    """Have the names in *folder* on the disk.

    Raises:
        OSError: they are not known to be.
    """
    if os.name == "nt":  # pragma: no cover - Windows cannot open a folder, and needs no help here
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Have *content* at *path*: all of it, or what was there before.

    Raises:
        OSError: it could not be written.
    """
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
