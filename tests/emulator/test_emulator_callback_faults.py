"""Callbacks that go wrong on their way, and forged ones."""

from __future__ import annotations

import json
import math
import socket
import time
from typing import Any

import anyio
import pytest
from emulator.hook import FAST, Hook, until
from emulator.http_client import HttpClient, ProviderName

from vocalsep_async.emulator import CallbackFaults, CallbackKind, Emulator
from vocalsep_async.emulator.callback_faults import FORGED
from vocalsep_async.errors import ConfigurationError, InvalidArgumentError

pytestmark = pytest.mark.anyio
KEY = "a-key"
PROVIDERS: tuple[ProviderName, ...] = ("sunoapi", "kie", "kie_jobs")
INFO = {"sunoapi": "vocal_removal_info", "kie": "vocal_separation_info"}


def kinds(emulator: Emulator) -> list[str]:
    return [each.kind.value for each in emulator.posted]


def pending_task(emulator: Emulator, hook: Hook) -> str:
    return emulator.add_task(duration=math.inf, callback_url=hook.url)


def id_in(body: dict[str, Any]) -> str:
    data = body["data"]
    found: str = data["taskId"] if "taskId" in data else data["task_id"]
    return found


# On the way


async def test_a_lost_callback_never_arrives_and_leaves_the_record_a_success(
    http: HttpClient,
) -> None:
    lossy = Emulator(callbacks=CallbackFaults(lost=1))
    async with Hook(500).listening() as hook, lossy as emulator:
        task_id = emulator.add_task(duration=0, callback_url=hook.url)
        await until(lambda: bool(emulator.posted))
        data = (await http.record_info(emulator, task_id)).data
    (lost,) = emulator.posted
    assert (lost.kind, lost.http_status, lost.code) == (CallbackKind.LOST, None, 200)
    assert data["successFlag"] == "SUCCESS"
    assert hook.received == []


async def test_a_repeated_callback_is_the_accepted_one_byte_by_byte() -> None:
    twice = Emulator(callbacks=CallbackFaults(repeated=1), webhook_key=KEY, speed=FAST)
    async with Hook(500, 200).listening() as hook, twice as emulator:
        emulator.add_task(duration=0, callback_url=hook.url)
        await until(lambda: len(emulator.posted) == 3)
    refused, accepted, again = emulator.posted
    assert (refused.http_status, accepted.http_status, again.http_status) == (500, 200, 200)
    assert kinds(emulator) == ["genuine", "genuine", "repeated"]
    assert (again.body, again.headers) == (accepted.body, accepted.headers)


async def test_a_callback_that_is_refused_three_times_is_not_repeated() -> None:
    twice = Emulator(callbacks=CallbackFaults(repeated=1), speed=FAST)
    async with Hook(500).listening() as hook, twice as emulator:
        task_id = emulator.add_task(duration=0, callback_url=hook.url)
        task = emulator._backend.task(task_id)
        await until(lambda: task.ending.status == "CALLBACK_EXCEPTION")
    assert kinds(emulator) == ["genuine"] * 3


async def test_a_delayed_callback_comes_that_many_real_seconds_after_the_end() -> None:
    late = Emulator(callbacks=CallbackFaults(delay=(0.05, 0.1)), speed=FAST)
    before = time.monotonic()
    async with Hook().listening() as hook, late as emulator:
        emulator.add_task(duration=0, callback_url=hook.url)
        await hook.body()
        await until(lambda: bool(emulator.posted))
    assert emulator.posted[0].at >= before + 0.05


async def test_a_reordered_callback_comes_after_that_of_the_next_task() -> None:
    swapped = Emulator(callbacks=CallbackFaults(reordered=1))
    async with Hook().listening() as hook, swapped as emulator:
        first, second = pending_task(emulator, hook), pending_task(emulator, hook)
        emulator.finish(first)
        await anyio.wait_all_tasks_blocked()
        assert emulator.posted == ()
        emulator.finish(second)
        assert [id_in(await hook.body()) for _ in range(2)] == [second, first]


async def test_a_reordered_report_of_progress_comes_after_the_end() -> None:
    faults = CallbackFaults(in_progress=1, reordered=1)
    async with Hook().listening() as hook, Emulator(callbacks=faults) as emulator:
        task_id = pending_task(emulator, hook)
        emulator.finish(task_id)
        assert [(await hook.body())["code"] for _ in range(2)] == [200, 202]


async def test_a_report_of_progress_that_is_late_outlives_the_end_of_its_task() -> None:
    faults = CallbackFaults(in_progress=1, delay=(0.05, 0.05))
    async with Hook().listening() as hook, Emulator(callbacks=faults) as emulator:
        emulator.finish(pending_task(emulator, hook))
        codes = {(await hook.body())["code"] for _ in range(2)}
    assert codes == {200, 202}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_task_may_report_its_progress_before_its_end(provider: ProviderName) -> None:
    async with (
        Hook().listening() as hook,
        Emulator(provider=provider, callbacks=CallbackFaults(in_progress=1)) as emulator,
    ):
        task_id = emulator.add_task(duration=0.2, callback_url=hook.url)
        progress, end = await hook.body(), await hook.body()
        await until(lambda: len(emulator.posted) == 2)
    assert kinds(emulator) == ["in_progress", "genuine"]
    assert (progress["code"], end["code"]) == (202, 200)
    assert id_in(progress) == id_in(end) == task_id
    if provider == "kie_jobs":
        data = progress["data"]
        assert (data["state"], data["resultJson"], data["completeTime"]) == ("generating", "", None)
    else:
        assert progress["data"][INFO[provider]] is None


async def test_a_refused_report_of_progress_leaves_the_end_as_it_is(http: HttpClient) -> None:
    faults = CallbackFaults(in_progress=1)
    async with (
        Hook(500, 500, 500, 200).listening() as hook,
        Emulator(callbacks=faults, speed=FAST) as emulator,
    ):
        task_id = pending_task(emulator, hook)
        emulator.finish(task_id)
        assert [(await hook.body())["code"] for _ in range(4)] == [202, 202, 202, 200]
        assert (await http.record_info(emulator, task_id)).data["successFlag"] == "SUCCESS"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_callback_of_a_failure_may_have_no_data_at_all(provider: ProviderName) -> None:
    faults = CallbackFaults(null_data=1)
    async with (
        Hook().listening() as hook,
        Emulator(provider=provider, callbacks=faults, webhook_key=KEY) as emulator,
    ):
        good, bad = pending_task(emulator, hook), pending_task(emulator, hook)
        emulator.fail(bad, code=501)
        failure = await hook.body()
        emulator.finish(good)
        success = await hook.body()
        await until(lambda: len(emulator.posted) == 2)
    assert (failure["code"], failure["data"]) == (501, None)
    assert (success["code"], id_in(success)) == (200, good)
    assert emulator.posted[0].task_id == bad
    assert "X-Webhook-Signature" in emulator.posted[0].headers


@pytest.mark.parametrize("skew", [-360.0, 360.0])
async def test_a_skewed_clock_shows_in_the_timestamps_of_signatures(skew: float) -> None:
    faults = CallbackFaults(clock_skew=skew)
    before = int(time.time() + skew)
    async with (
        Hook().listening() as hook,
        Emulator(callbacks=faults, webhook_key=KEY) as emulator,
    ):
        emulator.add_task(duration=0, callback_url=hook.url)
        await hook.body()
        await until(lambda: bool(emulator.posted))
    # Two seconds either way, as the clock of the machine may be corrected meanwhile.
    timestamp = int(emulator.posted[0].headers["X-Webhook-Timestamp"])
    assert before - 2 <= timestamp <= time.time() + skew + 2


# Forged


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_callback_comes_once_before_the_genuine_one(
    http: HttpClient, kind: CallbackKind
) -> None:
    options: dict[str, Any] = {kind.value: 1}
    faults = CallbackFaults(**options)
    async with (
        Hook(401, 200).listening() as hook,
        Emulator(callbacks=faults, webhook_key=KEY, speed=FAST) as emulator,
    ):
        task_id = pending_task(emulator, hook)
        emulator.finish(task_id)
        forged, genuine = await hook.body(), await hook.body()
        await until(lambda: len(emulator.posted) == 2)
        data = (await http.record_info(emulator, task_id)).data
    assert kinds(emulator) == [kind.value, "genuine"]
    assert (forged["data"]["task_id"], genuine["data"]["task_id"]) == (task_id, task_id)
    assert data["successFlag"] == "SUCCESS"
    assert hook.received[0].path == ("/hook0" if kind is CallbackKind.WRONG_ADDRESS else "/hook")


async def test_early_callbacks_of_a_task_are_posted_once_although_it_ends_twice() -> None:
    faults = CallbackFaults(changed=1, wrong_address=1, in_progress=1)
    async with Hook().listening() as hook, Emulator(callbacks=faults) as emulator:
        task_id = pending_task(emulator, hook)
        emulator.finish(task_id)
        await until(lambda: len(emulator.posted) == 4)
        emulator.finish(task_id)
        await until(lambda: len(emulator.posted) == 5)
    assert sorted(kinds(emulator)[:3]) == ["changed", "in_progress", "wrong_address"]
    assert kinds(emulator)[3:] == ["genuine", "genuine"]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("type_", ["separate_vocal", "split_stem_advanced"])
async def test_a_changed_callback_claims_a_success_with_links_to_another_host(
    provider: ProviderName, type_: str
) -> None:
    async with Hook().listening() as hook, Emulator(provider=provider) as emulator:
        task_id = emulator.add_task(duration=math.inf, type=type_, callback_url=hook.url)
        emulator.fail(task_id)
        await hook.body()
        emulator.post_callback(task_id, CallbackKind.CHANGED)
        forged = await hook.body()
    text = json.dumps(forged)
    assert (forged["code"], id_in(forged)) == (200, task_id)
    assert "https://stems.invalid/" in text
    assert emulator.url not in text


# On demand


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_callback_on_demand_says_that_a_pending_task_has_ended(
    http: HttpClient, provider: ProviderName
) -> None:
    async with Hook(500, 200).listening() as hook, Emulator(provider=provider) as emulator:
        task_id = pending_task(emulator, hook)
        await anyio.to_thread.run_sync(emulator.post_callback, task_id)
        early = await hook.body()
        await until(lambda: len(emulator.posted) == 1)
        emulator.finish(task_id)
        assert (await hook.body())["code"] == early["code"] == 200
        await until(lambda: len(emulator.posted) == 2)
    assert id_in(early) == task_id
    assert kinds(emulator) == ["genuine", "genuine"]
    assert emulator._backend.task(task_id).ending.status == "SUCCESS"


@pytest.mark.parametrize("kind", ["in_progress", *FORGED])
async def test_each_kind_can_be_posted_on_demand(kind: str) -> None:
    async with Hook().listening() as hook, Emulator(webhook_key=KEY) as emulator:
        emulator.post_callback(pending_task(emulator, hook), kind)  # type: ignore[arg-type]
        assert (await hook.body())["code"] == (202 if kind == "in_progress" else 200)
        await until(lambda: bool(emulator.posted))
    assert kinds(emulator) == [kind]


async def test_a_callback_on_demand_overtakes_one_that_is_held() -> None:
    swapped = Emulator(callbacks=CallbackFaults(reordered=1))
    async with Hook().listening() as hook, swapped as emulator:
        task_id = pending_task(emulator, hook)
        emulator.finish(task_id)
        await anyio.wait_all_tasks_blocked()
        emulator.post_callback(task_id, CallbackKind.IN_PROGRESS)
        assert [(await hook.body())["code"] for _ in range(2)] == [202, 200]


@pytest.mark.parametrize(
    "kind, message",
    [
        ("lost", "kind must be one of genuine, in_progress, wrong_signature, .*, not 'lost'"),
        ("repeated", "kind must be one of"),
        ("nonsense", "kind must be one of"),
        ("stale", "stale callbacks need a webhook_key"),
    ],
)
async def test_a_kind_that_cannot_be_posted_is_refused(kind: str, message: str) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(callback_url="http://127.0.0.1:9/")
        with pytest.raises(InvalidArgumentError, match=f"^{message}"):
            emulator.post_callback(task_id, kind)  # type: ignore[arg-type]
    assert emulator.posted == ()


@pytest.mark.parametrize("url", [None, "https://example.com/hook"])
async def test_a_callback_on_demand_needs_an_address_of_this_machine(url: str | None) -> None:
    async with Emulator() as emulator:
        task_id = emulator.add_task(callback_url=url)
        with pytest.raises(InvalidArgumentError, match="has no callback URL of this machine: add_"):
            emulator.post_callback(task_id)


def test_a_callback_on_demand_needs_a_task_and_a_running_emulator() -> None:
    emulator = Emulator()
    with pytest.raises(InvalidArgumentError, match="there is no task 'a'"):
        emulator.post_callback("a")
    task_id = emulator.add_task("a", callback_url="http://127.0.0.1:9/")
    with pytest.raises(ConfigurationError, match="only an emulator that is running posts"):
        emulator.post_callback(task_id)


@pytest.mark.parametrize("faults", [CallbackFaults(delay=(60, 60)), CallbackFaults(reordered=1)])
async def test_closing_ends_callbacks_that_are_late_or_held(faults: CallbackFaults) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        async with Emulator(callbacks=faults) as emulator:
            emulator.add_task(duration=0, callback_url=url)
            await anyio.wait_all_tasks_blocked()
    assert emulator.posted == ()
