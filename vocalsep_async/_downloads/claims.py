"""Which task a file belongs to, where its name does not say so: the first one keeps it.

Two tasks may have one label, and labels that differ may lead to one file: file systems ignore case,
and characters that no name may hold are replaced. So a task claims the names of its files before
anything is fetched, in a small file for each below ``.vocalsep``. A claim outlives the process: in
the next run, too, another task of that label overwrites nothing.

All functions block and run in worker threads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from vocalsep_async._downloads.disk import read_regular, write_new
from vocalsep_async._downloads.folder import Directory, Folder
from vocalsep_async._downloads.manifest import Manifest
from vocalsep_async._downloads.paths import EXTENSIONS, HIDDEN, Template, folded
from vocalsep_async._text import printable
from vocalsep_async.errors import InvalidArgumentError

_FOLDER = "claims"


class StemFinder:
    """Tells files that are saved stems, or become one, from others.

    It reads each manifest once, so that it knows what was saved before its first question.
    """

    def __init__(self) -> None:
        self._saved: dict[Path, frozenset[str]] = {}
        """By the folder that keeps the manifests: the paths of the files in them."""

    def is_stem(self, path: Path) -> bool:
        """Whether the file at *path* is a stem, by what any folder above it keeps."""
        # Links to a folder would hide what is above it.
        place = Path(os.path.realpath(path.parent), path.name)
        kept = ((above, above / HIDDEN) for above in place.parents)
        # A name that is no text is none that a stem has.
        with suppress(UnicodeEncodeError):
            return any(
                self._is_kept(hidden, place.relative_to(above).as_posix())
                for above, hidden in kept
                if hidden.is_dir()
            )
        return False

    def _is_kept(self, hidden: Path, relative: str) -> bool:
        bare = relative.removesuffix(Path(relative).suffix)
        if (hidden / _FOLDER / _name_of(bare)).exists():
            return True
        if hidden not in self._saved:
            self._saved[hidden] = frozenset(_paths_in(hidden))
        return relative in self._saved[hidden]


def _paths_in(hidden: Path) -> Iterator[str]:
    for manifest in hidden.glob("*.json"):
        # A damaged one says nothing.
        with suppress(OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError):
            content = json.loads(manifest.read_bytes())
            yield from [str(each["path"]) for each in content["files"].values()]


def _name_of(relative: str) -> str:
    """The name of the claim of a file, by its path without an extension."""
    return f"{hashlib.sha256(folded(relative).encode()).hexdigest()[:32]}.json"


@frozen
class Owner:
    """The task that a file belongs to, and the stem that the file holds."""

    task_id: str
    stem: str


@frozen
class FileClaims:
    """The claims of one task.

    Args:
        directory: of the download.
        template: where its files go.
        task_id: the task.
        label: its label; None if it has none.
    """

    _directory: Directory
    _template: Template
    _task_id: str
    _label: str | None

    def take(self, paths: Mapping[str, Iterable[Path]], *, keeps_others: bool) -> None:
        """Claim the files of stems: all, or none.

        Args:
            paths: where each stem may be saved.
            keeps_others: whether a file that no task has claimed is an error.

        Raises:
            InvalidArgumentError: one of them belongs to another task, or to none.
            OSError: the claims cannot be read or written.
        """
        with self._directory.open(self._folder, make=True) as folder:
            folder.lock()
            new = [stem for stem in paths if self._owner(folder, stem) != self._as_owner(stem)]
            for stem in new:
                self._check_owner(folder, stem)
                if keeps_others:
                    self._check_unclaimed(stem, paths[stem])
            for stem in new:
                content = {"task_id": self._task_id, "stem": stem}
                write_new(folder, self._name(stem), json.dumps(content).encode())

    def release(self, paths: Mapping[str, Iterable[Path]]) -> None:
        """Give up the claims of stems of which nothing is on the disk.

        Args:
            paths: where each stem may be; one that is there, from an earlier run, keeps its claim.

        Raises:
            OSError: the claims cannot be read or written.
        """
        with self._directory.open(self._folder) as folder:
            folder.lock()
            for stem, places in paths.items():
                is_there = any(map(self._exists, places))
                if not is_there and self._owner(folder, stem) == self._as_owner(stem):
                    folder.unlink(self._name(stem))

    @property
    def _folder(self) -> Path:
        return self._directory.path / HIDDEN / _FOLDER

    def _as_owner(self, stem: str) -> Owner:
        return Owner(self._task_id, stem)

    def _name(self, stem: str) -> str:
        # Without an extension: which one a file has is not known before it arrives.
        return _name_of(self._relative(stem, ""))

    def _relative(self, stem: str, ext: str) -> str:
        return self._template.relative(self._task_id, stem, ext, self._label)

    def _owner(self, folder: Folder, stem: str) -> Owner | None:
        """The owner of the file of *stem*; None if there is none, or its claim is unreadable."""
        with suppress(ValueError, RecursionError, KeyError, TypeError):
            claim = json.loads(read_regular(folder, self._name(stem)) or b"")
            return Owner(str(claim["task_id"]), str(claim["stem"]))
        return None

    def _check_owner(self, folder: Folder, stem: str) -> None:
        owner = self._owner(folder, stem)
        if owner is None:
            return
        saved = self._manifest(owner.task_id).path_of(owner.stem)
        ours = {folded(self._relative(stem, ext)) for ext in ("", *EXTENSIONS)}
        if saved is None:
            state = (
                "whose download is not complete; if that task is given up, remove "
                f"{folder.path / self._name(stem)}"
            )
        elif folded(saved) in ours and self._exists(self._directory.path / saved):
            state = f"which has saved {printable(saved)!r}"
        else:
            return  # the file was moved away, and its name is free
        raise InvalidArgumentError(
            f"the file belongs to task {printable(owner.task_id)!r}, {state}. Nothing is "
            "overwritten: give one of them another label, or put {task_id} into the template"
        )

    def _check_unclaimed(self, stem: str, paths: Iterable[Path]) -> None:
        own = self._manifest(self._task_id).path_of(stem)
        for path in paths:
            relative = path.relative_to(self._directory.path).as_posix()
            if relative != own and self._exists(path):
                raise InvalidArgumentError(
                    f"{path} is there already, and was not saved for this task. Nothing is "
                    'overwritten: move it, use another template, or pass overwrite="always"'
                )

    def _manifest(self, task_id: str) -> Manifest:
        path = self._template.manifest(self._directory.path, task_id)
        return Manifest(self._directory, task_id, path)

    @staticmethod
    def _exists(path: Path) -> bool:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True
