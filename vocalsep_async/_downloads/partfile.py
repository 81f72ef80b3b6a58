"""What has arrived of a file: kept under a hidden name beside the target until it is complete.

A JSON file beside the part says what file it is a part of, and a lock says which process writes it.
The lock ends with its process: a part without one is stale, and is resumed. If the part is locked,
another one is made under a random name, so that two processes with one target never write into the
same file. All functions block and run in worker threads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from attrs import asdict, frozen

from vocalsep_async._downloads.content import SNIFFED
from vocalsep_async._downloads.disk import CREATE, OPEN, read_regular, write_new
from vocalsep_async._downloads.folder import Directory, Folder, synchronise
from vocalsep_async._downloads.source import Chunk, FileIdentity
from vocalsep_async._files import take_lock, try_lock

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
        folder: where both are.
        part: name of the part.
        owner: task and stem of the file; a part of another owner is not resumed.
    """

    def __init__(self, folder: Folder, part: str, owner: str) -> None:
        self._folder = folder
        self._name = _metadata_of(part)
        self._owner = owner

    def read(self) -> FileIdentity:
        """The identity of the file; an empty one unless it is known for certain."""
        try:
            content = json.loads(read_regular(self._folder, self._name) or b"")
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
        content = {"owner": self._owner, **asdict(identity)}
        write_new(self._folder, self._name, json.dumps(content).encode())

    def remove(self) -> None:
        self._folder.unlink(self._name)


def _metadata_of(part: str) -> str:
    return f"{part}.json"


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
        name: of the part, in its folder.
        descriptor: open for reading and writing; the holder of the lock closes it.
        is_locked: whether a lock keeps other processes away; if not, only the random name does.
    """

    name: str
    descriptor: int
    is_locked: bool


class PartFile:
    """A file that is being downloaded; make one with `open`.

    Args:
        lock: the part, which this process holds.
        folder: where it is, beside the target; closed with the part.
        directory: of the download.
        target: where the complete file belongs.
        owner: task and stem of the file.

    Attributes:
        position: bytes in the part.
        identity: of the file that they are a part of.
        is_kept: whether it was closed and left for another attempt.
    """

    def __init__(
        self, lock: PartLock, folder: Folder, directory: Directory, target: Path, owner: str
    ) -> None:
        self._name, self._descriptor, self._is_locked = lock
        self._folder = folder
        self._directory = directory
        self._target = target
        self._metadata = PartMetadata(folder, self._name, owner)
        self._digest = hashlib.sha256()
        self._is_renamed = False
        self.position = 0
        self.identity = FileIdentity()
        self.is_kept = False

    @property
    def path(self) -> Path:
        """Where the part is."""
        return self._folder.path / self._name

    @classmethod
    def open(
        cls, directory: Directory, target: Path, owner: str, *, from_start: bool = False
    ) -> Self:
        """Resume the part of *target* that an earlier attempt left, or begin one.

        Args:
            directory: of the download.
            target: where the complete file belongs, below *directory*.
            owner: task and stem of the file; a part of another owner is not resumed.
            from_start: whether an existing part is dropped.

        Raises:
            OSError: the part cannot be opened, or *target* is a folder.
        """
        folder = directory.open(target.parent, make=True)
        try:
            # `finish` would fail on a folder too, but only after the whole file has been fetched.
            _check_replaceable(folder, target.name)
            part = cls(lock_part(folder, target.name), folder, directory, target, owner)
        except BaseException:
            folder.close()
            raise
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
            self._close_file()
        if target.parent == self._folder.path:
            self._move(self._folder, target.name)
        else:
            with self._directory.open(target.parent, make=True) as folder:
                self._move(folder, target.name)
        self._close()
        return SavedFile(found.st_size, self._digest.hexdigest(), found.st_mtime_ns)

    def _move(self, folder: Folder, name: str) -> None:
        # Before, so that no file gets its name elsewhere; and after, since folders can be moved at
        # any moment, and a file that is not at its path must not count as saved.
        folder.check_place()
        self._folder.move(self._name, folder, name)
        # From here on, a file under the part's name belongs to another process.
        self._is_renamed = True
        # After the rename: a process that is killed before it leaves a part that can be resumed.
        self._metadata.remove()
        self._close_file()
        folder.synchronise()
        folder.check_place()

    def keep(self) -> None:
        """Close the part and leave it for another attempt; may be called again.

        It is discarded if no later attempt would resume it: without a lock, because its name is
        random, and without a validator, because its bytes may be of another file by then.
        """
        is_resumable = self.position > 0 and self.identity.validator is not None
        if self._is_locked and is_resumable:
            self.is_kept = self._descriptor >= 0 or self.is_kept
            self._close()
        else:
            self.discard()

    def discard(self) -> None:
        """Close and remove the part; leaves a file that was moved to its target alone."""
        if self._is_renamed:
            self._close()
        if self._descriptor < 0:
            self._close()
            return
        if sys.platform == "win32":  # pragma: no cover - it cannot remove an open file
            self._close_file()
        self._metadata.remove()
        self._folder.unlink(self._name)
        # Closed last: the lock keeps other processes from resuming a part that is being removed.
        self._close()

    def _close(self) -> None:
        try:
            self._close_file()
        finally:
            self._folder.close()

    def _close_file(self) -> None:
        # Cleared first: after a failed close, the number may already belong to another file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _check_replaceable(folder: Folder, name: str) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(folder.stat(name).st_mode):
            raise IsADirectoryError(
                errno.EISDIR, os.strerror(errno.EISDIR), str(folder.path / name)
            )


def lock_part(folder: Folder, target: str) -> PartLock:
    """Open and lock the part of *target* that was left, or make one; remove stale spare parts.

    Raises:
        OSError: no part can be made beside *target*.
    """
    _remove_stale_spares(folder, target)
    name = f".{target}.part"
    descriptor = _open_stale(folder, name)
    if descriptor is None:
        return _create(folder, name, target)
    return PartLock(name, descriptor, is_locked=True)


def _open_stale(folder: Folder, name: str) -> int | None:
    """Open and lock the part *name*; None if it is missing, in use or not a regular file.

    A symbolic link in its place is removed.
    """
    try:
        descriptor = folder.open(name, OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        # O_NOFOLLOW answers ELOOP for a symbolic link.
        if error.errno == errno.ELOOP:
            folder.unlink(name)
        elif error.errno not in _INACCESSIBLE:
            raise
        return None
    if (
        _is_sole_file(descriptor)
        and try_lock(descriptor)
        and _is_still_there(descriptor, folder, name)
    ):
        return descriptor
    os.close(descriptor)
    return None


def _is_sole_file(descriptor: int) -> bool:
    """Whether it is a regular file without hard links, which would change along with it."""
    found = os.fstat(descriptor)
    # Some file systems do not count links, and answer 0.
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1


def _is_still_there(descriptor: int, folder: Folder, name: str) -> bool:
    # Between opening and locking, the holder before may have renamed or removed the file.
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), folder.stat(name))
    return False


def _create(folder: Folder, name: str, target: str) -> PartLock:
    """Make a part called *name*, or with a random name if that is in use or cannot be locked."""
    for candidate in (name, *(_spare_name(target) for _ in range(_ATTEMPTS))):
        with suppress(FileExistsError):
            descriptor = folder.open(candidate, CREATE)
            try:
                is_locked = take_lock(descriptor)
            except OSError:
                # Without locks, a name that other processes know too is no place to write to.
                if candidate != name:
                    return PartLock(candidate, descriptor, is_locked=False)
                os.close(descriptor)
                folder.unlink(name)
                continue
            if is_locked and _is_still_there(descriptor, folder, candidate):
                return PartLock(candidate, descriptor, is_locked=True)
            # Another process found it before it was locked, took it for stale and may hold it.
            os.close(descriptor)
    raise OSError(errno.EBUSY, "other processes take every part for stale")


def _spare_name(target: str) -> str:
    return f".{target}.{secrets.token_hex(8)}.part"


def _remove_stale_spares(folder: Folder, target: str) -> None:
    """Remove the randomly named parts of processes that have ended.

    Only the part with the plain name is resumed: one is enough.
    """
    spare = re.compile(re.escape(f".{target}.") + r"[0-9a-f]{16}\.part(\.json)?")
    for name in filter(spare.fullmatch, folder.names()):
        _remove_if_stale(folder, name)


def _remove_if_stale(folder: Folder, name: str) -> None:
    if name.endswith(".json"):
        # The metadata of a part that exists goes with the part, under its lock.
        with suppress(FileNotFoundError):
            folder.stat(name.removesuffix(".json"))
            return
        folder.unlink(name)
        return
    descriptor = _open_stale(folder, name)
    if descriptor is not None:
        folder.unlink(_metadata_of(name))
        folder.unlink(name)
        # Closed last: the lock keeps other processes away until the name is gone.
        os.close(descriptor)
