"""The key and a proxy's login are visible to the server only."""

import base64
import copy
import io
import json
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from vocalsep_async._transport.secrets import ApiKey, proxy_login
from vocalsep_async.errors import ConfigurationError

KEY = "sk-hush-0123456789"
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8)


@attrs.define
class _Holder:
    key: ApiKey


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        ascii,
        lambda key: "%s" % key,  # noqa: UP031
        lambda key: [key],
        dir,
        lambda key: attrs.asdict(_Holder(key)),
        _Holder,
        lambda key: key.authorization().__repr__(),
        lambda key: {"Authorization": key.authorization()},
    ],
)
def test_no_way_of_showing_shows_it(show: Callable[[ApiKey], Any]) -> None:
    assert "hush" not in repr(show(ApiKey(KEY)))


@pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda key, protocol=protocol: pickle.Pickler(io.BytesIO(), protocol).dump(key)
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
@pytest.mark.parametrize("wrap", [lambda key: key, _Holder, lambda key: {"key": key}])
def test_it_does_not_travel(travel: Callable[[Any], Any], wrap: Callable[[ApiKey], Any]) -> None:
    held = wrap(ApiKey(KEY))
    if travel is copy.copy and not isinstance(held, ApiKey):
        assert "hush" not in repr(travel(held))
        return
    with pytest.raises(TypeError, match="not pickled or copied") as caught:
        travel(held)
    assert "hush" not in repr(caught.value)


def test_it_has_no_dictionary_of_attributes() -> None:
    with pytest.raises(TypeError):
        vars(ApiKey(KEY))


@pytest.mark.parametrize(
    "key",
    [
        "",
        None,
        b"sk-hush",
        7,
        ["sk-hush"],
        "sk hush",
        " sk-hush",
        "sk-hush\n",
        "sk-hush\r\nX: y",
        "sk-hush\x00",
        "sk-hush\x7f",
        "sk-hüsh",
        "sk-hush\u200b",
    ],
)
def test_a_key_that_a_header_cannot_hold_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key ") as caught:
        ApiKey(key)
    assert "hush" not in repr(caught.value)
    assert caught.value.__context__ is None


def test_the_server_gets_it_as_it_is() -> None:
    assert ApiKey(KEY).authorization() == f"Bearer {KEY}"


@given(KEYS, st.binary(), st.binary())
def test_it_is_taken_out_of_any_answer(key: str, before: bytes, after: bytes) -> None:
    redacted = ApiKey(key).redact(before + b"\n" + key.encode() + b"\n" + after)
    assert b"\n" + key.encode() + b"\n" not in redacted
    assert b"\n<API key>\n" in redacted


def test_it_is_taken_out_as_often_as_it_is_said() -> None:
    said = f"é {KEY}, {KEY}!".encode()
    assert ApiKey(KEY).redact(said) == "é <API key>, <API key>!".encode()
    assert ApiKey(KEY).redact(b"nothing to hide") == b"nothing to hide"


@given(key=KEYS, odd=st.lists(st.sampled_from(["plain", "\\u", "\\U"]), min_size=1))
def test_an_answer_does_not_repeat_the_key_however_json_spells_it(key: str, odd: list[str]) -> None:
    def spelled(index: int, character: str) -> str:
        code = f"{ord(character):04x}"
        escapes = {"\\u": "\\u" + code, "\\U": "\\u" + code.upper()}
        return escapes.get(odd[index % len(odd)], json.dumps(character)[1:-1])

    body = '"' + "".join(spelled(*each) for each in enumerate(key)) + '"'
    assert json.loads(body) == key
    assert ApiKey(key).redact(body.encode()) == b'"<API key>"'


def test_an_answer_may_write_the_slashes_of_the_key_with_a_backslash() -> None:
    assert ApiKey("abc/def/ghi").redact(rb'"abc\/def\/ghi"') == b'"<API key>"'


SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.lower,
    lambda each: f"%{ord(each):02x}",
    lambda each: f"%25{ord(each):02X}",
    lambda each: f"&#{ord(each)};",
    lambda each: f"&#x{ord(each):X};",
    lambda each: f"\\u{ord(each):04X}",
    lambda each: f"\\\\u{ord(each):04x}",
]


@given(KEYS, st.lists(st.sampled_from(SPELLINGS), min_size=1))
def test_an_answer_does_not_repeat_the_key_however_links_and_pages_spell_it(
    key: str, spellings: list[Callable[[str], str]]
) -> None:
    spelled = "".join(spellings[place % len(spellings)](each) for place, each in enumerate(key))
    masked = ApiKey(key)
    for _ in range(2):
        assert masked.redact(f"é {spelled}!".encode()) == "é <API key>!".encode()


@given(KEYS, st.binary(), st.binary())
def test_an_answer_does_not_repeat_the_key_in_base64(key: str, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        redacted = ApiKey(key).redact(encode(before + key.encode() + after))
        # What is left are the characters that depend on the neighbours of the key, too.
        assert b"<API key>" in redacted
        left = sum(map(len, redacted.split(b"<API key>")))
        assert left <= (len(before) + len(after)) * 4 / 3 + 12


@given(KEYS, st.text(), st.text())
def test_it_is_taken_out_of_the_value_of_a_header(key: str, before: str, after: str) -> None:
    assert "<API key>" in ApiKey(key).redact_text(f"{before}\n{key}\n{after}")
    assert ApiKey(KEY).redact_text("120") == "120"
    assert ApiKey(KEY).redact_text(f"\udcff {KEY}") == "\ufffd <API key>"


def test_a_key_too_short_to_be_a_secret_does_not_tear_words_apart() -> None:
    assert ApiKey("test").redact(b"the test failed") == b"the test failed"
    assert ApiKey("12345678").redact(b"12345678") == b"<API key>"


@pytest.mark.parametrize(
    "proxy, login",
    [
        ("http://me:hush@proxy.example.net:3128", "me:hush"),
        ("http://me@proxy.example.net", "me:"),
        ("http://:hush@proxy.example.net", ":hush"),
        ("http://m%40e:h%C3%BCsh@proxy.example.net", "m@e:hüsh"),
    ],
)
def test_the_login_of_a_proxy_is_masked(proxy: str, login: str) -> None:
    headers = proxy_login(URL(proxy))
    assert headers is not None
    scheme, _, credentials = headers["Proxy-Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials).decode()) == ("Basic", login)
    assert repr(dict(headers)) == "{'Proxy-Authorization': 'Basic <masked>'}"


def test_a_proxy_without_a_login_gets_none() -> None:
    assert proxy_login(URL("http://proxy.example.net")) is None


def test_its_state_is_not_given_out() -> None:
    with pytest.raises(TypeError, match="not pickled or copied"):
        ApiKey(KEY).__getstate__()
