"""Checks of what users pass to the calls that separate songs."""

from __future__ import annotations

import os
from typing import get_args

from attrs import evolve

from vocalsep_async import _arguments, _validation
from vocalsep_async._downloads.plan import DownloadPlan
from vocalsep_async._songs.separation import SongOptions
from vocalsep_async.downloads import DownloadOptions
from vocalsep_async.errors import InvalidArgumentError
from vocalsep_async.models import SeparationType, SeparationTypeName, separation_type
from vocalsep_async.policies import PollPolicy
from vocalsep_async.songs import OnUncertain, Song, Source

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
    )


def _plan(to: DownloadTo, *, is_for_many: bool) -> DownloadPlan | None:
    if to is None:
        return None
    options = to if isinstance(to, DownloadOptions) else DownloadOptions(to, template=SONG_TEMPLATE)
    return DownloadPlan.of_batch(options) if is_for_many else DownloadPlan.of(options)


def labelled(source: Song | Source, label: str | None) -> Song:
    """The song of *source*, with another label unless that is None."""
    song = Song.of(source)
    return song if label is None else evolve(song, label=label)
