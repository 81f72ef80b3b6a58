"""The manifest of a task: which files were saved, so that intact ones are not fetched again.

All functions block and run in worker threads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vocalsep_async._downloads.disk import open_regular, read_regular, replace_file
from vocalsep_async._downloads.folder import Directory, Folder
from vocalsep_async._downloads.partfile import SavedFile
from vocalsep_async._downloads.paths import manifest_path
from vocalsep_async._text import without_tokens
from vocalsep_async.models import SeparationTask, StemFile

_logger = logging.getLogger("vocalsep_async.downloads")
_SCHEMA = 1


class Manifest:
    """The manifest of one task in a directory.

    Args:
        directory: the paths of the files are relative to it.
        task_id: the task.
        path: where the manifest is; None for the folder of the task.

    Raises:
        OSError: the manifest cannot be read.
    """

    def __init__(self, directory: Directory, task_id: str, path: Path | None = None) -> None:
        self._directory = directory
        self._path = path or manifest_path(directory.path, task_id)
        self._task_id = task_id
        self._earlier: dict[str, Any] = {}
        """What version 0.1.0 left, which wrote every manifest to the folder of the task."""
        with suppress(FileNotFoundError):
            self._files: dict[str, Any] = self._read_at(self._path)
            return
        earlier = manifest_path(directory.path, task_id)
        if self._path != earlier:
            # Anything may be there by now.
            with suppress(FileNotFoundError, NotADirectoryError):
                self._earlier = self._read_at(earlier)
        self._files = self._earlier

    def _read_at(self, path: Path) -> dict[str, Any]:
        with self._directory.open(path.parent) as folder:
            content = self._read_bytes(folder, path.name)
            if content is None:
                raise FileNotFoundError
            return self._parsed(content, path)

    def _read(self, folder: Folder) -> dict[str, Any]:
        content = self._read_bytes(folder, self._path.name)
        return self._earlier if content is None else self._parsed(content, self._path)

    def _parsed(self, content: bytes, path: Path) -> dict[str, Any]:
        try:
            manifest = json.loads(content)
        except (ValueError, RecursionError):
            manifest = None
        if _is_manifest_of(manifest, self._task_id):
            files: dict[str, Any] = manifest["files"]
            return files
        # Not an error: the files themselves are there, and are at worst fetched once more.
        _logger.warning("%s is not a manifest of this task; it will be replaced", path)
        return {}

    def _read_bytes(self, folder: Folder, name: str) -> bytes | None:
        try:
            return read_regular(folder, name)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return b""  # a link in its place is not followed, and is replaced by `add`
            raise

    def path_of(self, stem: str) -> str | None:
        """The path of *stem* below the directory; None if it was not saved."""
        entry = self._files.get(stem)
        path = entry.get("path") if isinstance(entry, dict) else None
        return path if isinstance(path, str) else None

    def intact_file(self, stem: str, path: Path) -> StemFile | None:
        """The file of *stem* if it is at *path*, unchanged since it was saved; None otherwise.

        Raises:
            OSError: the file cannot be read.
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
        # The checksum costs a read of the file, and decides only if the file was touched.
        if entry.get("mtime_ns") != found.st_mtime_ns and entry.get("sha256") != self._sha256(path):
            return None
        return StemFile(
            stem=stem,
            path=path,
            size=found.st_size,
            sha256=entry.get("sha256"),
            was_fetched=False,
            verified=entry.get("verified") is True,
        )

    def _sha256(self, path: Path) -> str:
        with (
            self._directory.open(path.parent) as folder,
            os.fdopen(open_regular(folder, path.name), "rb") as file,
        ):
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._directory.path).as_posix()

    def add(
        self, stem: str, path: Path, saved: SavedFile, record: SeparationTask, *, verified: bool
    ) -> None:
        """Add the file of *stem* at *path*, and store *record* as the record of the task.

        Raises:
            OSError: the manifest could not be written; the old one is unchanged.
        """
        entry = {
            "path": self._relative(path),
            "size": saved.size,
            "sha256": saved.sha256,
            "mtime_ns": saved.mtime_ns,
            "verified": verified,
        }
        with self._directory.open(self._path.parent, make=True) as folder:
            folder.lock()
            # Read again under the lock: another process may have saved other stems of the task.
            self._files = self._read(folder) | {stem: entry}
            replace_file(folder, self._path.name, self._content(record))

    def _content(self, record: SeparationTask) -> bytes:
        content = {
            "schema": _SCHEMA,
            "task_id": self._task_id,
            "files": self._files,
            "record": json.loads(without_tokens(json.dumps(record.raw))),
        }
        return json.dumps(content, indent=2).encode()


def _is_manifest_of(manifest: object, task_id: str) -> bool:
    return (
        isinstance(manifest, Mapping)
        and manifest.get("schema") == _SCHEMA
        and manifest.get("task_id") == task_id
        and isinstance(manifest.get("files"), dict)
    )
