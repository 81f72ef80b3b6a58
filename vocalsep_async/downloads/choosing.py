"""Which stems a task has, and which of them are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vocalsep_async._text import printable
from vocalsep_async.downloads.naming import is_device
from vocalsep_async.errors import ConfigurationError, DownloadError
from vocalsep_async.models import STEM_NAMES, OriginTrack, SeparationTask

_LONGEST_NAME = 40


def names(stems: object) -> tuple[str, ...] | None:
    """Check the names that a caller wants; None for all.

    Raises:
        ConfigurationError: they are no names, or none at all.
    """
    if stems is None:
        return None
    if isinstance(stems, str):
        raise ConfigurationError(f"stems takes several names: pass stems=[{stems!r}]")
    given: list[Any] = list(stems) if isinstance(stems, Iterable) else []
    if not given or not all(isinstance(name, str) for name in given):
        raise ConfigurationError("stems must be names of stems, or None for all")
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
        ConfigurationError: the task has none of that name; the message names those it has.
        DownloadError: the task can have such a stem, and this one has not.
    """
    present = links_of(task)
    for name in wanted or ():
        if name in present:
            continue
        has = f"it has {', '.join(present)}"
        problem = f"task {printable(task.task_id)!r} has no stem {printable(name)!r}; {has}"
        if name in STEM_NAMES:
            raise DownloadError(problem, task_id=task.task_id, stem=name)
        raise ConfigurationError(problem)
    return wanted or tuple(present)
