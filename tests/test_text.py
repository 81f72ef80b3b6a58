"""Formatting of text: escaping for terminals, shortened links, and counts with their noun."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._text import (
    LONGEST_MESSAGE,
    counted,
    printable,
    printable_lines,
    short_url,
    without_queries,
)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain words", "plain words"),
        ("naïve 歌声", "naïve 歌声"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x00", r"\x00"),
        ("\x9b", r"\x9b"),
        ("\ud800", r"\ud800"),
        ("left\u202eright", r"left\u202eright"),
        ("line\u2028end", r"line\u2028end"),
        ("", ""),
    ],
)
def test_a_character_that_controls_the_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_shortened_with_an_ellipsis() -> None:
    assert printable("a" * 300) == "a" * 300
    assert printable("a" * 301) == "a" * 300 + "…"
    assert printable("abcdef", 3) == "abc…"


@given(st.text(st.characters()))
def test_any_text_becomes_printable_and_encodable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(st.characters(exclude_categories=())))
def test_lines_keep_only_their_ends(text: str) -> None:
    shown = printable_lines(text)
    assert shown.count("\n") == text.count("\n")
    assert all(line.isprintable() for line in shown.split("\n"))
    assert printable_lines(shown) == shown


@pytest.mark.parametrize(
    "url, shown",
    [
        (None, "None"),
        ("https://cdn.example.net/a/b/vocal.mp3?sig=secret", "<cdn.example.net/…/vocal.mp3>"),
        ("https://user:secret@cdn.example.net/vocal.mp3", "<cdn.example.net/…/vocal.mp3>"),
        ("https://cdn.example.net:8443/vocal.mp3#secret", "<cdn.example.net/…/vocal.mp3>"),
        ("https://cdn.example.net/secret/\x1b[2J.mp3", r"<cdn.example.net/…/\x1b[2J.mp3>"),
        ("https://cdn.example.net", "<cdn.example.net/…/>"),
        ("vocal.mp3?secret", "</…/vocal.mp3>"),
        ("http://[::1/vocal.mp3?secret", "<unreadable link>"),
    ],
)
def test_a_shortened_link_shows_host_and_last_segment(url: str | None, shown: str) -> None:
    assert short_url(url) == shown


@given(st.text(st.characters()))
def test_a_shortened_link_never_shows_a_query(text: str) -> None:
    shown = short_url(f"{text}?hush-hush=1")
    assert "hush-hush" not in shown
    assert shown.isprintable()


def test_a_text_of_a_megabyte_is_cut_before_it_is_searched() -> None:
    text = "see https://cdn.example.net/a?sig=hush " * 25_000
    assert without_queries(text) == without_queries(text[:LONGEST_MESSAGE])
    assert "hush" not in without_queries(text)


@pytest.mark.parametrize(
    "number, shown", [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (12_345, "12,345 tasks")]
)
def test_a_count_has_the_right_plural_and_separators(number: int, shown: str) -> None:
    assert counted(number, "task") == shown


@pytest.mark.parametrize(
    "text, left",
    [
        (
            "cannot fetch https://a.example/b.mp3?sig=hush: 404",
            "cannot fetch https://a.example/b.mp3 404",
        ),
        ("https://a.example/Lead Vocal.mp3#hush", "https://a.example/Lead Vocal.mp3"),
        (
            "https://a.example/?hush and http://b.example/?hush",
            "https://a.example/ and http://b.example/",
        ),
        ("error #5, why?", "error #5, why?"),
        ("", ""),
    ],
)
def test_a_text_keeps_its_links_without_their_queries(text: str, left: str) -> None:
    assert without_queries(text) == left
