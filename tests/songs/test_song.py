"""`Song`: what it takes, what it is called, and what it shows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from vocalsep_async import InvalidArgumentError, SeparationType, Song
from vocalsep_async._songs.identity import again, identity

VOCAL = SeparationType.SEPARATE_VOCAL
KEY = b"k" * 32


@pytest.mark.parametrize(
    "source, kept",
    [
        ("a/Tides.mp3", Path("a/Tides.mp3")),
        (PurePosixPath("a/Tides.mp3"), Path("a/Tides.mp3")),
        ("https://x.example/a.mp3?s=1", "https://x.example/a.mp3?s=1"),
        (URL("https://x.example/a%20b.mp3"), "https://x.example/a%20b.mp3"),
        (b"RIFF", b"RIFF"),
        (("music", "track"), ("music", "track")),
    ],
)
def test_a_source_is_a_path_a_link_bytes_or_two_ids(source: Any, kept: object) -> None:
    song = Song(source)
    assert song.source == kept
    assert type(song.source) in (type(Path()), str, bytes, tuple)
    assert Song.of(song) is song
    assert Song.of(source) == song


@pytest.mark.parametrize(
    "source",
    [
        *(b"", "", " ", "a\0b", 7, None, ["a.mp3"], bytearray(b"RIFF")),
        *(("one",), ("a", ""), ("", "b"), ("a", 7), ("a", "b", "c")),
        *("ftp://x.example/a.mp3", "https://", "file:///a.mp3"),
    ],
)
def test_what_is_no_source_is_an_error(source: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        Song(source)


@pytest.mark.parametrize(
    "options", [{"label": " "}, {"type": "karaoke"}, {"stem_name": ""}, {"key": " "}, {"key": 7}]
)
def test_what_is_no_option_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        Song("a.mp3", **options)


@pytest.mark.parametrize(
    "source, name",
    [
        ("a/Tides.final.mp3", "Tides.final"),
        ("a/Tides", "Tides"),
        ("https://x.example/b/Low%20Tides.mp3?s=1", "Low Tides"),
        ("https://x.example/b/Tides", "Tides"),
        ("https://x.example/", None),
        (b"RIFF", None),
        (("music", "track"), None),
        ("a/b\nc.mp3", None),
    ],
)
def test_a_song_is_called_by_its_file(source: Any, name: str | None) -> None:
    assert Song(source).name == name
    assert Song(source, label="other").name == "other"


def test_a_song_shows_no_signature_no_key_and_no_content() -> None:
    shown = repr(Song("https://user:CANARY@x.example/a.mp3?sig=CANARY", key="CANARY"))
    assert "CANARY" not in shown
    assert repr(Song(b"CANARY")) == (
        "Song(source=<6 bytes>, label=None, type=None, stem_name=None)"
    )


def test_a_song_shows_its_path_or_its_ids() -> None:
    assert "Tides.mp3" in repr(Song("a/Tides.mp3"))
    assert "('music', 'track')" in repr(Song(("music", "track")))


def known_by(song: Song, content: str | None = None, key: bytes = KEY, **options: Any) -> str:
    kind, stem_name = options.get("kind", VOCAL), options.get("stem_name")
    return identity(song, kind, stem_name, content, key)


def test_files_and_bytes_of_one_content_are_the_same_song() -> None:
    content = "0" * 64
    assert known_by(Song("a.mp3"), content) == known_by(Song(b"RIFF"), content)
    assert known_by(Song("a.mp3"), content) != known_by(Song("a.mp3"), "1" * 64)


def test_what_is_to_be_made_of_a_song_is_part_of_its_identity() -> None:
    song = Song("https://x.example/a.mp3")
    kinds = [known_by(song, kind=kind) for kind in SeparationType]
    assert len({*kinds, known_by(song, stem_name="Piano")}) == len(SeparationType) + 1


def test_a_label_is_no_part_of_the_identity() -> None:
    assert known_by(Song(("a", "b"), label="x")) == known_by(Song(("a", "b"), label="y"))


def test_the_identity_of_a_link_says_nothing_without_the_secret() -> None:
    song = Song("https://x.example/a.mp3")
    assert known_by(song) != known_by(song, key=b"l" * 32)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.text(min_size=1), st.text(min_size=1)),
            st.text(min_size=1).map(lambda text: ("key", text)),
            st.text(min_size=1).map(lambda text: ("content", text)),
            st.text(min_size=1).map(lambda text: ("url", text)),
        ),
        unique=True,
    )
)
def test_songs_of_different_kinds_never_share_an_identity(parts: list[tuple[str, str]]) -> None:
    found = {
        known_by(song, content)
        for one, other in parts
        for song, content in (
            (Song(("a", "b"), key=f"{one}{other}"), None),
            (Song(b"x"), f"{one}{other}"),
        )
        if f"{one}{other}".strip()
    }
    texts = {f"{one}{other}" for one, other in parts if f"{one}{other}".strip()}
    assert len(found) == 2 * len(texts)


def test_each_time_a_song_is_created_again_it_has_another_identity() -> None:
    assert len({again("a", times) for times in range(5)}) == 5
    assert again("a", 0) == "a"
