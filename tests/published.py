"""The files of the project: those that git does not ignore."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def published_files() -> list[Path]:
    """Files that git does not ignore; without git, files that are not hidden or generated."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        files = (ROOT / name for name in run.stdout.split("\0") if name)
        return [file for file in files if file.is_file()]
    return list(visible_files(ROOT))


def visible_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_generated(Path(folder, name))]
        yield from (Path(folder, name) for name in names)


def is_generated(folder: Path) -> bool:
    if folder.name in {"__pycache__", "dist"} or (folder / "pyvenv.cfg").exists():
        return True
    return folder.name.startswith(".") and folder.name != ".ci"
