"""Stems to disk or elsewhere: what users hold of a download."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async._downloads.paths import Template
from vocalsep_async._downloads.selection import names
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import DownloadProgress, SeparationTask, TaskOutcome, TaskRef

OnProgress = Callable[[DownloadProgress], object]
"""Called with the progress of a file, ten times a second at most."""
Overwrite = Literal["if-different", "always", "never"]
USUAL_TEMPLATE = "{task_id}/{stem}{ext}"
LARGEST_FILE = 1 << 30
Downloadable = SeparationTask | TaskOutcome | TaskRef | str
"""What names the task whose stems are fetched: its record, outcome, ref or id."""
_FILES_AT_ONCE = 4


def _directory(value: str | PathLike[str]) -> Path:
    given: object = value
    name: object = fspath(given) if isinstance(given, (str, PathLike)) else None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InvalidArgumentError("the directory must be a path")
    return Path(name)


def _template(value: str) -> str:
    return Template(value).text


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return names(value)


def _concurrency(value: int) -> int:
    return _validation.at_least_one(value, "max_concurrency")


def _bytes(value: int) -> int:
    return _validation.at_least_one(value, "max_bytes")


def _overwrite(value: Overwrite) -> Overwrite:
    words: tuple[Overwrite, ...] = get_args(Overwrite)
    if value not in words:
        raise InvalidArgumentError(f"overwrite must be one of {', '.join(words)}, not {value!r}")
    return value


def _on_progress(value: OnProgress | None) -> OnProgress | None:
    given: object = value
    if given is not None and (not callable(given) or _is_async(given)):
        raise InvalidArgumentError(
            "on_progress must be a plain function: reading does not wait for it"
        )
    return value


def _is_async(function: Callable[..., object]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


@frozen
class DownloadOptions:
    """What a batch saves of each task, where and how; for ``client.track(download_to=...)``.

    Its arguments are those of `VocalSepClient.download_stems`, with the same meaning; what
    *on_progress* raises ends the batch.

    Raises:
        InvalidArgumentError: an argument is unusable.
    """

    directory: Path = field(converter=_directory)
    stems: tuple[str, ...] | None = field(default=None, converter=_names, kw_only=True)
    template: str = field(default=USUAL_TEMPLATE, converter=_template, kw_only=True)
    max_concurrency: int = field(default=_FILES_AT_ONCE, converter=_concurrency, kw_only=True)
    overwrite: Overwrite = field(default="if-different", converter=_overwrite, kw_only=True)
    max_bytes: int = field(default=LARGEST_FILE, converter=_bytes, kw_only=True)
    on_progress: OnProgress | None = field(default=None, converter=_on_progress, kw_only=True)


class StemStream(ABC):
    """The bytes of one stem; made by `VocalSepClient.open_stem`.

    An async context manager, and an async iterator of the chunks in which they come. A connection
    that breaks is resumed: the rest follows, as if nothing had been.
    """

    @property
    @abstractmethod
    def stem(self) -> str:
        """The stem's name."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes in all; None if the host does not say.

        Raises:
            ConfigurationError: the stream was not entered.
        """

    @property
    @abstractmethod
    def content_type(self) -> str | None:
        """What the host calls it, such as ``audio/mpeg``; None if it does not.

        Raises:
            ConfigurationError: the stream was not entered.
        """

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def __aiter__(self) -> Self: ...

    @abstractmethod
    async def __anext__(self) -> bytes: ...
