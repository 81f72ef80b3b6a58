"""Spans below which requests are sent, and those of downloads and uploads; with real sockets."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import aiohttp
import attrs
import pytest
from aiohttp import TraceRequestEndParams
from fault_server import SIGNATURE, FaultServer
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import (
    AioHttpClientInstrumentor,
    create_trace_config,
)
from opentelemetry.trace import SpanKind, StatusCode
from telemetry.telemetry import Telemetry, attributes_of, id_of, parent_of, trace_of

from vocalsep_async import DownloadError, RateLimit, RetryPolicy, VocalSepClient, VocalSepError
from vocalsep_async.emulator import Emulator, Fault

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 50.0}


def finished_task(emulator: Emulator) -> str:
    task_id = emulator.add_task()
    emulator.finish(task_id)
    return task_id


async def test_each_request_has_one_span_of_http_and_one_of_this_package_above_it(
    vocalsep_emulator: Emulator, telemetry: Telemetry
) -> None:
    stock = create_trace_config(tracer_provider=telemetry.tracers)
    async with vocalsep_emulator.client(trace_configs=[stock]) as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request"):
            ref = await client.create_task(
                callback_url="https://callback.example/", audio_url="https://a.example/a.mp3"
            )
            vocalsep_emulator.inject(Fault.THROTTLED)
            await asyncio.gather(client.wait_for_task(ref), client.wait_for_task(ref))
            await client.get_task(ref)
            await client.wait_for_tasks([ref.task_id])
    ours = {id_of(each): each for each in telemetry.spans if each.name.startswith("vocalsep.")}
    requests = [each for each in telemetry.spans if each.name in {"GET", "POST"}]
    assert len(requests) == len(vocalsep_emulator.requests) >= 5
    above = [ours[parent_of(each) or 0] for each in requests]
    assert {each.name for each in above} == {"vocalsep.creation", "vocalsep.poll"}
    assert {each.kind for each in above} == {SpanKind.CLIENT}
    assert len({id_of(each) for each in above}) == len(requests)


async def test_the_stems_of_a_download_are_below_it(
    vocalsep_emulator: Emulator, telemetry: Telemetry, tmp_path: Path
) -> None:
    async with vocalsep_emulator.client() as client:
        task_id = finished_task(vocalsep_emulator)
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request") as request:
            await client.download_stems(task_id, tmp_path)
            assert trace.get_current_span() is request
            await client.download_stems(task_id, tmp_path)
    first, second = telemetry.named("vocalsep.download")
    assert {parent_of(first), parent_of(second)} == {id_of(telemetry.the("request"))}
    assert attributes_of(first)["vocalsep.download.saved"] == 2
    stems = telemetry.named("vocalsep.stem")
    assert [parent_of(each) for each in stems] == [id_of(first)] * 2 + [id_of(second)] * 2
    fetched = [attributes_of(each)["vocalsep.stem.fetched"] for each in stems]
    assert fetched == [True, True, False, False]
    sizes = [attributes_of(each)["vocalsep.stem.size"] for each in stems[:2]]
    (read,) = telemetry.points("vocalsep.stem.io")
    assert read.value == sum(sizes) > 0
    saved = {
        point.attributes["vocalsep.stem.fetched"]: point.value
        for point in telemetry.points("vocalsep.stem.saved")
    }
    assert saved == {True: 2, False: 2}


async def test_a_batch_that_saves_has_its_downloads_below_it(
    vocalsep_emulator: Emulator, telemetry: Telemetry, tmp_path: Path
) -> None:
    ids = [vocalsep_emulator.add_task(duration=0.2) for _ in range(3)]
    async with vocalsep_emulator.client() as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("first request"):
            waits = [asyncio.ensure_future(client.wait_for_task(each)) for each in ids]
        with telemetry.tracer.start_as_current_span("request"):
            async with client.track(
                ids, download_to=tmp_path, journal=tmp_path / "journal.sqlite"
            ) as batch:
                async for outcome in batch:
                    assert outcome.files
        await asyncio.gather(*waits)
    batch_span = telemetry.the("vocalsep.batch")
    downloads = telemetry.named("vocalsep.download")
    assert len(downloads) == 3
    # Not below the polls that found the ends, nor in the trace of the request that came first.
    assert {parent_of(each) for each in downloads} == {id_of(batch_span)}
    assert trace_of(batch_span) == trace_of(telemetry.the("request"))
    first = trace_of(telemetry.the("first request"))
    in_first = {each.name for each in telemetry.spans if trace_of(each) == first}
    assert in_first <= {"first request", "vocalsep.wait", "vocalsep.poll"}


async def test_a_stem_that_fails_is_an_error_without_its_link(
    vocalsep_emulator: Emulator, telemetry: Telemetry, tmp_path: Path
) -> None:
    async with vocalsep_emulator.client() as client:
        task_id = finished_task(vocalsep_emulator)
        task = await client.get_task(task_id)
        telemetry.instrument(client)
        with pytest.raises(DownloadError):
            await client.download_stems(task, tmp_path, max_bytes=10)
    for span in telemetry.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert attributes_of(span)["error.type"] == "DownloadError"
    links = [link for link in attrs.asdict(task.stems).values() if isinstance(link, str)]
    assert len(links) == 2
    assert all(link not in telemetry.text for link in links)
    points = telemetry.points("vocalsep.stem.saved")
    assert {(each.attributes["error.type"], each.value) for each in points} == {
        ("DownloadError", 2)
    }


async def test_a_stem_that_is_only_read_is_a_span_of_its_own(
    vocalsep_emulator: Emulator, telemetry: Telemetry
) -> None:
    async with vocalsep_emulator.client() as client:
        task_id = finished_task(vocalsep_emulator)
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request") as request:
            async with client.open_stem(task_id, "vocal") as stream:
                async for _ in stream:
                    assert trace.get_current_span() is request
    stem = telemetry.the("vocalsep.stem")
    assert parent_of(stem) == id_of(telemetry.the("request"))
    assert attributes_of(stem)["vocalsep.stem.name"] == "vocal"


async def test_an_upload_is_a_span_and_shows_no_name(
    vocalsep_emulator: Emulator, telemetry: Telemetry
) -> None:
    song = vocalsep_emulator.original_wav()
    async with vocalsep_emulator.client() as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("request"):
            await client.upload(song, name="a secret song.wav")
    upload = telemetry.the("vocalsep.upload")
    assert parent_of(upload) == id_of(telemetry.the("request"))
    assert attributes_of(upload)["vocalsep.upload.size"] == len(song)
    assert "secret" not in telemetry.text
    (point,) = telemetry.points("vocalsep.upload.duration")
    assert point.count == 1


async def test_no_span_and_no_metric_has_the_key(telemetry: Telemetry) -> None:
    key = f"sk-CANARY-{secrets.token_hex(8)}"
    with FaultServer() as server:
        for fault in ("echo_key", "echo_key_as_html", "st401", "black_hole"):
            async with VocalSepClient(
                key,
                base_url=f"{server.url}/{fault}",
                rate_limit=RateLimit(1000, 0.01),
                retry=RetryPolicy(attempts=1),
                request_timeout=0.3,
            ) as client:
                telemetry.instrument(client)
                with pytest.raises(VocalSepError):
                    await client.get_task("task-1")
                with pytest.raises(VocalSepError):
                    await client.create_task(
                        callback_url="https://callback.example/",
                        audio_url=f"https://a.example/a.mp3?X-Amz-Signature={SIGNATURE}",
                    )
    assert len(telemetry.spans) == 8
    attributes = [
        point.attributes for name in telemetry.metric_names() for point in telemetry.points(name)
    ]
    for secret in (key, SIGNATURE):
        assert secret not in telemetry.text
        assert secret not in str(attributes)


async def test_the_instrumentation_of_all_of_aiohttp_and_a_hook_of_the_application_go_together(
    vocalsep_emulator: Emulator, telemetry: Telemetry
) -> None:
    seen_by_hook: list[str] = []

    async def on_end(_session: object, _context: object, params: TraceRequestEndParams) -> None:
        seen_by_hook.append(params.method)

    hook = aiohttp.TraceConfig()
    hook.on_request_end.append(on_end)
    stock = AioHttpClientInstrumentor()
    stock.instrument(tracer_provider=telemetry.tracers)
    try:
        async with vocalsep_emulator.client(trace_configs=[hook]) as client:
            instrumentation = telemetry.instrument(client)
            assert telemetry.instrument(client) is instrumentation
            task_id = finished_task(vocalsep_emulator)
            await client.wait_for_task(task_id)
            instrumentation.remove()
            await client.get_task(task_id)
    finally:
        stock.uninstrument()
    assert telemetry.names == ["GET", "vocalsep.poll", "vocalsep.wait", "GET"]
    under_wait, poll, _, after_removal = telemetry.spans
    assert parent_of(under_wait) == id_of(poll)
    assert after_removal.parent is None
    assert seen_by_hook == ["GET", "GET"]


async def test_all_that_separates_a_song_is_below_the_callers_span(
    vocalsep_emulator: Emulator, telemetry: Telemetry, tmp_path: Path
) -> None:
    song = vocalsep_emulator.original_wav()
    async with vocalsep_emulator.client() as client:
        telemetry.instrument(client)
        with telemetry.tracer.start_as_current_span("one"):
            await client.separate(song, download_to=tmp_path)
        with telemetry.tracer.start_as_current_span("many"):
            async with client.separate_many([song], journal=tmp_path / "journal") as run:
                assert [outcome.succeeded async for outcome in run] == [True]
    below = {
        each: {
            span.name for span in telemetry.spans if parent_of(span) == id_of(telemetry.the(each))
        }
        for each in ("one", "many")
    }
    steps = {"vocalsep.upload", "vocalsep.creation", "vocalsep.wait"}
    assert below == {"one": steps | {"vocalsep.download"}, "many": steps}
