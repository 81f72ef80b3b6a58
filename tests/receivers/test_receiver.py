"""What a receiver makes of a callback: the answer, the count, and the wait that it wakes."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import pickle
import re
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any

import anyio
import attrs
import pytest
from batch.tracking import NEVER, add_all
from fakes import FakeProvider, envelope, make_client, provider_in_place
from hypothesis import given
from hypothesis import strategies as st
from receivers.callbacks import (
    BASE,
    KEY,
    LINK,
    SECRET,
    Request,
    callback,
    make_receiver,
    path_of,
    post,
    scope_of,
    secret_address,
    signed,
)
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import (
    ConfigurationError,
    Interval,
    InvalidArgumentError,
    TaskRef,
)
from vocalsep_async._receiving import _REMEMBERED, Repeats
from vocalsep_async.contrib.aiohttp import CallbackReceiver as AiohttpReceiver
from vocalsep_async.contrib.asgi import CallbackReceiver
from vocalsep_async.policies import CALLBACK_BODY_PATIENCE, REFUSED_CALLBACK_GAP
from vocalsep_async.webhooks import MAX_CALLBACK_BYTES, CallbackUrl, ReceiverStats

pytestmark = pytest.mark.anyio

RARELY = Interval(1000)
CREATION = "/api/v1/vocal-removal/generate"


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def waiting(call: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


def counts(receiver: CallbackReceiver) -> dict[str, int]:
    """The counters that are not 0, without the sum."""
    found = {name: number for name, number in attrs.asdict(receiver.stats).items() if number}
    assert found.pop("received", 0) == sum(found.values())
    return found


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


# Verified callbacks


async def test_a_callback_wakes_the_wait_for_its_task(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        posted = anyio.current_time()
        assert (await post(receiver, callback("a"))).status == 200
        assert anyio.current_time() == posted
        task = await wait
        assert anyio.current_time() == pytest.approx(posted + provider.round_trip)
    assert task.stems.vocal == "https://cdn.example/v.mp3"
    assert counts(receiver) == {"woke": 1}


@pytest.mark.parametrize(
    "options",
    [{"keys": KEY}, {"keys": ["new", KEY]}, {"unverified": True}],
    ids=["signed", "signed with the older key", "unverified"],
)
async def test_a_callback_is_accepted_however_it_is_verified(
    provider: FakeProvider, options: Any
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, **options)
        assert (await post(receiver, callback(), headers=signed())).status == 200
    assert counts(receiver) == {"unawaited": 1}


@pytest.mark.parametrize("field", [None, "token"])
@pytest.mark.parametrize("prefix", ["", "/api", "/api/v2"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_secret_address_is_known_again_behind_any_prefix(
    provider: FakeProvider, field: str | None, prefix: str, slash: str
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(field=field))
        path, mark, query = path_of(receiver, "order-17").partition("?")
        assert (
            await post(receiver, callback(), prefix + path + slash + mark + query)
        ).status == 200


async def test_both_address_and_signature_have_to_be_right(provider: FakeProvider) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(), keys=KEY)
        assert (await post(receiver, callback(), headers=signed())).status == 200
        assert (await post(receiver, callback())).status == 401
        assert (await post(receiver, callback(), "/hooks", headers=signed())).status == 401
    assert counts(receiver) == {"unawaited": 1, "unsigned": 2}


async def test_a_signature_does_not_make_the_record_of_a_callback_true(
    provider: FakeProvider,
) -> None:
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client, keys=KEY)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        body = callback("a", vocal_url="https://evil.example/v.mp3")
        assert (await post(receiver, body, headers=signed("a"))).status == 200
        assert "evil" not in repr((await wait).raw)


async def test_the_poll_wins_over_a_callback_that_says_success(provider: FakeProvider) -> None:
    provider.add("a", 40)
    async with make_client(poll=Interval(50)) as client:
        receiver = make_receiver(client)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        assert (await post(receiver, callback("a"))).status == 200
        await anyio.sleep(10)
        assert not wait.done()
        assert (await wait).succeeded
    assert len(provider.times("a")) == 3


async def test_the_poll_wins_over_a_callback_that_says_failure(provider: FakeProvider) -> None:
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        assert (await post(receiver, callback("a", code=500))).status == 200
        assert (await wait).succeeded


# Callbacks without a wait, and repeated ones


async def test_callbacks_for_tasks_that_are_not_waited_for_are_answered_with_200(
    provider: FakeProvider,
) -> None:
    provider.add("timed out", NEVER)
    async with make_client() as client:
        receiver = make_receiver(client)
        await client.wait_for_task("ended")
        await asyncio.gather(client.wait_for_task("timed out", timeout=1), return_exceptions=True)
        for task_id in ("unknown", "ended", "timed out"):
            assert (await post(receiver, callback(task_id))).status == 200
    assert counts(receiver) == {"unawaited": 3}


async def test_a_repeated_callback_has_no_effect(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client, keys=KEY)
        wait = waiting(client.wait_for_task("a", timeout=100))
        await anyio.sleep(20)
        for _ in range(3):
            assert (await post(receiver, callback("a"), headers=signed("a"))).status == 200
            await anyio.sleep(5)
        await asyncio.gather(wait, return_exceptions=True)
    assert counts(receiver) == {"woke": 1, "repeated": 2}
    # The first one, that of the callback, and the one just before the deadline.
    assert len(provider.times("a")) == 3


async def test_a_callback_that_says_something_else_is_no_repetition(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client)
        wait = waiting(client.wait_for_task("a", timeout=100))
        await anyio.sleep(20)
        await post(receiver, callback("a", code=500))
        await anyio.sleep(5)
        provider.ends_all()
        await post(receiver, callback("a"))
        assert (await wait).succeeded
    assert counts(receiver) == {"woke": 2}


def test_repeats_remembers_a_bounded_number_of_bodies() -> None:
    repeats = Repeats()
    bodies = [str(number).encode() for number in range(_REMEMBERED + 1)]
    for body in bodies:
        assert body not in repeats
        repeats.add(body)
    assert len(repeats._digests) == _REMEMBERED
    assert bodies[-1] in repeats
    assert bodies[0] not in repeats


async def test_a_callback_about_a_running_task_has_no_effect(provider: FakeProvider) -> None:
    provider.add("a", NEVER)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client)
        wait = waiting(client.wait_for_task("a", timeout=100))
        await anyio.sleep(20)
        assert (await post(receiver, callback("a", code=202))).status == 200
        await anyio.sleep(20)
        assert len(provider.times("a")) == 1
        await asyncio.gather(wait, return_exceptions=True)
    assert counts(receiver) == {"unfinished": 1}


async def test_an_error_of_what_follows_is_logged_and_answered_with_200(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise RuntimeError("a fault of the client")

    async with make_client() as client:
        receiver = make_receiver(client)
        monkeypatch.setattr(client, "notify", fail)
        assert (await post(receiver, callback("a"))).status == 200
    assert counts(receiver) == {"unawaited": 1}
    (logged,) = caplog.records
    assert (logged.name, logged.levelname) == ("vocalsep_async.callbacks", "ERROR")
    assert "a fault of the client" in caplog.text


async def test_a_callback_in_another_process_wakes_nothing_and_harms_nothing(
    provider: FakeProvider,
) -> None:
    async def wait(*, is_posted: bool) -> float:
        began = anyio.current_time()
        provider.add("a", 30)
        async with make_client() as client, make_client() as of_another_process:
            receiver = make_receiver(of_another_process)
            wait = waiting(client.wait_for_task("a", poll=Interval(7)))
            await anyio.sleep(30)
            if is_posted:
                assert (await post(receiver, callback("a"))).status == 200
                assert counts(receiver) == {"unawaited": 1}
            assert (await wait).succeeded
            lasted = anyio.current_time() - began
        provider.reopen()
        return lasted

    assert await wait(is_posted=True) == pytest.approx(await wait(is_posted=False))


REQUEST = ContextVar("REQUEST", default="none")


async def test_what_follows_from_a_callback_is_no_part_of_the_request(
    provider: FakeProvider,
) -> None:
    seen: list[str] = []
    provider.add("a", NEVER)
    async with make_client(poll=RARELY, on_event=lambda _: seen.append(REQUEST.get())) as client:
        receiver = make_receiver(client, address=secret_address(), trust_callbacks=True)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        seen.clear()
        token = REQUEST.set("the trace of the request")
        await post(receiver, callback("a"))
        REQUEST.reset(token)
        await wait
    assert set(seen) == {"none"}


# Trusted callbacks


async def test_a_trusted_callback_is_the_outcome_without_a_poll(provider: FakeProvider) -> None:
    add_all(provider, ["a", "b"], NEVER)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client, address=secret_address(), trust_callbacks=True)
        waits = [waiting(client.wait_for_task(task_id)) for task_id in ("a", "b")]
        await anyio.sleep(20)
        await post(receiver, callback("a"))
        await post(receiver, callback("b", code=500))
        posted = anyio.current_time()
        success, failure = await asyncio.gather(*waits)
        assert anyio.current_time() == posted
    assert success.stems.vocal == LINK
    assert failure.is_final
    assert not failure.succeeded
    assert len(provider.sent) == 2
    assert counts(receiver) == {"woke": 2}


async def test_a_trusted_callback_that_comes_early_ends_the_wait_that_follows(
    provider: FakeProvider,
) -> None:
    add_all(provider, ["a", "b"], NEVER)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client, address=secret_address(), trust_callbacks=True)
        await post(receiver, callback("a"))
        await post(receiver, callback("b"))
        await anyio.sleep(20)
        began = anyio.current_time()
        assert (await client.wait_for_task("a")).stems.vocal == LINK
        async with client.track(["b"]) as batch:
            assert (await anext(batch)).task_id == "b"
        assert anyio.current_time() == began
    assert provider.sent == []
    assert counts(receiver) == {"unawaited": 2}


@pytest.mark.parametrize("links", [None, {}, {"vocal_url": None}, {"vocal_url": ""}], ids=str)
async def test_a_trusted_success_without_links_is_polled(
    provider: FakeProvider, links: dict[str, Any] | None
) -> None:
    data = {"task_id": "a", "vocal_removal_info": links}
    body = json.dumps({"code": 200, "msg": "", "data": data}).encode()
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client, address=secret_address(), trust_callbacks=True)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        assert (await post(receiver, body)).status == 200
        assert (await wait).stems.vocal == "https://cdn.example/v.mp3"
    assert len(provider.sent) == 2


async def test_a_callback_with_a_status_that_is_not_known_is_polled(provider: FakeProvider) -> None:
    data = {"taskId": "a", "state": "archived", "resultJson": None}
    body = json.dumps({"code": 200, "msg": "", "data": data}).encode()
    provider.add("a", 10)
    async with make_client(poll=RARELY) as client:
        receiver = make_receiver(client, address=secret_address(), trust_callbacks=True)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        posted = anyio.current_time()
        assert (await post(receiver, body)).status == 200
        assert (await wait).succeeded
        assert anyio.current_time() == pytest.approx(posted + provider.round_trip)


# Refusals


@pytest.mark.parametrize(
    "headers, counter, said",
    [
        (dict, "unsigned", "no X-Webhook-Signature header"),
        (partial(signed, key="another key"), "forged", "another key"),
        (partial(signed, "b"), "forged", "another key"),
        (lambda: signed() | {"X-Webhook-Timestamp": "1"}, "forged", "another key"),
        (partial(signed, age=3600), "stale", r"difference \+3,6\d\d"),
        (partial(signed, age=-3600), "stale", r"difference -3,[56]\d\d"),
    ],
    ids=["none", "of another key", "of another task", "of another time", "old", "future"],
)
async def test_a_signature_that_is_not_right_is_answered_with_401(
    provider: FakeProvider, headers: Callable[[], dict[str, str]], counter: str, said: str
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, keys=KEY)
        response = await post(receiver, callback(), headers=headers())
    assert response.status == 401
    assert re.search(said, response.text)
    assert counts(receiver) == {counter: 1}


@pytest.mark.parametrize("tolerance", [None, 7200])
async def test_the_tolerance_for_the_time_of_a_signature_can_be_chosen(
    provider: FakeProvider, tolerance: float | None
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, keys=KEY, tolerance=tolerance)
        for age in (-3600, 3600):
            body = callback(code=500 + age // 3600)
            assert (await post(receiver, body, headers=signed(age=age))).status == 200


@pytest.mark.parametrize(
    "path, counter",
    [
        ("/hooks", "unsigned"),
        ("/hooks/", "unsigned"),
        ("/", "unsigned"),
        ("/hooks/cb_short", "forged"),
        (CallbackUrl("https://example.com/hooks", "another secret").url()[19:], "forged"),
    ],
)
async def test_an_address_that_is_not_the_secret_one_is_answered_with_401(
    provider: FakeProvider, path: str, counter: str
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client)
        assert (await post(receiver, callback(), path)).status == 401
    assert counts(receiver) == {counter: 1}


async def test_a_forged_address_is_refused_before_its_body_is_read(provider: FakeProvider) -> None:
    request = Request(b"{", ends=False)
    async with make_client() as client:
        receiver = make_receiver(client)
        await receiver(scope_of("/hooks/cb_x"), request.receive, request.send)
    assert request.response.status == 401
    assert request.taken == 0


DEEP = b"[" * 500_000
MALFORMED = {
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"5",
    "without a task": b'{"code": 200, "msg": "", "data": {}}',
    "with two ids": b'{"code": 200, "data": {"task_id": "a", "task_id": "b"}}',
    "invalid UTF-8": callback().replace(b"said", b"\xff\xfe"),
    "deep": DEEP,
    "compressed": gzip.compress(callback()),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("options", [{}, {"keys": KEY}], ids=["secret address", "signed"])
async def test_what_is_no_callback_is_answered_with_400(
    provider: FakeProvider, body: bytes, options: Any
) -> None:
    async with make_client() as client:
        receiver = make_receiver(client, **options)
        assert (await post(receiver, body, headers=signed())).status == 400
    assert counts(receiver) == {"malformed": 1}


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "zstd"])
async def test_a_content_encoding_is_refused_before_the_body_is_read(
    provider: FakeProvider, encoding: str
) -> None:
    request = Request(gzip.compress(callback()))
    async with make_client() as client:
        receiver = make_receiver(client, unverified=True)
        scope = scope_of("/", headers={"Content-Encoding": encoding})
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 400
    assert "encoding" in request.response.text
    assert request.taken == 0


async def test_the_identity_is_no_content_encoding(provider: FakeProvider) -> None:
    async with make_client() as client:
        receiver = make_receiver(client)
        headers = {"Content-Encoding": "identity"}
        assert (await post(receiver, callback(), headers=headers)).status == 200


async def test_an_announced_body_that_is_too_large_is_not_read(provider: FakeProvider) -> None:
    request = Request(b"x" * 100)
    async with make_client() as client:
        receiver = make_receiver(client)
        headers = {"Content-Length": str(10 << 20)}
        scope = scope_of(path_of(receiver), headers=headers)
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 413
    assert request.taken == 0
    assert counts(receiver) == {"too_large": 1}


@pytest.mark.parametrize("length", [None, "20", "9" * 5000, "-1", "no number", "²"])
async def test_a_body_is_read_up_to_the_limit_whatever_it_announces(
    provider: FakeProvider, length: str | None
) -> None:
    chunk = b" " * (1 << 16)
    request = Request(*[chunk] * 160)
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(), max_bytes=1 << 18)
        headers = [] if length is None else [(b"content-length", length.encode())]
        scope = scope_of(path_of(receiver)) | {"headers": headers}
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 413
    assert request.taken == 5


async def test_the_largest_body_that_is_allowed_is_read(provider: FakeProvider) -> None:
    async with make_client() as client:
        receiver = make_receiver(client)
        body = callback()
        body += b" " * (MAX_CALLBACK_BYTES - len(body))
        assert (await post(receiver, body)).status == 200
        assert (await post(receiver, body + b" ")).status == 413


@pytest.mark.parametrize("chunks", [[], [b'{"code":']], ids=["nothing", "a part"])
async def test_a_body_that_does_not_come_is_answered_with_408(
    provider: FakeProvider, chunks: list[bytes]
) -> None:
    request = Request(*chunks, ends=False)
    async with make_client() as client:
        receiver = make_receiver(client)
        began = anyio.current_time()
        await receiver(scope_of(path_of(receiver)), request.receive, request.send)
        assert anyio.current_time() == began + CALLBACK_BODY_PATIENCE
    assert request.response.status == 408
    assert "middleware" in request.response.text
    assert request.response.headers["connection"] == "close"
    assert counts(receiver) == {"timed_out": 1}


async def test_a_body_that_drips_has_no_more_time_than_another(provider: FakeProvider) -> None:
    async def drip() -> dict[str, Any]:
        await anyio.sleep(1)
        return {"type": "http.request", "body": b" ", "more_body": True}

    request = Request()
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(), body_timeout=3.5)
        began = anyio.current_time()
        await receiver(scope_of(path_of(receiver)), drip, request.send)
        assert anyio.current_time() == began + 3.5
    assert request.response.status == 408


@pytest.mark.parametrize("length", [None, "50"])
async def test_a_body_that_a_middleware_has_taken_is_missed_in_words(
    provider: FakeProvider, length: str | None
) -> None:
    request = Request(b"")
    async with make_client() as client:
        receiver = make_receiver(client)
        headers = {} if length is None else {"Content-Length": length}
        scope = scope_of(path_of(receiver), headers=headers)
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 400
    assert "middleware" in request.response.text
    assert counts(receiver) == {"malformed": 1}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/hooks", "/hooks/"])
async def test_other_methods_are_answered_with_405(method: str, path: str) -> None:
    # Also before the client is opened: the receiver is there.
    receiver = make_receiver(make_client())
    request = Request()
    await receiver(scope_of(path, method), request.receive, request.send)
    response = request.response
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert bool(response.text) == (method != "HEAD")
    assert receiver.stats == ReceiverStats()


async def test_a_stale_callback_does_not_disturb_the_wait(provider: FakeProvider) -> None:
    provider.add("a", 30)
    async with make_client(poll=Interval(20)) as client:
        receiver = make_receiver(client, keys=KEY)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(5)
        assert (await post(receiver, callback(), headers=signed(age=3600))).status == 401
        assert (await wait).succeeded
    assert [round(at) for at in provider.times("a")] == [1000, 1020, 1040]


async def test_a_refusal_is_warned_about_once_an_hour(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "vocalsep_async.callbacks")

    def levels() -> list[str]:
        found = [each.levelname for each in caplog.records]
        caplog.clear()
        return found

    async with make_client() as client:
        receiver = make_receiver(client, keys=KEY)
        old = signed(age=3600)
        for _ in range(3):
            await post(receiver, callback(), headers=old)
        assert levels() == ["WARNING", "DEBUG", "DEBUG"]
        # For each reason, so that none hides another.
        await post(receiver, callback(), headers=signed("b"))
        assert levels() == ["WARNING"]
        await anyio.sleep(REFUSED_CALLBACK_GAP - 1)
        await post(receiver, callback(), headers=old)
        assert levels() == ["DEBUG"]
        await anyio.sleep(1)
        await post(receiver, callback(), headers=old)
        assert "clock" in caplog.text
        assert levels() == ["WARNING"]


async def test_no_log_and_no_answer_holds_a_secret(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with make_client() as client:
        receiver = make_receiver(client, address=secret_address(), keys=KEY)
        path = path_of(receiver)
        texts = []
        for body in (callback(), b"{", LINK.encode(), b"x" * (1 << 21)):
            for headers in (signed(), signed(key="k2"), signed(age=9999), {}):
                texts += [(await post(receiver, body, path, headers=headers)).text]
                texts += [(await post(receiver, body, path[:-1], headers=headers)).text]
    shown = "\n".join([*texts, caplog.text, repr(receiver), repr(receiver.stats)])
    for secret in (KEY, SECRET, path, path[:-1], LINK, signed()["X-Webhook-Signature"]):
        assert secret not in shown


@given(st.data())
def test_every_callback_is_counted_once(data: st.DataObject) -> None:
    bodies = st.sampled_from([callback(), callback(code=202), callback("b"), b"{", b"", DEEP])
    headers = st.sampled_from([{}, {"age": 999}, {"key": "k"}, None])
    posts = data.draw(st.lists(st.tuples(bodies, headers, st.booleans()), max_size=8))

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch, provider_in_place(patch):
            async with make_client() as client:
                receiver = make_receiver(client, address=secret_address(), keys=KEY)
                path = path_of(receiver)
                for body, sent, is_secret in posts:
                    headers_ = None if sent is None else signed(**sent)
                    target = path if is_secret else "/"
                    response = await post(receiver, body, target, headers=headers_)
                    assert response.status in (200, 400, 401)
                assert receiver.stats.received == len(posts)
                counts(receiver)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
