"""Checks of what users pass to the calls that separate songs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable
from typing import get_args

from attrs import evolve

from vocalsep_async import _arguments, _validation
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._journals import JournalLike
from vocalsep_async._songs.runner import RunOptions
from vocalsep_async._songs.separation import SongOptions
from vocalsep_async.downloads import DownloadOptions
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, SeparationTypeName, separation_type
from vocalsep_async.policies import CREATION_PATIENCE, PollPolicy
from vocalsep_async.songs import OnSongProgress, OnUncertain, Song, Songs, Source

SONG_TEMPLATE = "{label}/{stem}{ext}"
"""Where stems go if only a folder is given: below the name of their song."""

DownloadTo = DownloadOptions | str | os.PathLike[str] | None


def song_options(
    *,
    type: SeparationTypeName | SeparationType,  # noqa: A002 - the API's word
    stem_name: str | None,
    download_to: DownloadTo,
    timeout: float | None,
    policy: PollPolicy,
    callback_url: str | None,
    expects_callback: bool,
    on_uncertain: OnUncertain,
    resubmit: int = 0,
    on_progress: OnSongProgress | None = None,
    is_for_many: bool = False,
) -> SongOptions:
    """Check the options of a call.

    Raises:
        InvalidArgumentError: one of them is unusable.
    """
    if on_uncertain not in get_args(OnUncertain):
        raise InvalidArgumentError(
            f'on_uncertain must be "report" or "create", not {on_uncertain!r}'
        )
    _validation.plain_function(on_progress, "on_progress")
    kind = separation_type(type)
    if kind is None:
        raise InvalidArgumentError('type must be a type of separation, such as "separate_vocal"')
    return SongOptions(
        type=kind,
        stem_name=None if stem_name is None else _arguments.text(stem_name, "stem_name"),
        timeout=_validation.timeout(timeout),
        policy=policy,
        plan=_plan(download_to, is_for_many=is_for_many),
        callback_url=callback_url,
        expects_callback=expects_callback,
        on_uncertain=on_uncertain,
        resubmit=_validation.whole_from(0, resubmit, "resubmit"),
        on_progress=on_progress,
        creation_patience=CREATION_PATIENCE if is_for_many else 0.0,
    )


def _plan(to: DownloadTo, *, is_for_many: bool) -> DownloadPlan | None:
    if to is None:
        return None
    options = to if isinstance(to, DownloadOptions) else DownloadOptions(to, template=SONG_TEMPLATE)
    return DownloadPlan.of_batch(options) if is_for_many else DownloadPlan.of(options)


def songs(sources: Songs) -> Songs:
    """Check that *sources* can hold many songs.

    Raises:
        InvalidArgumentError: they cannot.
    """
    # A string is iterable: each of its characters would pass for the name of a file.
    if isinstance(sources, (str, bytes, os.PathLike, Song)):
        raise InvalidArgumentError(
            'separate_many() takes many songs: pass a list, as in separate_many(["song.mp3"]), or '
            'use separate("song.mp3")'
        )
    if not isinstance(sources, (Iterable, AsyncIterable)):
        raise InvalidArgumentError(
            f"sources must be songs to iterate over, not {type(sources).__name__}"
        )
    return sources


def run_options(
    *, max_pending: int | None, max_credits: float | None, journal: JournalLike | None
) -> RunOptions:
    """Check how a run goes on.

    Raises:
        InvalidArgumentError: an argument is unusable.
    """
    if max_pending is not None:
        _validation.at_least_one(max_pending, "max_pending")
    if max_credits is not None:
        max_credits = _validation.number(max_credits, "max_credits", minimum=0.0)
    return RunOptions(max_pending=max_pending, max_credits=max_credits, journal=journal)


def labelled(source: Song | Source, label: str | None) -> Song:
    """The song of *source*, with another label unless that is None."""
    song = Song.of(source)
    return song if label is None else evolve(song, label=label)
