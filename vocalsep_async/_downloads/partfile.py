"""What has arrived of a file: kept under a hidden name beside the target until it is complete.

A JSON file beside the part says what file it is a part of, and a lock says which process writes it.
The lock ends with its process: a part without one is stale, and is resumed. If the part is locked,
another one is made under a random name, so that two processes with one target never write into the
same file. All functions block and run in worker threads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from attrs import asdict, frozen

from vocalsep_async._downloads.content import SNIFFED
from vocalsep_async._downloads.disk import (
    CREATE,
    OPEN,
    make_folder,
    read_regular,
    synchronise,
    synchronise_folder,
    write_new,
)
from vocalsep_async._downloads.source import Chunk, FileIdentity
from vocalsep_async._files import has_locks, try_lock

_BLOCK = 1 << 20
# Random names that are tried before the folder counts as contested.
_ATTEMPTS = 3
# Errors of opening what is not a file of this user: it is left alone, and another name is used.
# ENXIO comes from sockets, EMLINK from links on FreeBSD.
_INACCESSIBLE = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO, errno.EMLINK})


@frozen
class SavedFile:
    """A complete file on disk.

    Attributes:
        size: bytes.
        sha256: of its content, in hexadecimal.
        mtime_ns: time of its last change, in nanoseconds as the file system counts them.
    """

    size: int
    sha256: str
    mtime_ns: int


class PartMetadata:
    """The file beside a part that says what file it is a part of.

    Args:
        part: path of the part.
        owner: task and stem of the file; a part of another owner is not resumed.
    """

    def __init__(self, part: Path, owner: str) -> None:
        self._path = part.with_name(f"{part.name}.json")
        self._owner = owner

    def read(self) -> FileIdentity:
        """The identity of the file; an empty one unless it is known for certain."""
        try:
            content = json.loads(read_regular(self._path) or b"")
        except (OSError, ValueError, RecursionError):
            # Not written by this class: it is replaced when the part is written.
            return FileIdentity()
        is_of_owner = isinstance(content, dict) and content.get("owner") == self._owner
        return _parse_identity(content) if is_of_owner else FileIdentity()

    def write(self, identity: FileIdentity) -> None:
        """Replace the file.

        Raises:
            OSError: it could not be written.
        """
        write_new(self._path, json.dumps({"owner": self._owner, **asdict(identity)}).encode())

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _parse_identity(content: dict[str, Any]) -> FileIdentity:
    validator, size = content.get("validator"), content.get("size")
    content_type = content.get("content_type")
    is_usable = (
        isinstance(validator, str)
        # It is sent in a header: line breaks in it would add headers of their own.
        and validator.isascii()
        and validator.isprintable()
        and isinstance(size, int | None)
        and isinstance(content_type, str | None)
    )
    if not is_usable:
        return FileIdentity()
    return FileIdentity(validator, size, content.get("verified") is True, content_type)


class PartLock(NamedTuple):
    """A part that this process holds.

    Attributes:
        path: where the part is.
        descriptor: open for reading and writing; the holder of the lock closes it.
        is_locked: whether a lock keeps other processes away; if not, only the random name does.
    """

    path: Path
    descriptor: int
    is_locked: bool


class PartFile:
    """A file that is being downloaded; make one with `open`.

    Args:
        lock: the part, which this process holds.
        target: where the complete file belongs.
        owner: task and stem of the file.

    Attributes:
        position: bytes in the part.
        identity: of the file that they are a part of.
    """

    def __init__(self, lock: PartLock, target: Path, owner: str) -> None:
        self._path, self._descriptor, self._is_locked = lock
        self._target = target
        self._metadata = PartMetadata(self._path, owner)
        self._digest = hashlib.sha256()
        self._is_renamed = False
        self.position = 0
        self.identity = FileIdentity()

    @classmethod
    def open(cls, target: Path, directory: Path, owner: str, *, from_start: bool = False) -> Self:
        """Resume the part of *target* that an earlier attempt left, or begin one.

        Args:
            target: where the complete file belongs, below *directory*.
            directory: folder that no link may lead out of.
            owner: task and stem of the file; a part of another owner is not resumed.
            from_start: whether an existing part is dropped.

        Raises:
            OSError: the part cannot be opened, or *target* is a folder.
        """
        make_folder(target.parent, directory)
        # `replace` would fail on a folder too, but only after the whole file has been fetched.
        if target.is_dir() and not target.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part = cls(lock_part(target), target, owner)
        try:
            part._resume(from_start=from_start)
        except BaseException:
            part._close()
            raise
        return part

    def _resume(self, *, from_start: bool) -> None:
        identity = FileIdentity() if from_start else self._metadata.read()
        if identity.validator is None:
            self._restart()
            return
        self.identity = identity
        # Read in full: the checksum covers the whole file, and its state is not kept on disk.
        while block := os.read(self._descriptor, _BLOCK):
            self._digest.update(block)
            self.position += len(block)

    def _restart(self) -> None:
        # The metadata goes first: a part without it is never resumed, so a process that is killed
        # between the two steps leaves no metadata beside bytes of another file.
        self._metadata.remove()
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest = hashlib.sha256()
        self.position = 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there, and only `finish` is missing."""
        return self.position > 0 and self.position == self.identity.size

    def write(self, chunks: Iterable[Chunk]) -> None:
        """Append *chunks*; one at offset 0 replaces what was written before.

        Raises:
            OSError: they could not be written.
        """
        for chunk in chunks:
            if chunk.offset != self.position:
                self._restart()
            if chunk.identity is not self.identity:
                self.identity = chunk.identity
                # Before the bytes: a part is never resumed as a part of another file.
                self._metadata.write(chunk.identity)
            self._append(memoryview(chunk.data))

    def _append(self, data: memoryview) -> None:
        self._digest.update(data)
        self.position += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def beginning(self) -> bytes:
        """The first bytes of the part, enough to tell what it is.

        Raises:
            OSError: they cannot be read.
        """
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            return os.read(self._descriptor, SNIFFED)
        finally:
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def finish(self, target: Path | None = None) -> SavedFile:
        """Move the complete file to *target*, in place of what is there.

        Args:
            target: where the file belongs; None for the target that it was opened for.

        Raises:
            OSError: the file may not be on the disk; the target is complete all the same, in its
                old version or in this one.
        """
        target = target or self._target
        # The content is synchronised before the rename, and the folder after it. In any other
        # order, a power failure could leave the name of the target on a file without its content.
        synchronise(self._descriptor)
        found = os.fstat(self._descriptor)
        if found.st_size != self.position:
            raise OSError(errno.EIO, "another process changed the file")
        if sys.platform == "win32":  # pragma: no cover - it cannot rename an open file
            self._close()
        self._path.replace(target)
        # From here on, a file under the part's name belongs to another process.
        self._is_renamed = True
        # After the rename: a process that is killed before it leaves a part that can be resumed.
        self._metadata.remove()
        self._close()
        synchronise_folder(target.parent)
        return SavedFile(found.st_size, self._digest.hexdigest(), found.st_mtime_ns)

    def keep(self) -> None:
        """Close the part and leave it for another attempt; may be called again.

        Without a lock it is discarded: its name is random, and no later attempt would find it.
        """
        if self._is_locked and self.position > 0:
            self._close()
        else:
            self.discard()

    def discard(self) -> None:
        """Close and remove the part; leaves a file that was moved to its target alone."""
        if self._is_renamed:
            self._close()
        if self._descriptor < 0:
            return
        if sys.platform == "win32":  # pragma: no cover - it cannot remove an open file
            self._close()
        self._metadata.remove()
        self._path.unlink(missing_ok=True)
        # Closed last: the lock keeps other processes from resuming a part that is being removed.
        self._close()

    def _close(self) -> None:
        # Cleared first: after a failed close, the number may already belong to another file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def lock_part(target: Path) -> PartLock:
    """Open and lock the part of *target* that was left, or make one; remove stale spare parts.

    Raises:
        OSError: no part can be made beside *target*.
    """
    _remove_stale_spares(target)
    path = target.with_name(f".{target.name}.part")
    descriptor = _open_stale(path)
    if descriptor is None:
        return _create(path, target)
    return PartLock(path, descriptor, is_locked=True)


def _open_stale(path: Path) -> int | None:
    """Open and lock the part at *path*; None if it is missing, in use or not a regular file.

    A symbolic link in its place is removed.
    """
    try:
        descriptor = os.open(path, OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        # O_NOFOLLOW answers ELOOP for a symbolic link.
        if error.errno == errno.ELOOP:
            path.unlink(missing_ok=True)
        elif error.errno not in _INACCESSIBLE:
            raise
        return None
    if _is_sole_file(descriptor) and try_lock(descriptor) and _is_still_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _is_sole_file(descriptor: int) -> bool:
    """Whether it is a regular file without hard links, which would change along with it."""
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _is_still_at(descriptor: int, path: Path) -> bool:
    # Between opening and locking, the holder before may have renamed or removed the file.
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def _create(path: Path, target: Path) -> PartLock:
    """Make a part at *path*, or under a random name if that path is in use."""
    if not has_locks(target.parent):
        spare = _spare_path(target)
        return PartLock(spare, os.open(spare, CREATE, 0o666), is_locked=False)
    for candidate in (path, *(_spare_path(target) for _ in range(_ATTEMPTS))):
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(candidate, CREATE, 0o666)
            if try_lock(descriptor) and _is_still_at(descriptor, candidate):
                return PartLock(candidate, descriptor, is_locked=True)
            # Another process found it before it was locked, took it for stale and may hold it.
            os.close(descriptor)
    raise OSError(errno.EBUSY, "other processes take every part for stale")


def _spare_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")


def _remove_stale_spares(target: Path) -> None:
    """Remove the randomly named parts of processes that have ended.

    Only the part with the plain name is resumed: one is enough.
    """
    spare = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.part(\.json)?")
    # Listed first: entries are removed on the way.
    for path in list(target.parent.iterdir()):
        if spare.fullmatch(path.name):
            _remove_if_stale(path)


def _remove_if_stale(path: Path) -> None:
    if path.suffix == ".json":
        # The metadata of a part that exists goes with the part, under its lock.
        if not path.with_suffix("").exists():
            path.unlink(missing_ok=True)
        return
    descriptor = _open_stale(path)
    if descriptor is not None:
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        # Closed last: the lock keeps other processes away until the name is gone.
        os.close(descriptor)
