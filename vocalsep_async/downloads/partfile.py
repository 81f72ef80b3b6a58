"""What has arrived of a file: beside its target under a hidden name, until it is whole.

All here blocks and runs in worker threads. A part belongs to the process that holds its lock,
which ends with the process however that ends: a part that nobody holds is stale and is taken up.
Who finds it held makes another one of its own, so two processes with the same target never write
into the same file. The name is given up only for a whole file on the disk: written, synchronised,
renamed, in this order.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from attrs import asdict, frozen

from vocalsep_async._locks import try_lock
from vocalsep_async.downloads.disk import make_folder, synchronise_folder
from vocalsep_async.downloads.remote import About, Piece

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_OPEN |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Never through a link that somebody planted, and never waiting for the other end of a pipe."""
_BLOCK = 1 << 20


@frozen
class Saved:
    """A file that is on the disk.

    Attributes:
        size: bytes.
        sha256: of its content, in hexadecimal.
        mtime_ns: when it was changed last, in nanoseconds as the file system counts them.
    """

    size: int
    sha256: str
    mtime_ns: int


class PartFile:
    """The part of a file that is there.

    Attributes:
        position: bytes that are there.
        about: what file they are of.
    """

    def __init__(self, path: Path, target: Path, descriptor: int) -> None:
        self._path = path
        self._target = target
        self._note = path.with_name(f"{path.name}.json")
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self.position = 0
        self.about = _read_note(self._note)

    @classmethod
    def open(cls, target: Path, directory: Path) -> Self:
        """Take up the part of *target* that was left, or begin one.

        Args:
            target: where the file belongs, below *directory*.
            directory: what may not be left, by links either.

        Raises:
            OSError: it cannot be written there.
        """
        make_folder(target.parent, directory)
        if target.is_dir() and not target.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _remove_stale(target)
        path = target.with_name(f".{target.name}.part")
        descriptor = _taken_up(path)
        if descriptor is None:
            path, descriptor = _begun(path, target)
        part = cls(path, target, descriptor)
        part._count()
        return part

    @property
    def is_complete(self) -> bool:
        """Whether all is there, and only the name is missing."""
        return self.position > 0 and self.position == self.about.size

    def _count(self) -> None:
        """Read again what is there, if it is known what it is."""
        if self.about.validator is None:
            self._restart()
            return
        while block := os.read(self._descriptor, _BLOCK):
            self._digest.update(block)
            self.position += len(block)

    def _restart(self) -> None:
        # First the note goes: without it, nobody goes on with what is about to be removed.
        self._note.unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest = hashlib.sha256()
        self.position = 0

    def write(self, pieces: Iterable[Piece]) -> None:
        """Add *pieces*; one that belongs at 0 begins the file anew.

        Raises:
            OSError: it could not be written.
        """
        for piece in pieces:
            if piece.offset != self.position:
                self._restart()
            if piece.about is not self.about:
                self.about = piece.about
                self._note.write_text(json.dumps(asdict(self.about)))
            self._write(memoryview(piece.data))

    def _write(self, data: memoryview) -> None:
        self._digest.update(data)
        self.position += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def finish(self) -> Saved:
        """Give the whole file its name, in place of whatever had it.

        Raises:
            OSError: it is not known to be on the disk; what had the name before has it still.
        """
        os.fsync(self._descriptor)
        size = os.fstat(self._descriptor).st_size
        if size != self.position:
            raise OSError(errno.EIO, "the file was changed by somebody else")
        mtime_ns = os.fstat(self._descriptor).st_mtime_ns
        self._path.replace(self._target)
        self._note.unlink(missing_ok=True)
        synchronise_folder(self._target.parent)
        self.keep()
        return Saved(size, self._digest.hexdigest(), mtime_ns)

    def keep(self) -> None:
        """Let go of what is there, for another try to take up; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def discard(self) -> None:
        """Remove what is there; not after `finish`."""
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.keep()


def _taken_up(path: Path) -> int | None:
    """Open the part at *path* if it is there, nobody's, and a plain file; remove a planted link."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            path.unlink(missing_ok=True)
            return None
        raise
    if _is_ours(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _is_ours(descriptor: int, path: Path) -> bool:
    """Whether nobody else has the file open, no other name leads to it, and it is still there."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not try_lock(descriptor):
        return False
    # Who held it a moment ago may have given it its final name.
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(found, path.lstat())
    return False


def _begun(path: Path, target: Path) -> tuple[Path, int]:
    """Make a new part: at *path*, or under a name of its own where that one is in use."""
    with contextlib.suppress(FileExistsError):
        descriptor = _made(path)
        if _is_ours(descriptor, path):
            return path, descriptor
        os.close(descriptor)
    own = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    descriptor = _made(own)
    try_lock(descriptor)
    return own, descriptor


def _made(path: Path) -> int:
    return os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)


def _remove_stale(target: Path) -> None:
    """Remove the parts of processes that ended before they were whole, but for the first one."""
    for path in _others(target):
        descriptor = _taken_up(path)
        if descriptor is not None:
            path.with_name(f"{path.name}.json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _others(target: Path) -> Iterator[Path]:
    beginning = f".{target.name}."
    with os.scandir(target.parent) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        token = name.removeprefix(beginning).removesuffix(".part")
        if name == f"{beginning}{token}.part" and len(token) == 16:
            yield target.with_name(name)


def _read_note(note: Path) -> About:
    """What file a part is of; nothing where it is not known for certain."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        told = json.loads(note.read_text())
        if isinstance(told["validator"], str) and isinstance(told["size"], int | None):
            return About(**told)
    return About()
