"""What is to be saved, where and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import anyio
from attrs import frozen

from vocalsep_async.downloads.meter import OnProgress
from vocalsep_async.downloads.naming import Template
from vocalsep_async.errors import ConfigurationError

Overwrite = Literal["if-different", "always", "never"]
USUAL_TEMPLATE = Template("{task_id}/{stem}{ext}")
LARGEST_FILE = 1 << 30


@frozen(kw_only=True)
class Order:
    """What is to be saved, where and how.

    Attributes:
        directory: below which all files go.
        limiter: lets so many files be fetched at once.
        stems: names; None for all.
        template: where below the directory each file goes.
        overwrite: what becomes of files that are there.
        max_bytes: how large a file may be.
        on_progress: who is told how far each file is; None for nobody.
    """

    directory: Path
    limiter: anyio.CapacityLimiter
    stems: tuple[str, ...] | None = None
    template: Template = USUAL_TEMPLATE
    overwrite: Overwrite = "if-different"
    max_bytes: int = LARGEST_FILE
    on_progress: OnProgress | None = None


def checked_overwrite(value: object) -> Overwrite:
    """Check a word for what becomes of files that are there.

    Raises:
        ConfigurationError: there is no such word.
    """
    words: tuple[Overwrite, ...] = get_args(Overwrite)
    for word in words:
        if value == word:
            return word
    raise ConfigurationError(f"overwrite must be one of {', '.join(words)}, not {value!r}")
