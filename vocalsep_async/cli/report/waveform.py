"""Reads the waveform of an audio file, as a few bytes."""

from __future__ import annotations

from array import array
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path

import miniaudio  # type: ignore[import-untyped]
from attrs import frozen

# Enough for a picture, and a third of the work of the full rate.
_SAMPLE_RATE = 8000
_CHUNK_SIZE = 200
"""Samples that give one peak, a fortieth of a second."""
_FULL_SCALE = 32768
# Six hours: a small file can claim to contain days of silence, which would take hours to decode.
_MAX_CHUNKS = 6 * 3600 * _SAMPLE_RATE // _CHUNK_SIZE


@frozen
class Peaks:
    """The waveform of an audio file.

    Attributes:
        levels: the peak level of each part of the file, all parts of the same length; 0 is
            silence, 255 full scale.
        seconds: the length of the file.
    """

    levels: bytes
    seconds: float


def compute_peaks(path: Path, count: int = 120) -> Peaks | None:
    """Read the waveform of the audio file at *path*; it blocks.

    Args:
        path: an MP3, WAV, FLAC or Ogg Vorbis file; it is decoded in small pieces.
        count: the number of levels, at least 1.

    Returns:
        None if there is no such file, if it contains no audio that can be decoded, or more than
        six hours of it. For a truncated or damaged file, the part that could be decoded.
    """
    try:
        # Absolute, because miniaudio expands a leading tilde to a home directory.
        stream = miniaudio.stream_file(
            str(path.absolute()),
            nchannels=1,
            sample_rate=_SAMPLE_RATE,
            frames_to_read=_CHUNK_SIZE,
        )
        with closing(stream):
            peaks = array("H", map(_peak, islice(stream, _MAX_CHUNKS + 1)))
    # ValueError: a name that cannot be encoded.
    except (miniaudio.MiniaudioError, OSError, ValueError):
        return None
    if not 0 < len(peaks) <= _MAX_CHUNKS:
        return None
    return Peaks(_resample(peaks, count), len(peaks) * _CHUNK_SIZE / _SAMPLE_RATE)


def _peak(samples: array[int]) -> int:
    # Not one max over absolute values, which would create a list of them.
    highest, lowest = max(samples), min(samples)
    return max(highest, -lowest)


def _resample(peaks: array[int], count: int) -> bytes:
    """*count* levels from 0 to 255; a file with fewer chunks repeats some."""
    edges = [number * len(peaks) // count for number in range(count + 1)]
    parts = (peaks[start : max(end, start + 1)] for start, end in pairwise(edges))
    return bytes(min(255, max(part) * 256 // _FULL_SCALE) for part in parts)
