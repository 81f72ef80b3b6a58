"""Words and figures of the page."""

from __future__ import annotations

import unicodedata

import pytest
from cli.report.reports import at
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async.cli.report import text


@pytest.mark.parametrize(
    "given, seen",
    [
        ("Été 78 東京 👩‍👩‍👧", "Été 78 東京 👩‍👩‍👧"),
        ("two\nlines\tand\u2028more", "two lines and more"),
        ("\x00\x1b[31m", r"\x00\x1b[31m"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_has_no_picture_is_escaped(given: str, seen: str) -> None:
    assert text.visible(given) == seen


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_line_that_can_be_encoded(value: str) -> None:
    seen = text.visible(value)
    seen.encode()
    assert not {unicodedata.category(each) for each in seen} & {"Cc", "Cs", "Zl", "Zp"}


def test_long_text_is_cut() -> None:
    assert text.short("x" * 300) == "x" * 300
    assert text.short("x" * 301) == "x" * 300 + "…"


@pytest.mark.parametrize("scheme", ["https", "HTTP", "s3", "file"])
def test_of_a_link_only_the_host_and_the_name_are_left(scheme: str) -> None:
    told = text.without_links(f"see {scheme}://a.example.com/deep/x.mp3?sign=SECRET#SECRET, please")
    assert "SECRET" not in told
    assert "a.example.com" in told
    assert told.endswith("please")


@pytest.mark.parametrize(
    "value, told",
    [
        (None, "–"),
        (0.0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (86_400 * 2 + 3600, "2 d 1 h"),
    ],
)
def test_a_span_is_said_as_a_person_says_it(value: float | None, told: str) -> None:
    assert text.seconds(value) == told


@pytest.mark.parametrize(
    "value, told", [(0, "0:00"), (750, "12:30"), (3900, "1:05:00"), (-5, "−0:05")]
)
def test_a_place_in_time_is_told_as_on_a_clock(value: float, told: str) -> None:
    assert text.clock(value) == told


def test_a_moment_is_told_in_utc() -> None:
    assert text.moment(at(1)) == "2026-11-22 12:00:01"
    assert text.moment(None) == "–"
