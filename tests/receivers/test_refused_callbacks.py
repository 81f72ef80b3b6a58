"""What a receiver refuses: the answer, the count, and the log."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, make_client, provider_in_place
from hypothesis import given
from hypothesis import strategies as st
from receivers.callbacks import (
    KEY,
    LINK,
    SECRET,
    Request,
    callback,
    counts,
    make_receiver,
    path_of,
    post,
    scope_of,
    secret_address,
    signed,
    waiting,
)
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import Interval
from vocalsep_async.policies import CALLBACK_BODY_PATIENCE, REFUSED_CALLBACK_GAP
from vocalsep_async.webhooks import MAX_CALLBACK_BYTES, CallbackUrl, ReceiverStats

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


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


async def test_a_content_encoding_is_refused_behind_another_one(provider: FakeProvider) -> None:
    # Servers such as aiohttp's expand the body by the last one.
    request = Request(callback())
    async with make_client() as client:
        receiver = make_receiver(client)
        scope = scope_of(path_of(receiver), headers={"Content-Encoding": "identity"})
        scope["headers"].append((b"content-encoding", b"gzip"))
        await receiver(scope, request.receive, request.send)
    assert request.response.status == 400
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
