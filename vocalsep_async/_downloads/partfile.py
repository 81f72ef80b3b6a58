"""What has arrived of a file: beside its target under a hidden name, until it is whole.

All here blocks and runs in worker threads. The name is given up only for a whole file on the disk:
written, synchronised, renamed, in this order.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from attrs import frozen

from vocalsep_async._downloads.disk import make_folder, synchronise_folder
from vocalsep_async._downloads.part_lock import PartLock, claimed
from vocalsep_async._downloads.part_metadata import PartMetadata
from vocalsep_async._downloads.source import Chunk, FileIdentity

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

    def __init__(self, claim: PartLock, target: Path, owner: str) -> None:
        self._path, self._descriptor, self._is_locked = claim
        self._target = target
        self._note = PartMetadata(self._path, owner)
        self._digest = hashlib.sha256()
        self._has_its_name = False
        self.position = 0
        self.about = FileIdentity()

    @classmethod
    def open(cls, target: Path, directory: Path, owner: str, *, anew: bool = False) -> Self:
        """Take up the part of *target* that was left, or begin one.

        Args:
            target: where the file belongs, below *directory*.
            directory: what may not be left, by links either.
            owner: what file it is to become; a part that was begun for another one is dropped.
            anew: whether any part is dropped.

        Raises:
            OSError: it cannot be written there.
        """
        make_folder(target.parent, directory)
        if target.is_dir() and not target.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part = cls(claimed(target), target, owner)
        try:
            part._take_up(anew=anew)
        except BaseException:
            part._close()
            raise
        return part

    def _take_up(self, *, anew: bool) -> None:
        """Read again what is there, if it is known what it is."""
        about = FileIdentity() if anew else self._note.read()
        if about.validator is None:
            self._begin_anew()
            return
        self.about = about
        while block := os.read(self._descriptor, _BLOCK):
            self._digest.update(block)
            self.position += len(block)

    def _begin_anew(self) -> None:
        # First the note goes: without it, nobody goes on with what is about to be removed.
        self._note.remove()
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest = hashlib.sha256()
        self.position = 0

    @property
    def is_complete(self) -> bool:
        """Whether all is there, and only the name is missing."""
        return self.position > 0 and self.position == self.about.size

    def write(self, pieces: Iterable[Chunk]) -> None:
        """Add *pieces*; one that belongs at 0 begins the file anew.

        Raises:
            OSError: it could not be written.
        """
        for piece in pieces:
            if piece.offset != self.position:
                self._begin_anew()
            if piece.about is not self.about:
                self.about = piece.about
                self._note.write(piece.about)
            self._write(memoryview(piece.data))

    def _write(self, data: memoryview) -> None:
        self._digest.update(data)
        self.position += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def finish(self) -> Saved:
        """Give the whole file its name, in place of whatever had it.

        Raises:
            OSError: it is not known to be on the disk; either this file or what was there before
                has the name, and it is whole.
        """
        os.fsync(self._descriptor)
        found = os.fstat(self._descriptor)
        if found.st_size != self.position:
            raise OSError(errno.EIO, "the file was changed by somebody else")
        if sys.platform == "win32":  # pragma: no cover - it renames nothing that is open
            self._close()
        self._path.replace(self._target)
        # From here on what is at the part's name is somebody else's.
        self._has_its_name = True
        self._note.remove()
        self._close()
        synchronise_folder(self._target.parent)
        return Saved(found.st_size, self._digest.hexdigest(), found.st_mtime_ns)

    def keep(self) -> None:
        """Let go of what is there, for another try to take up; may be called again."""
        if self._is_locked and self.position > 0:
            self._close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove what is there; it does nothing to a file that has its name."""
        if self._has_its_name:
            self._close()
        if self._descriptor < 0:
            return
        if sys.platform == "win32":  # pragma: no cover - it removes nothing that is open
            self._close()
        self._note.remove()
        self._path.unlink(missing_ok=True)
        # Closed last: the lock keeps others from beginning a part here meanwhile.
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
