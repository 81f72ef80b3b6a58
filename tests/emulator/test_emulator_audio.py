"""The song: its tracks, its mixes, and their sums."""

import io
import math
import wave

import pytest

from vocalsep_async.emulator import audio


def _total(*mixes: str) -> list[int]:
    return [sum(column) for column in zip(*map(audio.samples, mixes), strict=True)]


def _loudness(mix: str) -> float:
    samples = audio.samples(mix)
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def test_the_twelve_tracks_add_up_to_the_original() -> None:
    assert len(audio.TRACKS) == 12
    assert _total(*audio.TRACKS) == audio.samples("original").tolist()


def test_vocals_and_instrumental_add_up_to_the_original() -> None:
    assert _total("vocals", "instrumental") == audio.samples("original").tolist()


@pytest.mark.parametrize("track", audio.TRACKS)
def test_a_track_and_the_rest_add_up_to_the_original(track: str) -> None:
    assert _total(track, f"without_{track}") == audio.samples("original").tolist()


def test_silence_and_the_original_add_up_to_the_original() -> None:
    assert _total("silence", "original") == audio.samples("original").tolist()


@pytest.mark.parametrize("mix", audio.MIXES)
def test_no_mix_clips(mix: str) -> None:
    assert max(map(abs, audio.samples(mix))) < 32_767


@pytest.mark.parametrize("track", audio.TRACKS)
def test_no_track_is_silent_or_drowns_the_others(track: str) -> None:
    assert 150 <= _loudness(track) <= 0.7 * _loudness("original")


@pytest.mark.parametrize("track", audio.TRACKS)
def test_no_note_begins_or_ends_with_a_click(track: str) -> None:
    for part in audio._PARTS[track]:
        for _, beats, note in part.notes:
            sound = list(part._sound(440.0 * 2.0 ** ((note - 69) / 12), int(beats * audio._BEAT)))
            assert sound[0] == sound[-1] == 0.0
            assert max(abs(sound[1]), abs(sound[-2])) < 0.1


def test_the_song_is_the_same_each_time() -> None:
    first = audio.samples("percussion").tobytes()
    audio._track.cache_clear()
    audio._sum.cache_clear()
    assert audio.samples("percussion").tobytes() == first


def test_a_mix_is_a_wav_file_of_six_seconds() -> None:
    with wave.open(io.BytesIO(audio.wav("vocals"))) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, 96_000)
        assert file.readframes(96_000) == audio.samples("vocals").tobytes()
    assert audio.SECONDS == 6.0


@pytest.mark.parametrize("mix", ["bagpipe", "without_bagpipe"])
def test_an_unknown_mix_is_a_key_error(mix: str) -> None:
    with pytest.raises(KeyError):
        audio.wav(mix)


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
def test_an_instrument_is_recognised_by_its_usual_names(
    name: str | None, track: str | None
) -> None:
    assert audio.track_named(name) == track
