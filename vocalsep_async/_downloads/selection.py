"""Which stems a task has, and which of them are to be fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vocalsep_async._downloads.paths import is_device_name
from vocalsep_async._text import printable
from vocalsep_async.errors import DownloadError, InvalidArgumentError
from vocalsep_async.models import STEM_NAMES, OriginTrack, SeparationTask

_LONGEST_NAME = 40


def checked_names(stems: object) -> tuple[str, ...] | None:
    """The names of the stems that a caller wants, each once; None stands for all stems.

    Raises:
        InvalidArgumentError: *stems* is no iterable of names, or is empty.
    """
    if stems is None:
        return None
    if isinstance(stems, str):
        # A string is an iterable of strings, but not of names of stems.
        raise InvalidArgumentError(f"stems takes several names: pass stems=[{stems!r}]")
    given: list[Any] = list(stems) if isinstance(stems, Iterable) else []
    if not given or not all(isinstance(name, str) for name in given):
        raise InvalidArgumentError("stems must be names of stems, or None for all")
    return tuple(dict.fromkeys(given))


def links_of(task: SeparationTask) -> dict[str, str]:
    """The link of each stem, by name.

    Tracks of the provider's engine count as stems if they come in pairs (``split_stem_advanced``)
    or if the record lists no stems; elsewhere they repeat the audio of the stems. A track is named
    after its instrument and its part of the pair, such as ``lead_vocal_extract``.
    """
    links: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for name, url in task.stems:
        links[_unused(_file_name(name), links, numbers)] = url
    for track in task.origin_tracks:
        if track.part is not None or not task.stems:
            links[_unused(_track_name(track), links, numbers)] = track.url
    return links


def _track_name(track: OriginTrack) -> str:
    # The server chose the name, and it becomes the name of a file: only harmless characters stay.
    words = re.findall(r"[a-z0-9]+", (track.name or "").lower())
    name = "_".join(words)[:_LONGEST_NAME].strip("_")
    name = _file_name(name)
    return f"{name}_{track.part}" if track.part else name


def _file_name(name: str) -> str:
    return f"track_{name}".rstrip("_") if not name or is_device_name(name) else name


def _unused(name: str, used: Mapping[str, str], numbers: dict[str, int]) -> str:
    """A name that is free; *numbers* has the last one that each name got."""
    # Two tracks of a record may have the same name, and so may a thousand.
    number, free = numbers.get(name, 1), name
    while free in used:
        number += 1
        free = f"{name}_{number}"
    numbers[name] = number
    return free


def select(task: SeparationTask, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of the stems to fetch.

    Raises:
        InvalidArgumentError: a name is not one of the API's stems; the message lists those of the
            task.
        DownloadError: a name is one of the API's stems, but the task does not have it.
    """
    stems, absent = split_by_presence(task, wanted)
    for error in absent:
        raise error if error.stem in STEM_NAMES else InvalidArgumentError(str(error))
    return stems


def split_by_presence(
    task: SeparationTask, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[DownloadError, ...]]:
    """The wanted stems that the task has, and an error for each that it does not have."""
    present = links_of(task)
    names = tuple(present) if wanted is None else wanted
    absent = [name for name in names if name not in present]
    return (
        tuple(name for name in names if name in present),
        tuple(_absence_error(task.task_id, name, present) for name in absent),
    )


def _absence_error(task_id: str, name: str, present: Iterable[str]) -> DownloadError:
    return DownloadError(
        f"task {printable(task_id)!r} has no stem {printable(name)!r}; it has {', '.join(present)}",
        task_id=task_id,
        stem=name,
    )
