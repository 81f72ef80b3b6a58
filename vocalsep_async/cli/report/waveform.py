"""How loud a file of audio is over its length, in a few bytes."""

from __future__ import annotations

from array import array
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path

import miniaudio  # type: ignore[import-untyped]
from attrs import frozen

_RATE = 8000
"""Samples a second: enough for a picture, and a third of the work of all of them."""
_CHUNK = 200
"""Samples that give one value at first: a fortieth of a second."""
_FULL = 32768
_MOST = 6 * 3600 * _RATE // _CHUNK
"""Chunks in six hours. A small file can claim to hold days of silence, and keep us for hours."""


@frozen
class Peaks:
    """The outline of a file of audio.

    Attributes:
        levels: the loudest moment of each part of the file, all of one length; 0 is silence,
            255 the loudest there can be.
        seconds: how long it plays.
    """

    levels: bytes
    seconds: float


def peaks_of(path: Path, count: int = 120) -> Peaks | None:
    """Read the outline of the audio at *path*. It blocks: call it in a worker thread.

    Args:
        path: an MP3, WAV, FLAC or Ogg Vorbis file, of any length; little memory is used.
        count: how many values to give, at least 1.

    Returns:
        None if there is no such file, or no audio in it that can be decoded, or more than six
        hours of it. Of a file that is cut or damaged, what could be read.
    """
    try:
        # Absolute, because the library takes a leading tilde for somebody's home.
        stream = miniaudio.stream_file(
            str(path.absolute()), nchannels=1, sample_rate=_RATE, frames_to_read=_CHUNK
        )
        with closing(stream):
            loudest = array("H", map(_loudest, islice(stream, _MOST + 1)))
    # ValueError: a name that is no text.
    except (miniaudio.MiniaudioError, OSError, ValueError):
        return None
    if not 0 < len(loudest) <= _MOST:
        return None
    return Peaks(_outline(loudest, count), len(loudest) * _CHUNK / _RATE)


def _loudest(samples: array[int]) -> int:
    # Not max of all at once, which would make a tuple of them.
    most, least = max(samples), min(samples)
    return max(most, -least)


def _outline(loudest: array[int], count: int) -> bytes:
    """*count* values for a whole file; one that has fewer chunks repeats some."""
    edges = [number * len(loudest) // count for number in range(count + 1)]
    parts = (loudest[start : max(end, start + 1)] for start, end in pairwise(edges))
    return bytes(min(255, max(part) * 256 // _FULL) for part in parts)
