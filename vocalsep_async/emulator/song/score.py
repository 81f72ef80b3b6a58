"""The notes, and the twelve tracks that are played from them: four bars, six seconds."""

from __future__ import annotations

import functools
import random
from array import array
from collections.abc import Callable, Mapping
from types import MappingProxyType

from vocalsep_async.emulator.song.synth import (
    RATE,
    Samples,
    Tape,
    decay,
    hertz,
    noise,
    pluck,
    sweep,
    swell,
    table,
    tone,
    vowel,
)

_BEAT = 6_000  # samples: 160 beats a minute, so that notes fall on whole samples
_HALF = _BEAT // 2
_BAR = 4 * _BEAT
LENGTH = 4 * _BAR
"""How long it is in samples."""
SECONDS = LENGTH / RATE
"""How long it is."""

# A minor, F major, C major, G major; MIDI notes from the lowest up.
_CHORDS = ((57, 60, 64), (53, 57, 60), (55, 60, 64), (55, 59, 62))
_ROOTS = (33, 29, 36, 31)
# The sung line, as (beat, beats, note).
_MELODY = (
    (0.0, 1.5, 69), (1.5, 0.5, 71), (2.0, 1.5, 72), (3.5, 0.5, 71),
    (4.0, 1.0, 69), (5.0, 1.0, 67), (6.0, 2.0, 65),
    (8.0, 1.5, 67), (9.5, 0.5, 69), (10.0, 1.5, 72), (11.5, 0.5, 74),
    (12.0, 1.5, 74), (13.5, 0.5, 72), (14.0, 1.75, 71),
)  # fmt: skip
_ANSWER = ((3.0, 0.5, 76), (3.5, 0.5, 79), (7.0, 0.5, 77), (7.5, 0.5, 76), (11.0, 1.0, 79))
_AH = ((800.0, 1.0), (1150.0, 0.6), (2900.0, 0.2))
_OO = ((325.0, 1.0), (700.0, 0.3), (2530.0, 0.05))


def _saw(count: int) -> Samples:
    return table([1.0 / number for number in range(1, count + 1)])


def _square(count: int) -> Samples:
    return table([number % 2 / number for number in range(1, count + 1)])


def _vocal(tape: Tape, _source: random.Random) -> None:
    for beat, beats, note in _MELODY:
        pitch = hertz(note)
        sung = tone(vowel(pitch, _AH), pitch, int(beats * _BEAT), vibrato=0.012)
        tape.put(int(beat * _BEAT), swell(sung, 0.04, 0.06))


def _backing_vocals(tape: Tape, _source: random.Random) -> None:
    for bar, chord in enumerate(_CHORDS):
        for note in chord[1:]:
            pitch = hertz(note)
            sung = tone(vowel(pitch, _OO), pitch, _BAR, vibrato=0.008)
            tape.put(bar * _BAR, swell(sung, 0.2, 0.3))


def _drums(tape: Tape, source: random.Random) -> None:
    kick = decay(sweep(160.0, 45.0, _HALF), 0.05)
    snare = decay(noise(_HALF, source), 0.035)
    hat = decay(noise(_HALF, source), 0.01)
    for beat in range(16):
        tape.put(beat * _BEAT, snare if beat % 2 else kick, 0.6 if beat % 2 else 1.0)
        tape.put(beat * _BEAT + _HALF, hat, 0.25)


def _percussion(tape: Tape, source: random.Random) -> None:
    shaker = swell(noise(_HALF // 2, source, smooth=0.3), 0.03, 0.05)
    block = decay(tone(table([1.0, 0.0, 0.4]), 830.0, _HALF), 0.015)
    for step in range(64):
        tape.put(step * _HALF // 2, shaker, 0.3 if step % 4 else 0.5)
    for beat in (2.5, 3.5, 6.5, 7.0, 10.5, 11.5, 14.5, 15.0):
        tape.put(int(beat * _BEAT), block)


def _bass(tape: Tape, _source: random.Random) -> None:
    cycle = table([1.0, 0.5, 0.2, 0.1])
    for bar, root in enumerate(_ROOTS):
        for step, above in enumerate((0, 0, 12, 0, 7, 0, 12, 7)):
            note = decay(tone(cycle, hertz(root + above), _HALF), 0.25)
            tape.put(bar * _BAR + step * _HALF, note)


def _guitar(tape: Tape, source: random.Random) -> None:
    for bar, chord in enumerate(_CHORDS):
        notes = (*chord, chord[0] + 12)
        strings = [swell(pluck(hertz(note), _BEAT + _HALF, source), 0.0, 0.05) for note in notes]
        for beat in (0.0, 1.5, 2.5):
            for number, string in enumerate(strings):
                tape.put(bar * _BAR + int(beat * _BEAT) + 150 * number, string)


def _keyboard(tape: Tape, _source: random.Random) -> None:
    cycle = table([1.0, 0.35, 0.12, 0.08])
    for bar, chord in enumerate(_CHORDS):
        for note in chord:
            sound = decay(tone(cycle, hertz(note + 12), 2 * _BEAT), 0.3)
            tape.put(bar * _BAR, sound)
            tape.put(bar * _BAR + 2 * _BEAT + _HALF, sound[: _BEAT + _HALF], 0.7)


def _strings(tape: Tape, _source: random.Random) -> None:
    cycle = _saw(8)
    for bar, chord in enumerate(_CHORDS):
        for note in (chord[0] + 12, chord[2] + 12):
            bowed = tone(cycle, hertz(note), _BAR, vibrato=0.004)
            tape.put(bar * _BAR, swell(bowed, 0.35, 0.3))


def _synth(tape: Tape, _source: random.Random) -> None:
    cycle = _square(9)
    for bar, (low, middle, high) in enumerate(_CHORDS):
        for step, note in enumerate((low, middle, high, low + 12) * 2):
            blip = decay(tone(cycle, hertz(note + 12), _HALF), 0.06)
            tape.put(bar * _BAR + step * _HALF, blip)


def _fx(tape: Tape, source: random.Random) -> None:
    tape.put(2 * _BAR - 2 * _BEAT, swell(noise(2 * _BEAT, source, smooth=0.6), 0.7, 0.02))
    tape.put(2 * _BAR, decay(sweep(900.0, 60.0, _BAR), 0.25), 0.6)


def _brass(tape: Tape, _source: random.Random) -> None:
    cycle = _saw(12)
    for beat, bar in ((3.5, 1), (7.5, 2), (11.5, 3), (14.0, 3)):
        for note in _CHORDS[bar]:
            stab = swell(tone(cycle, hertz(note + 12), _HALF), 0.02, 0.08)
            tape.put(int(beat * _BEAT), stab)


def _woodwinds(tape: Tape, _source: random.Random) -> None:
    cycle = table([1.0, 0.15, 0.08])
    for beat, beats, note in _ANSWER:
        blown = tone(cycle, hertz(note), int(beats * _BEAT), vibrato=0.006)
        tape.put(int(beat * _BEAT), swell(blown, 0.05, 0.05))


# The peaks add up to less than 32767: whatever is mixed, nothing clips.
_PLAYERS: Mapping[str, tuple[Callable[[Tape, random.Random], None], int]] = MappingProxyType(
    {
        "vocal": (_vocal, 6_500),
        "backing_vocals": (_backing_vocals, 2_200),
        "drums": (_drums, 5_000),
        "bass": (_bass, 4_200),
        "guitar": (_guitar, 2_600),
        "keyboard": (_keyboard, 2_600),
        "percussion": (_percussion, 1_600),
        "strings": (_strings, 1_700),
        "synth": (_synth, 1_500),
        "fx": (_fx, 1_500),
        "brass": (_brass, 1_600),
        "woodwinds": (_woodwinds, 1_500),
    }
)
TRACKS = tuple(_PLAYERS)
"""The twelve instruments; each is a mix of its own."""


@functools.cache
def track(name: str) -> array[int]:
    """Return the 16-bit samples of one of `TRACKS`; always the same ones.

    Raises:
        KeyError: there is no such track.
    """
    play, peak = _PLAYERS[name]
    tape = Tape(LENGTH)
    # A generator of its own for each, so that no track depends on which were made before it.
    play(tape, random.Random(name))
    return tape.pressed(peak)
