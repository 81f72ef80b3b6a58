"""Names of songs: short, and no two that lead to one file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import InvalidArgumentError, Song
from vocalsep_async.cli.songs.labels import place_of, readable, unique

WORDS = st.text("ab /(2)-ÄA", min_size=1, max_size=4).map(readable)


def test_a_name_that_no_other_song_has_stays_as_it_is() -> None:
    assert unique([("a", "x - a"), ("b", "x - b")]) == ["a", "b"]


def test_songs_of_one_name_are_called_by_their_folders_all_of_them() -> None:
    names = [("intro", "one - intro"), ("other",), ("intro", "two - intro")]
    assert unique(names) == ["one - intro", "other", "two - intro"]


@pytest.mark.parametrize("other", ["INTRO", "int\u0072o", "intro."])
def test_names_are_compared_as_file_systems_compare_them(other: str) -> None:
    assert unique([("intro", "one - intro"), (other, "two - intro")]) == [
        "one - intro",
        "two - intro",
    ]


def test_songs_that_have_nothing_else_are_numbered() -> None:
    assert unique([("a",), ("A",), ("a (2)",), ("a",)]) == ["a", "A (3)", "a (2)", "a (4)"]


def test_a_name_that_is_taken_is_not_given() -> None:
    assert unique([("a", "x - a")], {place_of("A")}) == ["x - a"]
    assert unique([("a",)], {place_of("a")}) == ["a (2)"]


@given(st.lists(st.lists(WORDS, min_size=1, max_size=3)), st.lists(WORDS))
def test_no_two_names_lead_to_one_file(names: list[list[str]], labels: list[str]) -> None:
    taken = {place_of(each) for each in labels}
    found = unique(names, taken)
    places = {place_of(each) for each in found}
    assert len(places) == len(found) == len(names)
    assert not places & taken
    assert found == unique(names, taken)


@given(st.text())
def test_a_readable_name_is_a_label_that_a_song_can_have(text: str) -> None:
    assert Song("song.mp3", label=readable(text)).label == readable(text)


def test_what_does_not_show_is_replaced_in_a_name() -> None:
    assert readable("a\x1b[31m\u202eb  c\n") == "a_[31m_b c_"
    assert readable(" ") == "song"
    assert len(readable("x" * 500)) == 100
    with pytest.raises(InvalidArgumentError):
        Song("song.mp3", label="a\x1b[31m")
