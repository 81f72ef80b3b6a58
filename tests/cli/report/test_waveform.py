"""Waveforms of audio files that are intact, truncated, or no audio at all."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import pytest
from cli.report.reports import write_tone
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async.cli.report import compute_peaks, waveform


def mp3(frames: int) -> bytes:
    """Silent frames of MPEG 1 layer III: 128 kbit/s, 44.1 kHz, 1152 samples in each."""
    return (b"\xff\xfb\x90\xc4" + bytes(413)) * frames


def test_the_waveform_follows_the_loudness(tmp_path: Path) -> None:
    peaks = compute_peaks(write_tone(tmp_path / "tone.wav"))
    assert peaks is not None
    assert len(peaks.levels) == 120
    assert peaks.levels[0] < 8
    assert peaks.levels[-1] > 230
    assert sorted(peaks.levels[::10]) == list(peaks.levels[::10])
    assert peaks.seconds == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_any_rate_and_any_channels_give_the_same_length(
    tmp_path: Path, channels: int, rate: int
) -> None:
    path = write_tone(tmp_path / "tone.wav", seconds=1.0, channels=channels, rate=rate)
    peaks = compute_peaks(path)
    assert peaks is not None
    assert peaks.seconds == pytest.approx(1.0, abs=0.05)


def test_silence_is_flat(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(bytes(16_000))
    peaks = compute_peaks(path, count=10)
    assert peaks is not None
    assert peaks.levels == bytes(10)


def test_an_mp3_is_decoded_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "~tilde.wav"
    path.write_bytes(mp3(100))
    peaks = compute_peaks(path)
    assert peaks is not None
    assert peaks.seconds == pytest.approx(2.6, abs=0.1)


def test_a_very_short_file_has_a_waveform_of_full_length(tmp_path: Path) -> None:
    peaks = compute_peaks(write_tone(tmp_path / "click.wav", seconds=0.03))
    assert peaks is not None
    assert len(peaks.levels) == 120


def test_a_truncated_file_gives_the_waveform_of_its_intact_part(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "tone.wav")
    path.write_bytes(path.read_bytes()[:88_200])
    peaks = compute_peaks(path)
    assert peaks is not None
    assert peaks.seconds == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "content", [b"", b"<html>expired</html>", b"RIFF", b"fLaC" + bytes(100), b"OggS" + bytes(100)]
)
def test_a_file_without_audio_has_no_waveform(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stem.mp3"
    path.write_bytes(content)
    assert compute_peaks(path) is None


def test_a_file_without_samples_has_no_waveform(tmp_path: Path) -> None:
    assert compute_peaks(write_tone(tmp_path / "none.wav", seconds=0)) is None


def test_a_missing_file_has_no_waveform(tmp_path: Path) -> None:
    assert compute_peaks(tmp_path) is None
    assert compute_peaks(tmp_path / "missing.mp3") is None


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_file_name_that_cannot_be_encoded_has_no_waveform(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    try:
        write_tone(tmp_path / "tone.wav").rename(path)
    except OSError:
        pytest.skip("this file system takes text only")
    assert compute_peaks(path) is None


def test_audio_longer_than_the_maximum_has_no_waveform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform, "_MAX_CHUNKS", 10)
    assert compute_peaks(write_tone(tmp_path / "long.wav")) is None


@given(
    start=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3\x03", mp3(2)]), rest=st.binary()
)
def test_any_bytes_are_accepted(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mp3"
    path.write_bytes(start + rest)
    compute_peaks(path)
