"""The envelope: precedence of code and status, Retry-After, and parsing of JSON."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import (
    BROKEN_BODIES,
    HTML,
    SIGNATURE,
    answer,
    body,
    envelope,
    error_envelope,
    nested,
    vocals_done,
    without,
)

from vocalsep_async._text import LONGEST_MESSAGE
from vocalsep_async.errors import DecodeError
from vocalsep_async.providers._envelope import (
    LONGEST_RETRY_AFTER,
    Envelope,
    code_of,
    http_date,
    message_of,
    open_envelope,
    parse_json,
    retry_after,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
UNUSABLE_CODES = [
    True,
    False,
    None,
    200.0,
    200.9,
    "",
    "OK",
    " 200",
    "+200",
    "-1",
    "２００",
    "1" * 10,
    10**10,
    -(10**10),
    [200],
    {"code": 200},
]


@pytest.mark.parametrize(
    "code, parsed",
    [(200, 200), ("200", 200), (430, 430), ("430", 430), (0, 0), (-1, -1), (999, 999)],
)
def test_a_code_is_a_whole_number_or_digits(code: int | str, parsed: int) -> None:
    assert code_of({"code": code}) == parsed
    assert open_envelope(200, body(error_envelope(code))).code == parsed


@pytest.mark.parametrize("code", UNUSABLE_CODES)
def test_any_other_code_is_a_decode_error(code: Any) -> None:
    assert code_of({"code": code}) is None
    with pytest.raises(DecodeError, match="no usable code") as caught:
        open_envelope(200, body(error_envelope(code)))
    assert caught.value.http_status == 200


@pytest.mark.parametrize("content", [{}, {"msg": "x"}, [], [200], "200", 200, None, True])
def test_json_without_a_code_under_a_success_status_is_a_decode_error(content: Any) -> None:
    for status in (200, 201, 299):
        with pytest.raises(DecodeError, match="no usable code"):
            open_envelope(status, body(content))


@pytest.mark.parametrize("content", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_a_broken_body_under_an_error_status_yields_the_status(content: bytes) -> None:
    assert open_envelope(502, content) == Envelope(502, "", None, genuine=False)
    with pytest.raises(DecodeError):
        open_envelope(200, content)


@pytest.mark.parametrize("code", UNUSABLE_CODES)
def test_an_unusable_code_under_an_error_status_yields_the_status(code: Any) -> None:
    opened = open_envelope(500, body(error_envelope(code, "broken")))
    assert opened == Envelope(500, "broken", None, genuine=False)


@pytest.mark.parametrize("code", [0, -1, 401, 418, 429, 430, 455, 500, 999])
@pytest.mark.parametrize("status", [200, 400, 405, 429, 430, 500, 503])
def test_an_error_code_takes_precedence_over_the_status(status: int, code: int) -> None:
    assert open_envelope(status, body(error_envelope(code))).code == code


@pytest.mark.parametrize("status", [199, 300, 400, 405, 429, 430, 500, 503])
def test_an_error_status_takes_precedence_over_a_success_code(status: int) -> None:
    opened = open_envelope(status, body(envelope({"taskId": "x"})))
    assert opened == Envelope(status, "success", None, genuine=False)


@pytest.mark.parametrize("data", [None, "", [], {}, 0, False, "text", [1], {"a": 1}, 5.5])
def test_the_envelope_passes_its_data_on_unchanged(data: Any) -> None:
    assert open_envelope(200, body(envelope(data))).data == data


def test_missing_data_is_none() -> None:
    assert open_envelope(200, body(without(envelope(1), ["data"]))).data is None


@pytest.mark.parametrize("msg", [None, 7, True, ["a"], {"a": "b"}])
def test_a_message_that_is_not_text_is_empty(msg: Any) -> None:
    assert open_envelope(200, body(error_envelope(500, msg))).message == ""
    assert open_envelope(500, HTML).message == ""


@pytest.mark.parametrize(
    "content, message",
    [
        ({"message": "it broke"}, "it broke"),
        ({"msg": "", "message": "it broke"}, "it broke"),
        ({"msg": "first", "message": "second"}, "first"),
        ({"message": 7}, ""),
    ],
)
def test_an_envelope_may_name_its_message_in_full(content: dict[str, Any], message: str) -> None:
    assert open_envelope(200, body({"code": 500} | content)).message == message


@pytest.mark.parametrize("word", ["msg", "message"])
@pytest.mark.parametrize("text", ["no " * 300_000, "frequen" * 130_000, "://a?" * 180_000])
def test_a_message_of_a_megabyte_is_cut_before_it_is_judged(word: str, text: str) -> None:
    found = open_envelope(200, body({"code": 500, word: text})).message
    assert found == text[:LONGEST_MESSAGE]
    assert open_envelope(500, body({word: text})).message == found


@given(st.text(max_size=9_000))
def test_only_the_beginning_of_a_message_counts(text: str) -> None:
    assert message_of({"msg": text}) == text[:LONGEST_MESSAGE]


def test_a_missing_message_is_empty() -> None:
    assert open_envelope(200, b'{"code": 500}').message == ""


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("20", 20.0),
        (" 20 ", 20.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 20, 300.0),
        ("9" * 21, None),
        ("-10", None),
        ("+10", None),
        ("inf", None),
        ("Infinity", None),
        ("nan", None),
        ("1e3", None),
        ("0x10", None),
        ("1_0", None),
        ("1.", None),
        (".5", None),
        ("２０", None),
        ("20, 30", None),
        ("20s", None),
        ("soon", None),
        ("", None),
        ("  ", None),
        ("Wed, 04 Mar 2026 05:06:37 GMT", 30.0),
        ("Sun, 04 Mar 2026 05:06:37 GMT", 30.0),  # a wrong day of the week
        ("04 Mar 2026 05:06:37", 30.0),  # no zone
        ("Wed, 04 Mar 2026 05:06:37 -0000", 30.0),
        ("Wed, 04 Mar 2026 07:06:37 +0200", 30.0),
        ("Wed, 04 Mar 2026 05:00:00 GMT", 0.0),
        ("Wed, 04 Mar 2015 05:00:00 GMT", 0.0),
        ("Wed, 04 Mar 2026 06:06:07 GMT", 300.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Wed, 04 Mar 100000 05:06:37 GMT", None),
        ("Wed, 99 Mar 2026 05:06:37 GMT", None),
        ("Wed, 04 Mar 2026 05:06:37 +99999999", None),
    ],
)
@pytest.mark.usefixtures("any_zone")
def test_retry_after_accepts_seconds_and_dates_up_to_its_maximum(
    value: str, seconds: float | None
) -> None:
    headers = {"Retry-After": value, "Date": format_datetime(NOW, usegmt=True)}
    assert retry_after(headers) == seconds


def test_retry_after_without_the_header_is_none() -> None:
    assert retry_after({}) is None
    assert retry_after({"Date": format_datetime(NOW)}) is None


@pytest.mark.parametrize("date", [{}, {"Date": "yesterday"}])
def test_retry_after_without_a_date_header_uses_the_local_clock(date: dict[str, str]) -> None:
    today = datetime.now(UTC)
    for days, seconds in ((-1, 0.0), (1, LONGEST_RETRY_AFTER)):
        until = format_datetime(today + timedelta(days=days), usegmt=True)
        assert retry_after({"Retry-After": until} | date) == seconds


HEADER_TEXT = st.text() | st.text('0123456789 ,:;-+()GMTWedOctan"\\<>@.', max_size=40)


@given(HEADER_TEXT, HEADER_TEXT)
def test_retry_after_of_any_header_is_within_bounds_or_none(value: str, date: str) -> None:
    seconds = retry_after({"Retry-After": value, "Date": date})
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER


@given(HEADER_TEXT)
def test_a_parsed_http_date_always_has_a_zone(value: str) -> None:
    date = http_date(value)
    assert date is None or date.tzinfo is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.parametrize("content", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_a_body_that_is_not_json_is_a_single_decode_error(content: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_json(content, 502)
    assert caught.value.http_status == 502
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 200


@given(JSON)
def test_parsing_json_returns_the_encoded_value(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary() | st.text(st.characters(), max_size=20).map(lambda text: repr(text).encode()))
def test_any_bytes_are_a_value_or_a_decode_error(content: bytes) -> None:
    with suppress(DecodeError):
        assert parse_json(content) == json.loads(content.decode("utf-8-sig"))


def test_a_byte_order_mark_is_accepted_once() -> None:
    assert parse_json(b"\xef\xbb\xbf" + body([1])) == [1]
    with pytest.raises(DecodeError):
        parse_json(b"\xef\xbb\xbf" * 2 + body([1]))


def test_the_parser_accepts_any_utf_8_text() -> None:
    assert parse_json('{"msg": "歌声 ❤"}'.encode()) == {"msg": "歌声 ❤"}
    assert parse_json(b'{"msg": "\\ud800"}') == {"msg": "\ud800"}


def test_the_parser_accepts_moderate_nesting() -> None:
    assert parse_json(nested(50)) == json.loads(nested(50))


def test_the_last_of_two_equal_keys_is_used() -> None:
    assert parse_json(b'{"code": 200, "code": 430}') == {"code": 430}


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"<!DOCTYPE html><p>sk-hush", "it begins with '<!DOCTYPE'"),
        (b" \n<html lang=sk-hush>", "it begins with '<html'"),
        (b"<?xml version='sk-hush'?>", "it begins with '<?xml'"),
        (b"\xff", "it is not UTF-8"),
        (nested(200_000), "it is nested too deeply"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[1e400]", "a number is too large"),
        (b"[-1e400]", "a number is too large"),
        (b"sk-hush", "Expecting value"),
    ],
)
def test_the_message_names_the_defect_and_shows_no_content(content: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_json(content)
    assert problem in str(caught.value)
    assert "sk-hush" not in str(caught.value)


@pytest.mark.parametrize("length", range(1, len(answer(vocals_done())), 7))
def test_the_error_of_a_truncated_answer_shows_no_link(length: int) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_json(answer(vocals_done())[:length])
    assert SIGNATURE not in str(caught.value)
    assert "https" not in str(caught.value)
