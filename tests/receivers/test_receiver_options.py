"""How a receiver is made: what verifies its callbacks, its addresses, and who knows them."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest
from fakes import FakeProvider, envelope, make_client
from receivers.callbacks import (
    BASE,
    KEY,
    LINK,
    SECRET,
    make_receiver,
    secret_address,
)
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    ConfigurationError,
    InvalidArgumentError,
    TaskRef,
)
from vocalsep_async.contrib.aiohttp import CallbackReceiver as AiohttpReceiver
from vocalsep_async.contrib.asgi import CallbackReceiver
from vocalsep_async.webhooks import MAX_CALLBACK_BYTES, CallbackUrl

pytestmark = pytest.mark.anyio

CREATION = "/api/v1/vocal-removal/generate"


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


# How callbacks are verified

UNUSABLE = ["", " ", None, 5, [], [""], [None], ["good", ""], ["good", " "], ["good", None]]


@pytest.mark.parametrize("kind", [CallbackReceiver, AiohttpReceiver])
@pytest.mark.parametrize("wrong", [each for each in UNUSABLE if each is not None], ids=repr)
def test_an_unusable_key_is_refused_when_the_receiver_is_made(kind: Any, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="key"):
        kind(make_client(), secret_address(), keys=wrong)


@pytest.mark.parametrize("wrong", UNUSABLE, ids=repr)
def test_an_unusable_secret_is_refused_when_the_address_is_made(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret"):
        CallbackUrl(BASE, wrong)


@pytest.mark.parametrize("address", [None, BASE])
def test_a_receiver_that_verifies_nothing_has_to_say_so(address: Any) -> None:
    with pytest.raises(ConfigurationError, match="unverified=True"):
        CallbackReceiver(make_client(), address)
    CallbackReceiver(make_client(), address, unverified=True)


@pytest.mark.parametrize("options", [{"keys": KEY}, {"address": secret_address()}], ids=str)
def test_a_receiver_that_verifies_is_not_called_unverified(options: Any) -> None:
    with pytest.raises(ConfigurationError, match="contradicts"):
        CallbackReceiver(make_client(), unverified=True, **options)


@pytest.mark.parametrize(
    "options",
    [{"keys": KEY}, {"keys": KEY, "address": BASE}, {"unverified": True}, {}],
    ids=str,
)
def test_callbacks_are_trusted_only_at_a_secret_address(options: Any) -> None:
    with pytest.raises(ConfigurationError, match="CallbackUrl"):
        CallbackReceiver(make_client(), trust_callbacks=True, **options)
    options.pop("address", None)
    options.pop("unverified", None)
    CallbackReceiver(make_client(), secret_address(), trust_callbacks=True, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"client": "client"},
        {"address": 5},
        {"address": "example.com"},
        {"address": ""},
        {"unverified": 1},
        {"trust_callbacks": "no"},
        {"tolerance": -1},
        {"tolerance": "300"},
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"max_bytes": MAX_CALLBACK_BYTES + 1},
        {"body_timeout": 0},
        {"body_timeout": None},
        {"body_timeout": float("inf")},
    ],
    ids=str,
)
def test_an_unusable_argument_is_an_error_of_the_set_up(options: Any) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=name):
        CallbackReceiver(**{"client": make_client(), "keys": KEY} | options)


def test_a_receiver_shows_neither_address_nor_keys() -> None:
    receiver = make_receiver(make_client(), address=secret_address(), keys=KEY)
    with pytest.raises(ConfigurationError) as caught:
        CallbackReceiver(make_client(), keys=[KEY, ""])
    frames = [frame for frame, _ in walk_tb(caught.value.__traceback__)]
    ours = [each for each in frames if Path(each.f_code.co_filename).name == "_receiving.py"]
    assert ours
    texts = [repr(receiver), str(caught.value), *(repr(each.f_locals) for each in ours)]
    for secret in (KEY, SECRET, "cb_"):
        assert not [text for text in texts if secret in text]
    with pytest.raises(TypeError):
        pickle.dumps(receiver)


# Addresses


def test_a_secret_address_may_be_one_for_each_name() -> None:
    receiver = make_receiver(make_client())
    assert receiver.url().startswith(f"{BASE}/cb_")
    assert receiver.url("order-17") != receiver.url()
    assert receiver.url("order-17") == receiver.url("order-17")


def test_a_plain_address_is_told_as_it_is_and_takes_no_name() -> None:
    receiver = make_receiver(make_client(), address=BASE, keys=KEY)
    assert receiver.url() == BASE
    with pytest.raises(InvalidArgumentError, match="CallbackUrl"):
        receiver.url("order-17")


def test_a_receiver_without_an_address_says_how_to_give_it_one() -> None:
    receiver = make_receiver(make_client(), keys=KEY)
    with pytest.raises(ConfigurationError, match="CallbackUrl"):
        receiver.url()
    assert not receiver.is_address(BASE)


def test_a_receiver_knows_its_secret_addresses() -> None:
    receiver = make_receiver(make_client())
    token = receiver.url().rpartition("/")[2]
    for own in (receiver.url(), receiver.url("order-17"), f"HTTPS://Example.com/hooks/{token}/"):
        assert receiver.is_address(own)
    other = CallbackUrl(BASE, "another secret").url()
    for foreign in (BASE, other, f"https://other.example/hooks/{token}", "http://[", ""):
        assert not receiver.is_address(foreign)


def test_a_receiver_knows_its_plain_address() -> None:
    receiver = make_receiver(make_client(), address=BASE, unverified=True)
    for own in (BASE, BASE + "/", BASE + "?order=17", "https://EXAMPLE.com/hooks"):
        assert receiver.is_address(own)
    for foreign in (BASE + "/more", "https://example.com/", "http://example.com/hooks", "http://["):
        assert not receiver.is_address(foreign)


def test_a_client_does_not_keep_its_receivers_alive() -> None:
    client = make_client()
    receiver = weakref.ref(make_receiver(client))
    gc.collect()
    assert receiver() is None
    assert list(client._receivers) == []


# Creations


@pytest.mark.parametrize(
    "options",
    [{}, {"address": BASE, "keys": KEY}, {"keys": KEY}],
    ids=["secret address", "plain address", "no address"],
)
async def test_a_created_task_expects_the_callback_that_reaches_its_client(
    provider: FakeProvider, options: Any
) -> None:
    async def create(callback_url: str | None) -> TaskRef:
        provider.script(CREATION, envelope(200, data={"taskId": "new"}))
        return await client.create_task(audio_url=LINK, callback_url=callback_url)

    async with make_client() as client, make_client() as another:
        foreign = make_receiver(another, address="https://example.com/others", unverified=True)
        receiver = make_receiver(client, **options)
        own = BASE if "keys" in options else receiver.url("order-17")
        assert (await create(own)).expects_callback == (options != {"keys": KEY})
        for url in (None, foreign.url(), "https://example.com/", "https://other.example/hooks"):
            assert not (await create(url)).expects_callback
