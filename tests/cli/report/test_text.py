"""Text and figures of the page."""

from __future__ import annotations

import unicodedata

import pytest
from cli.report.reports import at
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async.cli.report import text


@pytest.mark.parametrize(
    "given, shown",
    [
        ("Été 78 東京 👩‍👩‍👧", "Été 78 東京 👩‍👩‍👧"),
        ("two\nlines\tand\u2028more", "two lines and more"),
        ("\x00\x1b[31m", r"\x00\x1b[31m"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_invisible_characters_are_escaped(given: str, shown: str) -> None:
    assert text.visible(given) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_line_that_can_be_encoded(value: str) -> None:
    shown = text.visible(value)
    shown.encode()
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}


def test_long_text_is_cut() -> None:
    assert text.short("x" * 300) == "x" * 300
    assert text.short("x" * 301) == "x" * 300 + "…"


@pytest.mark.parametrize("scheme", ["https", "HTTP", "s3", "file"])
def test_a_link_is_cut_to_its_host_and_file_name(scheme: str) -> None:
    expected = text.without_links(
        f"see {scheme}://a.example.com/deep/x.mp3?sign=SECRET#SECRET, please"
    )
    assert "SECRET" not in expected
    assert "a.example.com" in expected
    assert expected.endswith("please")


@pytest.mark.parametrize(
    "value, expected",
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
def test_a_duration_has_at_most_two_units(value: float | None, expected: str) -> None:
    assert text.format_seconds(value) == expected


@pytest.mark.parametrize(
    "value, expected", [(0, "0:00"), (750, "12:30"), (3900, "1:05:00"), (-5, "−0:05")]
)
def test_a_time_on_an_axis_is_formatted_like_a_clock(value: float, expected: str) -> None:
    assert text.clock(value) == expected


def test_date_and_time_are_in_utc() -> None:
    assert text.date_and_time(at(1)) == "2026-11-22 12:00:01"
    assert text.date_and_time(None) == "–"
