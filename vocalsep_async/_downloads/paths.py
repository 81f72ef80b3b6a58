"""Names of files: valid on every platform, and never taken from a server as they are."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path, PurePosixPath
from string import Formatter
from urllib.parse import urlsplit

from vocalsep_async._text import is_visible
from vocalsep_async.errors import InvalidArgumentError

MANIFEST = "manifest.json"
HIDDEN = ".vocalsep"
"""The folder of what is kept about files that have no folder for their task."""
_FIELDS = ("task_id", "stem", "ext", "label")
# Anything else might be opened as a program.
EXTENSIONS = (
    *(".mp3", ".wav", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".aiff", ".aif"),
    *(".webm", ".mka", ".amr", ".mid", ".caf", ".au", ".wma"),
)
"""All that files may have; the first one where nothing says what a file is."""
_LONGEST_ID = 100
# Bytes: beside a label, a name has room for an id or a stem.
_LONGEST_LABEL = 120
_DIGEST = 12
# Bytes of one path component: file systems allow 255, and the names of parts add up to 28.
_LONGEST_NAME = 200
# Names that Windows reserves, with any extension.
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}
)
_FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
# Words of Persian and Indian languages, and emoji, are written with them.
_JOINERS = frozenset("\u200c\u200d")
_RESERVED = frozenset({MANIFEST, HIDDEN})


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
    if name[0] in ".-" or name[-1] == "." or _is_reserved(name):
        name = f"_{name}"
    if name == text == text.lower():
        return name
    # `_UNSAFE` replaces tildes, so no unchanged name equals a changed one.
    return f"{name}~{_digest(text)}"


def label_name(label: str) -> str:
    """A path component that reads as *label* does.

    Different labels may have one name: it is meant for people, and keeps letters of every script.
    """
    composed = unicodedata.normalize("NFC", label)
    name = "".join(map(_in_file_name, composed)).strip(" .") or "_"
    if len(name.encode()) > _LONGEST_LABEL:
        # Movements of one work differ at their ends.
        kept = name.encode()[: _LONGEST_LABEL - _DIGEST - 1].decode(errors="ignore")
        name = f"{kept.rstrip(' .')}~{_digest(composed)}"
    # A leading dash is an option to many programs.
    return f"_{name}" if name[0] == "-" or _is_reserved(name) else name


def _in_file_name(character: str) -> str:
    if character.isspace():
        return " "
    is_shown = is_visible(character) or character in _JOINERS
    is_forbidden = character == "/" or _FORBIDDEN.match(character)
    return character if is_shown and not is_forbidden else "_"


def _is_reserved(name: str) -> bool:
    return is_device_name(name) or name.casefold() in _RESERVED


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]


def folded(path: str) -> str:
    """*path* as file systems compare it that ignore case, or the forms of composed letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


class Template:
    """Where each file goes, below a directory.

    Attributes:
        text: with ``{stem}``, ``{task_id}``, ``{label}`` and ``{ext}``, each of them optional;
            components are separated by ``/``.

    Raises:
        InvalidArgumentError: the template is unusable; the message says why.
    """

    def __init__(self, text: object) -> None:
        self.text = _checked(text)
        self._fields = frozenset(_fields(self.text))
        # An example, so that mistakes in the text are found before any task is known.
        for component in self._format("task", "label", "stem", ".mp3").split("/"):
            _check_component(component)

    @property
    def tells_tasks_apart(self) -> bool:
        """Whether files of different tasks are to have different paths."""
        return not self._fields.isdisjoint({"task_id", "label"})

    @property
    def tells_stems_apart(self) -> bool:
        """Whether files of different stems have different paths."""
        return "stem" in self._fields

    @property
    def needs_claims(self) -> bool:
        """Whether files of different tasks may have one path nevertheless, by their labels."""
        return "label" in self._fields

    def _format(self, task_id: str, label: str, stem: str, ext: str) -> str:
        # The extension begins with its dot; one before it would be a second one.
        text = self.text.replace(".{ext}", "{ext}")
        return text.format(task_id=task_id, label=label, stem=stem, ext=ext)

    def path(
        self, directory: Path, task_id: str, stem: str, link: str, label: str | None = None
    ) -> Path:
        """Where *stem* of a task belongs, as far as *link* says what it is.

        Raises:
            InvalidArgumentError: a component of the path is unusable.
        """
        return next(iter(self.paths(directory, task_id, stem, link, label).values()))

    def paths(
        self, directory: Path, task_id: str, stem: str, link: str, label: str | None = None
    ) -> dict[str, Path]:
        """Where *stem* of a task may belong, by extension; what arrives decides between them.

        Raises:
            InvalidArgumentError: a component of a path is unusable.
        """
        extensions = possible_extensions(link)
        return {
            ext: self._path(directory, self.relative(task_id, stem, ext, label))
            for ext in extensions
        }

    def relative(self, task_id: str, stem: str, ext: str, label: str | None) -> str:
        """The path of a file below the directory; without a label, the id stands for it."""
        name = safe_name(task_id)
        return self._format(name, name if label is None else label_name(label), stem, ext)

    def manifest(self, directory: Path, task_id: str) -> Path:
        """Where the manifest of a task is: in its folder, or hidden where it has none."""
        if self.text.startswith("{task_id}/"):
            return manifest_path(directory, task_id)
        return directory / HIDDEN / f"{safe_name(task_id)}.json"

    def _path(self, directory: Path, relative: str) -> Path:
        for component in relative.split("/"):
            _check_component(component)
        return directory.joinpath(*relative.split("/"))


def manifest_path(directory: Path, task_id: str) -> Path:
    """Where the manifest is in the folder of a task; in version 0.1.0 for all templates."""
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
            "template may hold {task_id}, {label}, {stem} and {ext}, and nothing else in braces"
        )
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
    if component.casefold() in _RESERVED:
        raise InvalidArgumentError(
            f"template gives {component!r}, the name of the manifest or of its folder"
        )
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
