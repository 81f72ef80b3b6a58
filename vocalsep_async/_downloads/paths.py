"""Names of files: valid on every platform, and never taken from a server as they are."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from string import Formatter
from urllib.parse import urlsplit

from vocalsep_async.errors import InvalidArgumentError

MANIFEST = "manifest.json"
_FIELDS = ("task_id", "stem", "ext")
# Anything else might be opened as a program.
EXTENSIONS = (
    *(".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".aiff", ".aif"),
    *(".webm", ".mka", ".amr", ".mid", ".caf", ".au", ".wma"),
)
"""All that files may have; the first one where nothing says what a file is."""
_LONGEST_ID = 100
# Bytes of one path component: file systems allow 255, and the names of parts add up to 28.
_LONGEST_NAME = 200
# Names that Windows reserves, with any extension.
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}
)
_FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def extension(link: str) -> str:
    """The extension of the file name in *link* if it is one of audio; ``.mp3`` otherwise."""
    return possible_extensions(link)[0]


def possible_extensions(link: str) -> tuple[str, ...]:
    """The extensions that the file may get: that of *link* if it is one of audio, or else any."""
    try:
        suffix = PurePosixPath(urlsplit(link).path).suffix.lower()
    except ValueError:
        return EXTENSIONS
    return (suffix,) if suffix in EXTENSIONS else EXTENSIONS


def safe_name(text: str) -> str:
    """A path component that resembles *text*.

    Different texts have different names, even on file systems that ignore case.
    """
    name = _UNSAFE.sub("_", text)[:_LONGEST_ID]
    # A leading dot hides the file, and a leading dash is an option to many programs.
    if name[0] in ".-" or name[-1] == "." or is_device_name(name) or name.casefold() == MANIFEST:
        name = f"_{name}"
    if name == text == text.lower():
        return name
    # `_UNSAFE` replaces tildes, so no unchanged name equals a changed one.
    return f"{name}~{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Template:
    """Where each file goes, below a directory.

    Attributes:
        text: with ``{stem}``, and optionally ``{task_id}`` and ``{ext}``; components are separated
            by ``/``.

    Raises:
        InvalidArgumentError: the template is unusable; the message says why.
    """

    def __init__(self, text: object) -> None:
        self.text = _checked(text)
        # An example, so that mistakes in the text are found before any task is known.
        for component in self._format("task", "stem", ".mp3").split("/"):
            _check_component(component)

    @property
    def tells_tasks_apart(self) -> bool:
        """Whether files of different tasks have different paths."""
        return "task_id" in _fields(self.text)

    def _format(self, task_id: str, stem: str, ext: str) -> str:
        return self.text.format(task_id=task_id, stem=stem, ext=ext)

    def path(self, directory: Path, task_id: str, stem: str, link: str) -> Path:
        """Where *stem* of a task belongs, as far as *link* says what it is.

        Raises:
            InvalidArgumentError: a component of the path is too long.
        """
        return next(iter(self.paths(directory, task_id, stem, link).values()))

    def paths(self, directory: Path, task_id: str, stem: str, link: str) -> dict[str, Path]:
        """Where *stem* of a task may belong, by extension; what arrives decides between them.

        Raises:
            InvalidArgumentError: a component of a path is too long.
        """
        name = safe_name(task_id)
        return {
            ext: self._path(directory, self._format(name, stem, ext))
            for ext in possible_extensions(link)
        }

    def _path(self, directory: Path, relative: str) -> Path:
        for component in relative.split("/"):
            _check_component(component)
        return directory.joinpath(*relative.split("/"))


def manifest_path(directory: Path, task_id: str) -> Path:
    """Where the manifest of a task is, whatever the template."""
    return directory / safe_name(task_id) / MANIFEST


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidArgumentError(f"template must be a string, not {type(text).__name__}")
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise InvalidArgumentError(f"template: {error}") from None
    fields = _fields(text)
    # Attributes, indices, conversions and format specs could read or blow up anything.
    if any(name not in _FIELDS for name in fields) or any(
        spec or conversion for _, name, spec, conversion in parsed if name is not None
    ):
        raise InvalidArgumentError(
            "template may hold {task_id}, {stem} and {ext}, and nothing else in braces"
        )
    if "stem" not in fields:
        raise InvalidArgumentError("template must hold {stem}, or all stems would be one file")
    return text


def _fields(text: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(text) if name is not None]


def _check_component(component: str) -> None:
    """Reject what is not a valid name on every platform, wherever this one runs.

    Raises:
        InvalidArgumentError: it is not.
    """
    if component in ("", ".", ".."):
        raise InvalidArgumentError("template must be a path below the directory, without . and ..")
    if _FORBIDDEN.search(component) or component[-1] in ". " or is_device_name(component):
        raise InvalidArgumentError(
            f"template gives {component!r}, which is not a valid file name on every platform"
        )
    if component.casefold() == MANIFEST:
        raise InvalidArgumentError(f"template gives {component!r}, the name of the manifest")
    try:
        size = len(component.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError("template holds a lone surrogate") from None
    if size > _LONGEST_NAME:
        raise InvalidArgumentError(
            f"template gives a name of {size} bytes; the limit is {_LONGEST_NAME}"
        )


def is_device_name(name: str) -> bool:
    """Whether Windows takes it for a device, whatever follows the first dot."""
    return name.partition(".")[0].rstrip(" ").upper() in _DEVICES
