"""Metrics of polls, waits, tasks and limits, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER, add_all
from fakes import FakeProvider, envelope, finished, make_client, record
from telemetry.telemetry import Telemetry, id_of
from virtual_time import VIRTUAL_TIME

from vocalsep_async import Interval
from vocalsep_async.instrumentation import Paused

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_polls_are_counted_by_code_and_verdict(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", record("a"), envelope(430, "too often"), record("a"), finished("a"))
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    counts = {
        (point.attributes["vocalsep.code"], point.attributes["vocalsep.poll.verdict"]): point.count
        for point in telemetry.points("vocalsep.poll.duration")
    }
    assert counts == {(200, "pending"): 2, (430, "throttle"): 1, (200, "final"): 1}


async def test_codes_and_statuses_that_the_provider_makes_up_are_no_attributes_of_metrics(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    for number in range(5):
        new = [record(f"{number}", f"NEW_{number}")] * 20
        provider.script(f"{number}", envelope(7000 + number, "new"), *new)
    async with make_client(poll=Interval(5)) as client:
        telemetry.instrument(client)
        waits = (client.wait_for_task(f"{n}", timeout=30) for n in range(5))
        await asyncio.gather(*waits, return_exceptions=True)
    (point,) = telemetry.points("vocalsep.wait.duration")
    assert point.attributes["vocalsep.task.status"] == "other"
    polls = telemetry.points("vocalsep.poll.duration")
    assert {point.attributes.get("vocalsep.code") for point in polls} == {None, 200}


async def test_no_metric_has_an_id_or_a_label(provider: FakeProvider, telemetry: Telemetry) -> None:
    add_all(provider, ["a", "b"], 10)
    async with make_client() as client:
        telemetry.instrument(client)
        await client.wait_for_tasks(["a", "b"])
        await client.wait_for_task("a")
    for name in telemetry.metric_names():
        for point in telemetry.points(name):
            assert not {"vocalsep.task.id", "vocalsep.task.label"} & set(point.attributes)


async def test_throttled_requests_and_paused_seconds_are_counted(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", envelope(430, "often", Retry_After="20"), envelope(455), finished("a"))
    paused: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, Paused):
            paused.append(event.duration)

    async with make_client(on_event=listen) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    (throttled,) = telemetry.points("vocalsep.throttled")
    assert throttled.value == 1
    assert throttled.attributes["vocalsep.code"] == 430
    seconds = {
        point.attributes["vocalsep.pause.reason"]: point.value
        for point in telemetry.points("vocalsep.paused")
    }
    assert seconds["throttled"] == pytest.approx(20, abs=5)
    assert seconds["maintenance"] > 0
    assert sum(seconds.values()) == pytest.approx(sum(paused))


async def test_a_pause_that_becomes_longer_is_counted_once(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.every_answer = lambda _: envelope(430, "often", Retry_After="100")
    provider.round_trip = 4
    async with make_client() as client:
        telemetry.instrument(client)
        began = anyio.current_time()
        with anyio.move_on_after(50):
            await asyncio.gather(*(client.wait_for_task(f"{n}") for n in range(5)))
    (point,) = telemetry.points("vocalsep.paused")
    # The last of the answers came some seconds after the first one.
    assert 100 <= point.value <= anyio.current_time() - began + 100


async def test_the_delay_of_a_task_leads_to_the_poll_that_found_its_end(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.is_dated = True
    provider.add("a", 12)
    async with make_client(poll=Interval(10)) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    (point,) = telemetry.points("vocalsep.task.delay")
    assert point.count == 1
    assert 0 < point.sum < 10
    (exemplar,) = point.exemplars
    *_, last = telemetry.named("vocalsep.poll")
    assert exemplar.span_id == id_of(last)
    assert last.attributes is not None
    assert last.attributes["vocalsep.task.delay"] == point.sum


async def test_the_duration_of_a_wait_leads_to_its_span(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", 12)
    async with make_client() as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    (point,) = telemetry.points("vocalsep.wait.duration")
    (exemplar,) = point.exemplars
    assert exemplar.span_id == id_of(telemetry.the("vocalsep.wait"))
    assert point.sum == pytest.approx(12, abs=5)


async def test_clients_of_one_account_are_added_up(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    add_all(provider, ["a", "b", "c"], NEVER)
    async with make_client() as one, make_client() as another, anyio.create_task_group() as group:
        telemetry.instrument(one)
        telemetry.instrument(another)
        group.start_soon(one.wait_for_task, "a")
        group.start_soon(one.wait_for_task, "b")
        group.start_soon(another.wait_for_task, "c")
        await anyio.sleep(5)
        (active,) = telemetry.points("vocalsep.wait.active")
        (rate,) = telemetry.points("vocalsep.rate.allowed")
        assert active.value == 3
        assert rate.value == pytest.approx(one.stats.rate + another.stats.rate)
        assert rate.attributes["server.address"] == "api.sunoapi.org"
        group.cancel_scope.cancel()


async def test_clients_of_different_providers_are_told_apart(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    kie = make_client(base_url="https://api.kie.ai")
    async with make_client() as suno, kie:
        for client in (suno, kie):
            telemetry.instrument(client)
            await client.wait_for_task("a")
        points = telemetry.points("vocalsep.rate.allowed")
    assert {each.attributes["server.address"] for each in points} == {
        "api.sunoapi.org",
        "api.kie.ai",
    }


@pytest.mark.own_limiter
async def test_the_allowed_rate_is_reported_once_it_is_known(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    async with make_client(rate_limit=None) as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
        assert telemetry.points("vocalsep.rate.allowed") == []
        (active,) = telemetry.points("vocalsep.wait.active")
        assert active.value == 0
        provider.script("b", envelope(430, "often"))
        await client.wait_for_task("b")
        (rate,) = telemetry.points("vocalsep.rate.allowed")
        assert rate.value == client.stats.rate


async def test_a_task_whose_delay_is_not_known_has_none(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.script("a", record("a", "GENERATE_AUDIO_FAILED"))
    async with make_client() as client:
        telemetry.instrument(client)
        await client.wait_for_task("a")
    assert telemetry.points("vocalsep.task.delay") == []


async def test_the_delay_of_a_task_that_a_call_found_ended_has_no_span(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.is_dated = True
    provider.add("a", 12)
    async with make_client(poll=Interval(60)) as client, anyio.create_task_group() as group:
        telemetry.instrument(client)
        group.start_soon(client.wait_for_task, "a")
        await anyio.sleep(20)
        await client.get_task("a")
    (point,) = telemetry.points("vocalsep.task.delay")
    assert point.count == 1


async def test_a_provider_of_metrics_can_go(provider: FakeProvider) -> None:
    provider.ends_all()
    telemetry = Telemetry()
    gone = weakref.ref(telemetry.meters)
    client = make_client()
    telemetry.instrument(client)
    await client.wait_for_task("a")
    await client.aclose()
    del client, telemetry
    gc.collect()
    assert gone() is None
