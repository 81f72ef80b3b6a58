"""`instrument`: which providers are used, and how it is taken away."""

from __future__ import annotations

import asyncio
import gc
import importlib
import subprocess
import sys
import weakref
from typing import Any

import anyio
import pytest
from batch.tracking import NEVER
from fakes import FakeProvider, make_client, provider_in_place
from opentelemetry import metrics, trace
from telemetry.telemetry import Telemetry, attributes_of
from virtual_time import VIRTUAL_TIME, VirtualTimeLoop

from vocalsep_async import InvalidArgumentError, VocalSepClient
from vocalsep_async.contrib.opentelemetry import instrument

pytestmark = pytest.mark.anyio

GAUGES = ("vocalsep.wait.active", "vocalsep.rate.allowed")


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def listeners_of(client: VocalSepClient) -> int:
    return len(client._engine.events._listeners)


async def test_a_client_is_instrumented_once(provider: FakeProvider, telemetry: Telemetry) -> None:
    provider.ends_all()
    async with make_client() as client:
        first = telemetry.instrument(client)
        assert instrument(client, tracer_provider=Telemetry().tracers) is first
        await client.wait_for_task("a")
        assert listeners_of(client) == 1
    assert telemetry.names == ["vocalsep.poll", "vocalsep.wait"]
    (point,) = telemetry.points("vocalsep.poll.duration")
    assert point.count == 1


async def test_two_clients_report_each_to_its_own_providers(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    other = Telemetry()
    async with make_client() as one, make_client() as another:
        telemetry.instrument(one)
        other.instrument(another)
        await one.wait_for_task("a")
        await another.wait_for_tasks(["b", "c"])
    assert telemetry.names == ["vocalsep.poll", "vocalsep.wait"]
    assert other.names == [*["vocalsep.poll"] * 2, "vocalsep.batch"]
    assert other.points("vocalsep.wait.duration") == []


async def test_what_is_removed_reports_no_more(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    async with make_client() as client:
        instrumentation = telemetry.instrument(client)
        await client.wait_for_task("a")
        spans = telemetry.names
        instrumentation.remove()
        instrumentation.remove()
        assert listeners_of(client) == 0
        assert [telemetry.points(name) for name in GAUGES] == [[], []]
        await client.wait_for_task("b")
        assert telemetry.names == spans
        again = telemetry.instrument(client)
        assert again is not instrumentation
        instrumentation.remove()
        await client.wait_for_task("c")
        assert telemetry.names == spans * 2


async def test_spans_that_are_open_at_the_removal_end_with_what_they_are_about(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", 20)
    provider.round_trip = 2
    async with make_client() as client:
        instrumentation = telemetry.instrument(client)
        wait = asyncio.ensure_future(client.wait_for_task("a"))

        async def call() -> None:
            with telemetry.tracer.start_as_current_span("request") as request:
                await client.get_task("a")
                assert trace.get_current_span() is request

        calling = asyncio.ensure_future(call())
        await anyio.sleep(1)
        instrumentation.remove()
        instrumentation.remove()
        assert listeners_of(client) == 1
        await calling
        await client.get_task("a")
        await wait
        assert listeners_of(client) == 0
    # Those that were open: the first poll of the wait, the call's, and the wait itself.
    expected = ["request", "vocalsep.poll", "vocalsep.poll", "vocalsep.wait"]
    assert sorted(telemetry.names) == expected
    assert telemetry.points("vocalsep.wait.duration") == []


async def test_what_had_begun_before_a_client_was_instrumented_has_no_span(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", 20)
    provider.round_trip = 2
    async with make_client() as client:
        wait = asyncio.ensure_future(client.wait_for_task("a"))
        await anyio.sleep(1)
        telemetry.instrument(client)
        await wait
        (active,) = telemetry.points("vocalsep.wait.active")
        assert active.value == 0
    assert set(telemetry.names) == {"vocalsep.poll"}
    assert {each.parent for each in telemetry.spans} == {None}
    (point,) = telemetry.points("vocalsep.wait.duration")
    assert point.count == 1


async def test_the_removal_may_come_after_the_client_is_gone(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    client = make_client()
    instrumentation = telemetry.instrument(client)
    await client.wait_for_task("a")
    await client.aclose()
    del client
    gc.collect()
    instrumentation.remove()


async def test_a_client_that_goes_while_it_is_removed_is_no_error(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.ends_all()
    client = make_client()
    instrumentation = telemetry.instrument(client)
    client_ref = weakref.ref(client)
    async with client.track(["a"]) as batch:
        instrumentation.remove()
        await client.aclose()
        del client
        gc.collect()
        assert client_ref() is None
        del batch


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("no client", {}), "client must be a VocalSepClient, not str"),
        ((None, {"tracer_provider": 1}), "tracer_provider"),
        ((None, {"meter_provider": "global"}), "meter_provider"),
    ],
)
def test_what_is_no_client_or_provider_is_rejected(arguments: Any, named: str) -> None:
    client, providers = arguments
    with pytest.raises(InvalidArgumentError, match=named):
        instrument(make_client() if client is None else client, **providers)


# Global providers


class Application:
    """Sets global providers, which the API allows once in a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.telemetry = Telemetry()

    def set_providers(self) -> None:
        self._patch.setattr(trace, "_TRACER_PROVIDER", self.telemetry.tracers)
        self._patch.setattr(metrics._internal, "_METER_PROVIDER", self.telemetry.meters)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    return Application(monkeypatch)


@pytest.mark.parametrize("moment", ["before the client", "before instrument", "after instrument"])
async def test_spans_and_metrics_go_to_the_providers_that_are_global_at_the_first_span(
    provider: FakeProvider, application: Application, moment: str
) -> None:
    provider.ends_all()
    if moment == "before the client":
        application.set_providers()
    async with make_client() as client:
        if moment == "before instrument":
            application.set_providers()
        instrument(client)
        if moment == "after instrument":
            application.set_providers()
        await client.wait_for_task("a")
    assert application.telemetry.names == ["vocalsep.poll", "vocalsep.wait"]
    assert len(application.telemetry.points("vocalsep.wait.duration")) == 1


async def test_metrics_begin_once_there_is_a_global_provider(
    provider: FakeProvider, application: Application
) -> None:
    provider.ends_all()
    async with make_client() as client:
        instrument(client)
        await client.wait_for_task("a")
        application.set_providers()
        await client.wait_for_task("b")
    (point,) = application.telemetry.points("vocalsep.wait.duration")
    assert point.count == 1


async def test_a_provider_that_is_passed_counts_before_the_global_one(
    provider: FakeProvider, application: Application, telemetry: Telemetry
) -> None:
    provider.ends_all()
    application.set_providers()
    async with make_client() as one, make_client() as another:
        telemetry.instrument(one)
        instrument(another)
        await one.wait_for_task("a")
        await another.wait_for_task("b")
    assert [attributes_of(each)["vocalsep.task.id"] for each in telemetry.spans] == ["a", "a"]
    seen = [attributes_of(each)["vocalsep.task.id"] for each in application.telemetry.spans]
    assert seen == ["b", "b"]


async def test_without_an_sdk_nothing_fails(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.ends_all()
    async with make_client() as client:
        instrument(client)
        assert (await client.wait_for_task("a")).succeeded
        await client.get_task("a")
    assert caplog.records == []


async def test_a_global_provider_is_never_set(provider: FakeProvider) -> None:
    provider.ends_all()
    async with make_client() as client:
        instrument(client)
        await client.wait_for_task("a")
    assert trace._TRACER_PROVIDER is None
    assert metrics._internal._METER_PROVIDER is None


# Clients that come and go


def test_nothing_is_left_of_clients_that_were_closed(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: weakref.WeakSet[VocalSepClient] = weakref.WeakSet()

    async def serve(provider: FakeProvider) -> None:
        provider.ends_all()
        async with make_client() as client:
            clients.add(client)
            telemetry.instrument(client)
            await client.wait_for_task("a")
            if len(clients) == 1:
                assert telemetry.points("vocalsep.wait.active") != []

    with provider_in_place(monkeypatch) as provider:
        for _ in range(200):
            provider.reopen()
            loop = VirtualTimeLoop()
            loop.run_until_complete(serve(provider))
            loop.close()
            gc.collect(0)
    gc.collect()
    assert len(clients) == 0
    assert [telemetry.points(name) for name in GAUGES] == [[], []]
    (point,) = telemetry.points("vocalsep.wait.duration")
    assert point.count == 200


async def test_a_client_that_is_closed_and_kept_reports_no_gauges(
    provider: FakeProvider, telemetry: Telemetry
) -> None:
    provider.add("a", NEVER)
    async with make_client() as client:
        telemetry.instrument(client)
        wait = asyncio.ensure_future(client.wait_for_task("a"))
        await anyio.sleep(5)
        (active,) = telemetry.points("vocalsep.wait.active")
        assert active.value == 1
        wait.cancel()
        await asyncio.wait([wait])
    assert [telemetry.points(name) for name in GAUGES] == [[], []]


async def test_a_client_that_was_never_used_is_not_reported(telemetry: Telemetry) -> None:
    telemetry.instrument(make_client())
    assert [telemetry.points(name) for name in GAUGES] == [[], []]


# Packages


def run(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


OURS = ("opentelemetry", "_otel_listener", "_otel_metrics", "_otel_attributes")


def reimport_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in OURS:
        monkeypatch.delitem(sys.modules, f"vocalsep_async.contrib.{each}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module("vocalsep_async.contrib.opentelemetry")


def test_the_module_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"vocalsep-async\[otel\]"):
        reimport_without("opentelemetry", monkeypatch)


def test_another_module_that_is_missing_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="yarl"):
        reimport_without("yarl", monkeypatch)


def test_the_package_loads_no_module_of_opentelemetry() -> None:
    program = (
        "import sys, vocalsep_async, vocalsep_async.pytest_plugin, vocalsep_async.cli\n"
        "print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    assert run(program).strip() == "[]"


def test_the_module_loads_only_the_api_package() -> None:
    program = (
        "import sys, vocalsep_async.contrib.opentelemetry\n"
        "print({name for name in sys.modules if name.startswith('opentelemetry.sdk')})"
    )
    assert run(program).strip() == "set()"
