"""What is to be saved, where and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, get_args

import anyio
from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async._downloads.paths import Template
from vocalsep_async._downloads.progress import OnProgress
from vocalsep_async._downloads.selection import names
from vocalsep_async.errors import ConfigurationError

Overwrite = Literal["if-different", "always", "never"]
USUAL_TEMPLATE = Template("{task_id}/{stem}{ext}")
LARGEST_FILE = 1 << 30
FILES_AT_ONCE = 4


def _directory(value: str | PathLike[str]) -> Path:
    given: object = value
    name: object = fspath(given) if isinstance(given, (str, PathLike)) else None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ConfigurationError("the directory must be a path")
    return Path(name)


def _template(value: str | Template) -> Template:
    return value if isinstance(value, Template) else Template(value)


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return names(value)


def _concurrency(value: int) -> int:
    return _validation.at_least_one(value, "max_concurrency")


def _bytes(value: int) -> int:
    return _validation.at_least_one(value, "max_bytes")


def _overwrite(value: Overwrite) -> Overwrite:
    words: tuple[Overwrite, ...] = get_args(Overwrite)
    if value not in words:
        raise ConfigurationError(f"overwrite must be one of {', '.join(words)}, not {value!r}")
    return value


def _on_progress(value: OnProgress | None) -> OnProgress | None:
    given: object = value
    if given is not None and (not callable(given) or _is_async(given)):
        raise ConfigurationError(
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
        ConfigurationError: an argument is unusable.
    """

    directory: Path = field(converter=_directory)
    stems: tuple[str, ...] | None = field(default=None, converter=_names, kw_only=True)
    template: Template = field(default=USUAL_TEMPLATE, converter=_template, kw_only=True)
    max_concurrency: int = field(default=FILES_AT_ONCE, converter=_concurrency, kw_only=True)
    overwrite: Overwrite = field(default="if-different", converter=_overwrite, kw_only=True)
    max_bytes: int = field(default=LARGEST_FILE, converter=_bytes, kw_only=True)
    on_progress: OnProgress | None = field(default=None, converter=_on_progress, kw_only=True)


@frozen
class Order:
    """What is to be saved, and what lets so many files be fetched at once."""

    to: DownloadOptions
    limiter: anyio.CapacityLimiter

    @classmethod
    def of(cls, to: DownloadOptions) -> Order:
        """An order on its own: nobody else shares its limit."""
        return cls(to, anyio.CapacityLimiter(to.max_concurrency))
