"""Whatever arrives at a callback URL is read, or refused with an error of the one family."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import TASK_ID, callback, failed_callback, link
from webhooks.test_parsing import job

from vocalsep_async import KIE, KIE_JOBS, SUNOAPI, TaskRef, WebhookError
from vocalsep_async.webhooks import CallbackUrl, parse_callback, verify_signature

KEY = "whk-CANARY-0123456789"
NOW = 1_767_000_000
PROVIDERS = st.sampled_from([None, SUNOAPI, KIE, KIE_JOBS])
PAIR = {"extract": {"audio_url": link("a")}, "remove": {"audio_url": link("b")}}
REAL: list[dict[str, Any]] = [
    callback("vocal_removal_info"),
    callback("vocal_separation_info"),
    failed_callback(),
    {"code": 200, "data": {"taskId": TASK_ID, "response": {"vocalUrl": link("v")}}},
    {"code": 200, "data": {"task_id": TASK_ID, "vocal_separation_info": {"origin_data": [PAIR]}}},
    {"code": 202, "msg": "text", "data": {"task_id": TASK_ID}},
    {"code": 500, "msg": "no", "data": None, "taskId": TASK_ID},
    {"code": 200, "data": job("success", json.dumps({"vocal_url": link("v")}))},
    {"code": 501, "data": job("fail", None, failCode="500", failMsg="no")},
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(
        [
            *("", " ", "a", "b.c", TASK_ID, "SUCCESS", "success", "fail", "202", "1" * 400),
            *(
                "\ud800",
                "\u202e",
                "\x1b[2J",
                "a\nb",
                link("x"),
                "http://[",
                "//",
                "{}",
                "[",
                "[[]]",
            ),
            *('{"vocal_url": "https://a.example/v"}', '"' * 50, "9" * 30, "١٢٣"),
        ]
    )
)
NAMES = st.sampled_from(
    [
        *("code", "msg", "message", "data", "task_id", "taskId", "state", "resultJson", "param"),
        *("vocal_removal_info", "response", "origin_data", "originData", "vocalUrl", "vocal_url"),
        *("extract", "remove", "audio_url", "stem_type_group_name", "failCode", "errorMessage"),
        *("createTime", "completeTime", "callbackUrl", "type", "musicIndex", "input", "result"),
    ]
) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each object or list inside *value*, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in inside:
        found.append((value, key))
        if isinstance(inner, (dict, list)):
            found += places(inner)
    return found


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A real callback in which a few values were replaced, added or removed."""
    content = copy.deepcopy(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 4))):
        where = places(content)
        if not where:
            break
        holder, key = draw(st.sampled_from(where))
        match draw(st.sampled_from(["replace", "remove", "add", "as text"])):
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(NAMES)] = draw(VALUES)
            case "as text":
                holder[key] = json.dumps(holder[key])
            case _:
                holder[key] = draw(VALUES)
    return content


def _repeated(text: str) -> str:
    """JSON with its first name once more."""
    return text.replace("{", '{"code": 7, ', 1)


SPOILERS: list[Callable[[str], bytes]] = [
    lambda text: text.encode("utf-8", "surrogatepass"),
    lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass"),
    lambda text: text.encode("utf-16", "surrogatepass"),
    lambda text: text.encode("utf-32", "surrogatepass"),
    lambda text: text.encode("utf-8", "surrogatepass")[:-3],
    lambda text: text.encode("utf-8", "surrogatepass") * 2,
    lambda text: _repeated(text).encode("utf-8", "surrogatepass"),
    lambda text: text.replace(":", ": " + "[" * 5_000, 1).encode("utf-8", "surrogatepass"),
    lambda text: text.replace(":", ":" + "9" * 5_000, 1).encode("utf-8", "surrogatepass"),
    lambda text: text.replace('"', "'").encode("utf-8", "surrogatepass"),
]
TEXTS = st.builds(
    lambda value, escaped: json.dumps(value, ensure_ascii=escaped), changed(), st.booleans()
)
BODIES = (
    st.binary(max_size=200)
    | st.text(st.characters(), max_size=200)
    | TEXTS
    | st.builds(lambda text, spoil: spoil(text), TEXTS, st.sampled_from(SPOILERS))
    | VALUES.map(json.dumps)
)


def result_of(call: Callable[[], Any]) -> Any:
    """What *call* returns, or the refusal that it raises, which is fit to be shown."""
    try:
        return call()
    except WebhookError as error:
        refusal = error
    assert str(refusal).isprintable()
    assert refusal.__context__ is None
    return refusal


@settings(max_examples=settings().max_examples * 5)
@given(BODIES, PROVIDERS)
def test_any_body_is_an_event_or_a_refusal(body: bytes | str, provider: Any) -> None:
    event = result_of(lambda: parse_callback(body, provider=provider))
    if not isinstance(event, WebhookError):
        assert TaskRef(event.task_id).task_id == event.task.task_id
        assert event.is_final == event.task.is_final
        assert event.message.isprintable()
        assert repr(event).isprintable()


# Which id is signed


@settings(max_examples=settings().max_examples * 2)
@given(BODIES, PROVIDERS)
def test_the_id_that_is_signed_is_the_id_that_is_read(body: bytes | str, provider: Any) -> None:
    event = result_of(lambda: parse_callback(body, provider=provider))
    if isinstance(event, WebhookError):
        return
    verify_signature(signed(event.task_id), body, KEY, now=NOW)
    with pytest.raises(WebhookError):
        verify_signature(signed(f"{event.task_id}x"), body, KEY, now=NOW)


def signed(task_id: str, timestamp: str = str(NOW)) -> dict[str, str]:
    digest = hmac.new(KEY.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    return {"X-Webhook-Timestamp": timestamp, "X-Webhook-Signature": signature}


# Headers

BODY = json.dumps(callback()).encode()
GOOD = signed(TASK_ID)
HEADER_NAMES = st.sampled_from(
    ["X-Webhook-Signature", "x-webhook-signature", "X-WEBHOOK-TIMESTAMP", "X-Webhook-Timestamp"]
) | st.text(max_size=8)
HEADER_VALUES = (
    st.none()
    | st.sampled_from(
        [*GOOD.values(), f"+{NOW}", f"{NOW} ", "1_767_000_000", "１７６７", "0" * 5_000]
    )
    | st.builds(
        lambda value, at, added: value[:at] + added + value[at:],
        st.sampled_from(list(GOOD.values())),
        st.integers(0, 44),
        st.sampled_from(["\n", "!!", "=", " ", "é", "\udc80", "\x00", "+", "_", ","]),
    )
    | st.text(st.characters(), max_size=60)
    | st.binary(max_size=60)
)
HEADERS = (
    st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4)
    | st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=5)
    | st.lists(
        st.tuples(HEADER_NAMES.map(lambda name: name.encode("utf-8")), HEADER_VALUES), max_size=5
    )
)


def _content(value: object) -> object:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


@settings(max_examples=settings().max_examples * 3)
@given(HEADERS)
def test_any_headers_but_the_right_ones_are_refused(headers: Any) -> None:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    named = [(_content(name), _content(value)) for name, value in pairs if value is not None]
    present = {
        name: [value for each, value in named if bytes(each).lower() == name.lower().encode()]  # type: ignore[call-overload]
        for name in GOOD
    }
    is_right = all(present[name] == [value.encode()] for name, value in GOOD.items())
    refusal = result_of(lambda: verify_signature(headers, BODY, KEY, now=NOW))
    assert (refusal is None) == is_right


# Addresses

ADDRESS = CallbackUrl("https://example.com/hooks", KEY)
IN_A_FIELD = CallbackUrl("https://example.com/hooks", KEY, field="token")


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    address = draw(st.sampled_from([ADDRESS.url(), ADDRESS.url("a"), IN_A_FIELD.url("b")]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(address)))
        to = draw(st.integers(at, min(at + 3, len(address))))
        added = draw(
            st.sampled_from(["", "/", "%", "%2F", "?", "#", "&", "=", ".", "cb_", "é", "A"])
        )
        address = address[:at] + added + address[to:]
    return address


@settings(max_examples=settings().max_examples * 3)
@given(spoilt() | st.text(st.characters(), max_size=80) | st.binary(max_size=80))
def test_any_address_checks_as_a_name_or_is_refused(address: str | bytes) -> None:
    for made in (ADDRESS, IN_A_FIELD):
        name = result_of(partial(made.check, address))
        # Only what was made passes.
        assert isinstance(name, WebhookError) or name in {"", "a", "b"}
