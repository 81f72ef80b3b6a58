"""A handful of instruments in plain Python, enough for the song.

Sounds are arrays of floats. Steady tones read one cycle out of a table, which costs one list
look-up a sample; plucked strings and noises are made sample by sample.
"""

from __future__ import annotations

import functools
import math
import random
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import add, mul
from typing import TypeAlias

RATE = 16_000
"""Samples a second."""

_TABLE = 1024
_CYCLE = [math.sin(math.tau * position / _TABLE) for position in range(_TABLE)]
_A4 = 69
_HIGHEST = 3500.0  # Hz; a voice has little above it

# Quoted, as Python 3.11 cannot subscript it at run time.
Samples: TypeAlias = "array[float]"


def hertz(note: float) -> float:
    """Return the frequency of a MIDI note number; 69 is 440 Hz."""
    return float(440.0 * 2.0 ** ((note - _A4) / 12.0))


def table(harmonics: Sequence[float]) -> Samples:
    """Return one cycle made of *harmonics*: the strength of the ground tone, of twice it, ..."""
    cycle = array("d", bytes(8 * _TABLE))
    for number, strength in enumerate(harmonics, start=1):
        positions = range(0, number * _TABLE, number)
        wave = [strength * _CYCLE[position % _TABLE] for position in positions]
        cycle = array("d", map(add, cycle, wave))
    return cycle


def vowel(frequency: float, formants: Iterable[tuple[float, float]]) -> Samples:
    """Return one cycle of a voice at *frequency* Hz.

    Args:
        frequency: of the ground tone; the formants stay where they are, as in a throat.
        formants: pairs of a frequency in Hz and a strength.
    """
    peaks = tuple(formants)
    count = int(_HIGHEST / frequency)

    def strength(harmonic: int) -> float:
        at = harmonic * frequency
        return sum(gain * math.exp(-(((at - peak) / 180.0) ** 2)) for peak, gain in peaks)

    return table([0.05 / number + strength(number) for number in range(1, count + 1)])


def tone(cycle: Samples, frequency: float, length: int, *, vibrato: float = 0.0) -> Samples:
    """Return *length* samples of *cycle* at *frequency* Hz.

    Args:
        cycle: from `table` or `vowel`.
        frequency: in Hz.
        length: in samples; at most two seconds with vibrato.
        vibrato: how far the pitch sways at 5.5 Hz, as a share of it; 0 for none.
    """
    if vibrato:
        step = frequency * _TABLE / RATE
        steps = [step + step * vibrato * sway for sway in _sway()[:length]]
        return array("d", [cycle[int(phase) % _TABLE] for phase in accumulate(steps)])
    # In whole numbers of 1/65536 of a table step, which is twice as fast as floats.
    fine = round(frequency * _TABLE / RATE * 65_536)
    phases = range(0, length * fine, fine)
    return array("d", [cycle[(phase >> 16) % _TABLE] for phase in phases])


@functools.cache
def _sway() -> list[float]:
    """Two seconds of a slow sine, longer than any note."""
    return [math.sin(math.tau * 5.5 * at / RATE) for at in range(2 * RATE)]


def pluck(frequency: float, length: int, source: random.Random) -> Samples:
    """Return a plucked string: noise that goes round a delay line and loses its edge."""
    period = round(RATE / frequency)
    string = array("d", [source.uniform(-1.0, 1.0) for _ in range(period)])
    for at in range(period, length):
        string.append(0.498 * (string[at - period] + string[at - period + 1]))
    return string[:length]


def noise(length: int, source: random.Random, *, smooth: float = 0.0) -> Samples:
    """Return hiss; *smooth* from 0 (bright) to nearly 1 (dull)."""
    raw = (source.uniform(-1.0, 1.0) for _ in range(length))
    if not smooth:
        return array("d", raw)
    return array("d", accumulate(raw, lambda last, new: smooth * last + (1.0 - smooth) * new))


def sweep(start: float, end: float, length: int) -> Samples:
    """Return a sine whose frequency falls or rises from *start* to *end* Hz."""
    ratio = end / start
    steps = (start * ratio ** (at / length) * _TABLE / RATE for at in range(length))
    return array("d", [_CYCLE[int(phase) % _TABLE] for phase in accumulate(steps)])


def swell(sound: Samples, attack: float, release: float) -> Samples:
    """Return *sound* that comes in over *attack* and goes out over *release* seconds."""
    rise = min(int(attack * RATE), len(sound))
    fall = min(int(release * RATE), len(sound))
    shaped = sound[:]
    for at in range(rise):
        shaped[at] *= at / rise
    for at in range(1, fall + 1):
        shaped[-at] *= (at - 1) / fall
    return shaped


def decay(sound: Samples, half_life: float) -> Samples:
    """Return *sound* that halves every *half_life* seconds, with its clicks taken off."""
    factor = 0.5 ** (1.0 / (half_life * RATE))
    fading = accumulate([factor] * (len(sound) - 1), mul, initial=1.0)
    return swell(array("d", map(mul, sound, fading)), 0.002, 0.01)


class Tape:
    """One track that sounds are put on.

    Args:
        length: in samples; what goes beyond is cut.
    """

    def __init__(self, length: int) -> None:
        self._samples = array("d", bytes(8 * length))

    def put(self, at: int, sound: Samples, gain: float = 1.0) -> None:
        """Add *sound* from sample *at* on."""
        heard = sound[: len(self._samples) - at]
        if gain != 1.0:
            heard = array("d", [gain * sample for sample in heard])
        end = at + len(heard)
        self._samples[at:end] = array("d", map(add, self._samples[at:end], heard))

    def pressed(self, peak: int) -> array[int]:
        """Return it as 16-bit samples whose loudest is *peak*."""
        loudest = max(map(abs, self._samples))
        gain = peak / loudest
        return array("h", [int(gain * sample) for sample in self._samples])
