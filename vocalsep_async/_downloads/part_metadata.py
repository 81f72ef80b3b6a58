"""What a part of a file is a part of: written beside it, before its first byte.

All here blocks and runs in worker threads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import asdict

from vocalsep_async._downloads.disk import read_plain, write_plain
from vocalsep_async._downloads.source import FileIdentity


class PartMetadata:
    """The note beside a part.

    Args:
        part: where the part is.
        owner: whose file it is to become; a part of somebody else's is of no use.
    """

    def __init__(self, part: Path, owner: str) -> None:
        self._path = part.with_name(f"{part.name}.json")
        self._owner = owner

    def read(self) -> FileIdentity:
        """What file the part is of; nothing where that is not known for certain."""
        try:
            told = json.loads(read_plain(self._path) or b"")
        except (OSError, ValueError, RecursionError):
            # Whatever is there, it is no note of ours, and goes when one is written.
            return FileIdentity()
        return _about(told) if _is_of(told, self._owner) else FileIdentity()

    def write(self, about: FileIdentity) -> None:
        """Write down what file the part is of.

        Raises:
            OSError: it could not be written.
        """
        write_plain(self._path, json.dumps({"owner": self._owner, **asdict(about)}).encode())

    def remove(self) -> None:
        """Remove it, if it is there."""
        self._path.unlink(missing_ok=True)


def _is_of(told: Any, owner: str) -> bool:
    return isinstance(told, dict) and told.get("owner") == owner


def _about(told: dict[str, Any]) -> FileIdentity:
    validator, size, kind = told.get("validator"), told.get("size"), told.get("content_type")
    is_usable = (
        isinstance(validator, str)
        and validator.isascii()
        and validator.isprintable()
        and isinstance(size, int | None)
        and isinstance(kind, str | None)
    )
    if not is_usable:
        return FileIdentity()
    return FileIdentity(validator, size, told.get("verified") is True, kind)
