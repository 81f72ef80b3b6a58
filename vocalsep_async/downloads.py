"""Downloads of stems: the options of a batch, the stream of one stem, and their types."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from attrs import field, frozen

from vocalsep_async import _validation
from vocalsep_async._downloads.paths import Template
from vocalsep_async._downloads.selection import checked_names
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import DownloadProgress, SeparationTask, TaskOutcome, TaskRef
from vocalsep_async.policies import FILE_BYTES_PER_MINUTE

OnProgress = Callable[[DownloadProgress], object]
"""A plain function that is called with the progress of each file, ten times a second at most.

It runs in the event loop, between two reads: it should return quickly. Its result is ignored.
"""
Overwrite = Literal["if-different", "always", "never"]
"""What happens to a file that exists already.

``"if-different"`` keeps the file if the manifest of an earlier download says that it is intact, and
fetches the stem otherwise; ``"always"`` fetches every stem from the start; ``"never"`` keeps
every existing file, whatever it holds.
"""
DEFAULT_TEMPLATE = "{task_id}/{stem}{ext}"
DEFAULT_MAX_BYTES = 1 << 30
Downloadable = SeparationTask | TaskOutcome | TaskRef | str
"""A task whose stems are fetched, by its record, outcome, ref or id.

A record, or an outcome with one, is used as it is. A ref or an id costs one poll.
"""
_DEFAULT_CONCURRENCY = 4


def _directory(value: str | PathLike[str]) -> Path:
    # A path of bytes, or an empty one, would fail late or mean the current directory.
    given: object = value
    name: object = fspath(given) if isinstance(given, (str, PathLike)) else None
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InvalidArgumentError("the directory must be a path")
    return Path(name)


# attrs gives the arguments of the constructor the annotations of these converters.
def _template(value: str) -> str:
    return Template(value).text


def _check_stem(options: DownloadOptions, _attribute: object, template: str) -> None:
    # An attrs validator: all values are set by now.
    is_single = options.stems is not None and len(options.stems) == 1
    if not is_single and not Template(template).tells_stems_apart:
        raise InvalidArgumentError(
            "template must contain {stem}, or all stems would be one file; without it, ask for one "
            'stem, as in stems=["vocal"]'
        )


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    return checked_names(value)


def _concurrency(value: int) -> int:
    return _validation.at_least_one(value, "max_concurrency")


def _bytes(value: int) -> int:
    return _validation.at_least_one(value, "max_bytes")


def _timeout(value: float | None) -> float | None:
    if _validation.timeout(value) is None:
        return None
    return _validation.number(value, "timeout", minimum=0, above=True)


def _patience(value: float | None) -> float | None:
    return checked_patience(value)


def _min_bytes(value: int | None) -> int | None:
    return checked_min_bytes(value)


def checked_patience(value: float | None) -> float | None:
    """Return *value*: seconds, at least 0; infinity for no end, None for the default.

    Raises:
        InvalidArgumentError: it is something else.
    """
    return value if value in (None, math.inf) else _validation.number(value, "patience", minimum=0)


def checked_min_bytes(value: int | None) -> int | None:
    """Return *value*: a whole number of at least 1, or None.

    Raises:
        InvalidArgumentError: it is something else.
    """
    return None if value is None else _validation.at_least_one(value, "min_bytes_per_minute")


def _overwrite(value: Overwrite) -> Overwrite:
    words: tuple[Overwrite, ...] = get_args(Overwrite)
    if value not in words:
        raise InvalidArgumentError(f"overwrite must be one of {', '.join(words)}, not {value!r}")
    return value


def _on_progress(value: OnProgress | None) -> OnProgress | None:
    _validation.plain_function(value, "on_progress")
    return value


@frozen
class DownloadOptions:
    """Which stems a batch saves of each task, where and how; for ``client.track(download_to=...)``.

    The options mean the same as the arguments of `VocalSepClient.download_stems`, and hold for the
    batch as a whole.

    Attributes:
        directory: folder below which all files are saved; made if it does not exist.
        stems: names of the stems, such as ``["vocal", "drums"]``; None for all that a task has. A
            stem that a task does not have is an error in its `TaskOutcome.download_error`.
        template: path of each file below *directory*, with ``/`` between folders: of ``{task_id}``,
            ``{label}`` (without a label, the task id), ``{stem}`` and ``{ext}``, which begins with
            its dot. ``{stem}`` may be left out where *stems* has one name. `VocalSepClient.track`
            needs ``{task_id}`` or ``{label}``. A file of another task with the same label is never
            overwritten: it is an error of the task that comes second.
        max_concurrency: files that are fetched at a time, in all tasks together; from 1.
        overwrite: what happens to a file that exists already; see `Overwrite`.
        max_bytes: largest size of a file, in bytes, from 1; a larger file is an error of its stem.
        timeout: seconds, above 0, for the stems of one task, from when their saving begins; what is
            not there by then is an error of its stem. None for no limit.
        patience: seconds for which one file goes on without progress, from 0: while its host is
            away, breaks connections, or does not have the file yet. `RetryPolicy.attempts` are made
            in any case, and ``math.inf`` has no end. None is a minute, and longer as long as
            *timeout* or, in a batch, the task's own timeout has time left.
        min_bytes_per_minute: bytes, from 1, that a file must bring in a minute of waiting for its
            host; with fewer, its connection counts as broken. None for no least pace.
        on_progress: called with the progress of each file; None for no reports. An exception
            that it raises ends the batch.

    Raises:
        InvalidArgumentError: an option is unusable; the message names it.
    """

    directory: Path = field(converter=_directory)
    stems: tuple[str, ...] | None = field(default=None, converter=_names, kw_only=True)
    template: str = field(
        default=DEFAULT_TEMPLATE, converter=_template, validator=_check_stem, kw_only=True
    )
    max_concurrency: int = field(default=_DEFAULT_CONCURRENCY, converter=_concurrency, kw_only=True)
    overwrite: Overwrite = field(default="if-different", converter=_overwrite, kw_only=True)
    max_bytes: int = field(default=DEFAULT_MAX_BYTES, converter=_bytes, kw_only=True)
    timeout: float | None = field(default=None, converter=_timeout, kw_only=True)
    patience: float | None = field(default=None, converter=_patience, kw_only=True)
    min_bytes_per_minute: int | None = field(
        default=FILE_BYTES_PER_MINUTE, converter=_min_bytes, kw_only=True
    )
    on_progress: OnProgress | None = field(default=None, converter=_on_progress, kw_only=True)


class StemStream(ABC):
    """The bytes of one stem in order, each once; made by `VocalSepClient.open_stem`.

    It is an async context manager, to be entered once, and an async iterator of chunks of bytes,
    none of them empty. After a connection breaks, the rest is requested and follows seamlessly; if
    the file host cannot resume the file, or the file has changed, iterating raises.

    Entering and iterating raise:

        - `DownloadError`: the stem cannot be fetched, or is larger than ``max_bytes``.
        - `TaskFailedError` (entering): the task has not ended, or ended without stems.
        - `InvalidArgumentError` (entering): the task has no stem of that name.
        - `ConfigurationError`: the stream was entered before, or is used outside its block or in
          another thread or event loop.
        - `ClientClosedError`: the client was closed.
        - other subclasses of `VocalSepError` (entering): the task could not be polled.
    """

    @property
    @abstractmethod
    def stem(self) -> str:
        """The stem's name."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes of the whole file; None if the file host does not say.

        Raises:
            ConfigurationError: the stream was not entered.
        """

    @property
    @abstractmethod
    def content_type(self) -> str | None:
        """Media type, such as ``audio/mpeg``, without parameters; None if the host does not say.

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
