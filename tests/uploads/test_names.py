"""Names of uploads: they cannot be guessed, and hold nothing that a host could misread."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._uploads.names import media_type, stored_name, suffix_of

SAFE = re.compile(r"[A-Za-z0-9-]{1,60}-[A-Za-z0-9_-]{32}(\.[a-z0-9]{1,8})?")


@given(stem=st.none() | st.text(), name=st.text())
def test_a_name_is_safe_whatever_the_file_is_called(stem: str | None, name: str) -> None:
    stored = stored_name(stem, suffix_of(stem, name))
    assert SAFE.fullmatch(stored)
    assert stored != stored_name(stem, suffix_of(stem, name))


@pytest.mark.parametrize(
    "names, suffix",
    [
        (("a.MP3", None), ".mp3"),
        ((None, "b.wav"), ".wav"),
        (("my song", "b.wav"), ".wav"),
        (("a.tar.gz", None), ".gz"),
        (("a. b", "c.müll"), ""),
        ((".mp3", None), ""),
        (("a.123456789", None), ""),
    ],
)
def test_the_suffix_is_the_first_safe_one(names: tuple[str | None, ...], suffix: str) -> None:
    assert suffix_of(*names) == suffix


def test_a_name_without_a_safe_letter_is_that_of_a_song() -> None:
    assert stored_name("мелодия.mp3", ".mp3").startswith("song-")
    assert stored_name("../../a b.mp3", ".mp3").startswith("a-b-")


def test_the_media_type_is_that_of_the_suffix() -> None:
    assert media_type(".flac") == "audio/flac"
    assert media_type("") == media_type(".xyz") == "application/octet-stream"
