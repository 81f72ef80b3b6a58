"""The list of a task's files: what was saved, so that nothing whole is fetched again.

All here blocks and runs in worker threads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocalsep_async._downloads.disk import alone_in, make_folder, read_plain, replace
from vocalsep_async._downloads.partfile import Saved
from vocalsep_async._downloads.paths import manifest_path
from vocalsep_async.models import SeparationTask, StemFile

_logger = logging.getLogger("vocalsep_async")
_SCHEMA = 1


class Manifest:
    """The files of one task below a directory.

    Args:
        directory: what their paths are relative to.
        task_id: whose they are.
    """

    def __init__(self, directory: Path, task_id: str) -> None:
        self._directory = directory
        self._path = manifest_path(directory, task_id)
        self._task_id = task_id
        self._files: dict[str, Any] = self._read()

    def _read(self) -> dict[str, Any]:
        content = self._content_there()
        if content is None:
            return {}
        try:
            told = json.loads(content)
        except (ValueError, RecursionError):
            told = None
        if _is_of(told, self._task_id):
            files: dict[str, Any] = told["files"]
            return files
        _logger.warning("%s is not a list of this task's files; it is written anew", self._path)
        return {}

    def _content_there(self) -> bytes | None:
        try:
            return read_plain(self._path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return b""  # a link in its place is not followed, but replaced
            raise

    def whole(self, stem: str, path: Path) -> StemFile | None:
        """The file of *stem* if it is at *path*, as it was saved.

        Raises:
            OSError: it cannot be read.
        """
        entry = self._files.get(stem)
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not isinstance(entry, dict) or entry.get("path") != self._relative(path):
            return None
        if not stat.S_ISREG(found.st_mode) or entry.get("size") != found.st_size:
            return None
        if entry.get("mtime_ns") != found.st_mtime_ns and entry.get("sha256") != _sha256(path):
            return None
        return StemFile(
            stem=stem,
            path=path,
            size=found.st_size,
            sha256=entry.get("sha256"),
            was_fetched=False,
            verified=entry.get("verified") is True,
        )

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._directory).as_posix()

    def add(
        self, stem: str, path: Path, saved: Saved, record: SeparationTask, *, verified: bool
    ) -> None:
        """Write down that *stem*, of the task as *record* has it, is at *path*.

        Raises:
            OSError: the list could not be written; the old one is as it was.
        """
        entry = {
            "path": self._relative(path),
            "size": saved.size,
            "sha256": saved.sha256,
            "mtime_ns": saved.mtime_ns,
            "verified": verified,
        }
        make_folder(self._path.parent, self._directory)
        with alone_in(self._path.parent):
            # Somebody else may have saved other stems of the task meanwhile.
            self._files = self._read() | {stem: entry}
            replace(self._path, self._content(record))

    def _content(self, record: SeparationTask) -> bytes:
        content = {
            "schema": _SCHEMA,
            "task_id": self._task_id,
            "files": self._files,
            "record": record.raw,
        }
        return json.dumps(content, indent=2).encode()


def _is_of(told: object, task_id: str) -> bool:
    return (
        isinstance(told, Mapping)
        and told.get("schema") == _SCHEMA
        and told.get("task_id") == task_id
        and isinstance(told.get("files"), dict)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
