"""The services of the pages about web frameworks pass their own tests, and are called back."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn
from aiohttp import web
from pages import module_of, save_files

from vocalsep_async.emulator import Emulator

FASTAPI, AIOHTTP = "docs/how-to/fastapi.md", "docs/how-to/aiohttp.md"
SECONDS = 300
TESTS = {FASTAPI: 4, AIOHTTP: 4}


@pytest.mark.parametrize("page", TESTS)
def test_a_service_passes_the_tests_of_its_page(page: str, pytester: pytest.Pytester) -> None:
    save_files(page, pytester.path)
    pytester.syspathinsert()
    # Newer versions of Starlette warn of the HTTP client that the tests have.
    options = ("-p", "no:cacheprovider", "-W", "default", "-W", "error::ResourceWarning")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=TESTS[page])


@pytest.fixture
def listener(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A port of this machine, and the environment of a service that is to serve it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = "http://{}:{}".format(*listener.getsockname())
        monkeypatch.setenv("VOCALSEP_API_KEY", "a-key")
        monkeypatch.setenv("VOCALSEP_BASE_URL", vocalsep_emulator.url)
        monkeypatch.setenv("PUBLIC_URL", url)
        monkeypatch.setenv("CALLBACK_SECRET", "a-secret")
        yield listener


@asynccontextmanager
async def _fastapi(service: ModuleType, listener: socket.socket) -> AsyncIterator[Any]:
    app = service.make_app()
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield app.state.receiver
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def _aiohttp(service: ModuleType, listener: socket.socket) -> AsyncIterator[Any]:
    app = service.make_app()
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield app[service.RECEIVER]
    finally:
        await runner.cleanup()


SERVED = {FASTAPI: _fastapi, AIOHTTP: _aiohttp}


@pytest.mark.anyio
@pytest.mark.parametrize("page", SERVED)
async def test_a_service_that_is_called_back_answers_a_request_that_waits(
    page: str, vocalsep_emulator: Emulator, listener: socket.socket
) -> None:
    service = module_of(page, "service.py")
    url = "http://{}:{}".format(*listener.getsockname())
    async with (
        SERVED[page](service, listener) as receiver,
        httpx.AsyncClient(base_url=url, timeout=SECONDS) as http,
    ):
        song = {"audio_url": "https://example.com/song.mp3"}
        created = await http.post("/separations", json=song)
        assert created.status_code == 202
        task_id = created.json()["task_id"]
        waiting = asyncio.create_task(http.get(f"/separations/{task_id}"))
        vocalsep_emulator.finish(task_id)
        answer = await waiting
        assert answer.status_code == 200
        assert answer.json()["stems"].keys() == {"vocal", "instrumental"}
        # The callback may come after the answer, if a poll was faster.
        while not vocalsep_emulator.posted:  # noqa: ASYNC110 - it runs in another thread
            await asyncio.sleep(0.001)
        assert receiver.stats.received == 1


TRACED = """
from fastapi.testclient import TestClient
from traced import make_traced_app
from urllib.parse import urlsplit
from vocalsep_async.emulator import fast_settings

app = make_traced_app(**fast_settings())
with TestClient(app) as http:
    created = http.post("/separations", json={"audio_url": "https://example.com/song.mp3"}).json()
    assert http.get(f"/separations/{created['task_id']}").status_code == 200
    body = {"code": 200, "msg": "done", "data": {"task_id": created["task_id"]}}
    assert http.post(urlsplit(app.state.receiver.url()).path, json=body).status_code == 200
    assert http.post("/callbacks/cb_guessed.token", json=body).status_code == 401
"""
"""A request of each kind to the service with traces, whose spans are printed at its end."""


def test_no_span_of_the_traced_service_has_the_address_of_a_callback(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = "the instrumentation of FastAPI is not installed"
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason=reason)
    save_files(FASTAPI, tmp_path)
    monkeypatch.setenv("VOCALSEP_API_KEY", "a-key")
    monkeypatch.setenv("VOCALSEP_BASE_URL", vocalsep_emulator.url)
    monkeypatch.setenv("PUBLIC_URL", "https://example.com")
    monkeypatch.setenv("CALLBACK_SECRET", "a-secret")
    # The program imports files of its folder.
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    command = [sys.executable, "-c", TRACED]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "cb_" not in run.stdout + run.stderr
    spans = _objects(run.stdout)
    names = {span["name"] for span in spans}
    assert {"POST /separations", "vocalsep.creation", "vocalsep.wait", "vocalsep.poll"} <= names
    # Each other span is below one of these.
    roots = {span["name"] for span in spans if span["parent_id"] is None}
    assert roots == {"POST /separations", "GET /separations/{task_id}"}


def _objects(text: str) -> list[dict[str, Any]]:
    """The objects of JSON that follow each other in *text*."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        each, end = decoder.raw_decode(text)
        found.append(each)
        text = text[end:]
    return found
