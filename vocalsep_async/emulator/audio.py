"""The song that every emulated task separates: twelve tracks, six seconds, free of any rights.

It is synthesised in plain Python and is the same each time. Every mix is the sum of its tracks,
sample by sample, so a mix and the rest of the tracks add up to the original exactly.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import random
import wave
from array import array
from collections.abc import Iterable, Mapping
from operator import add, mul, sub
from types import MappingProxyType
from typing import TypeAlias

from attrs import frozen

_RATE = 16_000  # samples a second
_BEAT = 6_000  # samples; 160 beats a minute, so that notes begin on whole samples
_LENGTH = 16 * _BEAT
_CYCLE = 1024  # samples in the table of one cycle of a tone
SECONDS = _LENGTH / _RATE
"""Length of the song."""

# (start in beats, length in beats, MIDI note number); none reaches beyond the 16 beats.
_Notes: TypeAlias = list[tuple[float, float, int]]
# A minor, F major, C major and G major, one bar each: the bass note, and a triad.
_CHORDS = ((33, 57, 60, 64), (29, 53, 57, 60), (36, 55, 60, 64), (31, 55, 59, 62))
_TRIAD = (1, 2, 3)
_MELODY: _Notes = [
    (0, 1.5, 69), (1.5, 0.5, 71), (2, 1.5, 72), (3.5, 0.5, 71), (4, 1, 69), (5, 1, 67), (6, 2, 65),
    (8, 1.5, 67), (9.5, 0.5, 69), (10, 1.5, 72), (11.5, 0.5, 74), (12, 1.5, 74), (13.5, 0.5, 72),
    (14, 1.75, 71),
]  # fmt: skip
_ANSWER: _Notes = [(3, 0.5, 76), (3.5, 0.5, 79), (7, 0.5, 77), (7.5, 0.5, 76), (11, 1, 79)]


def _chords(starts: Iterable[float], beats: float, degrees: Iterable[int], up: int = 0) -> _Notes:
    """Return the *degrees* of each bar's chord at each of *starts*, *up* semitones higher."""
    steps = itertools.product(range(4), starts, degrees)
    return [(4 * bar + at, beats, _CHORDS[bar][degree] + up) for bar, at, degree in steps]


def _repeated(first: float, step: float, beats: float, note: int) -> _Notes:
    return [(first + step * at, beats, note) for at in range(math.ceil((16 - first) / step))]


@functools.cache
def _cycle(harmonics: tuple[float, ...]) -> list[float]:
    turns = [math.tau * at / _CYCLE for at in range(_CYCLE)]
    return [sum(s * math.sin(n * at) for n, s in enumerate(harmonics, start=1)) for at in turns]


def _tone(harmonics: tuple[float, ...], frequency: float, length: int) -> list[float]:
    # Phases are whole numbers, which count in 1/65536 of a sample of the cycle.
    cycle, step = _cycle(harmonics), round(frequency * _CYCLE / _RATE * 65_536)
    return [cycle[phase // 65_536 % _CYCLE] for phase in range(0, step * length, step)]


def _noise(frequency: float, length: int) -> list[float]:
    """Return noise that is damped above *frequency* Hz; the same each time."""
    source, kept = random.Random(length), math.exp(-math.tau * frequency / _RATE)
    white = (source.uniform(-1.0, 1.0) for _ in range(length))
    return list(itertools.accumulate(white, lambda last, new: kept * last + (1.0 - kept) * new))


@frozen
class _Part:
    """Notes of one track, and how they sound.

    Attributes:
        notes: what is played.
        harmonics: strengths of a note's frequency, of twice that frequency, and so on; empty for
            noise that is damped above the note's frequency.
        fade: seconds to fade in and to fade out, so that no note begins or ends with a click.
        half_life: seconds in which a note loses half of its strength.
        gain: strength among the parts of the track.
    """

    notes: _Notes
    harmonics: tuple[float, ...]
    fade: float
    half_life: float = math.inf
    gain: float = 1.0

    def add_to(self, tape: list[float]) -> None:
        """Add the samples of all notes to the samples of a track."""
        for start, beats, note in self.notes:
            first, length = int(start * _BEAT), int(beats * _BEAT)
            sound = self._sound(440.0 * 2.0 ** ((note - 69) / 12), length)
            tape[first : first + length] = map(add, tape[first : first + length], sound)

    def _sound(self, frequency: float, length: int) -> Iterable[float]:
        harmonics = self.harmonics
        sound = _tone(harmonics, frequency, length) if harmonics else _noise(frequency, length)
        edge = int(self.fade * _RATE)
        for at in range(edge):
            sound[at] *= at / edge
            sound[-1 - at] *= at / edge
        decay = itertools.repeat(0.5 ** (1.0 / (self.half_life * _RATE)), length)
        return map(mul, sound, itertools.accumulate(decay, mul, initial=self.gain))


_EIGHTHS = [at / 2 for at in range(8)]
_ARPEGGIO = [note for at in _EIGHTHS for note in _chords([at], 0.5, [_TRIAD[int(2 * at) % 3]], 24)]
_SAW = (1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6)
_PARTS: Mapping[str, tuple[_Part, ...]] = MappingProxyType(
    {
        "vocal": (_Part(_MELODY, (1, 0.6, 0.4, 0.12, 0.06), 0.05, 0.6),),
        "backing_vocals": (_Part(_chords([0], 4, [2, 3]), (1, 0.3, 0.1), 0.2),),
        "drums": (
            _Part(_repeated(0, 2, 0.5, 33), (1, 0.5, 0.2), 0.003, 0.05),
            _Part(_repeated(1, 2, 0.5, 110), (), 0.003, 0.035, gain=0.8),
            _Part(_repeated(0.5, 1, 0.5, 127), (), 0.001, 0.01, gain=0.3),
        ),
        "bass": (_Part(_chords(_EIGHTHS, 0.5, [0]), (1, 0.5, 0.2, 0.1), 0.008, 0.25),),
        "guitar": (_Part(_chords([0, 1.5, 2.5], 1, _TRIAD), _SAW, 0.003, 0.1),),
        "keyboard": (_Part(_chords([0, 2.5], 1.5, _TRIAD, 12), (1, 0.35, 0.12), 0.005, 0.3),),
        "percussion": (_Part(_repeated(0, 0.25, 0.25, 120), (), 0.02, 0.02),),
        "strings": (_Part(_chords([0], 4, [1, 3], 12), _SAW, 0.3),),
        "synth": (_Part(_ARPEGGIO, (1, 0, 1 / 3, 0, 1 / 5), 0.005, 0.06),),
        "fx": (_Part(_repeated(6, 8, 2, 96), (), 0.35),),
        "brass": (_Part(_chords([3, 3.5], 0.5, _TRIAD, 12), _SAW, 0.02, 0.2),),
        "woodwinds": (_Part(_ANSWER, (1, 0.15, 0.08), 0.05),),
    }
)
TRACKS = tuple(_PARTS)
"""The twelve instruments."""
# The loudest sample of each. They add up to less than 32,767, so that no mix clips.
_PEAKS = (5_500, 2_200, 5_600, 4_200, 2_600, 2_600, 1_600, 1_700, 1_500, 1_500, 1_600, 1_500)

_SUNG = ("vocal", "backing_vocals")
_SUMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "original": TRACKS,
        "vocals": _SUNG,
        "instrumental": tuple(name for name in TRACKS if name not in _SUNG),
        "silence": (),
        **{name: (name,) for name in TRACKS},
    }
)
MIXES = (*_SUMS, *(f"without_{name}" for name in TRACKS))
"""All that can be heard: sums of tracks, and the original without one of them."""


@functools.cache
def _track(name: str) -> array[int]:
    # Each track is rounded before any sum is made, so that the sums are exact.
    tape = [0.0] * _LENGTH
    for part in _PARTS[name]:
        part.add_to(tape)
    gain = _PEAKS[TRACKS.index(name)] / max(map(abs, tape))
    return array("h", [int(gain * sample) for sample in tape])


@functools.cache
def _sum(names: tuple[str, ...]) -> array[int]:
    total: Iterable[int] = array("h", bytes(2 * _LENGTH))
    for name in names:
        total = map(add, total, _track(name))
    return array("h", total)


def samples(mix: str) -> array[int]:
    """Return the 16-bit samples of one of `MIXES`.

    Raises:
        KeyError: *mix* is unknown.
    """
    if mix in _SUMS:
        return _sum(_SUMS[mix])
    return array("h", map(sub, _sum(TRACKS), _track(mix.removeprefix("without_"))))


def wav(mix: str) -> bytes:
    """Return one of `MIXES` as a WAV file: mono, 16 bit, 16 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, _RATE, _LENGTH, "NONE", "not compressed"))
        file.writeframes(samples(mix).tobytes())
    return buffer.getvalue()


def track_named(instrument: str | None) -> str | None:
    """Return the track that *instrument* means, such as "vocal" for "Lead Vocal" or None.

    The result is None if the song has no such instrument.
    """
    if instrument is None:
        return "vocal"
    words = instrument.lower().replace("_", " ").replace("-", " ").split()
    if words[:1] == ["backing"]:
        return "backing_vocals"
    known = {"voice": "vocal", "singer": "vocal", "piano": "keyboard", "organ": "keyboard"}
    # Singular on both sides, so that "drum" and "drums" are one.
    known |= {name.removesuffix("s"): name for name in TRACKS}
    found = (known.get(word.removesuffix("s")) for word in reversed(words))
    return next((track for track in found if track is not None), None)
