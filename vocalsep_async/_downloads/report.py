"""What downloading tells its callers, as frozen values."""

from __future__ import annotations

import copy
from pathlib import Path

from attrs import frozen

from vocalsep_async.errors import DownloadError


@frozen(kw_only=True)
class DownloadProgress:
    """How far one file is.

    Attributes:
        task_id: the task.
        stem: the stem's name.
        path: where it will be.
        done: bytes that have arrived, those of an earlier try included.
        total: bytes in all; None if the host does not say.
    """

    task_id: str
    stem: str
    path: Path
    done: int
    total: int | None


@frozen(kw_only=True)
class StemFile:
    """One stem on disk.

    Attributes:
        stem: its name.
        path: where it is.
        size: bytes.
        sha256: of its content, in hexadecimal; None for a file that was left as it stood
            (``overwrite="never"``).
        was_fetched: whether this call fetched it; False if it was there already.
        verified: whether it is known to be whole: the host said how long it is, or where it ends.
    """

    stem: str
    path: Path
    size: int
    sha256: str | None
    was_fetched: bool
    verified: bool


@frozen(kw_only=True)
class DownloadReport:
    """What became of the stems of one task.

    Attributes:
        task_id: the task.
        files: the stems that are on disk now.
        errors: why the others are not.
    """

    task_id: str
    files: tuple[StemFile, ...]
    errors: tuple[DownloadError, ...] = ()

    @property
    def paths(self) -> dict[str, Path]:
        """Where each stem is, by its name."""
        return {file.stem: file.path for file in self.files}

    @property
    def error(self) -> DownloadError | None:
        """The first error, which carries this report; None if all stems are on disk."""
        if not self.errors:
            return None
        # A copy: a report and its errors that hold each other could not be pickled.
        error = copy.copy(self.errors[0])
        error.report, error.__cause__ = self, self.errors[0].__cause__
        return error
