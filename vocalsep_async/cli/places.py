"""Places on disk, tried at first: a batch of an hour should not end in a refusal."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def check_folder(path: Path) -> None:
    """Make a folder, if need be, and see that files can be made in it.

    Raises:
        OSError: they cannot; it names *path*.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _about(path, error.errno) from None


def check_file(path: Path) -> None:
    """See that a file can be written where *path* is.

    Raises:
        OSError: it cannot; it names *path*.
    """
    if path.is_dir():
        raise _about(path, errno.EISDIR)
    try:
        check_folder(path.parent)
    except OSError as error:
        raise _about(path, error.errno) from None


def _about(path: Path, number: int | None) -> OSError:
    return OSError(number, os.strerror(number or errno.EIO), str(path))
