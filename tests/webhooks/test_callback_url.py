"""Addresses that prove who posts to them."""

from __future__ import annotations

import copy
import pickle
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    ConfigurationError,
    ForgedCallbackError,
    InvalidArgumentError,
    UnsignedCallbackError,
)
from vocalsep_async.webhooks import CallbackUrl

BASE = "https://example.com/api/hooks"
SECRET = "secret-CANARY-0123456789"
ADDRESS = CallbackUrl(BASE, SECRET)
IN_A_FIELD = CallbackUrl(BASE, SECRET, field="token")
TOKEN = ADDRESS.url().rpartition("/")[2]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)


@pytest.mark.parametrize("address", [ADDRESS, IN_A_FIELD], ids=["path", "field"])
@given(name=NAMES)
def test_an_address_checks_as_the_name_that_it_was_made_for(
    address: CallbackUrl, name: str
) -> None:
    made = address.url(name)
    assert made.startswith(BASE)
    assert made.isascii()
    assert made.isprintable()
    assert address.check(made) == name
    assert address.check(made.encode()) == name


def test_a_token_has_a_prefix_that_can_be_recognised() -> None:
    assert TOKEN.startswith("cb_")
    assert ADDRESS.url("order-17").startswith(f"{BASE}/cb_")
    assert IN_A_FIELD.url() == f"{BASE}?token={TOKEN}"
    assert CallbackUrl(f"{BASE}/", SECRET).url() == ADDRESS.url()


def test_each_name_has_an_address_of_its_own() -> None:
    assert len({ADDRESS.url(name) for name in ("", "a", "b", "A")}) == 4


PLACES = {
    "the same": "https://example.com/api/hooks/{}",
    "a slash at the end": "https://example.com/api/hooks/{}/",
    "a stripped mount": "/hooks/{}",
    "another mount": "/v2/callbacks/suno/{}",
    "no mount": "/{}",
    "no slash": "{}",
    "without TLS": "http://10.0.0.7:8080/hooks/{}",
    "another host": "https://internal.example/hooks/{}",
    "a query": "/hooks/{}?attempt=2",
    "a fragment": "/hooks/{}#a/b",
    "brackets": "http://[::1/hooks/{}",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("kind", [str, str.encode])
def test_the_last_segment_of_the_path_counts_wherever_it_is_mounted(place: str, kind: Any) -> None:
    for name in ("", "order 17"):
        token = ADDRESS.url(name).rpartition("/")[2]
        assert ADDRESS.check(kind(place.format(token))) == name


@pytest.mark.parametrize(
    "place",
    ["/hooks?token={}", "?token={}", "https://x.example/?a=1&token={}&b=cb_2", "/?%74oken={}#a"],
)
def test_the_field_of_the_query_counts_wherever_it_is(place: str) -> None:
    assert IN_A_FIELD.check(place.format(TOKEN)) == ""


def test_a_token_may_have_been_percent_encoded() -> None:
    encoded = "".join(f"%{ord(each):02X}" for each in TOKEN)
    assert ADDRESS.check(f"/hooks/{encoded}") == ""
    assert IN_A_FIELD.check(f"/hooks?token={encoded}") == ""
    assert ADDRESS.check(f"/hooks/{quote(TOKEN.encode())}") == ""


@pytest.mark.parametrize(
    "address",
    ["", "/", "/hooks", "/hooks/", BASE, f"/{TOKEN}/hooks", "/hooks?token=", f"/h?x={TOKEN}", "/é"],
)
def test_an_address_without_a_token_is_unsigned(address: str) -> None:
    for made in (ADDRESS, IN_A_FIELD):
        with pytest.raises(UnsignedCallbackError, match="contains no token"):
            made.check(address)


OTHER_TOKEN = CallbackUrl(BASE, "another").url("a").rpartition("/")[2]
NAMED = ADDRESS.url("a").rpartition("/")[2]
FORGED = {
    "another secret": OTHER_TOKEN,
    "a prefix alone": "cb_",
    "cut": TOKEN[:-1],
    "longer": f"{TOKEN}A",
    "another name": f"{NAMED[:-2]}Yg",
    "no name": NAMED.partition(".")[0],
    "an empty name": f"{TOKEN}.",
    "a name for none": f"{TOKEN}.YQ",
    "two names": f"{NAMED}.YQ",
    "padding": f"{NAMED}==",
    "other bits of the same name": f"{NAMED[:-1]}R",
    "a name of one character": f"{TOKEN}.Y",
    "a name that is no text": f"{TOKEN}._w",
    "other case": f"cb_{TOKEN[3:].swapcase()}",
    "not ASCII": f"{TOKEN[:-1]}é",
    "a lone surrogate": f"{TOKEN[:-1]}\udce9",
    "a line end": f"{TOKEN}\n",
    "a blank": f"{TOKEN} ",
    "a null": f"{TOKEN}%00",
    "long": "cb_" + "A" * 1_000_000,
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_token_that_was_not_made_is_forged(token: str) -> None:
    for made, place in ((ADDRESS, f"/hooks/{token}"), (IN_A_FIELD, f"/hooks?token={token}")):
        with pytest.raises(ForgedCallbackError, match="none of your secrets"):
            made.check(place)


def test_two_tokens_in_one_address_are_forged() -> None:
    with pytest.raises(ForgedCallbackError, match="several tokens"):
        IN_A_FIELD.check(f"/hooks?token={TOKEN}&token={TOKEN}")


def test_the_first_secret_makes_addresses_and_all_check_them() -> None:
    old, new = CallbackUrl(BASE, "old"), CallbackUrl(BASE, "new")
    both = CallbackUrl(BASE, ["new", b"old"])
    assert both.url("a") == new.url("a")
    assert both.check(old.url("a")) == both.check(new.url("a")) == "a"
    with pytest.raises(ForgedCallbackError):
        new.check(old.url("a"))


def test_a_secret_may_hold_any_character_or_byte() -> None:
    for secret in ("geheimnis-ü", "秘密", b"\x00\xff"):
        made = CallbackUrl(BASE, secret)
        assert made.check(made.url("a")) == "a"


def test_tokens_are_compared_as_bytes_in_constant_time_with_every_secret(
    compared: list[tuple[Any, Any]],
) -> None:
    CallbackUrl(BASE, [SECRET, "old"]).check(ADDRESS.url("a"))
    assert len(compared) == 2
    assert {type(each) for pair in compared for each in pair} == {bytes}


WRONG_SECRETS: list[Any] = ["", " ", None, 7, [], [""], [None], [SECRET, ""], [SECRET, " "]]


@pytest.mark.parametrize("secret", WRONG_SECRETS, ids=repr)
def test_an_unusable_secret_is_an_error_of_the_configuration(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret") as caught:
        CallbackUrl(BASE, secret)
    assert SECRET not in str(caught.value)


WRONG_BASES: list[Any] = [
    *(None, 7, b"https://example.com", "", "example.com/hooks", "/hooks", "ftp://example.com"),
    *("https://", "https:///hooks", "https://[::1", "https://example.com:0", "https://a:b"),
    *("https://example.com/a b", "https://example.com/\n", "https://example.com/?a=1"),
    *("https://example.com/#a", "https://example.com?", "https://user:hush@example.com/"),
]


@pytest.mark.parametrize("base", WRONG_BASES, ids=repr)
def test_a_base_that_is_no_address_is_an_error_of_the_configuration(base: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^base must") as caught:
        CallbackUrl(base, SECRET)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("field", ["", " ", "a b", "a=b", "a&b", "é", 7, b"a", "a" * 65])
def test_a_field_that_no_query_can_hold_is_an_error_of_the_configuration(field: Any) -> None:
    with pytest.raises(ConfigurationError, match="field must"):
        CallbackUrl(BASE, SECRET, field=field)


@pytest.mark.parametrize("name", [None, 7, b"a", "\ud800", "a" * 513, "é" * 257])
def test_a_name_that_fits_no_address_is_an_error_of_the_argument(name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="name"):
        ADDRESS.url(name)
    assert ADDRESS.check(ADDRESS.url("é" * 256)) == "é" * 256


@pytest.mark.parametrize("address", [None, 7, urlsplit(BASE), bytearray(b"/")])
def test_an_address_to_check_is_text_or_bytes(address: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"str\(request.url\)"):
        ADDRESS.check(address)


def test_an_address_maker_shows_nothing_and_cannot_be_pickled() -> None:
    shown = repr(ADDRESS) + str(ADDRESS) + repr(ADDRESS._secrets)
    assert SECRET not in shown
    assert TOKEN not in shown
    for dump in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            dump(ADDRESS)
