"""Which stems a task has, and which of them are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vocalsep_async._downloads.paths import is_device
from vocalsep_async._text import printable
from vocalsep_async.errors import DownloadError, InvalidArgumentError
from vocalsep_async.models import STEM_NAMES, OriginTrack, SeparationTask

_LONGEST_NAME = 40


def names(stems: object) -> tuple[str, ...] | None:
    """Check the names that a caller wants; None for all.

    Raises:
        InvalidArgumentError: they are no names, or none at all.
    """
    if stems is None:
        return None
    if isinstance(stems, str):
        raise InvalidArgumentError(f"stems takes several names: pass stems=[{stems!r}]")
    given: list[Any] = list(stems) if isinstance(stems, Iterable) else []
    if not given or not all(isinstance(name, str) for name in given):
        raise InvalidArgumentError("stems must be names of stems, or None for all")
    return tuple(dict.fromkeys(given))


def links_of(task: SeparationTask) -> dict[str, str]:
    """The link of each stem, by name.

    Tracks of the provider's engine are stems of their own where they come in pairs
    (``split_stem_advanced``) or where there is nothing else; elsewhere they are the same audio
    once more. They are named after their instrument: ``lead_vocal_extract``.
    """
    found = dict(task.stems)
    for track in task.origin_tracks:
        if track.part is not None or not task.stems:
            found[_unused(_name(track), found)] = track.url
    return found


def _name(track: OriginTrack) -> str:
    words = re.findall(r"[a-z0-9]+", (track.name or "").lower())
    name = "_".join(words)[:_LONGEST_NAME].strip("_")
    if not name or is_device(name):
        name = f"track_{name}".rstrip("_")
    return f"{name}_{track.part}" if track.part else name


def _unused(name: str, used: Mapping[str, str]) -> str:
    number, free = 1, name
    while free in used:
        number += 1
        free = f"{name}_{number}"
    return free


def chosen(task: SeparationTask, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the stems to fetch.

    Raises:
        InvalidArgumentError: the task has none of that name; the message names those it has.
        DownloadError: the task can have such a stem, and this one has not.
    """
    stems, absent = parted(task, wanted)
    for error in absent:
        raise error if error.stem in STEM_NAMES else InvalidArgumentError(str(error))
    return stems


def parted(
    task: SeparationTask, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[DownloadError, ...]]:
    """The names of the stems to fetch, and an error for each that is wanted and not there."""
    present = links_of(task)
    names_wanted = tuple(present) if wanted is None else wanted
    absent = [name for name in names_wanted if name not in present]
    return (
        tuple(name for name in names_wanted if name in present),
        tuple(_absent(task.task_id, name, present) for name in absent),
    )


def _absent(task_id: str, name: str, present: Iterable[str]) -> DownloadError:
    return DownloadError(
        f"task {printable(task_id)!r} has no stem {printable(name)!r}; it has {', '.join(present)}",
        task_id=task_id,
        stem=name,
    )
