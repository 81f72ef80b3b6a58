"""Spans of OpenTelemetry's own instrumentation hold no key and no signed query."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import anyio
import pytest
from fault_server import SIGNATURE, FaultServer
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vocalsep_async import RateLimit, RetryPolicy, VocalSepClient, VocalSepError

pytestmark = pytest.mark.anyio

CANARY = f"sk-CANARY-{secrets.token_hex(8)}"

Call = Callable[[VocalSepClient], Awaitable[object]]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as other, FaultServer(elsewhere=other.url) as server:
        yield server


class Tracing:
    """The stock instrumentation, recording every header of requests, and the spans that ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer(__name__)
        self.config: aiohttp.TraceConfig = create_trace_config(
            tracer_provider=provider, captured_request_headers=[".*"]
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def text(self) -> str:
        """Names, attributes, events and the status of all spans, with the resource."""
        return "\n".join(span.to_json() for span in self.spans)


@pytest.fixture
def tracing() -> Tracing:
    return Tracing()


def client_at(url: str, tracing: Tracing, request_timeout: float = 60.0) -> VocalSepClient:
    return VocalSepClient(
        CANARY,
        base_url=url,
        rate_limit=RateLimit(1000, 0.01),
        retry=RetryPolicy(attempts=1),
        request_timeout=request_timeout,
        trace_configs=[tracing.config],
    )


async def get_task(client: VocalSepClient) -> object:
    return await client.get_task("task-1")


async def create_task(client: VocalSepClient) -> object:
    return await client.create_task(
        callback_url="https://callback.example/",
        audio_url=f"https://a.example/a.mp3?X-Amz-Signature={SIGNATURE}",
    )


async def get_credits(client: VocalSepClient) -> object:
    return await client.get_credits()


@pytest.mark.parametrize("call", [get_task, create_task, get_credits])
async def test_the_span_of_a_request_that_succeeds_holds_no_key(
    server: FaultServer, tracing: Tracing, call: Call
) -> None:
    async with client_at(f"{server.url}/healthy", tracing) as client:
        await call(client)
    (span,) = tracing.spans
    assert span.attributes
    assert CANARY not in tracing.text
    assert SIGNATURE not in tracing.text


FAULTS = {
    "a wrong key": "st401",
    "the key in a message and headers of the API": "echo_key",
    "the key in a web page": "echo_key_as_html",
    "a redirect to a signed link": "redirect_302_elsewhere",
    "closed": "fin_before",
    "reset": "rst_before",
    "no HTTP": "garbage",
    "half a body": "half_body_fin",
    "silence": "black_hole",
}


@pytest.mark.parametrize("fault", [pytest.param(fault, id=name) for name, fault in FAULTS.items()])
@pytest.mark.parametrize("call", [get_task, create_task])
async def test_the_span_of_a_request_that_fails_holds_no_key(
    server: FaultServer, tracing: Tracing, call: Call, fault: str
) -> None:
    async with client_at(f"{server.url}/{fault}", tracing, request_timeout=0.3) as client:
        with pytest.raises(VocalSepError), tracing.tracer.start_as_current_span("the user's own"):
            await call(client)
    request, own = tracing.spans
    assert request.parent == own.context
    assert [event.name for event in own.events] == ["exception"]
    assert CANARY not in tracing.text
    assert SIGNATURE not in tracing.text


async def test_the_error_of_a_request_is_recorded_without_the_key(
    server: FaultServer, tracing: Tracing
) -> None:
    async with client_at(f"{server.url}/fin_before", tracing) as client:
        with pytest.raises(VocalSepError):
            await client.get_task("task-1")
    (span,) = tracing.spans
    (event,) = span.events
    assert event.attributes
    assert "ServerDisconnectedError" in str(event.attributes["exception.stacktrace"])
    assert CANARY not in tracing.text


async def test_the_span_of_a_request_that_is_cancelled_holds_no_key(
    server: FaultServer, tracing: Tracing
) -> None:
    async with client_at(f"{server.url}/black_hole", tracing) as client:
        call = asyncio.ensure_future(client.get_task("task-1"))
        await anyio.to_thread.run_sync(server.wait_for_hits, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(tracing.spans) == 1
    assert CANARY not in tracing.text
