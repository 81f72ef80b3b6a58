"""Folders that are held open: what is done in one happens there, whatever takes its place.

Another user who may write into the directory of a download can exchange a folder for a link to
another place at any moment. So each folder below the directory is opened without following links,
and its files are named relative to that descriptor (``dir_fd``). Where the platform has no such
descriptors (Windows), paths are used, and are checked for links beforehand.

All functions block and run in worker threads.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from vocalsep_async._files import wait_for_lock

HAS_DESCRIPTORS = (
    {os.open, os.stat, os.mkdir, os.unlink, os.rename} <= os.supports_dir_fd
    and os.listdir in os.supports_fd
    and hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
)
"""Whether the platform can name files relative to an open folder."""
_AS_FOLDER = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
# Folders on the way need no permission to be read, where the platform can tell the difference.
_ON_THE_WAY = _AS_FOLDER | getattr(os, "O_PATH", 0)
# Answers to opening a link as a folder without following it: Linux, POSIX, FreeBSD.
_IS_LINK = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EMLINK})
# Answers of file systems that have no fsync, for folders (SMB, FUSE, shared folders of virtual
# machines) or at all. Nothing was lost, and nothing better can be done there.
_NO_FSYNC = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR}
)
# Some refuse it for folders alone.
_NO_FOLDER_FSYNC = _NO_FSYNC | {errno.EPERM, errno.EACCES}
_REPLACED = "the folder was moved or replaced while files were written"


class Folder:
    """A folder that is held open; make one with `Directory.open`, and close it.

    Every error names the path of its file.

    Attributes:
        path: of the folder, as the caller of the download gave it.
    """

    def __init__(self, path: Path, place: Path, descriptor: int | None) -> None:
        self.path = path
        self._place = place
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder and release its lock; may be called again."""
        # Cleared first: after a failed close, the number may already belong to another file.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _at(self, name: str) -> str:
        return str(self._place / name) if self._descriptor is None else name

    def open(self, name: str, flags: int) -> int:
        """Open a file; a new one gets the usual permissions.

        Raises:
            OSError: it cannot be opened.
        """
        with _naming(self.path / name):
            return os.open(self._at(name), flags, 0o666, dir_fd=self._descriptor)

    def stat(self, name: str) -> os.stat_result:
        """What is known about a file, or about a link itself.

        Raises:
            OSError: there is no file, or nothing can be known.
        """
        with _naming(self.path / name):
            return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        """Remove a file unless it is missing.

        Raises:
            OSError: it cannot be removed.
        """
        with _naming(self.path / name), suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def names(self) -> list[str]:
        """The names of all files.

        Raises:
            OSError: they cannot be read.
        """
        with _naming(self.path):
            # Not a method of `Path`: those take no descriptors.
            return os.listdir(self._place if self._descriptor is None else self._descriptor)  # noqa: PTH208

    def move(self, name: str, target: Folder, new_name: str) -> None:
        """Move a file into *target*, in place of what is there.

        Raises:
            OSError: it cannot be moved; what was there is still there.
        """
        with _naming(target.path / new_name):
            try:
                self._rename(name, target, new_name)
            except FileExistsError:
                # Some network file systems do not replace a file, which POSIX demands.
                target.unlink(new_name)
                self._rename(name, target, new_name)

    def _rename(self, name: str, target: Folder, new_name: str) -> None:
        os.replace(
            self._at(name),
            target._at(new_name),
            src_dir_fd=self._descriptor,
            dst_dir_fd=target._descriptor,
        )

    def synchronise(self) -> None:
        """Write the names to the disk; `synchronise` of a file does not include its name.

        Raises:
            OSError: the names may not be on the disk.
        """
        # Windows cannot open a folder, and needs no fsync for its names.
        if self._descriptor is not None:
            with _naming(self.path):
                _fsync(self._descriptor, _NO_FOLDER_FSYNC)

    def lock(self) -> None:
        """Hold the lock until the folder is closed; waits while another descriptor holds it."""
        if self._descriptor is not None:
            wait_for_lock(self._descriptor)

    def check_place(self) -> None:
        """Check that the path still leads to this folder.

        Raises:
            OSError: it does not: what was written here is whole, but is not where it belongs.
        """
        if self._descriptor is None:
            return
        with _naming(self.path):
            found: os.stat_result | None = None
            with suppress(FileNotFoundError, NotADirectoryError):
                found = self._place.stat()
            if found is None or not os.path.samestat(found, os.fstat(self._descriptor)):
                raise OSError(errno.ESTALE, _REPLACED)


class Directory:
    """The directory of a download, whose folders no link may lead out of.

    Links in its own path are followed when it is used first, and not any more from then on.

    Args:
        path: as the caller gave it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._resolved: Path | None = None

    @property
    def _real(self) -> Path:
        with self._lock:
            if self._resolved is None:
                self._resolved = Path(os.path.realpath(self.path))
            return self._resolved

    def open(self, folder: Path, *, make: bool = False) -> Folder:
        """Open *folder*, which is the directory or below it.

        Args:
            folder: the path, beginning with that of the directory.
            make: whether it and its parents are made unless they exist.

        Raises:
            FileNotFoundError: there is none, and it is not to be made.
            OSError: it cannot be opened or made, or links lead from it out of the directory.
        """
        parts = folder.relative_to(self.path).parts
        place = self._real.joinpath(*parts)
        with _naming(folder):
            if not HAS_DESCRIPTORS:
                self._check(place, make=make)
                return Folder(folder, place, None)
            return Folder(folder, place, self._descriptor(parts, make=make))

    def _descriptor(self, parts: tuple[str, ...], *, make: bool) -> int:
        try:
            return self._descend(parts, make=make)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
            # A link that stays in the directory is followed, to folders that are none themselves.
            inside = self._followed(self._real.joinpath(*parts))
            if inside == parts:
                raise
        return self._descend(inside, make=make)

    def _descend(self, parts: tuple[str, ...], *, make: bool) -> int:
        flags = [*[_ON_THE_WAY] * len(parts), _AS_FOLDER]
        descriptor = _open_root(self._real, flags[0], make=make)
        for part, each in zip(parts, flags[1:], strict=True):
            try:
                below = _open_below(descriptor, part, each, make=make)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _followed(self, place: Path) -> tuple[str, ...]:
        """The path below the directory that *place* leads to.

        Raises:
            OSError: it leads out of the directory.
        """
        target = Path(os.path.realpath(place))
        if not target.is_relative_to(self._real):
            raise OSError(errno.ELOOP, "a link leads out of the directory")
        return target.relative_to(self._real).parts

    def _check(self, place: Path, *, make: bool) -> None:
        # Before, so that nothing is made outside; and after, since a link may have come in between.
        self._followed(place)
        if make:
            place.mkdir(parents=True, exist_ok=True)
            self._followed(place)
        elif not stat.S_ISDIR(place.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _open_root(path: Path, flags: int, *, make: bool) -> int:
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        if not make:
            raise
    path.mkdir(parents=True, exist_ok=True)
    return os.open(path, flags)


def _open_below(parent: int, name: str, flags: int, *, make: bool) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    # Another process may make it at the same moment.
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return os.open(name, flags, dir_fd=parent)


def synchronise(descriptor: int) -> None:
    """Write an open file to the disk; goes on if its file system cannot do that.

    Raises:
        OSError: the file system can do it, and failed.
    """
    _fsync(descriptor, _NO_FSYNC)


def _fsync(descriptor: int, accepted: frozenset[int]) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in accepted:
            raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give errors the whole path: a name relative to a descriptor says little."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        # None would be shown.
        if error.filename2 is not None:
            del error.filename2
        raise
