"""Callbacks: their bodies, attempts and signatures."""

import base64
import hashlib
import hmac
import math
import socket
from typing import Any

import anyio
import pytest
from emulator.hook import FAST, Hook, until
from emulator.http_client import HttpClient, ProviderName

from vocalsep_async.emulator import Emulator
from vocalsep_async.errors import InvalidArgumentError

pytestmark = pytest.mark.anyio


async def _settled(http: HttpClient, emulator: Emulator, task_id: str) -> dict[str, Any]:
    """Poll until the task is neither pending nor a success."""
    with anyio.fail_after(60):
        while True:
            data: dict[str, Any] = (await http.record_info(emulator, task_id)).data
            if data["successFlag"] not in {"PENDING", "SUCCESS"}:
                return data


@pytest.mark.parametrize(
    "provider, key", [("sunoapi", "vocal_removal_info"), ("kie", "vocal_separation_info")]
)
async def test_the_end_of_a_task_is_posted(
    http: HttpClient, provider: ProviderName, key: str
) -> None:
    async with Hook().listening() as hook, Emulator(provider=provider, speed=FAST) as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        body = await hook.body()
    assert body["code"] == 200
    assert body["data"]["task_id"] == created.data["taskId"]
    info = body["data"][key]
    assert set(info) == {"origin_url", "vocal_url", "instrumental_url"}
    assert info["origin_url"] == ""
    assert info["vocal_url"].startswith(emulator.url)
    assert "X-Webhook-Signature" not in hook.received[0].headers


async def test_all_twelve_stems_are_posted(http: HttpClient) -> None:
    async with Hook().listening() as hook, Emulator(speed=FAST) as emulator:
        await http.create(emulator, type="split_stem", callBackUrl=hook.url)
        info = (await hook.body())["data"]["vocal_removal_info"]
    assert len(info) == 13
    assert "backing_vocals_url" in info


async def test_the_advanced_type_posts_its_pairs(http: HttpClient) -> None:
    async with Hook().listening() as hook, Emulator(speed=FAST) as emulator:
        await http.create(emulator, type="split_stem_advanced", callBackUrl=hook.url)
        info = (await hook.body())["data"]["vocal_removal_info"]
    assert set(info) == {"origin_data"}
    assert set(info["origin_data"][0]) == {"extract", "remove"}


async def test_a_failure_is_posted_without_stems_and_stays_a_failure(http: HttpClient) -> None:
    async with Hook(500).listening() as hook, Emulator(speed=FAST, failure_rate=1) as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        bodies = [await hook.body() for _ in range(3)]
        data = await _settled(http, emulator, created.data["taskId"])
    assert bodies[0]["code"] in {400, 451, 500}
    assert bodies[1:] == bodies[:1] * 2
    assert all(body["data"]["vocal_removal_info"] is None for body in bodies)
    assert data["successFlag"] == "GENERATE_AUDIO_FAILED"


def test_a_failed_callback_does_not_change_the_status_of_a_failure() -> None:
    emulator = Emulator(failure_rate=1)
    task = emulator._backend.tasks.find(emulator.add_task(duration=0))
    assert task is not None
    task.callback_failed()
    assert task.ending.status == "GENERATE_AUDIO_FAILED"


@pytest.mark.parametrize("status", [500, 204, 302, 307])
async def test_three_failed_attempts_are_a_callback_exception_with_stems(
    http: HttpClient, status: int
) -> None:
    fast = Emulator(speed=FAST, rate_limit=None)
    async with Hook(status).listening() as hook, fast as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        data = await _settled(http, emulator, created.data["taskId"])
    assert data["successFlag"] == "CALLBACK_EXCEPTION"
    assert data["response"]["vocalUrl"]
    assert [request.path for request in hook.received] == ["/hook"] * 3


async def test_no_attempt_follows_a_successful_one(http: HttpClient) -> None:
    async with Hook(500, 200).listening() as hook, Emulator(speed=FAST) as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        await hook.body()
        await hook.body()
        data = (await http.record_info(emulator, created.data["taskId"])).data
    assert data["successFlag"] == "SUCCESS"
    assert len(hook.received) == 2


async def test_a_refused_connection_is_a_callback_exception(http: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with Emulator(speed=FAST, rate_limit=None) as emulator:
        created = await http.create(emulator, callBackUrl=f"http://localhost:{port}/")
        data = await _settled(http, emulator, created.data["taskId"])
    assert data["successFlag"] == "CALLBACK_EXCEPTION"


async def test_localhost_is_called(http: HttpClient) -> None:
    async with Hook().listening() as hook, Emulator(speed=FAST) as emulator:
        url = hook.url.replace("127.0.0.1", "localhost")
        await http.create(emulator, callBackUrl=url)
        assert (await hook.body())["code"] == 200


async def test_a_task_that_a_test_ends_is_posted_immediately(http: HttpClient) -> None:
    async with Hook().listening() as hook, Emulator(speed=0.001) as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        await anyio.to_thread.run_sync(emulator.fail, created.data["taskId"])
        assert (await hook.body())["code"] == 500


async def test_callbacks_are_signed_with_the_webhook_key(http: HttpClient) -> None:
    key = "secret"
    async with Hook().listening() as hook, Emulator(speed=FAST, webhook_key=key) as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        await hook.body()
    headers = hook.received[0].headers
    signed = f"{created.data['taskId']}.{headers['X-Webhook-Timestamp']}".encode()
    expected = base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest())
    assert headers["X-Webhook-Signature"] == expected.decode()


async def test_closing_cancels_pending_callbacks(http: HttpClient) -> None:
    async with Hook().listening() as hook, Emulator(speed=0.001) as emulator:
        await http.create(emulator, callBackUrl=hook.url)
    assert hook.received == []


@pytest.mark.parametrize(
    "provider, codes", [("sunoapi", {400, 451, 500}), ("kie", {400, 408, 413, 500, 501, 531})]
)
async def test_callbacks_of_failures_have_all_codes_of_the_provider(
    provider: ProviderName, codes: set[int]
) -> None:
    failing = Emulator(provider=provider, failure_rate=1, speed=FAST)
    async with Hook().listening() as hook, failing as emulator:
        for _ in range(50):
            emulator.add_task(callback_url=hook.url)
        messages = {body["code"]: body["msg"] for body in [await hook.body() for _ in range(50)]}
    assert set(messages) == codes
    assert len(set(messages.values())) == len(codes)


async def test_the_record_of_a_random_failure_says_code_500_whatever_its_callback_says(
    http: HttpClient,
) -> None:
    failing = Emulator(provider="kie", failure_rate=1, speed=FAST, rate_limit=None)
    async with failing as emulator:
        for _ in range(10):
            created = await http.create(emulator)
            data = await _settled(http, emulator, created.data["taskId"])
            assert data["errorCode"] == 500


async def test_a_failure_on_demand_has_its_code_in_the_callback_too() -> None:
    async with Hook().listening() as hook, Emulator(provider="kie", failure_rate=1) as emulator:
        task_id = emulator.add_task(duration=math.inf, callback_url=hook.url)
        emulator.fail(task_id, code=531, message="credits returned")
        body = await hook.body()
    assert (body["code"], body["msg"]) == (531, "credits returned")
    assert body["data"] == {"task_id": task_id, "vocal_separation_info": None}


async def test_an_added_task_posts_to_the_callback_url_that_it_was_given() -> None:
    async with Hook().listening() as hook, Emulator() as emulator:
        task_id = emulator.add_task(duration=0, callback_url=hook.url)
        assert (await hook.body())["data"]["task_id"] == task_id


async def test_a_task_that_was_added_before_the_start_posts_its_callback_after_it() -> None:
    emulator = Emulator()
    async with Hook().listening() as hook:
        task_id = emulator.add_task(duration=math.inf, callback_url=hook.url)
        emulator.finish(task_id)
        async with emulator:
            assert (await hook.body())["data"]["task_id"] == task_id


def test_an_added_task_refuses_a_callback_url_that_is_no_text() -> None:
    emulator = Emulator()
    with pytest.raises(InvalidArgumentError, match="callback_url must be a string or None, not in"):
        emulator.add_task(callback_url=5)  # type: ignore[arg-type]
    assert emulator.tasks == ()


async def test_the_log_holds_each_attempt_with_its_bytes_headers_and_answer(
    http: HttpClient,
) -> None:
    fast = Emulator(speed=FAST, webhook_key="secret", rate_limit=None)
    async with Hook(500, 204, 200).listening() as hook, fast as emulator:
        created = await http.create(emulator, callBackUrl=hook.url)
        bodies = [await hook.body() for _ in range(3)]
        await until(lambda: len(emulator.posted) == 3)
    attempts = emulator.posted
    assert [attempt.http_status for attempt in attempts] == [500, 204, 200]
    assert [attempt.json for attempt in attempts] == bodies
    assert {attempt.code for attempt in attempts} == {200}
    assert {attempt.task_id for attempt in attempts} == {created.data["taskId"]}
    assert {attempt.url for attempt in attempts} == {hook.url}
    for attempt, request in zip(attempts, hook.received, strict=True):
        assert set(attempt.headers) == {"X-Webhook-Timestamp", "X-Webhook-Signature"}
        assert all(request.headers[name] == value for name, value in attempt.headers.items())
        assert request.content_type == "application/json"


async def test_the_log_says_that_an_attempt_was_not_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with Emulator(speed=FAST) as emulator:
        emulator.add_task(duration=0, callback_url=f"http://127.0.0.1:{port}/")
        await until(lambda: len(emulator.posted) == 3)
    assert [(each.http_status, dict(each.headers)) for each in emulator.posted] == [(None, {})] * 3
