"""Keys and secrets appear in no error, not even in the frames of its traceback."""

from __future__ import annotations

import copy
import pickle
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_secrets import contains, texts_of, texts_of_error
from webhooks.test_signatures import BODY, KEY, NOW, OTHER, headers, signature

from vocalsep_async import ConfigurationError, VocalSepError, webhooks
from vocalsep_async._signing import Secrets
from vocalsep_async.webhooks import MAX_CALLBACK_BYTES, CallbackUrl, verify_signature

BASE = "https://example.com/hooks"
ADDRESS = CallbackUrl(BASE, KEY)
TOKEN = ADDRESS.url("order-17").rpartition("/")[2]
LINK = "https://files.example/v.mp3?Signature=hush"


def verify(given: Any, body: Any = BODY, key: Any = KEY, **options: Any) -> None:
    verify_signature(given, body, key, **({"now": NOW} | options))


REFUSED: dict[str, Callable[[], object]] = {
    "unsigned": lambda: verify({}),
    "no signature": lambda: verify(headers(signed="no signature")),
    "forged": lambda: verify(headers(signed=signature(key=OTHER))),
    "forged, with several keys": lambda: verify(
        headers(signed=signature(key="x")), key=[KEY, OTHER]
    ),
    "stale": lambda: verify(headers(), now=NOW + 301),
    "of the future": lambda: verify(headers(), now=NOW - 301),
    "malformed": lambda: verify(headers(), f'{{"code": 200, "data": "{LINK}'),
    "too large": lambda: verify(headers(), b" " * (MAX_CALLBACK_BYTES + 1)),
    "no body": lambda: verify(headers(), None),
    "no headers": lambda: verify(None),
    "a wrong tolerance": lambda: verify(headers(), tolerance=-1),
    "one bad key": lambda: verify(headers(), key=[KEY, ""]),
    "a key with a line end": lambda: verify(headers(), key=f"{KEY}\n"),
    "one bad secret": lambda: CallbackUrl(BASE, [KEY, None]),  # type: ignore[list-item]
    "a secret with a blank": lambda: CallbackUrl(BASE, f" {KEY}"),
    "a bad base": lambda: CallbackUrl(f"{BASE}?token=hush", KEY),
    "a bad field": lambda: CallbackUrl(BASE, KEY, field="a b"),
    "no token": lambda: ADDRESS.check("/hooks"),
    "a forged token": lambda: ADDRESS.check(f"/hooks/{TOKEN[:-1]}"),
    "a bad name": lambda: ADDRESS.url("\ud800"),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_no_refusal_shows_a_key_or_a_secret(call: Callable[[], object]) -> None:
    with pytest.raises(VocalSepError) as caught:
        call()
    error = caught.value
    assert not [text for text in texts_of_error(error) if contains(text, KEY)]
    for each in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        shown = f"{each!r} {each} {vars(each)}"
        assert not contains(shown, KEY)
        assert "hush" not in shown
        assert TOKEN not in shown


def test_an_object_with_secrets_shows_none() -> None:
    for value in (ADDRESS, Secrets([KEY, OTHER], "key")):
        shown = [*texts_of(value), *map(repr, attributes_of(value))]
        assert not [text for text in shown if contains(text, KEY) or TOKEN in text]


def attributes_of(value: object) -> Iterator[object]:
    for name in dir(value):
        if not name.startswith("_Secrets__"):
            yield getattr(value, name)


def test_secrets_are_checked_once_and_used_often() -> None:
    keys = Secrets([KEY, OTHER.encode()], "keys")
    assert len(keys) == 2
    verify(headers(), key=keys)
    verify(headers(signed=signature(key=OTHER)), key=Secrets(keys, "key"))
    assert CallbackUrl(BASE, keys).url() == ADDRESS.url()


@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy, Secrets.__getstate__])
def test_secrets_cannot_be_pickled_or_copied(dump: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="not pickled or copied"):
        dump(Secrets(KEY, "key"))


@pytest.mark.parametrize("given", [None, "", [], [KEY, ""]])
def test_the_error_of_unusable_secrets_names_them(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="webhook keys"):
        Secrets(given, "the webhook keys")


@pytest.mark.parametrize(
    "function",
    [webhooks.parse_callback, webhooks.verify_signature, CallbackUrl.__init__, CallbackUrl.check],
)
def test_the_annotations_of_the_module_resolve(function: Callable[..., object]) -> None:
    assert typing.get_type_hints(function)
