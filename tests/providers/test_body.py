"""Bytes to JSON: a value or one `DecodeError`."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from payloads import BROKEN_BODIES, SIGNATURE, answer, body, nested, vocals_done

from vocalsep_async.errors import DecodeError
from vocalsep_async.providers._body import parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.parametrize("content", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_a_body_that_is_no_json_is_one_decode_error(content: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        parse(content, 502)
    assert caught.value.http_status == 502
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 200


@given(JSON)
def test_json_comes_through_unchanged(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary() | st.text(st.characters(), max_size=20).map(lambda text: repr(text).encode()))
def test_any_bytes_are_a_value_or_a_decode_error(content: bytes) -> None:
    with suppress(DecodeError):
        assert parse(content) == json.loads(content.decode("utf-8-sig"))


def test_a_byte_order_mark_is_accepted_once() -> None:
    assert parse(b"\xef\xbb\xbf" + body([1])) == [1]
    with pytest.raises(DecodeError):
        parse(b"\xef\xbb\xbf" * 2 + body([1]))


def test_text_is_utf_8_whatever_it_holds() -> None:
    assert parse('{"msg": "歌声 ❤"}'.encode()) == {"msg": "歌声 ❤"}
    assert parse(b'{"msg": "\\ud800"}') == {"msg": "\ud800"}


def test_some_nesting_is_fine() -> None:
    assert parse(nested(50)) == json.loads(nested(50))


def test_of_two_equal_keys_the_last_counts() -> None:
    assert parse(b'{"code": 200, "code": 430}') == {"code": 430}


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
def test_the_message_says_what_is_wrong_and_shows_nothing(content: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse(content)
    assert problem in str(caught.value)
    assert "sk-hush" not in str(caught.value)


@pytest.mark.parametrize("length", range(1, len(answer(vocals_done())), 7))
def test_a_cut_answer_shows_no_link(length: int) -> None:
    with pytest.raises(DecodeError) as caught:
        parse(answer(vocals_done())[:length])
    assert SIGNATURE not in str(caught.value)
    assert "https" not in str(caught.value)
