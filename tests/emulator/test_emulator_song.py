"""The song, its tracks, and that they add up."""

import io
import random
import wave
from itertools import pairwise

import pytest

from vocalsep_async.emulator import song
from vocalsep_async.emulator.song import score, synth
from vocalsep_async.emulator.song.synth import Samples


def _total(*mixes: str) -> list[int]:
    return [sum(column) for column in zip(*map(song.samples, mixes), strict=True)]


def test_the_twelve_tracks_add_up_to_the_original() -> None:
    assert len(song.TRACKS) == 12
    assert _total(*song.TRACKS) == song.samples("original").tolist()


def test_vocals_and_instrumental_add_up_to_the_original() -> None:
    assert _total("vocals", "instrumental") == song.samples("original").tolist()


@pytest.mark.parametrize("track", song.TRACKS)
def test_a_track_and_the_rest_add_up_to_the_original(track: str) -> None:
    assert _total(track, f"without_{track}") == song.samples("original").tolist()


def test_silence_takes_nothing_away() -> None:
    assert _total("silence", "original") == song.samples("original").tolist()


@pytest.mark.parametrize("mix", song.MIXES)
def test_no_mix_clips(mix: str) -> None:
    assert max(map(abs, song.samples(mix))) < 32_767


@pytest.mark.parametrize("track", song.TRACKS)
def test_every_track_can_be_heard(track: str) -> None:
    assert max(map(abs, song.samples(track))) >= 1_000


def test_the_song_is_the_same_each_time() -> None:
    first = song.samples("guitar").tobytes()
    score.track.cache_clear()
    assert song.samples("guitar").tobytes() == first


def test_a_mix_is_a_wav_file_of_six_seconds() -> None:
    with wave.open(io.BytesIO(song.wav("vocals"))) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, 96_000)
        assert file.readframes(96_000) == song.samples("vocals").tobytes()
    assert song.SECONDS == 6.0


def test_an_unknown_mix_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        song.wav("bagpipe")


@pytest.mark.parametrize(
    "name, track",
    [
        (None, "vocal"),
        ("Lead Vocal", "vocal"),
        ("Backing Vocals", "backing_vocals"),
        ("backing_vocal", "backing_vocals"),
        ("Drum Kit", "drums"),
        ("Electric-Bass", "bass"),
        ("Piano", "keyboard"),
        ("Brass Section", "brass"),
        ("Bagpipe", None),
        ("", None),
    ],
)
def test_an_instrument_is_found_by_its_usual_names(name: str | None, track: str | None) -> None:
    assert song.track_named(name) == track


def test_smooth_noise_moves_less_than_bright_noise() -> None:
    def edges(samples: Samples) -> float:
        return sum(abs(a - b) for a, b in pairwise(samples))

    bright = synth.noise(500, random.Random(1))
    dull = synth.noise(500, random.Random(1), smooth=0.9)
    assert edges(dull) < edges(bright)
