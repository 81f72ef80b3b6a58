"""The one song of the emulator: four bars for twelve instruments, six seconds.

It is synthesised, always the same, and free of any rights. The original is the sum of its
twelve tracks, sample by sample, so any split of the tracks adds up to it exactly.
"""

from vocalsep_async.emulator.song.mixes import MIXES, samples, track_named, wav
from vocalsep_async.emulator.song.score import SECONDS, TRACKS

__all__ = ["MIXES", "SECONDS", "TRACKS", "samples", "track_named", "wav"]
