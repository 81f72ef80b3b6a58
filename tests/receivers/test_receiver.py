"""What a receiver makes of a callback: the answer, the count, and the wait that it wakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all
from fakes import FakeProvider, make_client
from receivers.callbacks import (
    KEY,
    LINK,
    callback,
    counts,
    make_receiver,
    path_of,
    post,
    secret_address,
    signed,
    waiting,
)
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval, Provider
from vocalsep_async._receiving import _REMEMBERED, Repeats
from vocalsep_async.providers import COMMON_CODES

pytestmark = pytest.mark.anyio

RARELY = Interval(1000)


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


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


class Renaming(Provider):
    """A provider of a user's own, which has another name for the id."""

    def read_callback(
        self, record: Mapping[str, Any], *, code: int, message: str
    ) -> Mapping[str, Any]:
        usual = super().read_callback(record, code=code, message=message)
        return {**usual, "taskId": record["job"]}


async def test_a_callback_is_read_as_the_provider_of_the_client_spells_it(
    provider: FakeProvider,
) -> None:
    provider.add("a", 10)
    renaming = Renaming(name="renaming", codes=COMMON_CODES, credits_path="/credits")
    body = json.dumps({"code": 200, "msg": "done", "data": {"job": "a"}}).encode()
    async with make_client(poll=RARELY, provider=renaming) as client:
        receiver = make_receiver(client)
        wait = waiting(client.wait_for_task("a"))
        await anyio.sleep(20)
        assert (await post(receiver, body)).status == 200
        await wait
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
