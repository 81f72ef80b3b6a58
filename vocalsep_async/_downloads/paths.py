"""What files are called. No name is ever taken over from a server as it is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from string import Formatter
from urllib.parse import urlsplit

from vocalsep_async.errors import InvalidArgumentError

MANIFEST = "manifest.json"
_FIELDS = ("task_id", "stem", "ext")
_EXTENSIONS = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})
_USUAL_EXTENSION = ".mp3"
_LONGEST_ID = 100
_LONGEST_NAME = 200
"""Bytes of one part of a path; file systems take 255, and temporary files add to it."""
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}
)
_UNUSABLE = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def extension(link: str) -> str:
    """How the name of a link ends, if that is a kind of audio; ``.mp3`` otherwise."""
    try:
        suffix = PurePosixPath(urlsplit(link).path).suffix.lower()
    except ValueError:
        return _USUAL_EXTENSION
    return suffix if suffix in _EXTENSIONS else _USUAL_EXTENSION


def safe(text: str) -> str:
    """A part of a path that says *text* as well as it can.

    Different texts stay different, also where the file system does not know capital letters.
    """
    name = _UNSAFE.sub("_", text)[:_LONGEST_ID]
    if name[0] in ".-" or name[-1] == "." or is_device(name) or name.casefold() == MANIFEST:
        name = f"_{name}"
    if name == text == text.lower():
        return name
    # The tilde stands in no name that is left as it is.
    return f"{name}~{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Template:
    """Where each file goes, below the directory.

    Attributes:
        text: with ``{stem}``, and perhaps ``{task_id}`` and ``{ext}``; parts are divided by ``/``.

    Raises:
        InvalidArgumentError: it cannot be used; the message says why.
    """

    def __init__(self, text: object) -> None:
        self.text = _checked(text)
        for part in self._path("task", "stem", ".mp3").split("/"):
            _check_part(part)

    def _path(self, task_id: str, stem: str, ext: str) -> str:
        return self.text.format(task_id=task_id, stem=stem, ext=ext)

    def path(self, directory: Path, task_id: str, stem: str, link: str) -> Path:
        """Where *stem* of a task belongs.

        Raises:
            InvalidArgumentError: a part of the path is too long.
        """
        relative = self._path(safe(task_id), stem, extension(link))
        for part in relative.split("/"):
            _check_part(part)
        return directory.joinpath(*relative.split("/"))


def manifest_path(directory: Path, task_id: str) -> Path:
    """Where the list of a task's files is."""
    return directory / safe(task_id) / MANIFEST


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidArgumentError(f"template must be a string, not {type(text).__name__}")
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise InvalidArgumentError(f"template: {error}") from None
    fields = [name for _, name, spec, conversion in pieces if name is not None]
    if any(name not in _FIELDS for name in fields) or any(
        spec or conversion for _, name, spec, conversion in pieces if name is not None
    ):
        raise InvalidArgumentError(
            "template may hold {task_id}, {stem} and {ext}, and nothing else in braces"
        )
    if "stem" not in fields:
        raise InvalidArgumentError("template must hold {stem}, or all stems would be one file")
    return text


def _check_part(part: str) -> None:
    """Refuse what is no name of a file everywhere."""
    if part in ("", ".", ".."):
        raise InvalidArgumentError("template must be a path below the directory, without . and ..")
    if _UNUSABLE.search(part) or part[-1] in ". " or is_device(part):
        raise InvalidArgumentError(
            f"template gives {part!r}, which is no name of a file everywhere"
        )
    if part.casefold() == MANIFEST:
        raise InvalidArgumentError(f"template gives {part!r}, which is the list of the files")
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError("template holds a lone surrogate") from None
    if size > _LONGEST_NAME:
        raise InvalidArgumentError(
            f"template gives a name of {size} bytes; at most {_LONGEST_NAME} are used"
        )


def is_device(name: str) -> bool:
    """Whether some systems take it for a device, whatever follows the first dot."""
    return name.partition(".")[0].rstrip(" ").upper() in _DEVICES
