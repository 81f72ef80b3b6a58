"""Formatting of text: escaping for terminals, shortened links, and counts with their noun."""

import json
from collections.abc import Callable
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._text import (
    LONGEST_MESSAGE,
    bare_url,
    counted,
    printable,
    printable_lines,
    short_url,
    shortened,
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
        ("a\u3164b\u2800c\U000e0101d", r"a\u3164b\u2800c\U000e0101d"),
        ("e\u0301", "e\u0301"),
        ("a" + "\u0301" * 10 + "b\u0301", "a" + "\u0301" * 8 + r"\u0301\u0301" + "b\u0301"),
        ("ที่นี่ हिन्दी ❤\ufe0f", "ที่นี่ हिन्दी ❤\ufe0f"),
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
        ("https://cdn.example.net/vocal.mp3;sig=secret?x", "<cdn.example.net/…/vocal.mp3>"),
        ("https://cdn.example.net/vocal.mp3%3Fsig%3Dsecret", "<cdn.example.net/…/vocal.mp3>"),
        ("https://cdn.example.net/a/token=secret", "<cdn.example.net/…/token=…>"),
        ("https://cdn.example.net/Take%20%231.mp3", "<cdn.example.net/…/Take%20%231.mp3>"),
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


# Secrets of links in the words of a server

SECRET = "Hush4Hush"
LINK = f"https://user:{SECRET}@cdn.example.net/a/vocal.mp3?Expires=17&Signature={SECRET}#{SECRET}"
ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "in lower case": str.lower,
    "in HTML": escape,
    "in HTML by numbers": lambda text: "".join(
        each if each.isalnum() else f"&#{ord(each)};" for each in text
    ),
    "in HTML by hexadecimal numbers": lambda text: "".join(
        each if each.isalnum() else f"&#x{ord(each):02X};" for each in text
    ),
    "in JSON": json.dumps,
    "in JSON with escaped slashes": lambda text: json.dumps(text).replace("/", r"\/"),
    "in JSON by numbers": lambda text: "".join(
        each if each.isalnum() else f"\\u{ord(each):04x}" for each in text
    ),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LINK, id="alone"),
        pytest.param(LINK.partition(":")[2], id="without its scheme"),
        pytest.param(LINK.partition("@")[2], id="from its host on"),
        pytest.param(LINK.partition("?")[2].partition("#")[0], id="its query"),
        pytest.param(f"…pires=17&Signature={SECRET}", id="the end of its query"),
        pytest.param(f"{SECRET}&Signature=x", id="from the middle of its query on"),
        pytest.param(f"Signature={SECRET}", id="a parameter"),
        pytest.param(f"https://cdn.example.net/a.mp3;sig={SECRET}", id="a parameter of its path"),
        pytest.param(f"https://cdn.example.net/hmac={SECRET}/a.mp3", id="within its path"),
    ],
)
def test_no_spelling_of_a_link_shows_its_secrets(text: str, encoder: str) -> None:
    spelled = ENCODERS[encoder](text)
    assert SECRET.lower() in spelled.lower()
    for around in ("{}", "cannot fetch {}: 404", "see https://b.example/ and ({}).", "<a>{}</a>"):
        assert SECRET.lower() not in without_queries(around.format(spelled)).lower()


@given(
    before=st.text(),
    after=st.text(),
    encoders=st.lists(st.sampled_from(list(ENCODERS.values())), max_size=3),
)
def test_no_text_around_a_link_and_no_encoding_of_an_encoding_shows_its_query(
    before: str, after: str, encoders: list[Callable[[str], str]]
) -> None:
    link = f"https://cdn.example.net/vocal.mp3?Expires=17&Signature={SECRET}"
    for encoder in encoders:
        link = encoder(link)
    assert SECRET.lower() not in without_queries(f"{before} {link} {after}").lower()


@pytest.mark.parametrize(
    "text, left",
    [
        (
            f"https://a.example/b?Signature=ab/{SECRET}1 {SECRET}/cd= is too old",
            "https://a.example/b  is too old",
        ),
        ("{'token':'hush', 'a': 1}", "{'token':'… 'a': 1}"),
        ("<Signature>hush</Signature> is old", "<Signature>… is old"),
        ("at a.example/b?c=d it broke", "at a.example/b it broke"),
    ],
)
def test_what_belongs_to_a_signature_is_left_out_and_nothing_else(text: str, left: str) -> None:
    assert without_queries(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "at most 20/10s (a token bucket); try again in 3 s?",
        "the song '#1; remix' has no key",
        "AT&T, C# and user@example.com; a=b",
        "audioUrl must be https://… (got ftp://a.example/x)",
        "&#x2F; &amp; &quot;",
        "&" + "amp;" * 20,
    ],
)
def test_words_without_secrets_stay_as_they_are(text: str) -> None:
    assert without_queries(text) == text


@pytest.mark.parametrize(
    "url, bare",
    [
        ("https://a.example/b/c.mp3?sig=hush#hush", "https://a.example/b/c.mp3"),
        ("https://user:hush@a.example:8443/c.mp3", "https://a.example:8443/c.mp3"),
        ("https://a.example/c.mp3;sig=hush", "https://a.example/c.mp3"),
        ("https://a.example/c.mp3%3Fsig%3Dhush", "https://a.example/c.mp3"),
        ("https://a.example/token=hush/c.mp3", "https://a.example/token=…"),
        ("https://a.example/Take%20%231;2.mp3", "https://a.example/Take%20%231;2.mp3"),
        ("https://[a.example/c.mp3?hush", ""),
    ],
)
def test_a_bare_link_has_no_secrets(url: str, bare: str) -> None:
    assert bare_url(url) == bare


@pytest.mark.parametrize(
    "text, shown",
    [
        ("", ""),
        ("5c79be8e", "5c79be8e"),
        ("5c79be8e12345", "5c79be8e12345"),
        ("5c79be8e123456", "5c79be8e…3456"),
        ("5c79be8e" * 4, "5c79be8e…be8e"),
    ],
)
def test_an_id_is_shortened_in_its_middle_where_that_makes_it_shorter(
    text: str, shown: str
) -> None:
    assert shortened(text) == shown
