"""Telling a caller how far a file is, ten times a second at most."""

from __future__ import annotations

import math
from pathlib import Path

from vocalsep_async.downloads import OnProgress
from vocalsep_async.models import DownloadProgress

_GAP = 1 / 9
"""Seconds: nine times a second, and once more at the end of the file."""


class ToldError(Exception):
    """What a caller's function raised is the cause: no error of the disk, whatever its kind."""


class ProgressReporter:
    """Tells of one file.

    Args:
        on_progress: whom; None for nobody.
        task_id: the task.
        stem: the stem's name.
        path: where it will be.
    """

    def __init__(
        self, on_progress: OnProgress | None, *, task_id: str, stem: str, path: Path
    ) -> None:
        self._on_progress = on_progress
        self._task_id = task_id
        self._stem = stem
        self._path = path
        self._told_at = -math.inf

    def tell(self, done: int, total: int | None, now: float, *, at_end: bool = False) -> None:
        """So many bytes are there at *now*, and were at the end if *at_end*.

        Raises:
            ToldError: the caller's function raised.
        """
        if self._on_progress is None or (now - self._told_at < _GAP and not at_end):
            return
        self._told_at = now
        progress = DownloadProgress(
            task_id=self._task_id, stem=self._stem, path=self._path, done=done, total=total
        )
        try:
            self._on_progress(progress)
        except Exception as error:
            raise ToldError from error
