"""Packed records: complete except for the queries of links."""

from __future__ import annotations

import json
import zlib
from types import MappingProxyType
from typing import Any

import payloads
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async._journal.codec import packed, unpacked

RECORDS = {
    "pending": payloads.pending(callbackUrl=payloads.link("hook")),
    "vocals": payloads.vocals_done(),
    "stems": payloads.stems_done(),
    "kie": payloads.kie_done(),
    "older": payloads.older_done(),
    "advanced": payloads.advanced_done(),
    "failed": payloads.failed(errorMessage=f"could not fetch {payloads.link('song')}"),
}
TEXTS = st.text().filter(lambda text: "://" not in text)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)
BROKEN = "https://[not-an-address/v.mp3?Signature=hush-hush"


def kept(record: Any, *, keep_links: bool = False) -> Any:
    return unpacked(packed(record, keep_links=keep_links))


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_a_record_without_links_comes_back_unchanged(record: dict[str, Any]) -> None:
    assert kept(record) == record


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_with_kept_links_comes_back_unchanged(name: str) -> None:
    assert kept(RECORDS[name], keep_links=True) == RECORDS[name]


@pytest.mark.parametrize(
    "text, left",
    [
        (r"bad link https:\/\/a.example\/b.mp3?sig=hush", r"bad link https:\/\/a.example\/b.mp3"),
        (
            "bad: https%3A%2F%2Fa.example%2Fb%3Fsig%3Dhush, sorry",
            "bad: https%3A%2F%2Fa.example%2Fb sorry",
        ),
        (
            "https://p.example/get/https%253A%252F%252Fa.example%253fsig%253Dhush",
            "https://p.example/get/https%253A%252F%252Fa.example",
        ),
        ("https://a.example/b%3Fsig=hush", "https://a.example/b"),
        ("https://a.example/Why%3F.mp3", "https://a.example/Why%3F.mp3"),
        ("100 %, why?", "100 %, why?"),
    ],
)
def test_an_escaped_link_loses_its_query(text: str, left: str) -> None:
    assert kept({"errorMessage": text}) == {"errorMessage": left}


@pytest.mark.parametrize("name", RECORDS)
def test_only_the_queries_of_links_are_dropped(name: str) -> None:
    text = json.dumps(RECORDS[name])
    assert payloads.SIGNATURE in text or name == "pending"
    assert kept(RECORDS[name]) == json.loads(text.replace(f"?{payloads.SIGNATURE}", ""))


NESTED = json.dumps({"audio_url": payloads.link("song"), "note": "why?"}, separators=(",", ":"))


@pytest.mark.parametrize(
    "value",
    [
        {"vocal_url": payloads.link("vocal"), "bass_url": payloads.link("bass"), "note": "why?"},
        [payloads.link("vocal"), {"audio_url": payloads.link("bass")}],
        {"input": NESTED, "callBackUrl": payloads.link("hook")},
        {"song_url": "no-scheme.example/a?Signature=hush", "text": f"see {payloads.link('a')} now"},
    ],
)
def test_the_queries_of_links_in_a_string_of_json_are_dropped_and_nothing_else(value: Any) -> None:
    record = kept({"taskId": "a", "resultJson": json.dumps(value), "title": "what?"})
    assert (record["taskId"], record["title"]) == ("a", "what?")
    shown = json.dumps(json.loads(record["resultJson"]))
    wanted = json.dumps(value).replace(f"?{payloads.SIGNATURE}", "").replace("?Signature=hush", "")
    assert shown == wanted
    assert kept({"j": json.dumps(value)}, keep_links=True) == {"j": json.dumps(value)}


@pytest.mark.parametrize(
    "text", ["{}", '{"a" :  1}', '[1, "what?"]', '{"a": 1, "a": 2}', "{not json?}", "[" * 9_999]
)
def test_a_string_of_json_without_links_comes_back_as_it_was(text: str) -> None:
    assert kept({"text": text, "deep": [[text]]}) == {"text": text, "deep": [[text]]}


def test_a_journal_drops_the_queries_of_links_below_many_levels() -> None:
    deep: Any = {"url": payloads.link("deep"), "json": "[]"}
    for _ in range(100):
        deep = [deep]
    packed_text = json.dumps(kept({"deep": deep, "json": "{}"}))
    assert payloads.SIGNATURE not in packed_text
    assert payloads.link("deep").partition("?")[0] in packed_text


@pytest.mark.parametrize("depth", range(600, 1100, 20))
def test_a_string_of_json_is_packed_however_deeply_it_is_nested(depth: int) -> None:
    text = f'{{"deep": {"[" * depth}{"]" * depth}, "url": "https://cdn.example/v.mp3?hush"}}'
    assert "hush" not in json.dumps(kept({"json": text}))


@pytest.mark.parametrize(
    "text, left",
    [
        ("https://cdn.example/v.mp3?Signature=hush", "https://cdn.example/v.mp3"),
        ("https://cdn.example/v.mp3#hush", "https://cdn.example/v.mp3"),
        ("HTTPS://cdn.example/v.mp3?a=1#b", "HTTPS://cdn.example/v.mp3"),
        ("https://cdn.example?u=https://x.example/?hush", "https://cdn.example"),
        (
            "see https://a.example/?hush and https://b.example/?hush",
            "see https://a.example/ and https://b.example/",
        ),
        ('"https://a.example/?hush" \\ é', '"https://a.example/ \\ é'),
        ("https://cdn.example/v.mp3?a\n=hush", "https://cdn.example/v.mp3"),
        ("https://cdn.example/a_Lead Vocal.mp3?hush", "https://cdn.example/a_Lead Vocal.mp3"),
        ("https://cdn.example/v.mp3?a=hush and hush", "https://cdn.example/v.mp3"),
        (
            "see https://cdn.example/Lead Vocal.mp3?hush and go",
            "see https://cdn.example/Lead Vocal.mp3 and go",
        ),
        (
            "no https://a.example/v.mp3?a=1,https://a.example/Lead Vocal.mp3?hush #hush, nor more",
            "no https://a.example/v.mp3 Vocal.mp3  nor more",
        ),
        ('"https://a.example/"', '"https://a.example/"'),
        (BROKEN, BROKEN.partition("?")[0]),
        ("is it 50 % / 2?", "is it 50 % / 2?"),
        ("", ""),
    ],
)
def test_a_text_with_a_link_ends_where_its_query_begins(text: str, left: str) -> None:
    assert kept({"a": text}) == {"a": left}


@pytest.mark.parametrize("name", ["audio_url", "vocalUrl", "URL"])
@pytest.mark.parametrize("address", ["//a.example/Lead Vocal.mp3", "a.example/v", "https:/\\a/v"])
def test_a_field_named_as_a_link_loses_its_query(name: str, address: str) -> None:
    record = {"a": [{name: f"{address}?sig=hush and hush"}], "b": "why?"}
    assert kept(record) == {"a": [{name: address}], "b": "why?"}
    assert kept(record, keep_links=True) == record


def test_nested_links_lose_their_queries() -> None:
    link, bare = payloads.link("v"), payloads.link("v").partition("?")[0]
    record = MappingProxyType({"a": [MappingProxyType({"b": (link, [link])})], "c": link})
    assert kept(record) == {"a": [{"b": [bare, [bare]]}], "c": bare}


@pytest.mark.parametrize("keep_links", [False, True])
def test_packing_does_not_change_the_record(*, keep_links: bool) -> None:
    record = payloads.vocals_done()
    packed(record, keep_links=keep_links)
    assert record == payloads.vocals_done()


def test_a_packed_record_takes_less_than_half_a_kilobyte() -> None:
    assert len(packed(payloads.vocals_done(), keep_links=False)) < 512


def test_a_truncated_record_is_refused() -> None:
    content = packed(payloads.vocals_done(), keep_links=True)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"."):
            unpacked(content[:length])


def test_a_record_with_a_changed_byte_is_refused_or_still_right() -> None:
    record = payloads.vocals_done()
    content = packed(record, keep_links=True)
    refused = 0
    for place in range(len(content)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= flip
            try:
                assert unpacked(bytes(damaged)) == record
            except ValueError:
                refused += 1
    assert refused > len(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="not packed"),
        pytest.param(zlib.compress(b"{"), id="no JSON"),
        pytest.param(zlib.compress(b"\xff"), id="no UTF-8"),
        pytest.param(zlib.compress(b" " * (1 << 24) + b"{}"), id="larger than any record"),
        pytest.param(zlib.compress(payloads.nested(200_000)), id="deeper than any record"),
    ],
)
def test_content_that_is_not_a_packed_record_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(content)
