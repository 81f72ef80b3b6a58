"""What is made of the tracks: sums and differences, sample by sample, and WAV files of them."""

from __future__ import annotations

import functools
import io
import wave
from array import array
from collections.abc import Mapping
from operator import sub
from types import MappingProxyType

from vocalsep_async.emulator.song.score import LENGTH, TRACKS, track
from vocalsep_async.emulator.song.synth import RATE

_SUNG = ("vocal", "backing_vocals")
MIXES = (
    "original",
    "vocals",
    "instrumental",
    "silence",
    *TRACKS,
    *(f"without_{name}" for name in TRACKS),
)
"""What there is: the original, all that is sung, all that is not, nothing, each track, and
all but each track."""


def _sum(*names: str) -> array[int]:
    return array("h", map(sum, zip(*map(track, names), strict=True)))


@functools.cache
def _original() -> array[int]:
    return _sum(*TRACKS)


def samples(mix: str) -> array[int]:
    """Return the 16-bit samples of *mix*.

    Args:
        mix: one of `MIXES`.

    Raises:
        KeyError: there is no such mix.
    """
    match mix:
        case "original":
            return _original()
        case "silence":
            return array("h", bytes(2 * LENGTH))
        case "vocals":
            return _sum(*_SUNG)
        case "instrumental":
            return array("h", map(sub, _original(), _sum(*_SUNG)))
    if mix.startswith("without_"):
        return array("h", map(sub, _original(), track(mix.removeprefix("without_"))))
    return track(mix)


def wav(mix: str) -> bytes:
    """Return *mix* as a WAV file: mono, 16 bit, 16 kHz; see `samples`."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples(mix).tobytes())
    return buffer.getvalue()


_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **{name: name for name in TRACKS},
        "voice": "vocal",
        "singer": "vocal",
        "piano": "keyboard",
        "organ": "keyboard",
    }
)


def track_named(instrument: str | None) -> str | None:
    """Return the track an instrument's name means, such as "vocal" for "Lead Vocal".

    Args:
        instrument: as the API's users write it; None means the vocal.

    Returns:
        One of `TRACKS`; None if the song has no such instrument.
    """
    if instrument is None:
        return "vocal"
    words = instrument.lower().replace("_", " ").replace("-", " ").split()
    if words[:1] == ["backing"]:
        return "backing_vocals"
    # Without the plural, on both sides.
    known = {name.removesuffix("s"): meant for name, meant in _NAMES.items()}
    heard = (known.get(word.removesuffix("s")) for word in reversed(words))
    return next((meant for meant in heard if meant is not None), None)
