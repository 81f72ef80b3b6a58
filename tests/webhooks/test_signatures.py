"""Signatures of callbacks: who may have sent one, and when."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from vocalsep_async import (
    CallbackTooLargeError,
    ConfigurationError,
    ForgedCallbackError,
    InvalidArgumentError,
    MalformedCallbackError,
    StaleCallbackError,
    UnsignedCallbackError,
)
from vocalsep_async.webhooks import MAX_CALLBACK_BYTES, verify_signature

KEY = "whk-CANARY-0123456789"
OTHER = "whk-OTHER-9876543210"
NOW = 1_767_000_000
TASK_ID = "task-1"
BODY = json.dumps({"code": 200, "msg": "ok", "data": {"task_id": TASK_ID}}).encode()


def signature(timestamp: str = str(NOW), key: str | bytes = KEY, task_id: str = TASK_ID) -> str:
    secret = key if isinstance(key, bytes) else key.encode()
    digest = hmac.new(secret, f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def headers(timestamp: str = str(NOW), signed: str | None = None) -> dict[str, str]:
    made = signature(timestamp) if signed is None else signed
    return {"X-Webhook-Timestamp": timestamp, "X-Webhook-Signature": made}


def verify(given: Any, body: Any = BODY, key: Any = KEY, **options: Any) -> None:
    verify_signature(given, body, key, **({"now": NOW} | options))


FORMS: dict[str, Callable[[Mapping[str, str]], Any]] = {
    "a dictionary": dict,
    "lower case": lambda given: {name.lower(): value for name, value in given.items()},
    "upper case": lambda given: {name.upper(): value for name, value in given.items()},
    "a dictionary of bytes": lambda given: {n.encode(): v.encode() for n, v in given.items()},
    "pairs": lambda given: list(given.items()),
    "pairs of bytes": lambda given: [(n.lower().encode(), v.encode()) for n, v in given.items()],
    "an iterator": lambda given: iter(given.items()),
    "a multi-dictionary": CIMultiDict,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_headers_come_in_any_form(form: Callable[[Mapping[str, str]], Any]) -> None:
    others = {"Host": "example.com", "x-webhook-other": "é"}
    verify(form(others | headers()))
    with pytest.raises(ForgedCallbackError):
        verify(form(others | headers(signed=signature(key=OTHER))))


@pytest.mark.parametrize("given", [None, 7, "X-Webhook-Signature", [7], [("a", "b", "c")]])
def test_what_are_no_headers_is_an_error_of_the_argument(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="headers must be a mapping or pairs"):
        verify(given)


def test_the_value_of_a_header_is_text_or_bytes() -> None:
    with pytest.raises(InvalidArgumentError, match="X-Webhook-Signature is list"):
        verify({"X-Webhook-Signature": ["a"]})


UNSIGNED: dict[str, Any] = {
    "no headers": {},
    "no signature": {"X-Webhook-Timestamp": str(NOW)},
    "no time": {"X-Webhook-Signature": signature()},
    "an empty signature": headers() | {"X-Webhook-Signature": ""},
    "an empty time": headers() | {"X-Webhook-Timestamp": ""},
    "an absent signature": headers() | {"X-Webhook-Signature": None},
}


@pytest.mark.parametrize("given", UNSIGNED.values(), ids=UNSIGNED)
def test_a_callback_without_signature_or_time_is_unsigned(given: Any) -> None:
    with pytest.raises(UnsignedCallbackError, match=r"header; kie\.ai signs"):
        verify(given, b"not read")


SIGNED = signature()
NOT_SIGNATURES: dict[str, str | bytes] = {
    "not ASCII": "é" + SIGNED[1:],
    "not ASCII, in bytes": b"\xe9" + SIGNED[1:].encode(),
    "a lone surrogate": "\udce9" + SIGNED[1:],
    "a line end": SIGNED + "\n",
    "a line end within": SIGNED[:20] + "\n" + SIGNED[20:],
    "other characters": SIGNED + "!!",
    "blanks": f" {SIGNED} ",
    "no padding": SIGNED.rstrip("="),
    "more padding": SIGNED + "=",
    "cut": SIGNED[:20],
    "two in one": f"{SIGNED}, {SIGNED}",
    "the Base64 of links": SIGNED[:-2] + "-=",
    "hexadecimal": base64.b64decode(SIGNED).hex(),
    "long": "A" * 1_000_000,
}


@pytest.mark.parametrize("signed", NOT_SIGNATURES.values(), ids=NOT_SIGNATURES)
def test_what_is_no_signature_is_refused_before_the_body_is_read(signed: Any) -> None:
    with pytest.raises(ForgedCallbackError, match="44 characters of Base64"):
        verify(headers(signed=signed), b"not read")


@pytest.mark.parametrize("name", ["X-Webhook-Signature", "x-webhook-timestamp"])
def test_a_header_that_comes_twice_is_refused_before_the_body_is_read(name: str) -> None:
    twice = CIMultiDict(headers())
    twice.add(name, twice[name])
    with pytest.raises(ForgedCallbackError, match=f"(?i)header {name} 2 times"):
        verify(twice, b"not read")
    pairs = [(each.encode(), value.encode()) for each, value in twice.items()]
    with pytest.raises(ForgedCallbackError, match=f"(?i)header {name} 2 times"):
        verify(pairs, b"not read")


NOT_TIMES = [
    f"+{NOW}",
    f"-{NOW}",
    "1_767_000_000",
    f" {NOW}",
    f"{NOW} ",
    f"{NOW}\n",
    f"{NOW}.0",
    "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in str(NOW)),
    "1" * 5_000,
    "1" * 13,
    "0x10",
    "1e9",
    "NaN",
    "now",
]


@pytest.mark.parametrize("timestamp", NOT_TIMES)
def test_what_is_no_time_is_refused_before_the_body_is_read(timestamp: str) -> None:
    with pytest.raises(ForgedCallbackError, match="in up to 12 digits"):
        verify(headers(timestamp), b"not read", tolerance=None)


OTHER_BODY = BODY.replace(TASK_ID.encode(), b"task-2")
FORGED: dict[str, tuple[dict[str, str], bytes]] = {
    "another key": (headers(signed=signature(key=OTHER)), BODY),
    "another task": (headers(), OTHER_BODY),
    "another time": (headers(str(NOW + 1), signature()), BODY),
    "a leading zero": (headers(f"0{NOW}", signature()), BODY),
    "a changed bit": (headers(signed=SIGNED[:-2] + chr(ord(SIGNED[-2]) ^ 1) + "="), BODY),
    "swapped case": (headers(signed=SIGNED.swapcase()), BODY),
}


@pytest.mark.parametrize("given, body", FORGED.values(), ids=FORGED)
def test_a_signature_of_something_else_is_forged(given: Any, body: bytes) -> None:
    with pytest.raises(ForgedCallbackError):
        verify(given, body)


def test_a_signature_covers_the_task_and_the_time_but_not_the_rest_of_the_body() -> None:
    changed = {"code": 500, "data": {"task_id": TASK_ID, "url": "https://evil.example/"}}
    verify(headers(), json.dumps(changed))


@pytest.mark.parametrize("task_id, timestamp", [("a.1", "2"), ("a", "1.2")])
def test_one_signature_never_fits_two_pairs_of_id_and_time(task_id: str, timestamp: str) -> None:
    signed = signature("2", task_id="a.1")
    assert signed == signature("1.2", task_id="a")
    body = json.dumps({"code": 200, "data": {"task_id": task_id}})
    with pytest.raises((ForgedCallbackError, MalformedCallbackError)):
        verify(headers(timestamp, signed), body, tolerance=None)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"code": 200, "data": {}}', b'{"code": 200}'])
def test_a_signed_body_that_names_no_task_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedCallbackError):
        verify(headers(), content)


def test_a_signed_body_of_more_than_the_bound_is_not_read() -> None:
    with pytest.raises(CallbackTooLargeError):
        verify(headers(), BODY + b" " * MAX_CALLBACK_BYTES)


@pytest.mark.parametrize("keys", [[KEY, OTHER], (OTHER, KEY), [OTHER.encode(), KEY.encode()]])
def test_any_of_several_keys_may_have_signed(keys: Any) -> None:
    verify(headers(), key=keys)
    verify(headers(signed=signature(key=OTHER)), key=keys)
    with pytest.raises(ForgedCallbackError):
        verify(headers(signed=signature(key="third")), key=keys)


def test_a_key_may_hold_any_character_or_byte() -> None:
    for key in ("schlüssel", "鍵", b"\x00\xff" * 16):
        verify(headers(signed=signature(key=key)), key=key)


@pytest.mark.parametrize("key", [KEY, OTHER, "third"])
def test_signatures_are_compared_in_constant_time_with_every_key(
    key: str, compared: list[tuple[Any, Any]]
) -> None:
    given = signature(key=key)
    try:
        verify(headers(signed=given), key=[KEY, OTHER])
    except ForgedCallbackError:
        assert key == "third"
    assert compared == [(signature(key=each).encode(), given.encode()) for each in (KEY, OTHER)]


@pytest.mark.parametrize("skew", [0, 299, 300, -299, -300, 299.9])
def test_a_time_within_the_tolerance_is_accepted(skew: float) -> None:
    verify(headers(), now=NOW + skew)


@pytest.mark.parametrize(
    "skew, words",
    [
        (301, r"signed 301 s ago \(difference \+301 s\).*at most 300 s.*late or again"),
        (-301, r"signed 301 s in the future \(difference -301 s\).*clock here is behind"),
        (3_600, r"signed 3,600 s ago \(difference \+3,600 s\)"),
        (300.5, r"signed 300\.5 s ago"),
        (300.0625, r"signed 300\.062 s ago"),
    ],
)
def test_a_time_beyond_the_tolerance_is_stale_in_a_direction(skew: float, words: str) -> None:
    with pytest.raises(StaleCallbackError, match=words) as caught:
        verify(headers(), now=NOW + skew)
    assert caught.value.skew == skew


def test_the_tolerance_is_an_argument() -> None:
    verify(headers(), now=NOW + 3_600, tolerance=3_600)
    verify(headers(), now=NOW + 1e9, tolerance=None)
    verify(headers(), now=NOW - 1e9, tolerance=float("inf"))
    verify(headers(), now=NOW, tolerance=0)
    with pytest.raises(StaleCallbackError):
        verify(headers(), now=NOW + 1, tolerance=0)


def test_a_forged_signature_is_forged_at_any_age() -> None:
    with pytest.raises(ForgedCallbackError):
        verify(headers(signed=signature(key=OTHER)), now=NOW + 3_600)


def test_the_clock_of_this_machine_decides_without_another_time() -> None:
    with pytest.raises(StaleCallbackError, match="ago"):
        verify_signature(headers("1", signature("1")), BODY, KEY)
    with pytest.raises(StaleCallbackError, match="in the future"):
        verify_signature(headers("9" * 12, signature("9" * 12)), BODY, KEY)


@pytest.mark.parametrize("options", [{"tolerance": -1}, {"tolerance": "1"}, {"now": float("nan")}])
def test_a_wrong_tolerance_or_time_is_an_error_of_the_argument(options: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        verify(headers(), **options)


WRONG_KEYS: list[Any] = [
    *("", " ", "\n", None, b"", b" ", 7, True, f"{KEY}\n", "\ud800", bytearray(b"key")),
    *([], (), [""], [None], [KEY, ""], [KEY, " "], [None, KEY], [KEY, 7], [[KEY]], {KEY}),
]


@pytest.mark.parametrize("key", WRONG_KEYS, ids=repr)
def test_an_unusable_key_is_an_error_of_the_configuration(key: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        verify(headers(), key=key)
    assert KEY not in str(caught.value)


def test_the_error_of_one_unusable_key_among_good_ones_says_which() -> None:
    with pytest.raises(ConfigurationError, match="number 2 of key is empty"):
        verify(headers(), key=[KEY, ""])
